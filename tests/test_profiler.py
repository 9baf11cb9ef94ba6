"""Speeds measured on a real llama.cpp server with a tiny random model."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.llama import model_paths, real_llama
from tests.support.policies import Running, running

IDLE = {"enabled": True, "idle_seconds": 0, "output_tokens": 16, "timeout_seconds": 60}


def policy(url: str, **profiling: Any) -> str:
    backend = {"name": "box", "type": "llamacpp", "url": url}
    return json.dumps({"backends": [backend], "profiling": {**IDLE, **profiling}})


async def _profiles(daemon: Running) -> dict[str, Any]:
    found: dict[str, Any] = await daemon.get("/admin/profiles")
    return found


async def test_a_profile_is_taken_kept_and_restored(tmp_path: Path) -> None:
    async with real_llama(model_paths()["tiny-random"]) as url:
        async with running(policy(url), tmp_path) as daemon:
            await daemon.wait_event("profile.measured", timeout=60)
            (profile,) = (await _profiles(daemon))["profiles"]
            assert profile["model"] == "box/tiny-random"
            assert profile["samples"] == 2
            assert profile["decode_tokens_per_second"] > 1
            assert profile["prefill_tokens_per_second"] > 1
            assert 0 < profile["ttft_seconds"] < 30
            assert await daemon.end() == 0
        # The restarted daemon knows it without measuring.
        async with running(policy(url, enabled=False), tmp_path) as daemon:
            (restored,) = (await _profiles(daemon))["profiles"]
            assert restored == profile
            async with (
                aiohttp.ClientSession() as session,
                session.post(daemon.url + "/admin/reprofile") as answer,
            ):
                assert answer.status == 202
                assert (await answer.json())["models"] == 1
            await daemon.wait_event("profile.measured", 2, timeout=60)
            (again,) = (await _profiles(daemon))["profiles"]
            assert again["samples"] == 2


async def test_a_request_interrupts_the_measuring(tmp_path: Path) -> None:
    long = {"output_tokens": 1024}
    async with (
        real_llama(model_paths()["tiny-random"], n_parallel=1) as url,
        running(policy(url, idle_seconds=1, **long), tmp_path) as daemon,
        aiohttp.ClientSession() as session,
    ):
        await daemon.wait_event("profile.started", timeout=60)
        body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
        async with session.post(daemon.url + "/v1/chat/completions", json=body) as answer:
            assert answer.status == 200
        await daemon.wait_event("profile.interrupted")
        assert not daemon.events("profile.failed")
        await daemon.wait_event("profile.started", 2)  # once it is quiet it is tried again


async def test_a_model_that_cannot_be_measured_is_not_tried_for_ever(tmp_path: Path) -> None:
    async with (
        real_llama(model_paths()["tiny-random"], n_ctx=256, n_parallel=1) as url,
        running(policy(url), tmp_path) as daemon,
    ):
        failed = await daemon.wait_event("profile.failed", timeout=60)
        assert failed["model"] == "box/tiny-random"
        await asyncio.sleep(0.5)
        found = await _profiles(daemon)
        assert set(found["failed"]) == {"box/tiny-random"}
        assert found["profiles"] == []
        assert len(daemon.events("profile.started")) == 1
