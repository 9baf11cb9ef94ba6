"""Memory and queue over a real llama-server in router mode with real small models."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

from tests.support.llama import model_paths, real_llama_router

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Opener


async def test_a_real_router_holds_one_model_at_a_time_and_is_told_which(
    open_daemon: Opener, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for name in ("a", "b"):
        shutil.copy(model_paths()["tiny-random"], models / f"{name}.gguf")
    # The server itself would hold four: that only one is loaded is our doing.
    async with real_llama_router(models, models_max=4) as url:
        daemon = await open_daemon(
            {
                "backends": [{"name": "r", "type": "llamacpp", "url": url}],
                "residency": {
                    "hosts": [{"name": "local", "max_models": 1}],
                    "minimum_seconds": 0,
                },
                "profiling": {"enabled": False},
            }
        )
        asked = ["a", "b"] * 4
        answers = await asyncio.gather(
            *(
                daemon.chat("Hello", model=f"r/{name}", max_tokens=4, temperature=0, seed=1)
                for name in asked
            )
        )
        assert [answer.status for answer in answers] == [200] * 8
        assert [answer.headers["x-router-model"] for answer in answers] == asked
        loads = [event["model"] for event in daemon.events.of("model.loaded")]
        assert sorted(loads) == ["r/a", "r/b"]
        assert [event["model"] for event in daemon.events.of("model.unloaded")] == [loads[0]]
        async with daemon.http.get(f"{url}/models") as response:
            listed = (await response.json())["data"]
        status = {entry["id"]: entry["status"]["value"] for entry in listed}
        assert status == {loads[0][2:]: "unloaded", loads[1][2:]: "loaded"}
        vram = (await daemon.get("/admin/vram")).data["hosts"]
        assert [held["model"] for held in vram[0]["models"]] == [loads[1]]
