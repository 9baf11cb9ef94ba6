"""The client is gone: within a second nothing works for it any more, whatever it waited for."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.conftest import Opener, Scripted
from tests.support.daemon import Running, chat_body, openai_backend
from tests.support.fake_ollama import FakeModel, FakeOllama
from tests.support.fault_exchange import Ledger
from tests.support.faults import FaultServer


async def _leave(asking: asyncio.Task[Any]) -> float:
    """Cancel a client's request, which closes its connection; when that was."""
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    return time.monotonic()


async def _gone(backend: Ledger, left: float) -> None:
    (seen,) = await backend.wait_closed_by_client()
    assert seen.closed is not None
    assert seen.closed - left < 1.0


async def _settled(daemon: Running, count: int = 1) -> None:
    """Nothing is left running, and the journal says why it ended."""
    await daemon.events.until(lambda: len(daemon.events.of("request.routed")) >= count)
    state = daemon.state
    async with asyncio.timeout(1.0):
        while state.active or state.dispatcher.in_flight:
            await asyncio.sleep(0.01)


def _ask(daemon: Running, **body: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(daemon.post("/v1/chat/completions", chat_body("Hello", **body)))


WAITS = ("endless", "hang-before-headers", "hang-after-headers", "hang-mid-stream-1")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("fault", WAITS)
async def test_whatever_it_waited_for(fault: str, stream: bool, scripted: Scripted) -> None:
    daemon, backend = await scripted(fault, "ok")
    asking = _ask(daemon, stream=stream)
    await backend.wait_requests()
    await asyncio.sleep(0.05)  # let the answer begin where it does
    left = await _leave(asking)
    await _gone(backend, left)
    await _settled(daemon)
    assert daemon.events.of("request.routed")[0]["outcome"] == "client_gone"
    assert daemon.events.of("candidate.failed") == []  # nobody's fault
    assert [seen.model for seen in backend.asked] == [fault]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_while_queued(stream: bool, scripted: Scripted) -> None:
    daemon, backend = await scripted("endless", backend={"concurrency": 1})
    async with daemon.streaming("Hello") as first:
        await first.content.readany()
        waiting = _ask(daemon, stream=stream)
        async with asyncio.timeout(5):
            while daemon.state.dispatcher.in_flight < 2:
                await asyncio.sleep(0.01)
        await _leave(waiting)
        await daemon.events.until(lambda: len(daemon.events.of("request.routed")) == 1)
        assert daemon.state.dispatcher.in_flight == 1
    await _settled(daemon, 2)
    assert len(backend.asked) == 1  # the one that left was never sent


async def test_a_place_that_became_free_is_not_lost(scripted: Scripted) -> None:
    """Of two in the queue the first leaves: the second gets the place."""
    daemon, backend = await scripted("endless", "ok", backend={"concurrency": 1})
    async with daemon.streaming("Hello") as first:
        await first.content.readany()
        impatient = _ask(daemon)
        async with asyncio.timeout(5):
            while daemon.state.dispatcher.in_flight < 2:
                await asyncio.sleep(0.01)
        patient = _ask(daemon, model="s/ok")
        async with asyncio.timeout(5):
            while daemon.state.dispatcher.in_flight < 3:
                await asyncio.sleep(0.01)
        await _leave(impatient)
    answer = await asyncio.wait_for(patient, 5)
    assert answer.status == 200
    await _settled(daemon, 3)
    assert sorted(seen.model for seen in backend.asked) == ["endless", "ok"]


async def test_while_loading(scripted: Scripted) -> None:
    daemon, backend = await scripted("503-loading")
    asking = _ask(daemon)
    await backend.wait_requests(2)
    await _leave(asking)
    await _settled(daemon)
    asked = len(backend.asked)
    await asyncio.sleep(0.6)  # longer than the pause between two tries
    assert len(backend.asked) == asked


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_ollama_while_it_loads_and_while_it_answers(
    stream: bool, open_daemon: Opener
) -> None:
    for load, delay in ((5.0, 0.0), (0.0, 0.05)):
        model = FakeModel(name="a:1b", load_seconds=load)
        async with FakeOllama([model], tokens=1000, delay=delay) as ollama:
            entry = {"name": "o", "type": "ollama", "url": ollama.url}
            daemon = await open_daemon({"backends": [entry]})
            asking = _ask(daemon, stream=stream)
            async with asyncio.timeout(5):
                paths = ("/api/generate",) if load else ("/api/chat",)
                while not any(seen.path in paths for seen in ollama.requests):
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            left = await _leave(asking)
            await _gone(ollama, left)
            await _settled(daemon)
            assert ollama.violations == []


async def test_embeddings(scripted: Scripted) -> None:
    daemon, backend = await scripted("hang-before-headers")
    asking = asyncio.create_task(daemon.post("/v1/embeddings", {"input": "a"}))
    await backend.wait_requests()
    left = await _leave(asking)
    await _gone(backend, left)
    await _settled(daemon)


async def test_a_body_that_stops_half_way(scripted: Scripted) -> None:
    """A client that leaves while it sends is no crash and holds nothing."""
    daemon, backend = await scripted("ok")
    host, port = daemon.url.removeprefix("http://").split(":")
    for framing in (b"Content-Length: 1000\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"):
        _, writer = await asyncio.open_connection(host, int(port))
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        writer.write(head + b"Content-Type: application/json\r\n" + framing)
        await writer.drain()
        async with asyncio.timeout(5):
            while not daemon.state.active:
                await asyncio.sleep(0.01)
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(1):
            while daemon.state.active:
                await asyncio.sleep(0.01)
    assert backend.asked == []
    assert (await daemon.chat("Hello")).status == 200


async def test_fifty_clients_leave_at_once(open_daemon: Opener) -> None:
    async with FaultServer(["endless"]) as backend:
        daemon = await open_daemon({"backends": [openai_backend("s", backend.url)]})
        tasks = [_ask(daemon, stream=n % 2 == 0) for n in range(50)]
        await backend.wait_requests(50)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        left = time.monotonic()
        closed = await backend.wait_closed_by_client(50)
        assert max(seen.closed or 0.0 for seen in closed) - left < 1.0
        await _settled(daemon, 50)
        assert daemon.state.dispatcher.busy == {}
