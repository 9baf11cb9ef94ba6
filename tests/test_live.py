"""GET /admin/live and GET /admin/events: what happens now, and who is told of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from llmrouterd.api import live
from llmrouterd.errors import RateLimited
from llmrouterd.live import MOST_EVENTS, MOST_LISTENERS, Feed
from tests.conftest import Opener, Scripted
from tests.support.clients import Event, iterate_sse
from tests.support.daemon import Running, openai_backend, preferring
from tests.support.fake_ollama import FakeModel, FakeOllama
from tests.support.faults import FaultServer

KEY = "the-admin-key"
HANGS = "hang-before-headers"


class Stream:
    """The events of one listener."""

    def __init__(self, events: AsyncIterator[Event]) -> None:
        self._events = events

    async def next(self, name: str) -> Any:
        """The data of the next event of a name; others are passed over."""
        async with asyncio.timeout(10):
            async for event in self._events:
                if event.event == name:
                    return event.json()
        raise AssertionError(f"the stream ended without {name}")

    async def end(self) -> None:
        """Read until it ends."""
        async with asyncio.timeout(10):
            async for _ in self._events:
                pass


@asynccontextmanager
async def listening(daemon: Running) -> AsyncIterator[Stream]:
    async with daemon.http.get(daemon.url + "/admin/events") as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        yield Stream(iterate_sse(response))


async def test_an_idle_daemon(scripted: Scripted) -> None:
    daemon, _ = await scripted("a", "b")
    found = (await daemon.get("/admin/live")).data
    assert found["requests"] == []
    assert (found["in_flight"], found["queued"], found["requests_per_minute"]) == (0, 0, 0)
    assert found["speeds"] == []
    assert found["policy"]["digest"] == daemon.state.current.snapshot.policy.digest
    assert found["policy"]["rejected_digest"] is None
    (backend,) = found["backends"]
    assert (backend["name"], backend["status"]) == ("s", "ok")
    assert [host["name"] for host in found["hosts"]] == ["local"]
    vram = (await daemon.get("/admin/vram")).data
    assert set(vram) == {"hosts", "cards", "history", "marks"}
    assert {"misfits", "footprints"} <= vram["hosts"][0].keys()


async def test_requests_and_what_came_of_them(scripted: Scripted) -> None:
    daemon, _ = await scripted(
        HANGS, "ok", backend={"concurrency": 1, "timeouts": {"first_token": 60}}
    )
    async with listening(daemon) as stream:
        assert (await stream.next("live"))["requests"] == []
        first = asyncio.create_task(daemon.chat("Hello", model=f"s/{HANGS}"))
        second: asyncio.Task[Any] | None = None
        try:
            while not (found := (await stream.next("live"))["requests"]):
                pass
            (one,) = found
            assert (one["model"], one["state"], one["priority"]) == (
                f"s/{HANGS}",
                "answering",
                "api",
            )
            # The backend takes one request at a time: the other waits for its place.
            second = asyncio.create_task(daemon.chat("Hello", model="s/ok"))
            while len((found := await stream.next("live"))["requests"]) < 2:
                pass
            states = {item["model"]: item["state"] for item in found["requests"]}
            assert states == {f"s/{HANGS}": "answering", "s/ok": "queued"}
            assert (found["in_flight"], found["queued"]) == (1, 1)
        finally:
            first.cancel()
        assert second is not None
        answer = await second
        # Both are told, each as the row that is stored.
        rows = [await stream.next("decision") for _ in range(2)]
        assert {row["outcome"] for row in rows} == {"client_gone", "ok"}
        row = next(row for row in rows if row["outcome"] == "ok")
        assert row["id"] == answer.headers["x-router-decision"]
        stored = (await daemon.get("/admin/decisions")).data["decisions"]
        assert row in stored
        while (found := await stream.next("live"))["requests"]:
            pass
        assert found["requests_per_minute"] == 2
        assert [each["model"] for each in found["speeds"]] == ["s/ok"]
        assert found["speeds"][0]["tokens_per_second"] > 0


async def test_edits_of_the_policy(scripted: Scripted) -> None:
    daemon, _ = await scripted("a")
    policy = json.loads(daemon.policy_file.read_text())
    async with listening(daemon) as stream:
        before = await stream.next("live")
        daemon.policy_file.write_text(json.dumps({**policy, "scoring": {"preset": "speed"}}))
        applied = await stream.next("policy")
        assert applied["digest"] != before["policy"]["digest"]
        assert applied["problems"] == []
        daemon.policy_file.write_text(json.dumps({**policy, "scoring": {"preset": "speeed"}}))
        refused = await stream.next("policy")
        assert refused["digest"] == applied["digest"]
        assert refused["rejected_digest"]
        assert any("speeed" in problem for problem in refused["problems"])


async def test_loads_and_pins_are_marked(open_daemon: Opener) -> None:
    async with FakeOllama([FakeModel(name="a:1b")]) as ollama:
        backend = {"name": "o", "type": "ollama", "url": ollama.url}
        daemon = await open_daemon({"backends": [backend]})
        model = next(iter(daemon.state.current.snapshot.catalog.by_id))
        assert (await daemon.post(f"/admin/models/{model}/load", {})).status == 200
        assert (await daemon.post(f"/admin/models/{model}/pin", {})).status == 200
        assert (await daemon.post(f"/admin/models/{model}/unpin", {})).status == 200
        assert (await daemon.post(f"/admin/models/{model}/unload", {})).status == 200
        found = (await daemon.get("/admin/live")).data
        kinds = [(mark["kind"], mark["model"], mark["host"]) for mark in found["marks"]]
        wanted = ("load", "pin", "unpin", "unload")
        assert kinds == [(kind, model, "local") for kind in wanted]


async def test_a_stream_ends_with_the_daemon(scripted: Scripted) -> None:
    daemon, _ = await scripted("a")
    async with listening(daemon) as stream:
        await stream.next("live")
        daemon.state.feed.close()
        await stream.end()
    await asyncio.sleep(0)
    assert not daemon.state.feed.watched.is_set()


async def test_who_may_listen(open_daemon: Opener) -> None:
    async with FaultServer(("a",)) as server:
        daemon = await open_daemon(
            {
                "backends": [openai_backend("s", server.url)],
                "rules": preferring("s/a"),
                "auth": {"admin_key": KEY},
            }
        )
        for path in ("/admin/live", "/admin/events"):
            assert (await daemon.get(path)).status == 401
        headers = {"Authorization": f"Bearer {KEY}"}
        assert (await daemon.get("/admin/live", headers=headers)).status == 200
        url = daemon.url + "/admin/events"
        open_: list[aiohttp.ClientResponse] = []
        for _ in range(MOST_LISTENERS):
            open_.append(await daemon.http.get(url, headers=headers))
        assert {response.status for response in open_} == {200}
        refused = await daemon.get("/admin/events", headers=headers)
        assert (refused.status, refused.error["type"]) == (429, "rate_limit_error")
        for response in open_:
            response.close()


async def test_who_takes_nothing_is_cut_off(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_PATIENCE_SECONDS", 0.2)
    daemon, _ = await scripted("a")
    feed = daemon.state.feed
    host, _, port = daemon.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(b"GET /admin/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await feed.watched.wait()
    async with asyncio.timeout(20):
        while feed.watched.is_set():
            feed.tell("decision", {"text": "x" * 1_000_000})
            await asyncio.sleep(0.02)
    writer.close()


async def test_a_slow_reader_loses_the_oldest() -> None:
    feed = Feed()
    listener = feed.join()
    for number in range(MOST_EVENTS + 50):
        feed.tell("decision", {"number": number})
        feed.tell("live", {"number": number})
    told = (await listener.take(1)).decode()
    assert told.count("event: decision\n") == MOST_EVENTS
    assert '{"number":49}' not in told
    assert '{"number":50}' in told
    assert told.count("event: live\n") == 1
    assert told.endswith(f'event: live\ndata: {{"number":{MOST_EVENTS + 49}}}\n\n')
    assert await listener.take(0.01) == b""


async def test_the_number_of_listeners_has_a_bound() -> None:
    feed = Feed()
    listeners = [feed.join() for _ in range(MOST_LISTENERS)]
    with pytest.raises(RateLimited):
        feed.join()
    feed.leave(listeners.pop())
    feed.join()


async def test_the_past_is_told_by_its_steps(scripted: Scripted) -> None:
    daemon, _ = await scripted("a")
    history = daemon.state.places.past.points
    history.clear()
    levels = [0, 0, 0, 5, 5, 5, 5, 2, 2]
    history.extend((float(at), {"local": level}) for at, level in enumerate(levels))
    told = (await daemon.get("/admin/live")).data["history"]
    assert [point["at"] for point in told if point["at"] < 9] == [0, 2, 3, 6, 7, 8]
    assert len((await daemon.get("/admin/vram")).data["history"]) >= len(levels)
