"""What every type of backend makes of a server that misbehaves: one kind of error, in time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import replace

import pytest

from llmrouterd.backends.base import Backend, Call, Stream
from llmrouterd.errors import (
    UpstreamError,
    UpstreamInterrupted,
    UpstreamInvalid,
    UpstreamLoading,
    UpstreamStatus,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmrouterd.policy import BackendSpec
from tests.support.backends import chat_call, open_backend, read_frames, spec_of, whole
from tests.support.fake_ollama import FakeModel, FakeOllama
from tests.support.faults import FaultServer
from tests.support.openai_answers import answer_text

Opener = Callable[[BackendSpec], Backend]


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """Opens backends and closes them at the end."""
    backends: list[Backend] = []

    def opener(spec: BackendSpec) -> Backend:
        backends.append(open_backend(spec))
        return backends[-1]

    yield opener
    for backend in backends:
        await backend.close()


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as faults:
        yield faults


@pytest.fixture(params=["openai", "llamacpp"])
async def backend(request: pytest.FixtureRequest, server: FaultServer, opened: Opener) -> Backend:
    kind: str = request.param
    return opened(spec_of(kind, server.url if kind == "openai" else server.root))


STATUSES = {
    "400": (400, False),
    "401": (401, True),
    "403": (403, True),
    "404": (404, True),
    "413": (413, False),
    "422": (422, False),
    "429:7": (429, True),
    "500": (500, True),
    "500-text": (500, True),
    "502": (502, True),
    "503": (503, True),
    "400-context": (400, True),
}


@pytest.mark.parametrize("fault", STATUSES)
async def test_error_statuses_keep_status_words_and_wait(fault: str, backend: Backend) -> None:
    status, retryable = STATUSES[fault]
    with pytest.raises(UpstreamStatus) as raised:
        await read_frames(backend, chat_call(fault))
    error = raised.value
    assert error.upstream_status == status
    assert error.retryable is retryable
    assert error.retry_after == (7.0 if fault == "429:7" else None)
    message = error.envelope()["error"]["message"]
    if fault == "400-context":
        assert "available context size" in message
        assert error.envelope()["error"]["n_ctx"] == 4096
    elif fault == "500-text":
        assert message.endswith("Internal Server Error")
    else:
        assert message == f"scripted {status}"


async def test_a_loading_server_says_so(backend: Backend) -> None:
    with pytest.raises(UpstreamLoading):
        await read_frames(backend, chat_call("503-loading"))


BROKEN: dict[str, type[UpstreamError]] = {
    "drop-before-headers": UpstreamInvalid,
    "garbage-http": UpstreamInvalid,
    "wrong-content-type": UpstreamInvalid,
    "redirect": UpstreamInvalid,
    "garbage-json": UpstreamInvalid,
    "drop-mid-stream": UpstreamInterrupted,
    "die-after-2": UpstreamInterrupted,
    "error-mid-stream": UpstreamStatus,
    "error-200": UpstreamStatus,
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_broken_answers(fault: str, backend: Backend) -> None:
    with pytest.raises(BROKEN[fault]) as raised:
        await read_frames(backend, chat_call(fault))
    assert raised.value.retryable
    assert raised.value.message


async def test_a_request_that_kills_the_server_is_not_sent_over_and_over(
    backend: Backend, server: FaultServer
) -> None:
    with pytest.raises(UpstreamInvalid):
        await read_frames(backend, chat_call("drop-before-headers"))
    assert len(server.asked) == 1
    assert (await read_frames(backend, chat_call("ok")))[-1].done
    with pytest.raises(UpstreamInvalid):
        await read_frames(backend, chat_call("drop-before-headers"))
    # Once more at most, where the connection had been kept and may have been closed meanwhile.
    assert len(server.asked) == 2 + (2 if backend.spec.type == "openai" else 1)


async def test_a_redirect_is_not_followed(backend: Backend, server: FaultServer) -> None:
    with pytest.raises(UpstreamInvalid, match="307"):
        await read_frames(backend, chat_call("redirect"))
    assert [seen.path for seen in server.requests] == ["/v1/chat/completions"]


async def test_a_redirected_listing_is_not_followed(backend: Backend, server: FaultServer) -> None:
    server.set_fault("/v1/models", "redirect")
    with pytest.raises(UpstreamInvalid):
        await backend.discover()
    assert "/redirected" not in [seen.path for seen in server.requests]


async def _read_on(stream: Stream, idle: float) -> None:
    while await stream.next(idle) is not None:
        pass


@pytest.mark.parametrize("fault", ["hang-after-headers", "hang-mid-stream"])
async def test_silence_within_an_answer_ends_at_the_idle_limit(
    fault: str, backend: Backend, server: FaultServer
) -> None:
    stream = await backend.stream(chat_call(fault))
    with pytest.raises(UpstreamTimeout, match="sent nothing for 0.1 s"):
        await _read_on(stream, 0.1)
    stream.close()
    await server.wait_closed_by_client(timeout=1.0)


async def test_silence_before_the_headers_is_for_the_caller_to_bound(
    backend: Backend, server: FaultServer
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await backend.stream(chat_call("hang-before-headers"))
    await server.wait_closed_by_client(timeout=1.0)


HEALTHY = (
    "slow-drip:0",
    "crlf",
    "cr",
    "comments",
    "close-delimited",
    "no-done",
    "slow-headers:0.05",
)


@pytest.mark.parametrize("fault", HEALTHY)
async def test_odd_but_healthy_answers(fault: str, backend: Backend) -> None:
    frames = await read_frames(backend, chat_call(fault))
    assert whole(frames)["choices"][0]["message"]["content"] == answer_text(5)
    assert whole(frames)["choices"][0]["finish_reason"] == "stop"
    assert frames[-1].done is (fault != "no-done")


async def test_a_line_of_five_megabytes(backend: Backend) -> None:
    frames = await read_frames(backend, chat_call("huge-line"))
    assert len(whole(frames)["choices"][0]["message"]["content"]) == 5_000_000


async def test_a_line_beyond_all_bounds_is_refused(backend: Backend) -> None:
    with pytest.raises(UpstreamInvalid):
        await read_frames(backend, chat_call("huge-line:20000000"))


@pytest.mark.parametrize("fault", ["500", "garbage-json", "wrong-content-type", "503-loading"])
async def test_a_listing_that_fails(fault: str, backend: Backend, server: FaultServer) -> None:
    server.set_fault("/v1/models", fault)
    with pytest.raises(UpstreamError):
        await backend.discover()
    server.set_fault("/v1/models", None)
    assert [fact.name for fact in await backend.discover()] == ["ok"]


@pytest.mark.parametrize("fault", ["500", "garbage-json", "drop-before-headers"])
async def test_embeddings_that_fail(fault: str, backend: Backend) -> None:
    with pytest.raises(UpstreamError):
        await backend.embed(Call("embeddings", fault, {"input": "a"}))


async def test_an_upstream_that_does_not_stream_is_understood(
    opened: Opener, server: FaultServer
) -> None:
    """Some servers answer with one JSON object whatever was asked."""
    server.set_fault("*", "error-200")
    backend = opened(spec_of("openai", server.url))
    with pytest.raises(UpstreamStatus, match="failed to load"):
        await read_frames(backend, chat_call("ok"))


async def test_a_connection_that_hangs_is_given_up(opened: Opener) -> None:
    """A server whose backlog is full accepts nothing: the connect limit ends the wait."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        spec = spec_of("openai", f"http://127.0.0.1:{full.getsockname()[1]}/v1")
        backend = opened(replace(spec, timeouts=replace(spec.timeouts, connect=0.2)))
        with pytest.raises(UpstreamUnreachable):
            await backend.stream(chat_call("ok"))


@pytest.fixture
async def ollama(opened: Opener) -> AsyncIterator[tuple[FakeOllama, Backend]]:
    async with FakeOllama([FakeModel(name="a:1b")]) as fake:
        yield fake, opened(spec_of("ollama", fake.url))


OLLAMA_FAULTS: dict[str, type[UpstreamError]] = {
    "400": UpstreamStatus,
    "404": UpstreamStatus,
    "500": UpstreamStatus,
    "503": UpstreamStatus,
    "load-error": UpstreamStatus,
    "error-mid-stream": UpstreamStatus,
    "drop-mid-stream": UpstreamInterrupted,
    "ends-early": UpstreamInterrupted,
}


@pytest.mark.parametrize("fault", OLLAMA_FAULTS)
async def test_ollama_errors(fault: str, ollama: tuple[FakeOllama, Backend]) -> None:
    fake, backend = ollama
    fake.set_fault("a:1b", fault)
    with pytest.raises(OLLAMA_FAULTS[fault]) as raised:
        await read_frames(backend, chat_call("a:1b"))
    if isinstance(raised.value, UpstreamStatus) and fault.isdigit():
        assert raised.value.upstream_status == int(fault)
        assert raised.value.envelope()["error"]["message"] == f"scripted {fault}"
    fake.set_fault("a:1b", None)
    assert (await read_frames(backend, chat_call("a:1b")))[-1].done


async def test_ollama_silence(ollama: tuple[FakeOllama, Backend]) -> None:
    fake, backend = ollama
    fake.set_fault("a:1b", "hang-mid-stream")
    stream = await backend.stream(chat_call("a:1b"))
    with pytest.raises(UpstreamTimeout):
        await _read_on(stream, 0.1)
    stream.close()
    await fake.wait_closed_by_client(timeout=1.0)


async def test_ollama_unknown_model(ollama: tuple[FakeOllama, Backend]) -> None:
    with pytest.raises(UpstreamStatus, match="not found") as raised:
        await read_frames(ollama[1], chat_call("nope"))
    assert raised.value.upstream_status == 404
    assert raised.value.retryable
