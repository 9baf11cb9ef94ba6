"""The Decision in words and as data: what was decided, nothing worked out anew."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.decision import decide
from llmrouterd.explanation import (
    Attempt,
    describe,
    describe_attempts,
    describe_signals,
    explain_candidates,
    in_words,
    stored_in_words,
)
from llmrouterd.scorer import Load
from tests.support.policies import catalog, model, policy, read, signals

MODELS = catalog(
    model("box/large", size_b=30.0),
    model("box/small", size_b=1.0),
    model("box/off", enabled=False),
)


def described(**said: Any) -> dict[str, Any]:
    return describe(decide(signals(**said), policy(), MODELS, Load()))


def test_all_that_counted_is_there() -> None:
    found = described(category="coding", probabilities={"coding": 0.87654}, abstain=0.1)
    assert found["model"] == found["ranked"][0]["model"]
    assert {candidate["model"] for candidate in found["ranked"]} == {"box/large", "box/small"}
    assert found["rejected"] == [
        {"model": "box/off", "gate": "disabled", "reason": "switched off in models"}
    ]
    for candidate in found["ranked"]:
        total = sum(candidate["terms"].values())
        assert abs(candidate["total"] - total) < 0.01
    assert found["signals"]["probabilities"]["coding"] == pytest.approx(0.87654, abs=1e-4)
    assert found["policy_digest"] == policy().digest


def test_in_words() -> None:
    words = in_words(
        described(
            category="coding",
            probabilities={"coding": 0.8, "math": 0.15, "chat": 0.05},
            abstain=0.1,
            complexity=0.42,
            tool_tokens=77,
            exact_tokens=False,
            task="",
        )
    )
    first, second, *rest = words.splitlines()
    assert first.endswith("by rule 'default' (routed, preset balanced)")
    assert second == (
        "  category coding (coding 80%, math 15%; doubt 10%), complexity 0.42, "
        "up to 20 prompt tokens and 77 for tools"
    )
    assert rest[0].startswith("  1. box/")
    assert "quality +" in rest[0]
    assert rest[-1] == "  not box/off: switched off in models (disabled)"


def test_a_long_ranking_is_cut() -> None:
    many = catalog(*(model(f"box/m{n}") for n in range(9)))
    found = describe(decide(signals(), policy(), many, Load()))
    assert len(found["ranked"]) == 9
    assert "  and 4 more" in in_words(found)


@given(st.text(max_size=80))
def test_signals_hold_no_words(text: str) -> None:
    found = describe_signals(read(f"quokka {text}"))
    assert "quokka" not in json.dumps(found)


def test_needs_and_tasks_are_sorted_lists() -> None:
    found = describe_signals(signals(needs=frozenset({"vision", "json"}), task="title"))
    assert found["needs"] == ["json", "vision"]
    assert json.loads(json.dumps(found)) == found


def test_attempts() -> None:
    found = describe_attempts([Attempt("box/m", "timed out", 1.5)])
    assert found == [{"model": "box/m", "error": "timed out", "seconds": 1.5}]


@pytest.mark.parametrize(
    ("answered", "outcome", "failed", "expected"),
    [
        (0, "ok", (), "{0} by rule"),
        (None, "client_gone", (), "{0} by rule"),
        (1, "ok", (), "{1} in place of {0} by rule|  {1} answered"),
        (1, "ok", (0,), "{1} in place of {0} by rule|  {0} failed: no|  {1} answered"),
        (0, "ok", (0,), "{0} by rule|  {0} failed: no|  {0} answered"),  # it was loading
        (None, "upstream_error", (0, 1), "{0} by rule|  {0} failed: no|  {1} failed: no"),
        (0, "upstream_interrupted", (0,), "{0} by rule|  {0} failed: no"),  # it broke off
        (1, "upstream_error", (0, 1), "{0} by rule|  {0} failed: no|  {1} failed: no"),
    ],
)
def test_a_stored_decision_tells_who_answered(
    answered: int | None, outcome: str, failed: tuple[int, ...], expected: str
) -> None:
    record = described()
    ids = [candidate["model"] for candidate in record["ranked"]]
    attempts = [Attempt(ids[each], "no\n  way", 1.23) for each in failed]
    row = {
        "record": {**record, "attempts": describe_attempts(attempts)},
        "model": None if answered is None else ids[answered],
        "outcome": outcome,
    }
    told, _, rest = stored_in_words(row).partition("\n  category ")
    wanted = expected.replace("failed: no", "failed after 1.2 s: no way").format(*ids)
    head, *lines = wanted.split("|")
    assert told.split("\n") == [f"{head} 'default' (routed, preset balanced)", *lines]
    assert in_words(record).endswith(rest)


def test_the_evidence_of_the_category_that_was_scored() -> None:
    coder = model("box/coder", quality={"coding": 0.9})
    models = catalog(coder)
    for text, category in (("{}", "overall"), ("rules: [{name: r, category: coding}]", "coding")):
        active = policy(text)
        decision = decide(signals(), active, models, Load())
        described = explain_candidates(decision, models, active)
        (candidate,) = described["ranked"]
        found = candidate["evidence"]
        assert found["mean"] == coder.evidence[category].mean
        assert sum(source["weight"] for source in found["sources"]) == pytest.approx(1, abs=0.001)
        low, middle, high = found["quality"]
        assert low < middle < high
        said = in_words(described)
        for source in coder.evidence[category].sources:
            assert source.source in said
    assert "owner: 0.9" in said
    assert "at middling difficulty" not in in_words(describe(decision))
