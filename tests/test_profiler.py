"""What is measured, on real llama.cpp servers and on a fake Ollama, and how it is interrupted,
resumed, retried and kept."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.fake_ollama import FakeModel, FakeOllama, Limits
from tests.support.faults import FaultServer
from tests.support.llama import model_paths, real_llama, real_llama_router
from tests.support.policies import Running, running

QUICK = {
    "enabled": True,
    "idle_seconds": 0,
    "prompt_tokens": [32, 96, 192],
    "output_tokens": 16,
    "timeout_seconds": 60,
    "abilities": {"enabled": False},
}
SMALL = [
    "load",
    "prompt:32",
    "prompt:96",
    "prompt:192",
    "output:16",
    "output:32",
    "parallel:2",
    "reload",
]


def policy(url: str, kind: str = "llamacpp", **profiling: Any) -> str:
    backend = {"name": "box", "type": kind, "url": url}
    return json.dumps({"backends": [backend], "profiling": {**QUICK, **profiling}})


async def profiles(daemon: Running) -> dict[str, Any]:
    found: dict[str, Any] = await daemon.get("/admin/profiles")
    return found


async def ask(daemon: Running, body: Any = None) -> tuple[int, dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(daemon.url + "/admin/reprofile", json=body) as answer,
    ):
        return answer.status, await answer.json()


async def say(daemon: Running, tokens: int = 4) -> int:
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": tokens}
    url = daemon.url + "/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
        await answer.read()
        return answer.status


async def test_a_profile_is_taken_kept_and_restored(tmp_path: Path) -> None:
    async with real_llama(model_paths()["tiny-random"]) as url:
        async with running(policy(url), tmp_path) as daemon:
            await daemon.wait_event("profile.measured", timeout=60)
            found = await profiles(daemon)
            (profile,) = found["profiles"]
            assert profile["model"] == "box/tiny-random"
            assert profile["decode_tokens_per_second"] > 1
            assert profile["prefill_tokens_per_second"] > 1
            assert 0 < profile["ttft_seconds"] < 30
            assert 0 <= profile["ttft_base_seconds"] < 30
            assert profile["load_seconds"] is None  # it was loaded before it was measured
            # A first answer, three prompts and two outputs, each with the server's own clock.
            assert profile["samples"] == len(profile["points"]) == 6
            lengths = [point["prompt_tokens"] for point in profile["points"]]
            assert max(lengths) > 3 * min(lengths)
            assert all(point["prefill_seconds"] > 0 for point in profile["points"])
            (pair,) = profile["parallel"]
            assert pair["streams"] == 2
            assert 0 < pair["stream_tokens_per_second"] <= pair["tokens_per_second"]
            assert found["progress"] == {
                "state": "idle",
                "model": None,
                "step": None,
                "steps_done": 0,
                "steps_total": 0,
                "eta_seconds": None,
                "waiting": 0,
            }
            said = daemon.events("profile.progress")
            assert [event["step"] for event in said] == SMALL
            assert [event["steps_done"] for event in said] == list(range(1, 9))
            assert {event["steps_total"] for event in said} == {8}
            assert all(event["eta_seconds"] > 0 for event in said)
            assert await daemon.end() == 0
        # The restarted daemon knows it without measuring.
        async with running(policy(url, enabled=False), tmp_path) as daemon:
            (restored,) = (await profiles(daemon))["profiles"]
            assert restored == profile
            assert await ask(daemon) == (
                202,
                {"status": "accepted", "models": 1, "asked": ["box/tiny-random"]},
            )
            await daemon.wait_event("profile.measured", 2, timeout=60)
            (again,) = (await profiles(daemon))["profiles"]
            assert again["samples"] == 6
            assert again["points"] != profile["points"]


async def test_a_request_interrupts_and_the_finished_steps_stay(tmp_path: Path) -> None:
    long = {"output_tokens": 1024, "prompt_tokens": [32]}
    async with real_llama(model_paths()["tiny-random"], n_parallel=1) as url:
        async with running(policy(url, idle_seconds=0.5, **long), tmp_path) as daemon:
            await daemon.wait_event("profile.progress", 2, timeout=60)  # load and the prompt
            assert await say(daemon) == 200
            stopped = await daemon.wait_event("profile.interrupted")
            assert stopped["step"] == "output:1024"
            assert not daemon.events("profile.failed")
            await daemon.end()
        # Another start goes on where it was.
        short = {"output_tokens": 16, "prompt_tokens": [32]}
        async with running(policy(url, **short), tmp_path) as daemon:
            await daemon.wait_event("profile.measured", timeout=60)
            said = [event["step"] for event in daemon.events("profile.progress")]
            assert said == ["load", "prompt:32", "output:16", "output:32", "reload"]
            assert (await profiles(daemon))["profiles"][0]["samples"] == 4


async def test_a_router_loads_and_unloads_for_it(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for name in ("a", "b"):
        (models / f"{name}.gguf").symlink_to(model_paths()["tiny-random"])
    async with (
        real_llama_router(models) as url,
        running(
            policy(url, prompt_tokens=[32, 96], retry_seconds=0.1), tmp_path / "daemon"
        ) as daemon,
    ):
        await daemon.wait_event("profile.measured", 2, timeout=100)
        for profile in (await profiles(daemon))["profiles"]:
            assert profile["load_seconds"] > 0
            assert profile["warm_load_seconds"] > 0
            # Loaded beforehand, so that no answer is a cold one.
            assert profile["samples"] == len(profile["points"])


async def test_a_fake_ollama_tells_its_load_and_its_memory(tmp_path: Path) -> None:
    small = FakeModel(name="small:1b", prompt_rate=500.0, eval_rate=40.0, load_seconds=0.3)
    async with (
        FakeOllama([small], tokens=64, limits=Limits(vram=2 * 10**9)) as ollama,
        running(policy(ollama.url, "ollama"), tmp_path) as daemon,
    ):
        await daemon.wait_event("profile.measured", timeout=60)
        (profile,) = (await profiles(daemon))["profiles"]
        assert profile["load_seconds"] >= 0.3
        assert profile["warm_load_seconds"] >= 0.3
        assert ollama.scheduler.loads.count("small:1b") == 2
        assert profile["decode_tokens_per_second"] == 40.0
        assert profile["prefill_tokens_per_second"] == 500.0
        loaded = ollama.loaded["small:1b"]
        assert profile["vram_bytes"] == loaded.size_vram
        assert profile["vram_bytes"] + profile["ram_bytes"] == loaded.size
        assert profile["memory_context"] == loaded.num_ctx
        assert ollama.violations == []


async def test_what_somebody_else_has_loaded_stays_loaded(tmp_path: Path) -> None:
    model = FakeModel(name="theirs:1b")
    async with FakeOllama([model], tokens=40) as ollama:
        body = {"model": "theirs:1b", "keep_alive": -1}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{ollama.url}/api/generate", json=body) as answer,
        ):
            assert answer.status == 200
        async with running(policy(ollama.url, "ollama"), tmp_path) as daemon:
            await daemon.wait_event("profile.measured", timeout=60)
            (profile,) = (await profiles(daemon))["profiles"]
            assert profile["load_seconds"] is profile["warm_load_seconds"] is None
            assert all(seen.body.get("keep_alive") != 0 for seen in ollama.requests if seen.body)


async def test_new_weights_are_measured_anew(tmp_path: Path) -> None:
    async with FakeOllama([FakeModel(name="m:1b", eval_rate=20.0)], tokens=40) as ollama:
        backend = {"name": "box", "type": "ollama", "url": ollama.url, "poll_seconds": 1}
        text = json.dumps({"backends": [backend], "profiling": QUICK})
        async with running(text, tmp_path) as daemon:
            await daemon.wait_event("profile.measured", timeout=60)
            ollama.add(FakeModel(name="m:1b", digest="f" * 64, eval_rate=80.0))
            await daemon.wait_event("profile.measured", 2, timeout=60)
            (profile,) = (await profiles(daemon))["profiles"]
            assert profile["digest"] == "f" * 64
            assert profile["decode_tokens_per_second"] == 80.0


async def test_a_failure_is_told_and_tried_again_later(tmp_path: Path) -> None:
    async with FaultServer(["500"]) as server:
        text = policy(server.url, "openai", retry_seconds=0.2)
        async with running(text, tmp_path) as daemon:
            second = await daemon.wait_event("profile.failed", 2, timeout=30)
            assert (second["model"], second["step"]) == ("box/500", "load")
            assert second["attempts"] == 2
            failed = (await profiles(daemon))["failed"]["box/500"]
            assert failed["step"] == "load"
            assert "scripted" in failed["reason"] or "500" in failed["reason"]
            assert (await profiles(daemon))["profiles"] == []
            server.set_fault("500", "ok")
            await daemon.wait_event("profile.measured", timeout=60)
            assert (await profiles(daemon))["failed"] == {}


async def test_a_step_that_hangs_is_left_out_in_the_end(tmp_path: Path) -> None:
    async with FaultServer(["ok"], tokens=20, delay=0.002) as server:
        text = policy(server.url, "openai", retry_seconds=0, timeout_seconds=5)
        async with running(text, tmp_path) as daemon:
            await daemon.wait_event("profile.measured", timeout=60)
            server.set_fault("ok", "hang-before-headers")
            assert (await ask(daemon, {"models": ["ok"]}))[0] == 202
            failed = await daemon.wait_event("profile.failed", timeout=30)
            assert failed["reason"] == "no result within 5 s"
            (profile,) = (await profiles(daemon))["profiles"]
            assert profile["samples"] == 6  # the old figures stay meanwhile


async def test_reprofile_says_what_is_wrong_with_its_body(tmp_path: Path) -> None:
    async with (
        FaultServer(["ok"]) as server,
        running(policy(server.url, "openai", enabled=False), tmp_path) as daemon,
    ):
        for body, param in (
            ({"models": "all"}, "models"),
            ({"models": [""]}, "models"),
            ({"models": ["a"] * 201}, "models"),
            ({"speed_only": 1}, "speed_only"),
            ({"model": ["ok"]}, "model"),
            ([], None),
        ):
            status, told = await ask(daemon, body)
            assert (status, told["error"]["param"]) == (400, param)
        assert (await ask(daemon, {"models": ["other/*"]}))[1]["asked"] == []
        await asyncio.sleep(0)
        assert daemon.events("profile.started") == []


async def test_the_command_follows_to_the_end(tmp_path: Path) -> None:
    async def profile(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "llmrouterd", "profile", "--url", daemon.url, *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return await process.wait(), output.decode(), errors.decode()

    async with (
        FaultServer(["ok", "500"], tokens=20, delay=0.01) as server,
        running(policy(server.url, "openai", enabled=False), tmp_path) as daemon,
    ):
        status, output, errors = await profile("ok")
        assert status == 0
        title, row = output.splitlines()
        assert title.split()[0] == "MODEL"
        assert row.split()[0] == "box/ok"
        assert "left" in errors
        status, output, errors = await profile("--json", "--speed-only")
        assert status == 1
        found = json.loads(output)
        assert [one["model"] for one in found["profiles"]] == ["box/ok"]
        assert set(found["failed"]) == {"box/500"}
        assert "box/500: load: " in errors
        status, output, errors = await profile("none*")
        assert (status, output) == (1, "")
        assert "none*" in errors


async def test_requests_wait_while_a_managed_process_is_started_anew(tmp_path: Path) -> None:
    managed = {"name": "tiny", "model": str(model_paths()["tiny-random"]), "context": 512}
    backend = {"name": "own", "type": "managed", "models": [{**managed, "engine": "xllamacpp"}]}
    quick = {**QUICK, "prompt_tokens": [32], "output_tokens": 8, "parallel": 1}
    text = json.dumps({"backends": [backend], "profiling": {**quick, "enabled": False}})
    async with running(text, tmp_path) as daemon:
        assert await ask(daemon) == (
            202,
            {"status": "accepted", "models": 1, "asked": ["own/tiny"]},
        )
        await daemon.wait_event("managed.stopped", timeout=60)
        assert await say(daemon) == 200
        assert (await daemon.get("/admin/models"))["models"][0]["id"] == "own/tiny"
        await daemon.wait_event("profile.measured", timeout=60)
        (profile,) = (await profiles(daemon))["profiles"]
        assert profile["load_seconds"] > 0
        assert not [e for e in daemon.events("catalog.changed") if e["gone"]]


async def test_served_requests_keep_a_profile_up_to_date(tmp_path: Path) -> None:
    live = {"save_seconds": 1}
    async with real_llama(model_paths()["tiny-random"]) as url:
        async with running(policy(url, enabled=False, live=live), tmp_path) as daemon:
            for _ in range(3):
                assert await say(daemon, 16) == 200
            async with asyncio.timeout(20):
                while not (found := (await profiles(daemon))["profiles"]):
                    await asyncio.sleep(0.05)
            assert found[0]["samples"] == 0
            assert found[0]["live_at"]
            assert found[0]["decode_tokens_per_second"] > 1
            await daemon.end()
        async with running(policy(url, enabled=False, live=live), tmp_path) as daemon:
            (kept,) = (await profiles(daemon))["profiles"]
            assert kept["live_samples"] == 3
