"""Which models are there now: each backend on its own, none waits for another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from llmrouterd import discovery as module
from llmrouterd.assemble import Knowledge
from llmrouterd.backends.base import Hooks
from llmrouterd.backends.pool import BackendPool
from llmrouterd.discovery import Discovery, Health
from llmrouterd.residency.loaded import Residency
from llmrouterd.snapshot import Current
from tests.support.clients import free_port
from tests.support.faults import FaultServer
from tests.support.policies import policy


class Scene:
    """A Discovery under a policy, with what it logged."""

    def __init__(self, text: str) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.current = Current(policy(text))
        self.pool = BackendPool(Hooks())
        self.residency = Residency()
        self.discovery = Discovery(
            self.current,
            self.pool,
            self.residency,
            Knowledge(),
            lambda event, fields: self.events.append((event, fields)),
        )

    def models(self) -> list[str]:
        return list(self.current.snapshot.catalog.by_id)

    def health(self, name: str) -> Health:
        return self.discovery.backends[name]

    async def until(self, holds: Callable[[], object], seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def scene(**urls: str) -> AsyncIterator[Scene]:
    made = Scene(_text(**urls))
    made.discovery.follow(made.current.snapshot.policy)
    try:
        yield made
    finally:
        await made.discovery.close()
        await made.pool.close()


def _text(**urls: str) -> str:
    rows = [f"  - {{name: {name}, type: openai, url: '{url}'}}" for name, url in urls.items()]
    return "backends:\n" + "\n".join(rows) + "\n"


async def test_new_changed_and_gone_models() -> None:
    async with FaultServer(["a"]) as server, scene(box=server.url) as made:
        await made.until(lambda: made.models() == ["box/a"])
        assert made.discovery.ready()
        generation = made.current.snapshot.generation
        made.discovery.wake()
        await made.until(lambda: len(server.requests) >= 2 and not server.active)
        await asyncio.sleep(0.05)
        assert made.current.snapshot.generation == generation  # nothing new, no new world
        server.models = ["a", "b"]
        made.discovery.wake()
        await made.until(lambda: made.models() == ["box/a", "box/b"])
        server.models = ["b", {"id": "a", "meta": {"n_ctx_train": 4096}, "context_length": 4096}]
        made.discovery.wake()
        await made.until(lambda: made.current.snapshot.catalog.by_id["box/a"].context == 4096)
        server.models = ["b"]
        made.discovery.wake()
        await made.until(lambda: made.models() == ["box/b"])
        changes = [fields for event, fields in made.events if event == "catalog.changed"]
        assert changes == [
            {"models": 1, "added": ["box/a"], "gone": []},
            {"models": 2, "added": ["box/b"], "gone": []},
            {"models": 1, "added": [], "gone": ["box/a"]},
        ]


async def test_a_dead_backend_delays_nobody() -> None:
    """One refuses, one accepts and is silent, one is well."""
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    async with FaultServer(["a"]) as well, FaultServer(["b"]) as silent:
        silent.set_fault("/v1/models", "hang-before-headers")
        async with scene(dead=nobody, silent=silent.url, well=well.url) as made:
            began = time.monotonic()
            await made.until(lambda: made.models() == ["well/a"])
            await made.until(lambda: made.health("dead").status == "error")
            assert time.monotonic() - began < 5
            assert made.health("silent").status == "unknown"
            assert "cannot be reached" in made.health("dead").error
            assert made.discovery.ready()


async def test_after_an_error_it_asks_sooner_and_a_slow_answer_is_no_end() -> None:
    async with FaultServer(["a"]) as server, scene(box=server.url) as made:
        await made.until(lambda: made.models() == ["box/a"])
        server.fail_times("/v1/models", 1, "500")
        made.discovery.wake()
        await made.until(lambda: made.health("box").status == "error")
        assert made.models() == ["box/a"]  # one failure does not take its models away
        await made.until(lambda: made.health("box").status == "ok")  # without being woken
        server.set_fault("/v1/models", "500")
        made.discovery.wake()
        await made.until(lambda: made.health("box").failures >= 2)
        assert made.models() == []
        assert not made.discovery.ready()
        server.set_fault("/v1/models", None)
        made.discovery.wake()
        await made.until(lambda: made.models() == ["box/a"])
        states = [event for event, _ in made.events if event.startswith("backend.")]
        assert states == ["backend.up", "backend.down"] * 2 + ["backend.up"]


async def test_a_garbled_answer_is_an_error_and_no_crash() -> None:
    async with FaultServer(["a"]) as server, scene(box=server.url) as made:
        for fault in ("garbage-http", "wrong-content-type", "empty-200", "drop-before-headers"):
            server.set_fault("/v1/models", fault)
            seen = made.health("box").checked_at
            made.discovery.wake()
            await made.until(
                lambda seen=seen: (
                    made.health("box").checked_at != seen  # type: ignore[misc]
                    and made.health("box").status == "error"
                )
            )
        assert not [event for event, _ in made.events if event == "task.ended"]


async def test_an_edit_follows_the_backends() -> None:
    async with FaultServer(["a"]) as one, FaultServer(["b"]) as two, scene(x=one.url) as made:
        await made.until(lambda: made.models() == ["x/a"])
        kept = made.health("x").entry
        new = policy(_text(x=one.url, y=two.url))
        made.current.swap(policy=new)
        made.discovery.follow(new)
        assert made.models() == ["x/a"]
        assert made.health("x").entry is kept
        await made.until(lambda: made.models() == ["x/a", "y/b"])
        moved = policy(_text(x=two.url))
        made.current.swap(policy=moved)
        made.discovery.follow(moved)
        assert made.models() == []
        assert made.pool.find(new.backends[1]) is None
        await made.until(lambda: made.models() == ["x/b"])


class Spare(Scene):
    """With a fallback whose wishes are recorded instead of carried out."""

    def __init__(self, url: str) -> None:
        managed = "  - {name: own, type: managed, start: fallback, models: [{name: tiny}]}\n"
        super().__init__(_text(box=url) + managed)
        self.wanted: list[bool] = []

    def start(self) -> None:
        spec = self.current.snapshot.policy.backends[1]
        entry = self.pool.lease(spec)
        entry.backend.want = self.wanted.append  # type: ignore[method-assign]
        self.discovery.follow(self.current.snapshot.policy)


@pytest.fixture
async def spare(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Spare, FaultServer]]:
    async with FaultServer(["a"]) as server:
        made = Spare(server.url)
        yield made, server
        await made.discovery.close()
        await made.pool.close()


async def test_a_fallback_starts_only_when_nobody_else_serves(
    spare: tuple[Spare, FaultServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, server = spare
    monkeypatch.setattr(module, "_FALLBACK_LINGER", 0.05)
    server.set_fault("/v1/models", "slow-first:0.3")
    made.start()
    await asyncio.sleep(0.1)
    assert made.wanted == []  # the other has not answered yet
    server.set_fault("/v1/models", None)
    await made.until(lambda: made.models() == ["box/a"])
    assert True not in made.wanted
    server.set_fault("/v1/models", "500")
    made.discovery.wake()
    await made.until(lambda: made.health("box").failures >= 2, 20)
    await made.until(lambda: made.wanted[-1:] == [True])
    server.set_fault("/v1/models", None)
    made.discovery.wake()
    await made.until(lambda: made.models() == ["box/a"])
    await asyncio.sleep(0.1)
    made.discovery.wake()
    await made.until(lambda: made.wanted[-1] is False)
