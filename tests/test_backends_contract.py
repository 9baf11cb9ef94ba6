"""One contract that every type of backend passes, over real and over scripted servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest

from llmrouterd.backends.base import Backend, Call, Frame, Hooks
from llmrouterd.errors import UpstreamLoading, UpstreamStatus, UpstreamUnreachable
from tests.conftest import Llamas
from tests.support.backends import (
    chat_call,
    managed_spec,
    message_of,
    open_backend,
    read_frames,
    spec_of,
    whole,
)
from tests.support.clients import free_port
from tests.support.fake_ollama import FakeModel, FakeOllama
from tests.support.fault_exchange import Ledger
from tests.support.faults import FaultServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A backend and what is behind it. `ledger` is the scripted server, `root` a real one."""

    kind: str
    backend: Backend
    model: str
    ledger: Ledger | None = None
    root: str = ""
    embeds: str | None = None

    @property
    def real(self) -> bool:
        return self.ledger is None


async def _scripted(stack: AsyncExitStack, kind: str) -> Subject:
    server = await stack.enter_async_context(FaultServer(["ok", "endless"]))
    url = server.url if kind == "openai" else server.root
    backend = open_backend(spec_of(kind, url))
    return Subject(kind=kind, backend=backend, model="ok", ledger=server, embeds="ok")


async def _ollama(stack: AsyncExitStack) -> Subject:
    models = [FakeModel(name="llama3.1:8b"), FakeModel(name="e:1b", capabilities=("embedding",))]
    server = await stack.enter_async_context(FakeOllama(models))
    backend = open_backend(spec_of("ollama", server.url))
    return Subject(
        kind="ollama", backend=backend, model="llama3.1:8b", ledger=server, embeds="e:1b"
    )


@asynccontextmanager
async def _opened_managed(**fields: Any) -> AsyncIterator[Backend]:
    """A managed backend whose process is ready."""
    ready = asyncio.Event()
    hooks = Hooks(log=lambda event, _: ready.set() if event == "managed.ready" else None)
    backend = open_backend(managed_spec(**fields), hooks)
    try:
        assert await backend.discover() == ()  # nothing serves before it is wanted
        with pytest.raises(UpstreamLoading):
            await backend.stream(chat_call("smollm2-135m"))
        backend.want(True)
        async with asyncio.timeout(60):
            await ready.wait()
        assert backend.state()["processes"]["smollm2-135m"]["state"] == "ready"
        yield backend
    finally:
        await backend.close()


SUBJECTS = (
    "openai-scripted",
    "llamacpp-scripted",
    "ollama-fake",
    "openai-real",
    "llamacpp-real",
    "managed-real",
)


@pytest.fixture(params=SUBJECTS)
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    kind, _, behind = request.param.partition("-")
    async with AsyncExitStack() as stack:
        if kind == "managed":
            backend = await stack.enter_async_context(_opened_managed())
            found = Subject(kind="managed", backend=backend, model="smollm2-135m")
        elif behind == "real":
            llamas: Llamas = request.getfixturevalue("llamas")
            url = f"{llamas.tiny}/v1" if kind == "openai" else llamas.tiny
            backend = open_backend(spec_of(kind, url))
            found = Subject(kind=kind, backend=backend, model="tiny-random", root=llamas.tiny)
        elif kind == "ollama":
            found = await _ollama(stack)
        else:
            found = await _scripted(stack, kind)
        if kind != "managed":
            stack.push_async_callback(found.backend.close)
        yield found


def _check_frames(frames: list[Frame]) -> None:
    """What the relay relies on: whole SSE events, an id, a role first, one end, [DONE] last."""
    assert frames[-1].done
    assert [frame.done for frame in frames].count(True) == 1
    for frame in frames:
        assert frame.raw.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
    chunks = [frame.chunk for frame in frames if frame.chunk is not None]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all(isinstance(chunk["created"], int) for chunk in chunks)
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert choices[0]["delta"]["role"] == "assistant"
    ends = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    assert len(ends) == 1


async def _everything(subject: Subject) -> None:
    """The healthy half of the contract."""
    facts = {fact.name: fact for fact in await subject.backend.discover()}
    assert subject.model in facts
    if subject.kind != "openai":
        assert facts[subject.model].capabilities is not None or not subject.real
    call = chat_call(subject.model, max_tokens=4, temperature=0, seed=1)
    frames = await read_frames(subject.backend, call)
    _check_frames(frames)
    answer = whole(frames)
    assert message_of(answer)["role"] == "assistant"
    assert answer["choices"][0]["finish_reason"] in ("stop", "length")
    assert answer["usage"]["completion_tokens"] in range(1, 5)
    assert answer["usage"]["prompt_tokens"] >= 1
    # The same again: a client that does not stream gets what the stream adds up to.
    again = whole(await read_frames(subject.backend, call))
    assert message_of(again)["content"] == message_of(answer)["content"]


async def test_chat_facts_usage_and_aggregate(subject: Subject) -> None:
    await _everything(subject)


async def test_completions(subject: Subject) -> None:
    call = Call("completions", subject.model, {"prompt": "Once upon", "max_tokens": 4, "seed": 1})
    frames = await read_frames(subject.backend, call)
    assert frames[-1].done
    answer = whole(frames, "completions")
    assert answer["object"] == "text_completion"
    assert isinstance(answer["choices"][0]["text"], str)
    assert answer["choices"][0]["finish_reason"] in ("stop", "length")
    assert answer["usage"]["completion_tokens"] in range(1, 5)


async def test_embeddings_where_they_can_be_made(subject: Subject) -> None:
    if subject.embeds is None:
        with pytest.raises(UpstreamStatus) as raised:
            await subject.backend.embed(Call("embeddings", subject.model, {"input": "a"}))
        assert raised.value.upstream_status in (400, 501)
        return
    body = {"input": ["one", "two words"]}
    answer = await subject.backend.embed(Call("embeddings", subject.embeds, body))
    assert answer["object"] == "list"
    assert [item["index"] for item in answer["data"]] == [0, 1]
    assert all(isinstance(item["embedding"][0], float) for item in answer["data"])
    assert answer["usage"]["prompt_tokens"] >= 1


@pytest.mark.parametrize("kind", ["openai", "llamacpp"])
async def test_embeddings_of_a_real_server(kind: str, llamas: Llamas) -> None:
    url = llamas.embedding + ("/v1" if kind == "openai" else "")
    backend = open_backend(spec_of(kind, url))
    try:
        answer = await backend.embed(
            Call("embeddings", "tiny-embed", {"input": ["one", "two words"]})
        )
        assert [len(item["embedding"]) for item in answer["data"]] == [64, 64]
        plain = await backend.embed(
            Call("embeddings", "tiny-embed", {"input": "one", "encoding_format": "base64"})
        )
        assert isinstance(plain["data"][0]["embedding"], str)
    finally:
        await backend.close()


async def _busy_slots(root: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"{root}/slots") as response:
        return sum(bool(slot["is_processing"]) for slot in await response.json())


def _root(subject: Subject) -> str:
    if subject.root or subject.kind != "managed":
        return subject.root
    servers: Any = subject.backend
    url: str = servers._servers[subject.model].process.url
    return url


async def test_close_frees_the_upstream_within_a_second(subject: Subject) -> None:
    model = "endless" if isinstance(subject.ledger, FaultServer) else subject.model
    if isinstance(subject.ledger, FakeOllama):
        subject.ledger.tokens, subject.ledger.delay = 10_000, 0.01
    call = chat_call(model, "Tell me a very long story.", max_tokens=1500, ignore_eos=True)
    if subject.kind == "ollama":
        call = chat_call(model, "Tell me a very long story.")
    stream = await subject.backend.stream(call)
    assert await stream.next(20) is not None
    root = _root(subject)
    if root:
        assert await _busy_slots(root) >= 1
    closed_at = time.monotonic()
    stream.close()
    stream.close()  # twice is fine
    if subject.ledger is not None:
        (seen,) = await subject.ledger.wait_closed_by_client(timeout=1.0)
        assert seen.closed is not None
    else:
        async with asyncio.timeout(1.0):
            while await _busy_slots(root):
                await asyncio.sleep(0.02)
    assert time.monotonic() - closed_at < 1.0


async def test_sixty_requests_back_to_back(subject: Subject) -> None:
    """llama-server closes every connection after a stream although it promises to keep it."""
    if isinstance(subject.ledger, FaultServer):
        subject.ledger.set_fault("*", "close-after-stream")
    count = 10 if subject.kind == "managed" else 60
    for _ in range(count):
        frames = await read_frames(subject.backend, chat_call(subject.model, max_tokens=1))
        assert frames[-1].done
    if subject.ledger is not None:
        assert len([seen for seen in subject.ledger.asked if seen.path != "/api/show"]) == count


async def test_thirty_at_once(subject: Subject) -> None:
    calls = [chat_call(subject.model, f"Say {n}", max_tokens=1) for n in range(30)]
    answers = await asyncio.gather(*(read_frames(subject.backend, call) for call in calls))
    assert all(frames[-1].done for frames in answers)


@pytest.mark.parametrize("kind", ["openai", "llamacpp", "ollama"])
async def test_nobody_listens(kind: str) -> None:
    backend = open_backend(spec_of(kind, f"http://127.0.0.1:{free_port()}"))
    try:
        with pytest.raises(UpstreamUnreachable, match=f"{kind} cannot be reached"):
            await backend.discover()
        with pytest.raises(UpstreamUnreachable):
            await backend.stream(chat_call("any"))
    finally:
        await backend.close()


async def test_facts_of_a_real_llama(llamas: Llamas) -> None:
    backend = open_backend(spec_of("llamacpp", f"{llamas.smollm2}/v1"))
    try:
        (facts,) = await backend.discover()
    finally:
        await backend.close()
    assert facts.name == "smollm2-135m"
    assert facts.context == 4096  # 8192 for two slots
    assert facts.slots == 2
    assert facts.loaded is True
    assert facts.size_b == pytest.approx(0.1345, abs=0.01)
    assert facts.size_bytes is not None
    assert facts.size_bytes > 50e6
    assert facts.capabilities is not None
    assert {"chat", "json"} <= facts.capabilities
    assert "vision" not in facts.capabilities
    assert facts.digest


async def test_a_managed_model_declared_for_embeddings_makes_them() -> None:
    """llama.cpp's own metadata does not tell that a server embeds; the declaration does."""
    async with _opened_managed(embeddings=True, args=("--pooling", "mean")) as backend:
        (facts,) = await backend.discover()
        assert facts.capabilities == {"embedding"}
        answer = await backend.embed(Call("embeddings", facts.name, {"input": "one"}))
        assert len(answer["data"][0]["embedding"]) == 576


async def test_facts_of_openai_like_listings() -> None:
    rows: list[str | dict[str, Any]] = [
        "plain",
        {
            "id": "router/one",
            "context_length": 65536,
            "architecture": {"input_modalities": ["text", "image"]},
            "supported_parameters": ["tools", "response_format", "reasoning"],
            "pricing": {"prompt": "0.000001", "completion": "0.000002"},
        },
        {"id": "vllm", "max_model_len": 32768},
        {"id": "odd", "pricing": {"prompt": "free"}, "context_length": "big"},
    ]
    async with FaultServer(rows) as server:
        backend = open_backend(spec_of("openai", server.url))
        facts = {fact.name: fact for fact in await backend.discover()}
        await backend.close()
    assert facts["plain"].capabilities is None
    assert facts["plain"].context is None
    assert facts["router/one"].capabilities == {"chat", "vision", "tools", "json", "thinking"}
    assert facts["router/one"].price == (1.0, 2.0)
    assert facts["router/one"].context == 65536
    assert facts["vllm"].context == 32768
    assert (facts["odd"].price, facts["odd"].context) == (None, None)


async def test_our_key_and_headers_go_to_the_backend_and_no_others() -> None:
    async with FaultServer(api_key="sk-right") as server:
        spec = spec_of("openai", server.url, api_key="sk-right", headers=(("X-Org", "home"),))
        backend = open_backend(spec)
        await backend.discover()
        await read_frames(backend, chat_call("ok"))
        await backend.close()
        for seen in server.requests:
            assert seen.headers["authorization"] == "Bearer sk-right"
            assert seen.headers["x-org"] == "home"
            assert seen.headers["accept-encoding"] == "identity"
        wrong = open_backend(replace(spec, api_key=type(spec.api_key)("sk-wrong")))
        with pytest.raises(UpstreamStatus) as raised:
            await wrong.discover()
        await wrong.close()
        assert raised.value.upstream_status == 401
        assert "sk-wrong" not in str(raised.value)
