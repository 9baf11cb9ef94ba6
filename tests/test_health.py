"""The states of models and backends: every transition, and what holds in any order of events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmrouterd.catalog import Profile
from llmrouterd.health import (
    CAUSES,
    COOLING,
    DEAD,
    HEALTHY,
    RECOVERING,
    SUSPECT,
    Conditions,
    Transition,
    Watch,
    expect,
)
from tests.support.policies import model, policy

SECTIONS = """
failover: {errors_to_cool: 3, cool_seconds: 10}
health: {suspect_factor: 5, floor_seconds: 4, coolings_to_die: 3, longest_cool_seconds: 60,
  longest_dead_seconds: 200}
"""


def conditions(**limits: Any) -> Conditions:
    made = policy(SECTIONS)
    return Conditions(made.failover, replace(made.health, **limits))


def sent(made: Conditions, now: float, work: float | None = 1.0, **fields: Any) -> Watch:
    """A request to b/m that is with its backend at once; work: None is unknown."""
    given = {"model": "b/m", "backend": "b", "host": "box", "gap": 0.1, **fields}
    watch = Watch(**given, judged=work is not None, work=work or 1.0)
    made.begin(watch, now)
    watch.waits_since = now
    return watch


def failed(made: Conditions, now: float, cause: str = "failures") -> None:
    watch = sent(made, now)
    made.end(watch, now)
    made.fail("b/m", "it broke", watch, now, cause)


def went(made: Conditions) -> list[tuple[str, str, str]]:
    """Who went into which state, and why."""
    return [(told.key, told.after, told.cause) for told in made.take()]


def cooled(now: float = 0.0, **limits: Any) -> Conditions:
    made = conditions(**limits)
    failed(made, now, "probe")
    assert went(made) == [("b/m", COOLING, "probe")]
    return made


def test_it_takes_failures_in_a_row() -> None:
    made = conditions()
    for _ in range(2):
        failed(made, 0.0)
        failed(made, 0.0)
        made.succeed("b/m", 0.0)
    assert went(made) == []
    for _ in range(3):
        failed(made, 0.0)
    assert made.take() == [Transition("b/m", HEALTHY, COOLING, "failures", "it broke")]
    assert made.unwell(1.0) == {"b/m": (COOLING, "cooling for 9 s more: it broke")}
    assert made.unwell(9.9) != {}
    assert made.unwell(10.0) == {}
    assert went(made) == [("b/m", RECOVERING, "time")]


def test_after_it_one_request_tries() -> None:
    made = cooled()
    early = sent(made, 5.0)
    first, second = sent(made, 10.0), sent(made, 10.0)
    assert made.unwell(11.0) == {
        "b/m": (RECOVERING, "recovering, one request is trying it: it broke")
    }
    made.end(second, 11.0)
    made.end(early, 11.0)
    assert made.unwell(11.0) != {}
    made.end(first, 12.0)
    assert made.unwell(12.0) == {}  # it told nothing, so the next one may try
    sent(made, 13.0, patience=60.0)
    assert made.unwell(72.0) != {}
    assert made.unwell(73.0) == {}  # it never came back
    made.succeed("b/m", 80.0)
    assert went(made)[-1] == ("b/m", HEALTHY, "answer")


def test_what_fails_again_and_again_cools_for_longer_and_dies() -> None:
    made, now, spans = cooled(), 10.0, []
    for _ in range(7):
        failed(made, now)
        (_, after, _), *_ = reversed(went(made))
        spans.append((after, made.of("b/m").until - now))
        now = made.of("b/m").until
    assert spans[:2] == [(COOLING, 20.0), (COOLING, 40.0)]
    assert spans[2:] == [(DEAD, 80.0), (DEAD, 160.0), (DEAD, 200.0), (DEAD, 200.0), (DEAD, 200.0)]
    sent(made, now)
    made.succeed("b/m", now, "probe")
    assert made.of("b/m").state == HEALTHY
    failed(made, now, "probe")
    assert made.of("b/m").until == now + 10.0


def test_no_cooling_is_longer_than_the_longest_and_none_dies_where_that_is_off() -> None:
    made, now = cooled(coolings_to_die=0), 10.0
    for _ in range(30):
        failed(made, now)
        span = made.of("b/m").until - now
        now += span
    assert (made.of("b/m").state, span) == (COOLING, 60.0)


def test_what_was_sent_before_is_no_news_of_what_recovers() -> None:
    made = conditions()
    old = [sent(made, 0.0) for _ in range(5)]
    failed(made, 1.0, "probe")
    made.end(old[0], 2.0)
    made.fail("b/m", "late", old[0], 2.0)
    assert made.of("b/m").until == 11.0  # that it fails is known
    made.look(11.0)
    made.end(old[1], 12.0)
    made.fail("b/m", "late", old[1], 12.0)
    assert made.of("b/m").state == RECOVERING
    made.end(old[2], 12.0)
    made.succeed("b/m", 12.0)  # an answer is, however old its request
    assert made.of("b/m").state == HEALTHY


def test_rest_is_as_long_as_was_asked_for() -> None:
    made = conditions(longest_cool_seconds=600.0)
    made.rest("b/m", "429", 30.0, 100.0)
    made.rest("b/m", "429", 20.0, 101.0)
    made.succeed("b/m", 110.0)  # one that was under way
    assert made.unwell(129.0) == {"b/m": (COOLING, "cooling for 1 s more: 429")}
    assert made.unwell(130.0) == {}
    made.succeed("b/m", 131.0)
    made.rest("b/m", "429", 1e9, 200.0)
    assert made.unwell(799.0) != {}
    assert made.unwell(800.0) == {}


@pytest.mark.parametrize(
    ("work", "allowed"),
    [(0.01, 4.0), (2.0, 10.0), (100.0, 500.0), (None, 60.0)],
    ids=["short", "usual", "long prompt", "without a profile"],
)
def test_silence_before_the_first_token(work: float | None, allowed: float) -> None:
    made = conditions()
    sent(made, 100.0, work)
    assert made.look(100.0) == 100.0 + allowed
    made.look(100.0 + allowed - 0.01)
    assert went(made) == []
    made.look(100.0 + allowed)
    assert went(made) == [("b/m", SUSPECT, "silence")]
    ((state, text),) = made.unwell(100.0 + allowed).values()
    assert state == SUSPECT
    assert f"no token for {allowed:.1f} s" in text
    assert ("without a profile" in text) is (work is None)


def test_without_a_profile_silence_can_be_left_unjudged() -> None:
    made = conditions(unprofiled_seconds=0)
    sent(made, 100.0, None)
    assert made.look(1e6) == float("inf")
    assert went(made) == []


def test_a_stall_is_disproved_by_what_goes_on_and_by_a_whole_answer_alone() -> None:
    made = conditions()
    stalled = sent(made, 0.0)
    stalled.move(0.0)
    stalled.waits_since = 0.0
    made.look(4.0)
    assert went(made) == [("b/m", SUSPECT, "stall")]
    made.succeed("b/m", 5.0, "probe")
    assert went(made) == [("b/m", RECOVERING, "probe")]
    assert made.untried(5.0) == set()  # another would tell no more
    trial, other = sent(made, 6.0), sent(made, 6.0)
    assert trial.move(6.1)
    made.token(trial, 6.1)  # the first had one, too
    assert went(made) == []
    trial.waits_since = 6.1
    made.look(20.0)
    assert went(made) == [("b/m", COOLING, "stall")]
    assert other.move(20.5)
    made.token(other, 20.5)  # it began before that, but is another one
    assert went(made) == []
    assert stalled.move(21.0)
    made.token(stalled, 21.0)
    assert went(made) == [("b/m", HEALTHY, "token")]


def test_silence_between_tokens() -> None:
    made = conditions()
    watch = sent(made, 0.0, None, gap=2.0)
    assert not watch.move(1.0)
    made.look(500.0)  # the client takes nothing, and nobody waits for the backend
    watch.waits_since = 500.0
    made.look(509.9)
    assert went(made) == []
    made.look(510.0)
    assert went(made) == [("b/m", SUSPECT, "stall")]
    assert watch.move(511.0)
    made.token(watch, 511.0)
    assert went(made) == [("b/m", HEALTHY, "token")]


def test_a_slow_answer_that_goes_on_is_never_suspect() -> None:
    made = conditions()
    watch, now = sent(made, 0.0, 1.0, gap=0.01), 0.0
    for _ in range(100):
        made.look(now)
        now += 3.9
        made.look(now)
        watch.move(now)
        watch.waits_since = now
    assert went(made) == []


def test_who_has_to_wait_for_others_is_not_silent_for_too_long() -> None:
    made = conditions()
    sent(made, 0.0, 20.0)  # a long prompt of another client, on the same host
    short = sent(made, 0.0, 0.1)
    made.look(100.0)
    assert went(made) == []
    made.look(100.5)
    assert went(made) == [("b/m", SUSPECT, "silence")]
    made = conditions()
    for _ in range(3):
        sent(made, 0.0, model="b/o").move(0.0)
    short = sent(made, 0.0, 1.0)
    made.look(19.9)
    assert went(made) == []
    made.look(20.0)
    assert went(made) == [("b/m", SUSPECT, "silence")]
    assert short.condition.state == SUSPECT
    made = conditions()
    for _ in range(9):
        sent(made, 0.0, 1.0, host="")  # a remote API is not slower for it
    assert made.look(0.0) == 5.0


def test_a_token_of_another_answer_shows_that_the_model_is_not_stuck() -> None:
    made = conditions()
    sent(made, 0.0, 1.0)
    other = sent(made, 0.0, 1.0)
    for now in range(1, 60, 4):
        other.move(float(now))
        other.waits_since = float(now)
        made.look(float(now))
    assert went(made) == []
    made.end(other, 60.0)  # its slot is free now
    made.look(61.0)
    assert went(made) == []
    made.look(62.5)
    assert went(made) == [("b/m", SUSPECT, "silence")]


def test_suspicion_lasts_as_long_as_somebody_waits_and_then_a_while() -> None:
    made = conditions()
    watch = sent(made, 0.0, 1.0)
    for now in range(5, 100, 9):
        made.look(float(now))
    assert went(made) == [("b/m", SUSPECT, "silence")]
    assert made.untried(100.0) == {"b/m"}
    made.end(watch, 100.0)  # its client has left
    probe = Watch(model="b/m", backend="b")
    made.begin(probe, 105.0)
    made.look(115.0)
    assert went(made) == []
    made.end(probe, 116.0)  # it was given up
    made.look(116.0)
    assert went(made) == [("b/m", RECOVERING, "time")]


def test_a_suspect_that_fails_cools_at_once_and_a_late_token_makes_up_for_it() -> None:
    made = conditions()
    watch, other = sent(made, 0.0, 1.0), sent(made, 0.0, 1.0)
    made.look(10.0)
    made.end(watch, 12.0)
    made.fail("b/m", "no token", watch, 12.0, "silence")
    assert other.move(13.0)
    made.token(other, 13.0)
    assert went(made) == [
        ("b/m", SUSPECT, "silence"),
        ("b/m", COOLING, "silence"),
        ("b/m", HEALTHY, "token"),
    ]
    made = cooled()
    made.of("b/m").cause = "failures"
    watch = sent(made, 0.0)
    watch.move(1.0)
    made.token(watch, 1.0)  # a token does not disprove errors
    assert went(made) == []


def test_nothing_came_in_time() -> None:
    made = conditions()
    failed(made, 0.0, "silence")
    assert went(made) == [("b/m", SUSPECT, "silence")]
    failed(made, 1.0, "silence")
    assert went(made) == [("b/m", COOLING, "silence")]


def test_the_request_that_tries_may_hang_too() -> None:
    made = cooled()
    sent(made, 10.0, 1.0)
    made.look(15.0)
    assert went(made) == [("b/m", RECOVERING, "time"), ("b/m", COOLING, "silence")]
    assert made.of("b/m").until == 35.0
    made.look(35.0)
    assert made.unwell(35.0) == {}  # and does not keep others from trying


def test_what_a_probe_has_disproved_is_not_held_against_the_same_request_again() -> None:
    made = conditions()
    sent(made, 0.0, 1.0)
    made.look(5.0)
    made.succeed("b/m", 6.0, "probe")
    assert made.look(500.0) == float("inf")
    assert went(made) == [("b/m", SUSPECT, "silence"), ("b/m", HEALTHY, "probe")]
    sent(made, 500.0, 1.0)
    made.look(510.0)
    assert went(made) == [("b/m", SUSPECT, "silence")]


def test_a_backend_that_does_not_list_is_dead_until_it_does() -> None:
    made = conditions()
    made.listed("b", 0.0)
    made.unlisted("b", "refused", 0.0)
    made.unlisted("b", "refused", 9.0)
    assert made.look(1e6) == float("inf")
    assert made.unwell(1e6) == {"b": (DEAD, "dead: refused")}
    made.listed("b", 1e6)
    made.listed("b", 1e6)
    assert went(made) == [("b", DEAD, "listing"), ("b", RECOVERING, "listing")]
    watch = sent(made, 1e6)
    assert made.unwell(1e6)["b"][0] == RECOVERING
    made.end(watch, 1e6)
    made.succeed("b", 1e6)
    assert went(made) == [("b", HEALTHY, "answer")]


def test_an_edited_backend_begins_anew() -> None:
    made = cooled()
    other = Watch(model="bb/m", backend="bb")
    made.begin(other, 0.0)
    made.fail("bb/m", "x", other, 0.0, "probe")
    watch = sent(made, 1.0)
    made.forget("b", 2.0)
    assert made.not_healthy() == {"bb/m"}
    assert went(made) == [("bb/m", COOLING, "probe"), ("b/m", HEALTHY, "policy")]
    made.end(watch, 3.0)


def test_suspicion_can_be_switched_off() -> None:
    made = conditions(suspect_factor=0.0)
    sent(made, 0.0, 1.0)
    assert made.look(1e9) == float("inf")


PROFILE = Profile(
    ttft_base_seconds=0.5,
    prefill_tokens_per_second=100.0,
    decode_tokens_per_second=20.0,
    load_seconds=7.0,
)


@pytest.mark.parametrize(
    ("fields", "warm", "expected"),
    [
        ({"profile": PROFILE}, True, (10.5, True)),
        ({"profile": PROFILE}, False, (17.5, True)),
        ({"profile": replace(PROFILE, load_seconds=None), "size_b": 1.0}, False, (None, False)),
        ({"profile": Profile()}, True, (None, False)),
        ({"profile": Profile(ttft_seconds=2.0), "remote": True}, True, (2.0, True)),
        ({"profile": Profile(), "remote": True}, True, (None, False)),
    ],
)
def test_what_a_profile_expects(
    fields: dict[str, Any], warm: bool, expected: tuple[float | None, bool]
) -> None:
    watch = Watch(model="b/m", backend="b")
    expect(watch, model("b/m", **fields), 1000, warm, policy().scoring.assumed)
    work, judged = expected
    assert watch.judged is judged
    assert watch.work == pytest.approx(work) if work else watch.work > 0.0
    known = fields["profile"].decode_tokens_per_second
    assert watch.gap == (pytest.approx(0.05) if known else float("inf"))


KEYS = ("b/m", "b/o", "b")


class Life(RuleBasedStateMachine):
    """Requests, probes and listings in any order, with time going on between them."""

    @initialize()
    def begin(self) -> None:
        self.made = conditions()
        self.now = 0.0
        self.running: list[Watch] = []
        self.last = dict.fromkeys(KEYS, HEALTHY)

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 11.0, 70.0, 300.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.now += seconds
        again = self.made.look(self.now)
        assert again > self.now

    @rule(name=st.sampled_from(["b/m", "b/o"]), work=st.sampled_from([None, 0.1, 5.0]))
    def a_request_comes(self, name: str, work: float | None) -> None:
        tried = self.made.of(name).trial
        self.running.append(sent(self.made, self.now, work, model=name))
        after = self.made.of(name).trial
        if tried is not None and after is not tried:
            # One at a time, unless the one that tried has used up its patience.
            assert self.now >= tried.began + tried.patience

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_token_comes(self, data: st.DataObject) -> None:
        watch = data.draw(st.sampled_from(self.running))
        if watch.move(self.now):
            self.made.token(watch, self.now)
        watch.waits_since = self.now
        assert self.made.of(watch.model).cause not in ("silence", "probe")

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from(["ok", "probe", "error", "hang", "gone", "429"]))
    def it_ends(self, data: st.DataObject, how: str) -> None:
        watch = data.draw(st.sampled_from(self.running))
        self.running.remove(watch)
        made, now = self.made, self.now
        made.end(watch, now)
        assert made.of(watch.model).trial is not watch
        if how in ("ok", "probe"):
            for key in (watch.backend, watch.model):
                made.succeed(key, now, "answer" if how == "ok" else "probe")
                left = {"quota"} if how == "ok" else {"quota", "stall"}
                assert made.of(key).state == HEALTHY or made.of(key).cause in left
        elif how == "429":
            made.rest(watch.model, "429", 30.0, now)
        elif how != "gone":
            made.fail(watch.model, how, watch, now, "failures" if how == "error" else "silence")

    @rule(ok=st.booleans())
    def it_is_listed(self, ok: bool) -> None:
        if ok:
            self.made.listed("b", self.now)
        else:
            self.made.unlisted("b", "refused", self.now)

    @invariant()
    def every_transition_is_told_with_its_reason(self) -> None:
        for told in self.made.take():
            assert told.before == self.last[told.key] != told.after
            assert told.cause in CAUSES[told.after]
            assert told.reason
            self.last[told.key] = told.after
        for key in KEYS:
            assert self.made.of(key).state == self.last[key]

    @invariant()
    def only_what_is_held_against_it_is_told(self) -> None:
        for key in KEYS:
            found = self.made.of(key)
            assert (found.state == HEALTHY) == (key not in self.made.not_healthy())
            assert bool(found.reason) == (found.state != HEALTHY)

    def teardown(self) -> None:
        """Never stuck: with nobody running, everything can be tried after its time."""
        if not hasattr(self, "made"):
            return
        for watch in self.running:
            self.made.end(watch, self.now)
        self.made.listed("b", self.now)
        self.now += 1000.0
        self.made.look(self.now)
        assert self.made.unwell(self.now) == {}
        for key in KEYS:
            assert self.made.of(key).state in (HEALTHY, RECOVERING)


TestLife = Life.TestCase
