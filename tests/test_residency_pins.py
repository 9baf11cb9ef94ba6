"""Pinned models: how they are loaded, and what their owner is told."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from llmrouterd.residency.host import Host
from llmrouterd.residency.ticket import Limits, ModelNeeds, Ticket
from tests.support.fake_ollama import FakeModel, FakeOllama

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import Opener
    from tests.support.daemon import Running

GB = 10**9


@pytest.fixture
async def ollama() -> AsyncIterator[FakeOllama]:
    models = [
        FakeModel(name="a:1b", size=6 * GB, load_seconds=0.05),
        FakeModel(name="b:1b", size=2 * GB),
        FakeModel(name="giant:1b", size=60 * GB),
    ]
    async with FakeOllama(models, tokens=3) as fake:
        yield fake


async def start(opener: Opener, ollama: FakeOllama, **more: Any) -> Running:
    residency = {"minimum_seconds": 0, "hosts": [{"name": "local", "vram_gb": 12}]}
    entry = {"name": "o", "type": "ollama", "url": ollama.url}
    return await opener({"backends": [entry], "residency": residency, **more})


def test_a_pinned_model_that_cannot_be_loaded_is_tried_more_and_more_seldom() -> None:
    host = Host(Limits(budget=10 * GB))
    tried: list[int] = []

    def fail(now: int) -> None:
        """What is being loaded fails at once."""
        host.advance(float(now))
        for action in host.take():
            if action.kind == "load":
                tried.append(now)
                host.set_failed("a", float(now), "it is broken", rest=0.0)

    host.configure(host.limits, {"a": ModelNeeds(size=GB, pinned=True)}, 0.0)
    for now in range(200):
        fail(now)
    assert tried == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    # Who asks for it does not have to wait for that.
    host.arrive(Ticket(model="a"), 184.0)
    assert [action.kind for action in host.take()] == ["load"]
    host.set_loaded("a", 185.0)
    host.set_unloaded("a", 186.0)
    tried.clear()
    host.take()
    host.set_failed("a", 186.0, "it is broken", rest=0.0)
    for now in range(187, 192):
        fail(now)
    assert tried == [187, 189]


async def test_a_pin_that_fails_keeps_nobody_back(open_daemon: Opener, ollama: FakeOllama) -> None:
    ollama.set_fault("a:1b", "load-error")
    daemon = await start(open_daemon, ollama, pins=["o/a:1b"])
    await daemon.events.until(lambda: len(daemon.events.of("load.failed")) == 2)
    assert (await daemon.chat("Hello", model="b:1b")).status == 200
    assert len(daemon.events.of("load.failed")) < 5
    ollama.set_fault("a:1b", None)
    assert (await daemon.chat("Hello", model="a:1b")).status == 200


async def test_a_pin_that_cannot_fit_is_refused_with_the_numbers(
    open_daemon: Opener, ollama: FakeOllama
) -> None:
    daemon = await start(open_daemon, ollama)
    refused = await daemon.post("/admin/models/o/giant:1b/pin", {})
    assert refused.status == 409
    assert "o/giant:1b cannot be pinned: the pinned o/giant:1b need 64" in refused.error["message"]
    assert (await daemon.post("/admin/models/o/a:1b/pin", {})).status == 200
    (host,) = (await daemon.get("/admin/vram")).data["hosts"]
    pinned = {each["model"]: each["pinned"] for each in host["footprints"]}
    assert pinned == {"o/a:1b": True, "o/b:1b": False, "o/giant:1b": False}


async def test_pins_that_do_not_fit_together(open_daemon: Opener, ollama: FakeOllama) -> None:
    ollama.add(FakeModel(name="c:1b", size=5 * GB))
    daemon = await start(open_daemon, ollama, pins=["o/a:1b"])
    refused = await daemon.post("/admin/models/o/c:1b/pin", {})
    assert refused.status == 409
    assert "the pinned o/a:1b, o/c:1b need" in refused.error["message"]
    # What is pinned already may be pinned once more.
    assert (await daemon.post("/admin/models/o/a:1b/pin", {})).data["pinned"] is True


async def test_a_pinned_model_is_not_unloaded(open_daemon: Opener, ollama: FakeOllama) -> None:
    daemon = await start(open_daemon, ollama, pins=["o/a:1b"])
    await daemon.events.until(lambda: bool(daemon.events.of("model.loaded")))
    for path in ("/admin/models/o/a:1b/unload", "/models/unload"):
        refused = await daemon.post(path, {"model": "o/a:1b"})
        assert refused.status == 409
        assert "unpin it first" in refused.error["message"]
    assert (await daemon.post("/admin/models/o/a:1b/unpin", {})).status == 200
    assert (await daemon.post("/admin/models/o/a:1b/unload", {})).data["loaded"] is False


@pytest.mark.parametrize("by", ["api", "policy", "policy at the start"])
async def test_a_loaded_model_that_is_pinned_is_kept_by_ollama(
    by: str, open_daemon: Opener, ollama: FakeOllama
) -> None:
    if by == "policy at the start":
        body = {"model": "a:1b", "options": {"num_ctx": 8192}}
        async with aiohttp.request("POST", f"{ollama.url}/api/generate", json=body) as response:
            assert response.status == 200
        await start(open_daemon, ollama, pins=["o/a:1b"])
    else:
        daemon = await start(open_daemon, ollama)
        assert (await daemon.chat("Hello", model="a:1b")).status == 200
        if by == "api":
            assert (await daemon.post("/admin/models/o/a:1b/pin", {})).status == 200
        else:
            policy = json.loads(daemon.policy_file.read_text())
            daemon.policy_file.write_text(json.dumps({**policy, "pins": ["o/a:1b"]}))
    async with asyncio.timeout(10):
        while ollama.loaded["a:1b"].keep_alive < 1e6:
            await asyncio.sleep(0.02)
    ollama.advance(8 * 3600)
    assert list(ollama.loaded) == ["a:1b"]
    assert (ollama.loads, ollama.reloads) == (["a:1b"], 0)
