"""Memory and queue over a fake Ollama that has memory, load times and an eviction of its own."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from llmrouterd.hardware import MemoryPool
from tests.support.daemon import preferring
from tests.support.fake_ollama import FakeModel, FakeOllama

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import Opener
    from tests.support.daemon import Running

GB = 10**9
MODELS = [
    FakeModel(name="a:1b", size=6 * GB, load_seconds=0.15),
    FakeModel(name="b:1b", size=6 * GB, load_seconds=0.15),
    FakeModel(name="c:1b", size=2 * GB, load_seconds=0.05),
    FakeModel(name="giant:1b", size=60 * GB),
]


@pytest.fixture
async def ollama() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(MODELS, tokens=3) as fake:
        yield fake


async def start(opener: Opener, ollama: FakeOllama, **more: Any) -> Running:
    residency = {
        "hosts": [{"name": "local", "vram_gb": 11}],
        "minimum_seconds": 0,
        **more.pop("residency", {}),
    }
    entry = {"name": "o", "type": "ollama", "url": ollama.url, **more.pop("backend", {})}
    return await opener({"backends": [entry], "residency": residency, **more})


async def test_room_is_made_before_the_load_and_ollama_never_has_to(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    daemon = await start(open_daemon, ollama)
    for model in ("a:1b", "c:1b", "b:1b", "a:1b"):
        assert (await daemon.chat("Hello", model=model)).status == 200
    assert ollama.loads == ["a:1b", "c:1b", "b:1b", "a:1b"]
    assert ollama.scheduler.evicted == []
    assert set(ollama.scheduler.loaded) == {"a:1b", "c:1b"}
    assert ollama.scheduler.reloads == 0


async def test_many_at_once_for_two_models_that_do_not_fit_together(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    ollama.delay = 0.01
    daemon = await start(open_daemon, ollama)
    asked = ["a:1b", "b:1b"] * 6
    answers = await asyncio.gather(*(daemon.chat("Hello", model=name) for name in asked))
    assert [answer.status for answer in answers] == [200] * 12
    # In turn there would have been twelve loads.
    assert sorted(ollama.loads) == ["a:1b", "b:1b"]


async def test_what_cannot_fit_is_refused_with_the_numbers(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    daemon = await start(open_daemon, ollama)
    answer = await daemon.chat("Hello", model="giant:1b")
    assert answer.status == 503
    assert "64.1 GB of 11.0 GB" in answer.data["error"]["message"]
    assert "retry-after" in answer.headers
    explained = await daemon.post(
        "/admin/explain", {"messages": [{"role": "user", "content": "a"}]}
    )
    gates = {item["model"]: item["gate"] for item in explained.data["rejected"]}
    assert gates["o/giant:1b"] == "memory"


async def test_a_pinned_model_is_loaded_by_itself_and_stays(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    daemon = await start(open_daemon, ollama, pins=["o/c:1b"])
    for model in ("a:1b", "b:1b", "a:1b"):
        assert (await daemon.chat("Hello", model=model)).status == 200
    async with asyncio.timeout(5):
        while "c:1b" not in ollama.scheduler.loaded:
            await asyncio.sleep(0.02)
    assert ollama.loads.count("c:1b") == 1
    assert ollama.scheduler.loaded["c:1b"].keep_alive > 1e6


async def test_models_that_must_not_be_loaded_together(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    daemon = await start(open_daemon, ollama, residency={"apart": [["o/a*", "o/c*"]]})
    for model in ("c:1b", "a:1b"):
        assert (await daemon.chat("Hello", model=model)).status == 200
    assert set(ollama.scheduler.loaded) == {"a:1b"}


class SlowDriver:
    """A card whose driver takes a while to give back what an unloaded model had."""

    name = "slow"

    def __init__(self, ollama: FakeOllama) -> None:
        self.ollama = ollama
        self.looks: list[int] = []

    def read(self) -> tuple[MemoryPool, ...]:
        held = sum(live.size for live in self.ollama.scheduler.loaded.values())
        self.looks.append(held)
        late = 6 * GB if 0 < len([look for look in self.looks if not look]) < 4 else 0
        return (
            MemoryPool(
                name="slow:0", vendor="slow", total_bytes=11 * GB, used_bytes=max(held, late)
            ),
        )


async def test_a_load_waits_until_the_memory_is_really_free(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    daemon = await start(open_daemon, ollama, residency={"hosts": []})
    driver = SlowDriver(ollama)
    daemon.state.places.cards._probes = (driver,)
    assert (await daemon.chat("Hello", model="a:1b")).status == 200
    driver.looks.clear()
    daemon.state.places.cards.pools = driver.read()
    assert (await daemon.chat("Hello", model="b:1b")).status == 200
    assert ollama.loads == ["a:1b", "b:1b"]
    assert driver.looks.count(0) >= 4


async def test_a_background_task_does_not_put_out_what_a_chat_uses(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    daemon = await start(open_daemon, ollama, tasks={"model": "o/b:1b"})
    assert (await daemon.chat("Hello", model="a:1b")).status == 200
    title = "### Task:\nGenerate a concise title summarizing the chat history."
    assert (await daemon.chat(title)).status == 200
    assert "b:1b" not in ollama.loads
    assert "a:1b" in ollama.scheduler.loaded


async def test_embeddings_have_the_priority_and_the_turns_of_their_client(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    ollama.add(FakeModel(name="e:1b", size=6 * GB, capabilities=("embedding",)))
    auth = {
        "clients": [
            {"name": "people", "key": "people-key-123456"},
            {"name": "agent", "key": "agent-key-1234567", "priority": "task"},
        ]
    }
    daemon = await start(open_daemon, ollama, auth=auth)
    people = {"Authorization": "Bearer people-key-123456"}
    agent = {"Authorization": "Bearer agent-key-1234567"}
    assert (await daemon.chat("Hello", model="a:1b", headers=people)).status == 200
    asked = {"model": "e:1b", "input": "a"}
    refused = await daemon.post("/v1/embeddings", asked, headers=agent)
    assert refused.status == 503
    assert "does not put out what chats use" in refused.data["error"]["message"]
    assert ollama.loads == ["a:1b"]
    ollama.set_fault("/api/embed", "hang")
    asking = asyncio.create_task(daemon.post("/v1/embeddings", asked, headers=people))
    async with asyncio.timeout(5):
        while not (rows := (await daemon.get("/admin/live")).data["requests"]):
            await asyncio.sleep(0.02)
    assert (rows[0]["priority"], rows[0]["client"]) == ("api", "people")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_load_that_hangs_is_given_up_and_others_are_served(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    daemon = await start(open_daemon, ollama, backend={"timeouts": {"load": 0.3}})
    ollama.set_fault("a:1b", "hang")
    stuck = asyncio.create_task(daemon.chat("Hello", model="a:1b"))
    assert (await stuck).status == 504
    assert (await daemon.chat("Hello", model="c:1b")).status == 200
    again = await daemon.chat("Hello", model="a:1b")
    assert again.status == 504
    assert sum(seen.model == "a:1b" for seen in ollama.requests if seen.method == "POST") <= 3


async def test_a_full_queue_answers_503_with_retry_after(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    ollama.delay = 0.05
    daemon = await start(open_daemon, ollama, queue={"max": 2})
    asked = [asyncio.create_task(daemon.chat("Hello", model="c:1b")) for _ in range(6)]
    answers = await asyncio.gather(*asked)
    refused = [answer for answer in answers if answer.status == 503]
    assert refused
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert {answer.status for answer in answers} == {200, 503}


async def test_what_the_owner_sees_and_does(open_daemon: Opener, ollama: FakeOllama) -> None:
    daemon = await start(open_daemon, ollama)
    assert (await daemon.post("/admin/models/o/a:1b/load", {})).data["loaded"] is True
    assert ollama.loads == ["a:1b"]
    (host,) = (await daemon.get("/admin/vram")).data["hosts"]
    assert (host["name"], host["total_bytes"]) == ("local", 11 * GB)
    async with asyncio.timeout(5):
        while host["used_bytes"] != ollama.scheduler.loaded["a:1b"].size:
            await asyncio.sleep(0.02)
            (host,) = (await daemon.get("/admin/vram")).data["hosts"]
    assert [held["model"] for held in host["models"]] == ["o/a:1b"]
    assert (await daemon.post("/admin/models/o/c:1b/pin", {})).data["pinned"] is True
    async with asyncio.timeout(5):
        while "c:1b" not in ollama.scheduler.loaded:
            await asyncio.sleep(0.02)
    assert (await daemon.chat("Hello", model="b:1b")).status == 200
    assert set(ollama.scheduler.loaded) == {"b:1b", "c:1b"}
    assert (await daemon.post("/admin/models/o/c:1b/unpin", {})).data["pinned"] is False
    assert (await daemon.post("/admin/models/o/c:1b/unload", {})).data["loaded"] is False
    assert set(ollama.scheduler.loaded) == {"b:1b"}
    assert (await daemon.post("/admin/models/nobody/load", {})).status == 404
    metrics = (await daemon.get("/metrics")).body.decode()
    assert 'llmrouterd_evictions_total{model="o/a:1b",reason="room"} 1.0' in metrics
    assert 'llmrouterd_evictions_total{model="o/c:1b",reason="owner"} 1.0' in metrics


async def test_what_is_pinned_against_the_policy_outlives_the_daemon(
    open_daemon: Opener, ollama: FakeOllama, tmp_path: Path
) -> None:
    def pins(daemon: Running) -> dict[str, bool]:
        return dict(daemon.state.discovery.knowledge.pins)

    policy = {"pins": ["o/a:1b"], "storage": {"database": str(tmp_path / "kept.db")}}
    daemon = await start(open_daemon, ollama, **policy)
    for name, asked in (("c:1b", "pin"), ("a:1b", "unpin"), ("b:1b", "pin")):
        assert (await daemon.post(f"/admin/models/o/{name}/{asked}", {})).status == 200
    # What the policy says anyway is not an exception to it.
    assert (await daemon.post("/admin/models/o/b:1b/unpin", {})).data["pinned"] is False
    assert pins(daemon) == {"o/c:1b": True, "o/a:1b": False}
    again = await start(open_daemon, ollama, **policy)
    assert pins(again) == {"o/c:1b": True, "o/a:1b": False}
    held = {model.id for model in again.state.current.snapshot.catalog.models if model.pinned}
    assert held == {"o/c:1b"}


@asynccontextmanager
async def somebody_else(daemon: Running, ollama: FakeOllama) -> AsyncIterator[asyncio.Task[int]]:
    """Another client of Ollama, whom a:1b is answering while the router knows that it is loaded."""

    async def chat() -> int:
        body = {"model": "a:1b", "messages": [{"role": "user", "content": "Hello"}]}
        async with daemon.http.post(f"{ollama.url}/api/chat", json=body) as answer:
            return (await answer.read()).count(b"\n")

    asking = asyncio.create_task(chat())
    async with asyncio.timeout(5):
        while not daemon.state.places.holds("o/a:1b"):
            await daemon.state.discovery.check(daemon.state.discovery.backends["o"])
            await asyncio.sleep(0.02)
    yield asking
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_background_task_does_not_put_out_what_others_chat_with(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    daemon = await start(open_daemon, ollama, tasks={"model": "o/b:1b"})
    for _ in range(2):
        async with somebody_else(daemon, ollama) as asking:
            await asking
    await daemon.state.discovery.check(daemon.state.discovery.backends["o"])
    title = "### Task:\nGenerate a concise title summarizing the chat history."
    assert (await daemon.chat(title)).status == 200
    assert "b:1b" not in ollama.loads
    assert "a:1b" in ollama.loaded


async def test_a_load_of_ours_is_no_use_by_others(open_daemon: Opener, ollama: FakeOllama) -> None:
    daemon = await start(open_daemon, ollama, tasks={"model": "o/a:1b"})
    title = "### Task:\nGenerate a concise title summarizing the chat history."
    asking = asyncio.create_task(daemon.chat(title))
    async with asyncio.timeout(5):
        while ollama.scheduler.loading is None:
            await asyncio.sleep(0.01)
    await daemon.state.discovery.check(daemon.state.discovery.backends["o"])
    assert (await asking).status == 200
    (held,) = daemon.state.places.hosts["local"].room(time.monotonic()).held
    assert (held.model, held.chat_idle > 1e6) == ("o/a:1b", True)


async def test_a_model_is_unloaded_when_it_has_answered_others(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    ollama.tokens, ollama.delay = 20, 0.03
    daemon = await start(open_daemon, ollama)
    async with somebody_else(daemon, ollama) as asking:
        unloaded = await daemon.post("/admin/models/o/a:1b/unload", {})
        assert (unloaded.data["loaded"], list(ollama.loaded)) == (False, [])
        assert await asking == 21
    async with somebody_else(daemon, ollama) as asking:
        assert (await daemon.chat("Hello", model="b:1b")).status == 200
        assert asking.done()  # its model was put out, and only then the other one loaded


async def test_a_model_that_others_do_not_let_go_is_said_to_be_loaded(
    open_daemon: Opener, ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmrouterd.backends.ollama._UNLOAD_SECONDS", 0.3)
    ollama.tokens, ollama.delay = 1000, 0.05
    daemon = await start(open_daemon, ollama)
    async with somebody_else(daemon, ollama):
        assert (await daemon.post("/admin/models/o/a:1b/unload", {})).status == 503
        refused = await daemon.chat("Hello", model="b:1b")
        assert refused.status == 503
        assert "o still holds a:1b" in refused.data["error"]["message"]
        assert list(ollama.loaded) == ["a:1b"]
        assert daemon.state.places.holds("o/a:1b")


async def test_when_a_model_is_used_is_remembered_over_a_restart(
    open_daemon: Opener, ollama: FakeOllama, tmp_path: Path
) -> None:
    def chances(daemon: Running, later: float) -> list[bool]:
        reuse, now = daemon.state.places.reuse, time.monotonic() + later
        return [reuse.chance(f"o/{name}:1b", 1.0, now) > 1e-4 for name in "ab"]

    policy = {"storage": {"database": str(tmp_path / "kept.db")}}
    daemon = await start(open_daemon, ollama, **policy)
    assert (await daemon.chat("Hello", model="a:1b")).status == 200
    assert chances(daemon, 0.0) == [True, False]
    assert len((await daemon.get("/admin/decisions")).data["decisions"]) == 1  # it is stored
    again = await start(open_daemon, ollama, **policy)
    assert chances(again, 0.0) == [True, False]
    # The same hour of the next day, and another one.
    assert chances(again, 86400.0) == [True, False]
    assert chances(again, 43200.0) == [False, False]


@pytest.mark.parametrize("shown", [True, False])
async def test_signs_of_life_while_a_model_is_loaded(
    shown: bool, open_daemon: Opener, ollama: FakeOllama
) -> None:
    ollama.scheduler.models["a:1b"] = FakeModel(name="a:1b", size=6 * GB, load_seconds=0.5)
    daemon = await start(open_daemon, ollama, queue={"sign_seconds": 0.1})
    body = {"model": "a:1b", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"X-OpenWebUI-Chat-Id": "c1"} if shown else {}
    answer = await daemon.post("/v1/chat/completions", body, headers=headers)
    text = answer.body.decode()
    assert (answer.status, answer.headers["content-type"]) == (
        200,
        "text/event-stream; charset=utf-8",
    )
    assert text.startswith(": loading a:1b, about ")
    assert ('"type":"status"' in text) == shown
    assert ('"done":true' in text) == shown
    assert text.rstrip().endswith("data: [DONE]")


async def test_signs_of_life_while_the_next_candidate_is_loaded(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    ollama.scheduler.models["b:1b"] = FakeModel(name="b:1b", size=6 * GB, load_seconds=0.5)
    ollama.set_fault("a:1b", "load-error")
    daemon = await start(
        open_daemon,
        ollama,
        queue={"sign_seconds": 0.1},
        rules=preferring("o/a:1b", "o/b:1b"),
    )
    body = {"stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    answer = await daemon.post("/v1/chat/completions", {"model": "hubrouter/main", **body})
    text = answer.body.decode()
    assert text.startswith(": loading b:1b, about ")
    assert text.rstrip().endswith("data: [DONE]")


async def test_a_load_that_fails_after_a_sign_is_told_in_the_stream(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    daemon = await start(
        open_daemon,
        ollama,
        queue={"sign_seconds": 0.1},
        backend={"timeouts": {"load": 0.4}},
    )
    ollama.set_fault("a:1b", "hang")
    events = await daemon.stream("Hello", model="a:1b")
    assert events[-1].json()["error"]["code"] == "upstream_timeout"
    assert (await daemon.chat("Hello", model="c:1b")).status == 200


async def test_a_client_that_leaves_while_its_model_loads_ends_the_load(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    ollama.scheduler.models["a:1b"] = FakeModel(name="a:1b", size=6 * GB, load_seconds=60)
    daemon = await start(open_daemon, ollama, queue={"sign_seconds": 0.1})
    asking = asyncio.create_task(daemon.stream("Hello", model="a:1b"))
    async with asyncio.timeout(5):
        while not any(seen.path == "/api/generate" for seen in ollama.requests):
            await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert (await daemon.chat("Hello", model="c:1b")).status == 200
    assert ollama.loads == ["c:1b"]


async def test_how_long_a_load_took_is_learnt_and_answers_are_not_blamed_for_it(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    live = {"enabled": True, "save_seconds": 1}
    daemon = await start(open_daemon, ollama, profiling={"enabled": False, "live": live})
    for model in ("a:1b", "b:1b", "a:1b"):
        assert (await daemon.chat("Hello", model=model)).status == 200
    catalog = daemon.state.current.snapshot
    async with asyncio.timeout(10):
        while catalog.catalog.by_id["o/a:1b"].profile.load_seconds is None:
            await asyncio.sleep(0.05)
            catalog = daemon.state.current.snapshot
    profile = catalog.catalog.by_id["o/a:1b"].profile
    assert profile.load_seconds is not None
    assert profile.load_seconds >= 0.15
    assert profile.ttft_base_seconds is None or profile.ttft_base_seconds < 0.15
