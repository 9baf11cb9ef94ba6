"""A llama.cpp router with its owner's own settings: what it says, it does."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.llama import model_paths, real_llama_router

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
