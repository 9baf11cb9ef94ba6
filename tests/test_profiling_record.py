"""Steps, records and what becomes of them: plans, profiles, back-off, live figures."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from llmrouterd.catalog import Judged, Model, ParallelSpeed, Profile, SpeedPoint
from llmrouterd.journal import Outcome
from llmrouterd.probes.result import Tally
from llmrouterd.profiling.failures import Failures
from llmrouterd.profiling.live import Live, apply
from llmrouterd.profiling.plan import after, is_old, make_job, without
from llmrouterd.profiling.progress import Pace
from llmrouterd.profiling.prompts import make_prompt
from llmrouterd.profiling.record import Record, decode, encode, with_results
from llmrouterd.profiling.steps import Step, expected_seconds, speed_steps
from tests.support.policies import model, policy

PROFILING = policy().profiling
NOW = "2026-11-24T00:00:00+00:00"
RICH = Profile(
    load_seconds=4.5,
    decode_tokens_per_second=12.5,
    samples=3,
    measured_at=NOW,
    points=(SpeedPoint(prompt_tokens=10, ttft=0.2, output_tokens=5, decode_seconds=0.4),),
    parallel=(ParallelSpeed(streams=2, tokens_per_second=20.0, stream_tokens_per_second=10.0),),
    abilities=(Tally(category="math", kind="sum", level=1, passed=1, tried=2),),
    judged=(Judged(category="creative", judge="box/j", chance=0.5, answers=2),),
)


def point(tokens: int, ttft: float, **more: Any) -> dict[str, Any]:
    return {"point": {"prompt_tokens": tokens, "ttft": ttft, **more}}


def test_a_record_comes_back_as_it_was() -> None:
    record = Record(profile=RICH, done={"load": {"cold": True}, "probe:a:1:2": {"passed": False}})
    assert decode(encode(record)) == record


@pytest.mark.parametrize("text", ["", "[]", "3", '{"points": [3]}', '{"points": [{"speed": 1}]}'])
def test_a_record_that_cannot_be_read_is_an_empty_one(text: str) -> None:
    assert decode(text) == Record()


def test_a_record_of_another_version_keeps_what_is_known() -> None:
    found = decode('{"load_seconds": 3.0, "samples": 2, "since": "then", "done": [1]}')
    assert found == Record(profile=Profile(load_seconds=3.0, samples=2))


def test_points_make_the_figures() -> None:
    done = {
        "load": {**point(30, 8.0, output_tokens=10, decode_seconds=0.5), "cold": True},
        "prompt:64": point(60, 0.8),
        "prompt:512": point(500, 5.2),
        "output:48": point(30, 0.5, output_tokens=48, decode_seconds=2.4),
        "parallel:2": {"tokens_per_second": 30.0, "stream_tokens_per_second": 15.0},
        "parallel:10": {"skipped": "too short"},
        "reload": {"ttft": 2.5, "prompt_tokens": 30, "load_seconds": None},
    }
    found = with_results(Profile(), done, NOW)
    assert found.prefill_tokens_per_second == pytest.approx(100.0)
    assert found.ttft_base_seconds == pytest.approx(0.2, abs=0.001)
    assert found.ttft_seconds == 0.5
    assert found.decode_tokens_per_second == pytest.approx(20.0)
    assert found.load_seconds == pytest.approx(7.5, abs=0.01)  # 8.0 less 0.2 + 30 / 100
    assert found.warm_load_seconds == pytest.approx(2.0, abs=0.01)
    assert (found.samples, len(found.points)) == (4, 3)
    assert [speed.streams for speed in found.parallel] == [2]
    assert found.measured_at == NOW


def test_the_backends_own_clock_gives_the_slope_and_the_rest_is_base() -> None:
    done = {
        f"prompt:{n}": point(n, n / 200 + 0.3, prefill_seconds=n / 200) for n in (64, 512, 2048)
    }
    found = with_results(Profile(), done, NOW)
    assert found.prefill_tokens_per_second == pytest.approx(200.0)
    assert found.ttft_base_seconds == pytest.approx(0.3, abs=1e-4)


def test_short_prompts_alone_promise_nothing_for_long_ones() -> None:
    done = {f"prompt:{n}": point(n, 0.01) for n in (32, 96)}
    found = with_results(Profile(), done, NOW)
    assert found.prefill_tokens_per_second is not None
    assert found.prefill_tokens_per_second <= 96 / 0.01 * 4 * 1.01


def test_steps_that_found_nothing_leave_the_profile_as_it_is() -> None:
    assert with_results(RICH, {"prompt:64": {"skipped": "x"}}, "later") == RICH
    found = with_results(RICH, {"output:48": point(30, 0.5)}, "later")
    assert (found.load_seconds, found.parallel) == (RICH.load_seconds, RICH.parallel)


def test_prompts_are_cut_to_the_context() -> None:
    keys = [step.key for step in speed_steps(model("box/m", context=512), 3, PROFILING)]
    assert keys == [
        *("load", "prompt:64", "prompt:432", "output:48", "output:96"),
        *("parallel:2", "parallel:3", "reload"),
    ]
    tiny = speed_steps(model("box/m", context=100, pinned=True), 1, PROFILING)
    assert [step.key for step in tiny] == ["load", "prompt:20", "output:8"]


def test_no_two_prompts_begin_alike() -> None:
    source = random.Random(1)
    made = [make_prompt(256, source) for _ in range(50)]
    assert len({text[:5] for text in made}) > 40
    assert all(150 < len(text.split()) < 256 for text in made)


def test_finished_steps_are_not_planned_and_an_old_measuring_begins_anew() -> None:
    item, further = model("box/m"), (Step("probe:a", "probe", 100),)
    first = make_job(item, Record(), 1, PROFILING, further)
    assert first.todo[0].key == "load"
    assert first.total == len(first.todo)
    done: dict[str, Any] = {}
    for step in first.todo[:-1]:
        done = after(step, done, {"ok": 1})
    record = Record(profile=replace(RICH, measured_at="2999-01-01T00:00:00+00:00"), done=done)
    assert [step.key for step in make_job(item, record, 1, PROFILING, further).todo] == ["probe:a"]
    old = replace(record, profile=replace(RICH, measured_at="2020-01-01T00:00:00"))
    assert is_old(old, 30.0)
    assert not is_old(old, 0.0)
    assert make_job(item, old, 1, PROFILING, further).todo == first.todo


def test_a_new_first_step_drops_the_old_speed_and_keeps_the_probes() -> None:
    done = {"load": {}, "prompt:64": {}, "probe:a": {"passed": True}}
    assert after(Step("load", "load"), done, {"cold": True}) == {
        "probe:a": {"passed": True},
        "load": {"cold": True},
    }
    assert without(done, speed_only=True) == {"prompt:64": {}, "probe:a": {"passed": True}}
    assert without(done, speed_only=False) == {"prompt:64": {}}


def test_the_pauses_between_tries_double_up_to_six_hours() -> None:
    failures, item = Failures(), model("box/m")
    waits = [failures.add(item, "load", "why", 300.0, 0.0).retry_at for _ in range(12)]
    assert waits[:3] == [300.0, 600.0, 1200.0]
    assert waits[-1] == 6 * 3600.0
    assert failures.rests(item, 100.0)
    assert not failures.rests(replace(item, digest="new"), 100.0)
    assert failures.add(item, "prompt:64", "why", 300.0, 0.0).attempts == 1
    told = failures.data(100.0)["box/m"]
    assert told == {"step": "prompt:64", "reason": "why", "attempts": 1, "retry_in": 200.0}
    failures.clear(item)
    assert failures.data(0.0) == {}


def test_estimates_learn_from_what_steps_took() -> None:
    slow, fast = Step("prompt:2048", "prompt", 2048), Step("prompt:64", "prompt", 64)
    profile = Profile(decode_tokens_per_second=10.0, prefill_tokens_per_second=100.0)
    first, second = (expected_seconds(step, profile, PROFILING) for step in (slow, fast))
    assert first > second > 0
    pace = Pace()
    assert pace.correct("prompt", 10.0) == 10.0
    pace.learn("prompt", 10.0, 20.0)
    assert pace.correct("prompt", 10.0) == pytest.approx(20.0)
    assert pace.correct("output", 10.0) == 10.0


def served(item: Model, **more: Any) -> Outcome:
    """A warm answer that had the box to itself: 1000 tokens read in 2 s, 100 written in 5 s."""
    given: dict[str, Any] = {
        "model": item,
        "waited": 2.0,
        "generated": 5.0,
        "warm": True,
        "alone": True,
        "usage": {"prompt_tokens": 1000, "completion_tokens": 100},
        **more,
    }
    return Outcome(id="dec_1", **given)


KNOWN = Profile(
    ttft_base_seconds=0.1,
    prefill_tokens_per_second=1000.0,
    decode_tokens_per_second=40.0,
    load_seconds=10.0,
)


def learnt(item: Model, *outcomes: Outcome) -> Profile:
    live = Live()
    for at, outcome in enumerate(outcomes):
        live.observe(outcome, PROFILING.live, 1000.0 + at)
    profile = item.profile
    for tracked in live.drain().values():
        profile = apply(profile, tracked, item.remote, NOW)
    assert live.drain() == {}
    return profile


def test_served_requests_move_a_profile_towards_themselves() -> None:
    item = model("box/m", profile=KNOWN)
    few, many = (learnt(item, *[served(item)] * n) for n in (5, 300))
    for found in (few, many):
        assert found.decode_tokens_per_second is not None
        assert found.ttft_base_seconds is not None
        assert found.prefill_tokens_per_second is not None
        assert found.load_seconds == 10.0
        assert found.live_at == NOW
    assert 20.0 < (few.decode_tokens_per_second or 0) < 40.0
    assert many.decode_tokens_per_second == pytest.approx(20.0, rel=0.02)
    base, prefill = many.ttft_base_seconds or 0.0, many.prefill_tokens_per_second or 1.0
    assert base + 1000 / prefill == pytest.approx(2.0, rel=0.03)
    assert (few.live_samples, many.live_samples) == (5, 300)


@pytest.mark.parametrize(
    "more",
    [
        {"alone": False},
        {"waited": None},
        {"status": "upstream_timeout"},
        {"status": "client_gone"},
        {"attempts": ["one that failed"]},
    ],
)
def test_contended_and_broken_answers_teach_nothing(more: dict[str, Any]) -> None:
    item = model("box/m", profile=KNOWN)
    assert learnt(item, *[served(item, **more)] * 20) == KNOWN


def test_a_cold_start_teaches_the_time_of_loading() -> None:
    item = model("box/m", profile=KNOWN)
    found = learnt(item, served(item, warm=False, waited=31.1))
    assert found.load_seconds == pytest.approx(0.7 * 10 + 0.3 * 30)
    assert found.prefill_tokens_per_second == KNOWN.prefill_tokens_per_second
    own = learnt(item, served(item, warm=False, waited=99.0, timings={"load_ms": 20_000.0}))
    assert own.load_seconds == pytest.approx(0.7 * 10 + 0.3 * 20)


def test_a_prompt_out_of_the_cache_does_not_count_as_read() -> None:
    item = model("box/m", profile=KNOWN)
    told = {"usage": {"prompt_tokens": 1000, "prompt_tokens_details": {"cached_tokens": 990}}}
    found = learnt(item, *[served(item, waited=0.11, **told)] * 50)
    assert found.prefill_tokens_per_second == pytest.approx(1000.0, rel=0.1)
    silent = learnt(item, *[served(item, waited=0.11)] * 50)
    assert silent.prefill_tokens_per_second == KNOWN.prefill_tokens_per_second


def test_a_remote_model_is_learnt_from_nothing() -> None:
    item = model("api/m", remote=True)
    found = learnt(item, *[served(item, alone=False)] * 30)
    assert found.decode_tokens_per_second == pytest.approx(20.0)
    assert found.ttft_seconds == pytest.approx(2.0, rel=0.05)


def test_the_backends_clock_counts_before_ours() -> None:
    item = model("box/m", profile=KNOWN)
    timings = {"predicted_ms": 1000.0, "prompt_n": 1000, "prompt_ms": 1900.0}
    found = learnt(item, *[served(item, timings=timings)] * 300)
    assert found.decode_tokens_per_second == pytest.approx(100.0, rel=0.02)
