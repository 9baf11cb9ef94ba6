"""Models that are in memory no more: their server has ended, was let go, or has deleted them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.daemon import QUIET
from tests.support.fake_ollama import FakeModel, FakeOllama
from tests.support.llama import model_paths

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import Opener
    from tests.support.daemon import Running

GB = 10**9


@pytest.fixture
async def servers() -> AsyncIterator[tuple[FakeOllama, FakeOllama]]:
    """Two on one host, which has room for one model of theirs."""
    async with (
        FakeOllama([FakeModel(name=name, size=6 * GB) for name in ("a:1b", "z:1b")]) as one,
        FakeOllama([FakeModel(name="b:1b", size=6 * GB)]) as other,
    ):
        yield one, other


def policy_of(**servers: FakeOllama) -> dict[str, Any]:
    return {
        "backends": [
            {"name": name, "type": "ollama", "url": server.url} for name, server in servers.items()
        ],
        "residency": {"minimum_seconds": 0, "hosts": [{"name": "local", "vram_gb": 10}]},
    }


async def start(opener: Opener, servers: tuple[FakeOllama, FakeOllama]) -> Running:
    """With a model of the first loaded."""
    daemon = await opener(policy_of(one=servers[0], other=servers[1]))
    assert (await daemon.chat("Hello", model="one/a:1b")).status == 200
    assert held(daemon) == {"one/a:1b"}
    return daemon


def held(daemon: Running) -> set[str]:
    return set(daemon.state.places.hosts["local"].loaded)


async def until_held(daemon: Running, models: set[str]) -> None:
    async with asyncio.timeout(10):
        while held(daemon) != models:
            daemon.state.discovery.wake()
            await asyncio.sleep(0.05)


async def test_a_server_that_has_ended_keeps_no_other_out(
    open_daemon: Opener, servers: tuple[FakeOllama, FakeOllama]
) -> None:
    daemon = await start(open_daemon, servers)
    await servers[0].stop()
    # Before it is known to have ended, its model is put out; that it cannot be told is no failure.
    assert (await daemon.chat("Hello", model="other/b:1b")).status == 200
    assert held(daemon) == {"other/b:1b"}


async def test_a_server_that_has_ended_holds_nothing(
    open_daemon: Opener, servers: tuple[FakeOllama, FakeOllama]
) -> None:
    daemon = await start(open_daemon, servers)
    await servers[0].stop()
    await until_held(daemon, set())
    await servers[0].start()
    assert (await daemon.chat("Hello", model="other/b:1b")).status == 200
    assert daemon.events.of("model.unloaded") == []


async def test_a_listing_that_fails_for_a_while_says_nothing_of_the_memory(
    open_daemon: Opener, servers: tuple[FakeOllama, FakeOllama]
) -> None:
    daemon = await start(open_daemon, servers)
    servers[0].set_fault("/api/tags", "500")
    async with asyncio.timeout(10):
        while daemon.state.discovery.backends["one"].failures < 3:
            daemon.state.discovery.wake()
            await asyncio.sleep(0.05)
    assert held(daemon) == {"one/a:1b"}
    assert (await daemon.chat("Hello", model="other/b:1b")).status == 200
    assert servers[0].loaded == {}


async def test_a_backend_that_is_taken_out_of_the_policy_holds_nothing(
    open_daemon: Opener, servers: tuple[FakeOllama, FakeOllama]
) -> None:
    daemon = await start(open_daemon, servers)
    daemon.policy_file.write_text(json.dumps({**QUIET, **policy_of(other=servers[1])}))
    await until_held(daemon, set())
    assert (await daemon.chat("Hello", model="other/b:1b")).status == 200
    assert set(servers[0].loaded) == {"a:1b"}  # it is not ours to unload any more


async def test_a_backend_with_other_settings_holds_what_it_held(
    open_daemon: Opener, servers: tuple[FakeOllama, FakeOllama]
) -> None:
    daemon = await start(open_daemon, servers)
    servers[0].set_fault("/api/tags", "500")
    policy = policy_of(one=servers[0], other=servers[1])
    policy["backends"][0]["timeouts"] = {"load": 77}
    daemon.policy_file.write_text(json.dumps({**QUIET, **policy}))
    await daemon.events.until(lambda: bool(daemon.events.of("config.reloaded")))
    await asyncio.sleep(0.6)  # twice as long as time alone needs to change something
    assert held(daemon) == {"one/a:1b"}


@pytest.mark.parametrize("seen", [False, True])
async def test_a_model_that_is_deleted_while_it_is_loaded(
    seen: bool, open_daemon: Opener, servers: tuple[FakeOllama, FakeOllama]
) -> None:
    daemon = await start(open_daemon, servers)
    servers[0].remove("a:1b")
    if seen:
        await until_held(daemon, set())
    assert (await daemon.chat("Hello", model="one/z:1b")).status == 200
    assert held(daemon) == {"one/z:1b"}


async def test_a_process_of_our_own_that_fails_takes_no_other_with_it(
    open_daemon: Opener, tmp_path: Path
) -> None:
    for name in ("good", "bad"):
        shutil.copy(model_paths()["tiny-random"], tmp_path / f"{name}.gguf")
    processes = [
        {"name": name, "model": str(tmp_path / f"{name}.gguf"), "context": 512}
        for name in ("good", "bad")
    ]
    daemon = await open_daemon(
        {
            "backends": [{"name": "own", "type": "managed", "models": processes}],
            "profiling": {"enabled": False},
        }
    )
    async with asyncio.timeout(60):
        await daemon.events.until(lambda: len(daemon.events.of("managed.ready")) == 2)
    await until_held(daemon, {"own/good", "own/bad"})
    health = daemon.state.discovery.backends["own"]
    bad = health.entry.backend._servers["bad"].process  # type: ignore[attr-defined]
    (tmp_path / "bad.gguf").unlink()
    os.kill(bad.pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        while bad.state != "failed":
            await asyncio.sleep(0.05)
    for _ in range(3):  # more often than it takes to believe that a server has ended
        await daemon.state.discovery.check(health)
    assert (health.status, held(daemon)) == ("ok", {"own/good"})
