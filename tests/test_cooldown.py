"""Who is left alone after failures, and for how long."""

from __future__ import annotations

from llmrouterd.cooldown import LONGEST, Cooldowns
from llmrouterd.policy import Failover

RULES = Failover(attempts=3, errors_to_cool=3, cool_seconds=10)


def cooled(now: float = 100.0) -> Cooldowns:
    made = Cooldowns()
    for _ in range(RULES.errors_to_cool):
        made.failed("m", "timed out", RULES, now)
    return made


def test_it_takes_failures_in_a_row() -> None:
    made = Cooldowns()
    assert not made
    assert [made.failed("m", "x", RULES, 0.0) for _ in range(3)] == [False, False, True]
    assert made.reason("m", 1.0) == "cooling for 9 s more: x"
    assert made.reason("other", 1.0) is None
    made = Cooldowns()
    for _ in range(5):
        made.failed("m", "x", RULES, 0.0)
        made.failed("m", "x", RULES, 0.0)
        assert not made.succeeded("m")
    assert made.reason("m", 0.0) is None


def test_after_it_one_request_tries() -> None:
    made = cooled()
    assert made.view(105.0) == {"m": "cooling for 5 s more: timed out"}
    assert made.view(110.0) == {}
    made.begin("m", 110.0, 60.0)
    assert made.reason("m", 111.0) == "recovering, one request is trying it: timed out"
    assert made.reason("m", 171.0) is None  # the probe never came back
    assert made.succeeded("m")
    assert not made


def test_a_failed_probe_doubles_the_time_up_to_a_limit() -> None:
    made, now, spans = cooled(0.0), 10.0, []
    for _ in range(9):
        made.begin("m", now, 60.0)
        assert made.failed("m", "again", RULES, now)
        span = next(s for s in range(1, 5000) if made.reason("m", now + s) is None)
        spans.append(span)
        now += span
    assert spans[:4] == [20, 40, 80, 160]
    assert spans[-1] == LONGEST


def test_a_request_before_the_time_is_over_is_no_probe() -> None:
    made = cooled()
    made.begin("m", 105.0, 60.0)
    assert made.reason("m", 110.0) is None


def test_rest_is_as_long_as_was_asked_for() -> None:
    made = Cooldowns()
    made.rest("m", "429", 30.0, 100.0)
    assert made.reason("m", 129.0)
    assert made.reason("m", 130.0) is None
    made.rest("m", "429", 1e9, 100.0)
    assert made.reason("m", 100.0 + LONGEST + 1) is None


def test_only_known_keys_are_kept() -> None:
    made = cooled()
    made.keep({"other"})
    assert not made
