"""Every term of the score, and the seconds behind the time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.catalog import Evidence, Model, ParallelSpeed, Profile
from llmrouterd.policy import Policy
from llmrouterd.scorer import Candidate, Load, Scorer, Standing, sends_tools, tool_tokens_for
from tests.support.policies import model, policy, signals

F = frozenset
MEASURED = Profile(
    samples=2,
    load_seconds=10.0,
    ttft_seconds=0.5,
    prefill_tokens_per_second=100.0,
    decode_tokens_per_second=20.0,
)
BESIDE = (ParallelSpeed(streams=2, tokens_per_second=20.0, stream_tokens_per_second=10.0),)


def score(
    item: Model, load: Load | None = None, rules: Policy | None = None, **said: Any
) -> Candidate:
    made = rules or policy()
    rule = made.rules[-1]
    weights = rule.weights[made.scoring.preset]
    return Scorer(signals(**said), made, rule, weights, load or Load()).score(item)


def terms(item: Model, **more: Any) -> dict[str, float]:
    return dict(score(item, **more).terms)


ASSUMED = policy().scoring.assumed


def unmeasured(size_b: float) -> float:
    """Seconds for 20 prompt tokens and 400 of answer, at the assumed speeds of that size."""
    prefill = ASSUMED.prefill_tokens_per_second / size_b
    decode = ASSUMED.decode_tokens_per_second / size_b
    return 20 / prefill + 400 / decode


LOADED = Load(resident=F({"box/m"}))


@pytest.mark.parametrize(
    ("fields", "load", "said", "expected"),
    [
        # 1000 / 100 prefill + 400 / 20 decode, and 10 s of loading where it is cold.
        ({"profile": MEASURED}, LOADED, {"prompt_tokens": 1000}, 30.0),
        ({"profile": MEASURED}, Load(), {"prompt_tokens": 1000}, 40.0),
        ({"profile": MEASURED}, LOADED, {"prompt_tokens": 1000, "max_tokens": 100}, 15.0),
        ({"profile": MEASURED}, LOADED, {"prompt_tokens": 1000, "max_tokens": 9999}, 30.0),
        # Two in flight on one slot: wait for both; on two slots: for one round.
        (
            {"profile": MEASURED},
            Load(resident=F({"box/m"}), busy={"box/m": 2}),
            {"prompt_tokens": 1000},
            90.0,
        ),
        (
            {"profile": MEASURED},
            Load(resident=F({"box/m"}), busy={"box/m": 2}, slots={"box/m": 2}),
            {"prompt_tokens": 1000},
            60.0,
        ),
        (
            {"profile": MEASURED},
            Load(resident=F({"box/m"}), busy={"box/m": 1}, slots={"box/m": 2}),
            {"prompt_tokens": 1000},
            30.0,
        ),
        # What every answer waits, and the slower pace beside another one.
        (
            {"profile": replace(MEASURED, ttft_base_seconds=0.5)},
            LOADED,
            {"prompt_tokens": 1000},
            30.5,
        ),
        (
            {"profile": replace(MEASURED, parallel=BESIDE)},
            Load(resident=F({"box/m"}), busy={"box/m": 1}, slots={"box/m": 2}),
            {"prompt_tokens": 1000},
            50.0,
        ),
        ({"profile": replace(MEASURED, parallel=BESIDE)}, LOADED, {"prompt_tokens": 1000}, 30.0),
        # A warm load is the least that a cold one takes.
        (
            {"profile": replace(MEASURED, load_seconds=None, warm_load_seconds=99.0)},
            Load(),
            {"prompt_tokens": 1000},
            129.0,
        ),
        # Not measured: assumed by size.
        ({"size_b": 14.0}, LOADED, {"prompt_tokens": 20}, unmeasured(14.0)),
        ({"size_b": None}, LOADED, {"prompt_tokens": 20}, unmeasured(ASSUMED.size_b)),
        (
            {"size_b": 7.0, "size_bytes": 5_000_000_000},
            Load(),
            {"prompt_tokens": 20},
            5 / ASSUMED.load_gigabytes_per_second + unmeasured(7.0),
        ),
        # A remote model has nothing to load, and its time to first token holds the prefill.
        (
            {"remote": True},
            Load(),
            {"prompt_tokens": 10**5},
            ASSUMED.remote_seconds + 400 / ASSUMED.remote_tokens_per_second,
        ),
        ({"remote": True, "profile": MEASURED}, Load(), {"prompt_tokens": 10**5}, 20.5),
    ],
)
def test_seconds(fields: dict[str, Any], load: Load, said: Any, expected: float) -> None:
    assert score(model("box/m", **fields), load, **said).seconds == pytest.approx(expected)


def test_the_category_says_how_long_an_answer_is() -> None:
    item = model("box/m", profile=MEASURED)
    short, long = (
        score(item, LOADED, category=name, prompt_tokens=0).seconds for name in ("chat", "coding")
    )
    lengths = [policy().categories[name].output_tokens for name in ("chat", "coding")]
    assert [short, long] == pytest.approx([length / 20 for length in lengths])


def test_terms_are_named_and_zero_ones_left_out() -> None:
    assert set(terms(model("box/m"))) == {"quality", "time"}
    rich = model("box/m", price=(10.0, 30.0), capabilities=F({"chat", "tools"}), pinned=True)
    load = Load(resident=F({"box/m"}), sticky="box/m")
    found = terms(rich, load=load, tool_tokens=50, prompt_tokens=950, tool_loop=True)
    assert list(found) == ["quality", "time", "cost", "stickiness", "tools", "resident", "pinned"]
    # 1000 tokens in and 400 out, in cents, times 5 points.
    assert found["cost"] == pytest.approx(-5.0 * (1000 * 10 + 400 * 30) / 10_000)
    assert found["stickiness"] == 8.0 + 200.0
    assert (found["tools"], found["resident"], found["pinned"]) == (4.0, 1.0, 1.0)
    assert terms(rich, load=load)["stickiness"] == 8.0


def test_a_free_model_costs_nothing() -> None:
    assert "cost" not in terms(model("box/m", price=(0.0, 0.0)))


@pytest.mark.parametrize(
    ("capabilities", "needs", "sent"),
    [
        (None, F(), True),
        (F({"chat", "tools"}), F(), True),
        (F({"chat"}), F(), False),
        (F({"chat"}), F({"tools"}), True),
    ],
)
def test_offered_tools_are_counted_only_where_they_are_sent(
    capabilities: frozenset[str] | None, needs: frozenset[str], sent: bool
) -> None:
    item = model("box/m", capabilities=capabilities)
    assert sends_tools(item, needs) is sent
    assert tool_tokens_for(item, signals(tool_tokens=70, needs=needs)) == (70 if sent else 0)


def test_quality_is_a_chance_and_falls_with_difficulty() -> None:
    chances = [score(model("box/m"), complexity=step / 10).quality for step in range(11)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] - chances[-1] > 0.3
    assert all(0 < chance < 1 for chance in chances)


def test_the_category_counts_most_and_the_generalist_a_share() -> None:
    item = model("box/m", quality={"coding": 0.9, "overall": 0.5})
    general, coding, math = (
        score(item, category=name, complexity=0.5).quality for name in ("general", "coding", "math")
    )
    assert general == pytest.approx(math)
    assert coding > general + 0.15
    mixed = policy("scoring: {generalist: 0.5}")
    assert general < score(item, rules=mixed, category="coding").quality < coding


def test_risk_takes_off_what_is_not_known() -> None:
    careful = policy(
        "rules: [{name: r, weights: {risk: 1}}]\n"
        "backends: [{name: box, type: ollama, url: http://box}]\n"
    )
    known, unknown = model("box/a", quality={"overall": 0.6}), model("box/b", size_b=None)
    drops = [score(m).quality - score(m, rules=careful).quality for m in (known, unknown)]
    assert 0 < drops[0] < drops[1]


@given(st.floats(0.05, 500), st.floats(0.05, 500), st.floats(0, 1))
def test_a_larger_model_of_unknown_speed_is_better_and_slower(
    a: float, b: float, complexity: float
) -> None:
    small, large = sorted((a, b))
    first, second = (
        score(model("box/m", size_b=size), complexity=complexity) for size in (small, large)
    )
    assert first.quality <= second.quality
    assert first.seconds <= second.seconds + 1e-9


def known(id_: str, overall: float, coding: float, *, sd: float = 0.1, vague: float = 0.1) -> Model:
    """A model of these abilities, in logits; sd is that of `overall`, vague that of `coding`."""
    evidence = {
        "overall": Evidence(mean=overall, sd=sd, sources=()),
        "coding": Evidence(mean=coding, sd=vague, sources=()),
    }
    return model(id_, evidence=evidence)


def compete(*models: Model, scoring: str = "", category: str = "coding") -> dict[str, Candidate]:
    rules = policy(f"scoring: {{{scoring}}}")
    weights = rules.rules[-1].weights[rules.scoring.preset]
    scorer = Scorer(signals(category=category), rules, rules.rules[-1], weights, Load())
    return {candidate.model: candidate for candidate in scorer.candidates(models)}


GENERALIST = known("box/general", overall=1.0, coding=0.5)


@pytest.mark.parametrize(
    ("specialist", "clear"),
    [
        ({"overall": 0.0, "coding": 2.5}, True),
        ({"overall": 0.0, "coding": 0.7}, False),
        # The same lead where the category is hardly known, and where the overall figure is not.
        ({"overall": 0.0, "coding": 2.5, "vague": 2.0}, False),
        ({"overall": 0.0, "coding": 0.7, "sd": 3.0}, True),
        # Who does not trail needs no margin.
        ({"overall": 1.0, "coding": 0.51}, True),
    ],
)
def test_the_generalist_is_left_only_on_a_clear_lead(
    specialist: dict[str, float], clear: bool
) -> None:
    found = compete(GENERALIST, known("box/coder", **specialist))
    one, other = found["box/general"], found["box/coder"]
    assert other.quality > one.quality
    assert ("margin" not in dict(other.terms)) is clear
    assert (other.total > one.total) is clear
    assert other.total == pytest.approx(sum(points for _, points in other.terms))
    assert "margin" not in dict(one.terms)


def test_a_lead_that_is_not_clear_is_lost_and_no_more() -> None:
    found = compete(GENERALIST, known("box/coder", overall=0.0, coding=0.7))
    assert found["box/general"].total == pytest.approx(found["box/coder"].total, abs=0.02)


def test_the_margin_is_the_owners() -> None:
    coder = known("box/coder", overall=0.0, coding=0.7)
    for text, left in (("margin: 0", True), ("margin: 1000", False)):
        found = compete(GENERALIST, coder, scoring=text)
        assert (found["box/coder"].total > found["box/general"].total) is left
    sure = known("box/coder", overall=0.0, coding=9.0)
    assert "margin" in dict(compete(GENERALIST, sure, scoring="margin: 1000")["box/coder"].terms)


def test_without_a_category_or_evidence_there_is_no_margin() -> None:
    coder = known("box/coder", overall=0.0, coding=0.7)
    found = compete(GENERALIST, coder, category="general")
    assert found["box/general"].total > found["box/coder"].total
    assert all("margin" not in dict(one.terms) for one in found.values())
    nothing = Model(id="box/none", name="none", backend="box")
    assert compete(nothing)["box/none"].quality == 0.0
    assert "margin" not in dict(compete(GENERALIST, nothing)["box/none"].terms)


@given(
    st.lists(
        st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.05, 2), st.floats(0.05, 2)),
        min_size=1,
        max_size=8,
    )
)
def test_the_chosen_model_is_the_generalist_or_clearly_better(
    abilities: list[tuple[float, float, float, float]],
) -> None:
    models = [
        known(f"box/{at}", overall=one, coding=other, sd=sd, vague=vague)
        for at, (one, other, sd, vague) in enumerate(abilities)
    ]
    found = compete(*models)
    assert list(found) == [item.id for item in models]
    best = max(models, key=lambda item: item.evidence["overall"].mean)
    assert "margin" not in dict(found[best.id].terms)
    chosen = max(found.values(), key=lambda one: one.total)
    assert chosen.quality >= found[best.id].quality
    if chosen.quality > found[best.id].quality:
        assert "margin" not in dict(chosen.terms)


@pytest.mark.parametrize(
    ("standing", "more"),
    [
        (Standing("ready"), 0.0),
        (Standing("ready", 3.0), 3.0),
        (Standing("loading", 4.0), 4.0),
        (Standing("absent", 2.0), 12.0),
    ],
)
def test_the_seconds_of_a_queue_and_a_load_are_part_of_the_time(
    standing: Standing, more: float
) -> None:
    item = model("a", profile=MEASURED)
    resident = F() if standing.state == "absent" else F({item.id})
    alone = score(item, Load(resident=F({item.id}))).seconds
    found = score(item, Load(resident=resident, standing={item.id: standing}))
    assert found.seconds == pytest.approx(alone + more)
    assert found.standing == standing


def test_what_others_lose_by_an_eviction_is_charged() -> None:
    item = model("a", profile=MEASURED)
    costs = Standing("absent", evicts=("b",), cost=5.0)
    weights = policy().rules[-1].weights[policy().scoring.preset]
    found = dict(score(item, Load(standing={item.id: costs})).terms)
    assert found["eviction"] == pytest.approx(-5.0 * weights.time * weights.eviction)
    assert "eviction" not in dict(score(item, Load(standing={item.id: Standing("absent")})).terms)
