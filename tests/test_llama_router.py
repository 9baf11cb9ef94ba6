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
        await until(daemon, url, "a", "sleeping")  # though its slots are polled every second
        async with asyncio.timeout(10):
            while daemon.state.places.holds("r/a"):
                await asyncio.sleep(0.05)
        assert await chat(daemon, "r/a") == 200
        assert len(daemon.events.of("model.loaded")) == 2
        await until(daemon, url, "a", "sleeping")
        loaded = await daemon.post("/admin/models/r/a/load", {})
        assert loaded.status == 200
        assert (await states(daemon, url))["a"] == "loaded"
        assert daemon.events.of("load.failed") == []


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
