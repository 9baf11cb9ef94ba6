"""Defects that were found by trying to break the daemon, one test for each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from llmrouterd.backends.connection import ConnectionBroken, ConnectionPool
from llmrouterd.backends.pool import Entry
from llmrouterd.discovery import Health
from llmrouterd.errors import UpstreamError
from llmrouterd.profiling.steps import Step
from llmrouterd.store import Encoded, Store, encode_plain
from llmrouterd.tables import decision
from llmrouterd.token_count import TokenCounter
from tests.conftest import Opener, Scripted
from tests.support.backends import open_backend, spec_of
from tests.support.daemon import chat_body, openai_backend

Reply = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Any]


@asynccontextmanager
async def raw_server(reply: Reply) -> AsyncIterator[str]:
    """A server of single requests; `reply` gets each one's path and writes what it likes."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = 0
                for line in head.lower().split("\r\n"):
                    if line.startswith("content-length:"):
                        length = int(line.partition(":")[2])
                await reader.readexactly(length)
                await reply(reader, writer, head.split(" ")[1])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


def response(body: bytes, kind: str = "application/json", *extra: str) -> bytes:
    """A whole HTTP response."""
    lines = ["HTTP/1.1 200 OK", f"content-type: {kind}", f"content-length: {len(body)}", *extra]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def listing(entry: dict[str, Any], events: bytes = b"") -> AsyncIterator[str]:
    """A server with one model of this entry, whose chats are answered with these SSE bytes."""

    async def reply(reader: Any, writer: asyncio.StreamWriter, path: str) -> None:
        if path.endswith("/models"):
            writer.write(response(json.dumps({"object": "list", "data": [entry]}).encode()))
        elif path.endswith("/chat/completions"):
            writer.write(response(events, "text/event-stream"))
        else:
            writer.write(response(b"{}"))
        await writer.drain()

    async with raw_server(reply) as root:
        yield root


# The connections to backends.


async def test_a_second_response_nobody_asked_for_is_no_answer_to_the_next_request() -> None:
    async def reply(reader: Any, writer: asyncio.StreamWriter, path: str) -> None:
        chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"
        writer.write(chunked)
        await asyncio.sleep(0.05)
        writer.write(b"0\r\n\r\n" + response(b"stranger") * 2)

    async with raw_server(reply) as root:
        pool = ConnectionPool(root, {}, kept=True, connect_seconds=1)
        first = await pool.request("GET", "/1", None)
        assert await first.read() == b"one"
        pool.release(first, ending=True)
        await asyncio.sleep(0.1)
        second, third = await asyncio.gather(
            pool.request("GET", "/2", None), pool.request("GET", "/3", None)
        )
        assert second is not third
        assert (await second.read(), await third.read()) == (b"one", b"one")
        second.close()
        third.close()
        pool.close()


async def test_what_follows_a_response_does_not_change_it() -> None:
    async def reply(reader: Any, writer: asyncio.StreamWriter, path: str) -> None:
        writer.write(response(b"mine") + b"HTTP/1.1 500 Oops\r\ncontent-length: 6\r\n\r\nforged")

    async with raw_server(reply) as root:
        pool = ConnectionPool(root, {}, kept=True, connect_seconds=1)
        answer = await pool.request("GET", "/", None)
        body = b""
        while part := await answer.read():
            body += part
        assert (answer.status, body) == (200, b"mine")
        pool.release(answer)
        assert answer.closed
        pool.close()


async def test_a_connection_attempt_that_the_system_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def gives_up(*args: Any, **fields: Any) -> Any:
        raise TimeoutError(110, "Connection timed out")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", gives_up)
    pool = ConnectionPool("http://127.0.0.1:9", {}, kept=True, connect_seconds=None)
    with pytest.raises(ConnectionBroken, match="timed out"):
        await pool.request("GET", "/", None)


# Places in a backend's queue.


async def test_a_place_freed_while_the_one_who_waits_for_it_leaves() -> None:
    backend = open_backend(spec_of("openai", "http://127.0.0.1:9", concurrency=1))
    entry = Entry(backend)
    await entry.enter()
    waiting = asyncio.create_task(entry.enter())
    await asyncio.sleep(0)
    assert entry.queued == 1
    waiting.cancel()
    entry.leave()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(1):
        await entry.enter()
    await backend.close()


async def test_embeddings_take_a_place_too(scripted: Scripted) -> None:
    model = {"id": "ok", "capabilities": ["chat", "embeddings"]}
    daemon, backend = await scripted(model, backend={"concurrency": 1})
    backend.set_fault("/v1/embeddings", "slow-first:0.2")
    asked = [
        daemon.post("/v1/embeddings", {"model": "s/ok", "input": f"text {n}"}) for n in range(3)
    ]
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, backend.active)
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    answers = await asyncio.gather(*asked)
    watching.cancel()
    assert [answer.status for answer in answers] == [200] * 3
    assert most == 1


async def test_a_client_that_leaves_a_probe_does_not_keep_the_model_out(
    scripted: Scripted,
) -> None:
    daemon, backend = await scripted(
        "moody", "ok", failover={"errors_to_cool": 1, "cool_seconds": 0.1}
    )
    backend.fail_times("moody", 1)
    assert (await daemon.chat("Hello")).headers["x-router-model"] == "ok"
    await asyncio.sleep(0.15)
    backend.set_fault("moody", "hang-before-headers", 1)
    asking = asyncio.create_task(daemon.chat("Hello"))
    await backend.wait_requests(3)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await daemon.events.until(lambda: len(daemon.events.of("request.routed")) == 2)
    assert (await daemon.chat("Hello")).headers["x-router-model"] == "moody"


# What backends say of models.

ODD_ENTRIES: tuple[dict[str, Any], ...] = (
    {"id": "m", "architecture": ["text"]},
    {"id": "m", "architecture": {"input_modalities": [["image"]], "output_modalities": 5}},
    {"id": "m", "aliases": 5},
    {"id": "m", "status": {"args": 5, "value": ["loaded"]}},
    {"id": "m", "status": "loaded", "meta": []},
    {"id": "m", "capabilities": [["chat"]], "pricing": {"prompt": [], "completion": None}},
)


@pytest.mark.parametrize("entry", ODD_ENTRIES)
@pytest.mark.parametrize("kind", ["openai", "llamacpp"])
async def test_odd_metadata_does_not_hide_a_model(kind: str, entry: dict[str, Any]) -> None:
    async with listing(entry) as root:
        backend = open_backend(spec_of(kind, root))
        try:
            (facts,) = await backend.discover()
        finally:
            await backend.close()
    assert facts.name == "m"


@pytest.mark.parametrize("price", ["-1", "nan", "inf"])
async def test_a_price_that_is_none_is_unknown(price: str) -> None:
    """OpenRouter writes -1 for a model whose price varies; nobody is paid for choosing it."""
    async with listing({"id": "m", "pricing": {"prompt": price, "completion": price}}) as root:
        backend = open_backend(spec_of("openai", root))
        (facts,) = await backend.discover()
        await backend.close()
    assert facts.price is None


ODD_CHUNKS: tuple[Any, ...] = (
    {"choices": [None]},
    {"choices": 5},
    {"choices": [{"index": [1], "delta": {"content": "x"}}]},
    {"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": "many"},
    {"choices": [{"index": 0, "delta": 5}], "usage": [1]},
)


@pytest.mark.parametrize("chunk", ODD_CHUNKS)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_odd_chunk_is_the_upstreams_fault(
    chunk: Any, stream: bool, open_daemon: Opener
) -> None:
    events = b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n"
    async with listing({"id": "m"}, events) as root:
        daemon = await open_daemon({"backends": [openai_backend("s", root)]})
        answer = await daemon.chat("Hello", stream=stream)
        assert answer.status in (200, 502), answer.body
        assert daemon.events.of("request.crashed") == []


# The store's writer.


def make_store(tmp_path: Path, encode: Callable[[Any], Encoded] = encode_plain) -> Store:
    return Store(tmp_path / "x.db", most=100, encode=encode, on_error=lambda message: None)


def row(**fields: Any) -> dict[str, Any]:
    return {
        "id": "a",
        "at": 1.0,
        "mode": "route",
        "rule": "r",
        "category": "c",
        "model": None,
        "backend": None,
        "outcome": "ok",
        "policy": "p",
        "ttft": None,
        "seconds": 1.0,
        "prompt_tokens": None,
        "completion_tokens": None,
        "record": "{}",
        **fields,
    }


def test_a_record_that_cannot_be_written_costs_itself_only(tmp_path: Path) -> None:
    def encode(record: Any) -> Encoded:
        if record == "bad":
            raise TypeError("no JSON")
        return Encoded({"record": str(record)}, {})

    store = make_store(tmp_path, encode)
    store.record(row(id="encoding", record="bad"))
    store.record(row(id="number", prompt_tokens=2**64 - 1))
    store.record(row(id="text", category="\udcff"))
    store.record(row(id="good"))
    assert store.run(decision("good")).result(10) is not None
    assert store.state.dropped == 3
    store.close()


def test_a_query_that_crashes_does_not_end_the_writer(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(UnicodeEncodeError):
        store.run(decision("\udcff")).result(10)
    store.record(row())
    assert store.run(decision("a")).result(10) is not None
    store.close()
    assert "store" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("header", ["X-OpenWebUI-Chat-Id", "X-OpenWebUI-Task", "Origin", "Host"])
async def test_bytes_in_headers_that_are_no_text(header: str, scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    host, port = daemon.url.removeprefix("http://").split(":")
    body = json.dumps(chat_body("Hello")).encode()
    for path in ("/v1/chat/completions", "/admin/explain"):
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = [f"POST {path} HTTP/1.1", f"Content-Length: {len(body)}", "Connection: close"]
        if header != "Host":
            lines.append(f"Host: {host}")
        head = "\r\n".join(lines).encode() + b"\r\n" + header.encode() + b": \xffx.y\xfe\r\n\r\n"
        writer.write(head + body)
        answer = await reader.read()
        writer.close()
        assert answer.split(b" ")[1] in (b"200", b"400", b"403"), answer
    assert (await daemon.chat("Hello")).status == 200
    rows = (await daemon.get("/admin/decisions")).data["decisions"]
    assert len(rows) == len(daemon.events.of("request.routed"))


# Proxies.


async def test_every_forwarded_for_line_counts(scripted: Scripted) -> None:
    """A proxy may add a line of its own behind the one that the client made up."""
    daemon, _ = await scripted(
        "ok",
        server={"trusted_proxies": ["127.0.0.1"]},
        rate_limits={"client": {"requests_per_minute": 1}},
    )
    statuses = []
    for made_up in ("10.1.1.1", "10.1.1.2"):
        headers = [("X-Forwarded-For", made_up), ("X-Forwarded-For", "192.0.2.7")]
        statuses.append((await daemon.get("/v1/models", headers=headers)).status)
    assert statuses == [200, 429]


# Reloads.


async def test_an_edit_of_a_backend_leaves_no_gap_without_its_models(scripted: Scripted) -> None:
    daemon, backend = await scripted("ok", backend={"timeouts": {"idle": 5}})
    backend.set_fault("/v1/models", "slow-first:0.5")
    policy = json.loads(daemon.policy_file.read_text())
    policy["backends"][0]["timeouts"]["idle"] = 7
    daemon.policy_file.write_text(json.dumps(policy))
    assert (await daemon.post("/admin/reload", {})).status == 200
    assert (await daemon.chat("Hello")).status == 200
    assert (await daemon.get("/ready")).status == 200


@pytest.mark.parametrize("url", ["http://a..b/v1", "http://[::1/v1", f"http://{'a' * 70}.b/v1"])
async def test_an_impossible_address_is_refused_whole(url: str, scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    before = daemon.state.current.snapshot.policy
    policy = json.loads(daemon.policy_file.read_text())
    policy["backends"].append({"name": "b", "type": "openai", "url": url})
    daemon.policy_file.write_text(json.dumps(policy))
    answer = await daemon.post("/admin/reload", {})
    assert answer.status == 422, answer.body
    assert "$.backends[1].url" in answer.data["problems"][0]
    assert daemon.state.current.snapshot.policy is before


# Leases.


async def test_measuring_that_fails_gives_its_lease_back(scripted: Scripted) -> None:
    daemon, _ = await scripted("500")
    bench = daemon.state.profiler._bench
    snapshot = daemon.state.current.snapshot
    with pytest.raises(UpstreamError):
        await bench.run(Step("load", "load"), snapshot.catalog.models[0], snapshot.policy)
    (health,) = daemon.state.discovery.backends.values()
    assert health.entry.leases == 1


# Secrets.


async def test_an_upstream_that_repeats_our_key_does_not_tell_it(open_daemon: Opener) -> None:
    key = "sk-very-secret-key"
    body = json.dumps({"error": {"message": f"Incorrect API key: {key}", "hint": key}}).encode()

    async def reply(reader: Any, writer: asyncio.StreamWriter, path: str) -> None:
        if path.endswith("/models"):
            writer.write(response(b'{"data":[{"id":"m"}]}'))
        else:
            writer.write(response(body).replace(b"200 OK", b"401 No"))

    async with raw_server(reply) as root:
        daemon = await open_daemon({"backends": [openai_backend("s", root, api_key=key)]})
        answer = await daemon.chat("Hello")
    assert answer.status == 502
    assert key.encode() not in answer.body
    assert key not in str(daemon.events.seen)


# Memory.


def test_many_short_texts_are_not_remembered_for_ever() -> None:
    counter = TokenCounter()
    for number in range(60_000):
        counter._remember(f"{number:06d}", 1)
    assert len(counter._known) < 50_000


# Clients that do not take what they asked for.


async def test_a_client_that_reads_nothing_does_not_keep_its_place(scripted: Scripted) -> None:
    daemon, backend = await scripted(
        "huge-line:9000000",
        backend={"concurrency": 1, "timeouts": {"idle": 0.3}},
    )
    host, port = daemon.url.removeprefix("http://").split(":")
    body = json.dumps(chat_body("Hello", stream=True)).encode()
    _, writer = await asyncio.open_connection(host, int(port), limit=1024)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}"
    writer.write(head.encode() + b"\r\n\r\n" + body)
    await backend.wait_requests()
    await daemon.events.until(lambda: daemon.events.of("request.routed") != [], 5)
    assert daemon.state.dispatcher.in_flight == 0
    assert daemon.events.of("request.routed")[0]["outcome"] == "client_gone"
    writer.close()


async def test_a_fallback_is_not_stopped_under_an_answer(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    discovery = daemon.state.discovery
    (health,) = discovery.backends.values()
    wanted: list[bool] = []

    class Spare:
        spec = spec_of("managed", start="fallback")
        want = staticmethod(wanted.append)

    spare = Entry(Spare())  # type: ignore[arg-type]
    await spare.enter()
    discovery.backends["spare"] = Health(spec=Spare.spec, entry=spare)
    discovery._others_since = -1000.0
    discovery._tend_fallbacks()
    assert wanted == []
    spare.leave()
    discovery._tend_fallbacks()
    assert wanted == [False]
    del discovery.backends["spare"]
    assert health.status == "ok"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_break_after_the_finish_reason_is_no_failure(
    stream: bool, open_daemon: Opener
) -> None:
    whole = json.dumps(
        {"choices": [{"index": 0, "delta": {"content": "Done."}, "finish_reason": "stop"}]}
    )
    events = f"data: {whole}\n\n".encode()
    models = response(json.dumps({"object": "list", "data": [{"id": "m"}]}).encode())

    async def reply(reader: Any, writer: asyncio.StreamWriter, path: str) -> None:
        if path.endswith("/models"):
            writer.write(models)
            return
        # Announces more than it sends, and goes.
        announced = response(events, "text/event-stream").replace(
            f"content-length: {len(events)}".encode(), b"content-length: 100000"
        )
        writer.write(announced)
        await writer.drain()
        writer.close()

    async with raw_server(reply) as url:
        daemon = await open_daemon({"backends": [openai_backend("s", f"{url}/v1")]})
        await daemon.wait_models("s/m")
        answer = await daemon.chat("Hello", stream=stream)
        assert answer.status == 200
        assert b"Done." in answer.body
        assert b'"error"' not in answer.body
        assert not stream or answer.body.endswith(b"data: [DONE]\n\n")
