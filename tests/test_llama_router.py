"""llama.cpp's servers with settings of their owner's: those hold with the daemon before them."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.support.backends import open_backend, spec_of
from tests.support.llama import model_paths, real_llama, real_llama_router

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Opener
    from tests.support.daemon import Running


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A directory with the same tiny model under three names."""
    made = tmp_path / "models"
    made.mkdir()
    for name in "abc":
        shutil.copy(model_paths()["tiny-random"], made / f"{name}.gguf")
    return made


def policy(url: str, **residency: Any) -> dict[str, Any]:
    """One router, asked every second, without measurements."""
    return {
        "backends": [{"name": "r", "type": "llamacpp", "url": url, "poll_seconds": 1}],
        "residency": {"minimum_seconds": 0, **residency},
        "profiling": {"enabled": False},
    }


async def states(daemon: Running, url: str) -> dict[str, str]:
    """Model -> state, as the router itself lists them."""
    async with daemon.http.get(f"{url}/models") as response:
        listed = (await response.json())["data"]
    return {entry["id"]: entry["status"]["value"] for entry in listed}


async def until(daemon: Running, url: str, model: str, state: str) -> None:
    """Wait until the router says so of a model."""
    async with asyncio.timeout(30):
        while (await states(daemon, url))[model] != state:
            await asyncio.sleep(0.05)


async def footprints(daemon: Running) -> dict[str, tuple[int | None, str]]:
    """Model -> bytes and basis, of the one host."""
    (host,) = (await daemon.get("/admin/vram")).data["hosts"]
    return {one["model"]: (one["bytes"], one["basis"]) for one in host["footprints"]}


async def until_told(daemon: Running, model: str) -> None:
    """Wait until a loaded model's real size has come in, with its buffers of 50 MB."""
    async with asyncio.timeout(10):
        while ((await footprints(daemon))[model][0] or 0) < 50e6:
            await asyncio.sleep(0.02)


async def until_asleep(daemon: Running, url: str, model: str) -> None:
    """Wait until a model sleeps and the daemon has seen it."""
    await until(daemon, url, model, "sleeping")
    async with asyncio.timeout(10):
        while daemon.state.places.holds(f"r/{model}"):
            await asyncio.sleep(0.05)


async def chat(daemon: Running, model: str, tokens: int = 4) -> int:
    """The status of a short chat."""
    return (await daemon.chat("Hello", model=model, max_tokens=tokens)).status


async def test_a_router_that_loads_nothing_by_itself(open_daemon: Opener, models: Path) -> None:
    async with real_llama_router(models, models_max=4, args=["--no-models-autoload"]) as url:
        one = {"hosts": [{"name": "local", "max_models": 1}]}
        daemon = await open_daemon(policy(url, **one))
        for name in ("a", "b", "a"):
            assert await chat(daemon, f"r/{name}") == 200
        assert await states(daemon, url) == {"a": "loaded", "b": "unloaded", "c": "unloaded"}


async def test_a_model_may_sleep_and_is_woken(open_daemon: Opener, models: Path) -> None:
    async with real_llama_router(models, args=["--sleep-idle-seconds", "2"]) as url:
        daemon = await open_daemon(policy(url))
        assert await chat(daemon, "r/a") == 200
        await until_asleep(daemon, url, "a")  # though its slots are polled every second
        assert await chat(daemon, "r/a") == 200
        assert len(daemon.events.of("model.loaded")) == 2
        await until_asleep(daemon, url, "a")
        loaded = await daemon.post("/admin/models/r/a/load", {})
        assert loaded.status == 200
        assert (await states(daemon, url))["a"] == "loaded"
        assert daemon.events.of("load.failed") == []


async def test_as_many_models_as_the_router_holds(open_daemon: Opener, models: Path) -> None:
    async with real_llama_router(models, models_max=2) as url:
        daemon = await open_daemon(policy(url))
        for name in "abc":
            assert await chat(daemon, f"r/{name}") == 200
        assert [event["model"] for event in daemon.events.of("model.unloaded")] == ["r/a"]
        assert await states(daemon, url) == {"a": "unloaded", "b": "loaded", "c": "loaded"}


async def test_a_pin_is_not_put_out_by_the_router(open_daemon: Opener, models: Path) -> None:
    async with real_llama_router(models, models_max=1) as url:
        daemon = await open_daemon({**policy(url), "pins": ["r/a"]})
        await until(daemon, url, "a", "loaded")
        refused = await daemon.chat("Hello", model="r/b")
        assert refused.status == 503
        assert "its server holds at most 1 at once" in refused.error["message"]
        assert await states(daemon, url) == {"a": "loaded", "b": "unloaded", "c": "unloaded"}
        assert [event["model"] for event in daemon.events.of("model.loaded")] == ["r/a"]
        pinned = await daemon.post("/admin/models/r/c/pin", {})
        assert pinned.status == 409
        assert "r/a, r/c are pinned, and r holds at most 1" in pinned.error["message"]


async def test_more_pins_than_the_router_holds_are_told(open_daemon: Opener, models: Path) -> None:
    async with real_llama_router(models, models_max=1) as url:
        daemon = await open_daemon({**policy(url), "pins": ["r/a", "r/c"]})
        (host,) = (await daemon.get("/admin/vram")).data["hosts"]
        assert host["misfits"] == ["r/a, r/c are pinned, and r holds at most 1"]


async def test_a_full_router_lets_a_sleeper_go(open_daemon: Opener, models: Path) -> None:
    sleep = ["--sleep-idle-seconds", "2"]
    async with real_llama_router(models, models_max=2, args=sleep) as url:
        daemon = await open_daemon(policy(url))
        # b is what the router has been asked least of late, so b it would put out.
        for name in "ba":
            assert await chat(daemon, f"r/{name}") == 200
        async with asyncio.timeout(30):
            while daemon.state.places.holds("r/a"):
                async with daemon.http.get(f"{url}/slots?model=b") as response:  # it stays awake
                    assert response.status == 200
                await asyncio.sleep(0.2)
        assert await states(daemon, url) == {"a": "sleeping", "b": "loaded", "c": "unloaded"}
        assert await chat(daemon, "r/c") == 200
        assert await states(daemon, url) == {"a": "unloaded", "b": "loaded", "c": "loaded"}
        assert daemon.events.of("model.unloaded") == []


async def test_a_model_that_answers_others_is_not_cut_off(
    open_daemon: Opener, models: Path
) -> None:
    flag = ["--sleep-idle-seconds", "60"]  # an idle model's slots are asked once a minute only
    async with real_llama_router(models, models_max=4, n_ctx=32768, args=flag) as url:
        daemon = await open_daemon(policy(url, hosts=[{"name": "local", "max_models": 1}]))
        assert await chat(daemon, "r/a") == 200
        health = daemon.state.discovery.backends["r"]
        async with asyncio.timeout(10):
            while "a" not in health.entry.backend._idle:  # type: ignore[attr-defined]
                await daemon.state.discovery.check(health)
        body = {"model": "a", "prompt": "a", "stream": True, "max_tokens": 30000}
        greedy = {"temperature": 0, "ignore_eos": True}
        async with daemon.http.post(f"{url}/v1/completions", json=body | greedy) as other:
            await other.content.readline()
            assert await chat(daemon, "r/b") == 503
            assert (await states(daemon, url))["a"] == "loaded"
            assert other.content.exception() is None
            assert not other.content.at_eof()
        assert await chat(daemon, "r/b") == 200


async def test_a_budget_holds_from_the_first_load_on(open_daemon: Opener, models: Path) -> None:
    file = (models / "a.gguf").stat().st_size
    async with real_llama_router(models, models_max=4) as url:
        daemon = await open_daemon(policy(url, hosts=[{"name": "local", "vram_gb": 0.12}]))
        guess = (round(1.2 * file), "estimated")
        assert await footprints(daemon) == dict.fromkeys(("r/a", "r/b", "r/c"), guess)
        for name in "abc":
            assert await chat(daemon, f"r/{name}") == 200
            await until_told(daemon, f"r/{name}")
        assert [event["model"] for event in daemon.events.of("model.unloaded")] == ["r/a"]
        (host,) = (await daemon.get("/admin/vram")).data["hosts"]
        assert 100e6 < host["used_bytes"] <= host["total_bytes"] == 120e6


async def test_what_is_of_unknown_size_gets_all_the_room(
    open_daemon: Opener, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models.parent)  # so the router names files that the daemon cannot find
    async with real_llama_router(models.name, models_max=4) as url:
        monkeypatch.chdir(models)
        daemon = await open_daemon(policy(url, hosts=[{"name": "local", "vram_gb": 0.2}]))
        unknown = (None, "unknown")
        assert await footprints(daemon) == dict.fromkeys(("r/a", "r/b", "r/c"), unknown)
        for name in "aba":
            assert await chat(daemon, f"r/{name}") == 200
            await until_told(daemon, f"r/{name}")
        # b's first load may have needed all of it; a's second one is known to fit beside b.
        assert [event["model"] for event in daemon.events.of("model.unloaded")] == ["r/a"]
        assert await states(daemon, url) == {"a": "loaded", "b": "loaded", "c": "unloaded"}


async def test_a_file_in_parts_counts_whole(models: Path) -> None:
    parts = models / "big"
    parts.mkdir()
    for number, name in enumerate("ab", 1):
        (models / f"{name}.gguf").rename(parts / f"big-0000{number}-of-00002.gguf")
    async with real_llama_router(models) as url:
        backend = open_backend(spec_of("llamacpp", url))
        try:
            sizes = {facts.name: facts.size_bytes for facts in await backend.discover()}
        finally:
            await backend.close()
    one = (models / "c.gguf").stat().st_size
    assert sizes == {"big": 2 * one, "c": one}


async def test_a_single_server_may_sleep_too() -> None:
    asleep = real_llama(model_paths()["tiny-random"], sleep_idle_seconds=1)
    async with asleep as url, aiohttp.ClientSession(url) as http:
        backend = open_backend(spec_of("llamacpp", url))

        async def sleeps() -> bool:
            (facts,) = await backend.discover()
            async with http.get("/props") as response:
                told = (await response.json())["is_sleeping"]
            assert told or facts.loaded
            return bool(told)

        try:
            async with asyncio.timeout(30):
                while not await sleeps():
                    await asyncio.sleep(0.2)
            assert [await sleeps() for _ in range(5)] == [True] * 5
        finally:
            await backend.close()
