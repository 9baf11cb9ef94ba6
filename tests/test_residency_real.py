"""Memory and queue over a real llama-server in router mode with real small models."""

from __future__ import annotations

import asyncio
import shutil
import time
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
        places = {}
        for answer in answers:
            stored = await daemon.get(f"/admin/decisions/{answer.headers['x-router-decision']}")
            places[answer.headers["x-router-model"]] = stored.data["record"]["place"]
        first, second = (places[model[2:]] for model in loads)
        assert (first["evicted"], second["evicted"]) == ([], [loads[0]])
        assert 0 < second["load_seconds"] < second["waited"]
        assert [event["model"] for event in daemon.events.of("model.unloaded")] == [loads[0]]
        async with daemon.http.get(f"{url}/models") as response:
            listed = (await response.json())["data"]
        status = {entry["id"]: entry["status"]["value"] for entry in listed}
        assert status == {loads[0][2:]: "unloaded", loads[1][2:]: "loaded"}
        vram = (await daemon.get("/admin/vram")).data["hosts"]
        assert [held["model"] for held in vram[0]["models"]] == [loads[1]]


async def test_what_another_client_does_on_a_real_router_is_seen_at_once(
    open_daemon: Opener, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for name in ("a", "b"):
        shutil.copy(model_paths()["tiny-random"], models / f"{name}.gguf")

    def held() -> dict[str, int]:
        places = daemon.state.places
        (host,) = places.hosts.values()
        now = time.monotonic()
        return {name: host.elsewhere(name, now) for name in host.loaded}

    async with real_llama_router(models, models_max=4) as url:
        backend = {"name": "r", "type": "llamacpp", "url": url, "poll_seconds": 3600}
        daemon = await open_daemon(
            {"backends": [backend], "profiling": {"enabled": False}},
        )
        assert held() == {}
        # Nothing asks the router from here on but its own events.
        async with daemon.http.post(f"{url}/models/load", json={"model": "b"}) as response:
            assert response.status == 200
        async with asyncio.timeout(30):
            while held() != {"r/b": 0}:
                await asyncio.sleep(0.02)
        asked = {"model": "b", "prompt": "Once", "max_tokens": 400, "stream": True}
        async with daemon.http.post(
            f"{url}/v1/completions", json={**asked, "ignore_eos": True}
        ) as response:
            await response.content.readany()
            daemon.state.discovery.wake()
            async with asyncio.timeout(10):
                while held() != {"r/b": 1}:
                    await asyncio.sleep(0.02)
        async with daemon.http.post(f"{url}/models/unload", json={"model": "b"}) as response:
            assert response.status == 200
        async with asyncio.timeout(30):
            while held() != {}:
                await asyncio.sleep(0.02)


async def test_processes_of_our_own_are_started_on_demand(open_daemon: Opener) -> None:
    tiny = {"model": str(model_paths()["tiny-random"]), "context": 512, "engine": "xllamacpp"}
    names = ("a", "b")
    daemon = await open_daemon(
        {
            "backends": [
                {
                    "name": "own",
                    "type": "managed",
                    "start": "on_demand",
                    "models": [{"name": name, **tiny} for name in names],
                }
            ],
            "residency": {"hosts": [{"name": "local", "max_models": 1}], "minimum_seconds": 0},
            "profiling": {"enabled": False},
        }
    )

    async def running() -> dict[str, str]:
        (backend,) = (await daemon.get("/admin/backends")).data["backends"]
        return {name: one["state"] for name, one in backend["processes"].items()}

    assert await running() == dict.fromkeys(names, "stopped")
    answers = await asyncio.gather(
        *(
            daemon.chat("Hello", model=f"own/{name}", max_tokens=4, temperature=0, seed=1)
            for name in names * 3
        )
    )
    assert [answer.status for answer in answers] == [200] * 6
    loads = [event["model"] for event in daemon.events.of("model.loaded")]
    assert sorted(loads) == ["own/a", "own/b"]
    assert await running() == {loads[0][4:]: "stopped", loads[1][4:]: "ready"}
    assert (await daemon.post(f"/admin/models/{loads[1]}/unload", {})).status == 200
    assert await running() == dict.fromkeys(names, "stopped")


async def test_a_process_that_cannot_start_is_told_and_keeps_no_other_back(
    open_daemon: Opener, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(64))
    good = {"name": "good", "model": str(model_paths()["tiny-random"])}
    models = [{"name": "broken", "model": str(broken)}, good]
    daemon = await open_daemon(
        {
            "backends": [
                {
                    "name": "own",
                    "type": "managed",
                    "start": "on_demand",
                    "models": [
                        {"context": 512, "engine": "xllamacpp", **model} for model in models
                    ],
                }
            ],
            "profiling": {"enabled": False},
        }
    )
    failed = await daemon.chat("Hello", model="own/broken", max_tokens=4)
    assert failed.status == 502
    assert "broken could not be started" in failed.data["error"]["message"]
    good_one = await daemon.chat("Hello", model="own/good", max_tokens=4, temperature=0, seed=1)
    assert good_one.status == 200


async def test_a_process_that_is_not_up_in_time_is_stopped(
    open_daemon: Opener, tmp_path: Path
) -> None:
    stuck = tmp_path / "stuck-server"
    stuck.write_text("#!/bin/sh\nexec sleep 1000\n")
    stuck.chmod(0o755)
    tiny = {"model": str(model_paths()["tiny-random"]), "context": 512}
    models = [
        {"name": "stuck", "engine": str(stuck), **tiny},
        {"name": "good", "engine": "xllamacpp", **tiny},
    ]
    daemon = await open_daemon(
        {
            "backends": [
                {
                    "name": "own",
                    "type": "managed",
                    "start": "on_demand",
                    "timeouts": {"load": 5},
                    "models": models,
                }
            ],
            "residency": {"hosts": [{"name": "local", "max_models": 1}], "minimum_seconds": 0},
        }
    )

    def states() -> dict[str, str]:
        state = daemon.state.discovery.backends["own"].entry.backend.state()
        return {name: one["state"] for name, one in state["processes"].items()}

    late = await daemon.chat("Hello", model="own/stuck", max_tokens=4)
    assert (late.status, states()["stuck"]) == (504, "stopped")
    assert (await daemon.chat("Hello", model="own/good", max_tokens=4)).status == 200
    assert states() == {"stuck": "stopped", "good": "ready"}
