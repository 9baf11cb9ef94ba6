"""decide(): who may serve, who is best, and that nothing else than its arguments counts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.catalog import Catalog, Profile
from llmrouterd.decision import Ask, Decision, decide, resolve
from llmrouterd.errors import ModelNotFound, NoCapableModel, NoModelAvailable
from llmrouterd.explanation import describe
from llmrouterd.policy import Policy
from llmrouterd.scorer import Load
from tests.support.policies import catalog, model, policy, signals

F = frozenset
BOX = "backends: [{name: box, type: ollama, url: http://box}]\n"
SMALL = model("box/small", size_b=1.0)
MIDDLE = model("box/middle", size_b=8.0)
LARGE = model("box/large", size_b=70.0)
ALL = catalog(SMALL, MIDDLE, LARGE)


def rule(text: str) -> Policy:
    """A policy whose one rule is this flow mapping without its braces."""
    return policy(BOX + "rules: [{name: r, " + text + "}]\n")


def made(
    rules: Policy | None = None,
    models: Catalog = ALL,
    load: Load | None = None,
    ask: Ask | None = None,
    **said: Any,
) -> Decision:
    return decide(signals(**said), rules or policy(BOX), models, load or Load(), ask)


def ids(decision: Decision) -> list[str]:
    return [candidate.model for candidate in decision.ranked]


def gates(decision: Decision) -> dict[str, str]:
    return {rejection.model: rejection.gate for rejection in decision.rejected}


def test_an_explicit_model_is_never_rerouted() -> None:
    """Not even one that is switched off, too small, cooling or without the capability."""
    poor = model("box/poor", enabled=False, context=10, capabilities=F())
    models = catalog(poor, LARGE)
    ask = resolve("box/poor", policy(BOX), models)
    cooling = Load(cooling={"box/poor": "it failed"})
    found = made(models=models, ask=ask, load=cooling, prompt_tokens=500, needs=F({"vision"}))
    assert (found.mode, found.rule, ids(found)) == ("explicit", "explicit", ["box/poor"])


def test_a_name_on_two_backends_is_either_of_them() -> None:
    models = catalog(model("a/qwen", size_b=1.0), model("b/qwen", size_b=1.0), model("b/other"))
    ask = resolve("qwen", policy(BOX), models)
    found = made(models=models, ask=ask, load=Load(resident=F({"b/qwen"})))
    assert ids(found) == ["b/qwen", "a/qwen"]
    assert ids(made(models=models, ask=resolve("b/qwen", policy(BOX), models))) == ["b/qwen"]


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        (None, ""),
        ("hubrouter/main", ""),
        ("hubrouter/main:speed", "speed"),
        ("hubrouter/main:quality", "quality"),
    ],
)
def test_the_virtual_name_chooses(name: str | None, preset: str) -> None:
    assert resolve(name, policy(), ALL) == Ask(preset, None)


def test_unknown_names() -> None:
    with pytest.raises(ModelNotFound, match="'gpt-5' does not exist here; 'hubrouter/main'"):
        resolve("gpt-5", policy(), ALL)
    with pytest.raises(ModelNotFound, match="preset 'fast' does not exist; use one of quality"):
        resolve("hubrouter/main:fast", policy(), ALL)
    routing = policy("server: {unknown_models: route}")
    assert resolve("gpt-5", routing, ALL) == Ask("", None)


def test_ids_aliases_and_latest() -> None:
    models = catalog(
        model("a/llama:latest", aliases=("chatty",)), model("b/chatty"), model("b/llama")
    )
    assert models.find("chatty") is models.by_id["a/llama:latest"]
    assert models.find("b/chatty") is models.by_id["b/chatty"]
    assert models.find("a/llama") is None
    assert models.find("llama:latest") is models.by_id["a/llama:latest"]
    assert models.find("llama") is models.by_id["a/llama:latest"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("use: box/small", ["box/small"]),
        ('only: ["box/*l*"]', ["box/large", "box/middle", "box/small"]),
        ('only: ["*/LARGE"]', ["box/large"]),
        ('exclude: ["*large", "*middle"]', ["box/small"]),
        ("require: {max_size_b: 10, min_size_b: 2}", ["box/middle"]),
    ],
)
def test_who_may_serve_by_rule(text: str, expected: list[str]) -> None:
    assert sorted(ids(made(rule(text)))) == expected


def test_prefer_moves_and_names_its_term() -> None:
    plain = made(rule("preset: balanced"))
    moved = made(rule('prefer: {"*small": 500, "box/*": 1}'))
    assert ids(moved)[0] == "box/small"
    terms = dict(moved.ranked[0].terms)
    assert terms["prefer *small"] == 500
    assert terms["prefer box/*"] == 1
    assert "prefer *small" not in dict(plain.ranked[0].terms)


def test_weights_of_a_rule_lie_over_the_preset() -> None:
    slow = model("box/slow", size_b=70.0, profile=Profile(samples=1, decode_tokens_per_second=2))
    models = catalog(slow, SMALL)
    assert ids(made(rule("weights: {time: 0}"), models))[0] == "box/slow"
    assert ids(made(rule("weights: {time: 9}"), models))[0] == "box/small"


def test_presets_by_client_then_rule_then_policy() -> None:
    speed = {"samples": 1, "prefill_tokens_per_second": 1000.0, "load_seconds": 1.0}
    quick = Profile(**speed, decode_tokens_per_second=100.0)
    slow = Profile(**speed, decode_tokens_per_second=10.0)
    models = catalog(
        model("box/good", profile=slow, quality={"overall": 0.75}),
        model("box/quick", profile=quick, quality={"overall": 0.55}),
    )
    assert ids(made(rule("preset: speed"), models))[0] == "box/quick"
    assert ids(made(rule("preset: quality"), models))[0] == "box/good"
    by_client = made(rule("preset: speed"), models, preset="quality")
    assert (by_client.preset, ids(by_client)[0]) == ("quality", "box/good")
    by_name = made(rule("preset: speed"), models, ask=Ask("quality", None))
    assert by_name.preset == "quality"
    assert made(policy(BOX + "scoring: {preset: speed}"), models).preset == "speed"


def test_a_rules_category_is_scored_instead() -> None:
    coder = model("box/coder", quality={"coding": 0.95, "overall": 0.3})
    talker = model("box/talker", quality={"coding": 0.3, "overall": 0.8})
    models = catalog(coder, talker)
    assert ids(made(models=models))[0] == "box/talker"
    assert ids(made(rule("category: coding"), models))[0] == "box/coder"


GATES = [
    ({"enabled": False}, {}, "", "disabled", "switched off in models"),
    ({"fallback": True}, {}, "", "fallback", "only while no other backend serves a model"),
    ({}, {}, "use: box/good", "use", "the choice here is box/good"),
    ({}, {}, 'only: ["*good"]', "only", "rule r allows only *good"),
    ({}, {}, 'exclude: ["*bad"]', "exclude", "excluded by rule r"),
    ({"capabilities": F({"embedding"})}, {}, "", "capability", "does not chat"),
    ({}, {"needs": F({"vision", "json"})}, "", "capability", "has no json, vision"),
    ({}, {}, "require: {capabilities: [thinking]}", "require", "rule r wants thinking"),
    ({"size_b": 1.0}, {}, "require: {min_size_b: 5}", "require", "smaller than 5B, or of unkn"),
    ({"size_b": None}, {}, "require: {max_size_b: 9}", "require", "larger than 9B, or of unkn"),
    ({"context": 900}, {}, "require: {min_context: 1000}", "require", "context below 1000"),
    ({"price": (1.0, 9.0)}, {}, "require: {max_price: 5}", "require", "costs more than 5 doll"),
    ({}, {}, "require: {resident: true}", "require", "not loaded now"),
    ({"context": 100}, {"prompt_tokens": 100}, "", "context", "has 100 tokens, its context 100"),
    (
        {"context": 100},
        {"prompt_tokens": 90, "max_tokens": 20},
        "",
        "answer_space",
        "90 prompt tokens and 20 for the answer exceed its context of 100",
    ),
    (
        {"context": 100},
        {"prompt_tokens": 120, "exact_tokens": False},
        "",
        "context",
        "the prompt has up to 120 tokens",
    ),
]


@pytest.mark.parametrize(
    ("fields", "said", "text", "gate", "reason"), GATES, ids=[f"{g[3]}-{g[4][:18]}" for g in GATES]
)
def test_each_gate_says_why(
    fields: dict[str, Any], said: dict[str, Any], text: str, gate: str, reason: str
) -> None:
    able = F({"chat", "vision", "json", "tools", "thinking"})
    good = model("box/good", capabilities=able, price=(0.0, 0.0))
    load = Load(resident=F({"box/good"}))
    found = made(
        rule(text or "preset: balanced"), catalog(good, model("box/bad", **fields)), load, **said
    )
    assert ids(found) == ["box/good"]
    (rejection,) = found.rejected
    assert (rejection.model, rejection.gate) == ("box/bad", gate)
    assert reason in rejection.reason


def test_unknown_capabilities_pass_with_a_penalty() -> None:
    models = catalog(model("box/unknown", capabilities=None), model("box/no"))
    found = made(models=models, needs=F({"vision"}))
    assert ids(found) == ["box/unknown"]
    assert dict(found.ranked[0].terms)["unknown"] == -50


def test_soft_gates_bend_only_when_nobody_is_left() -> None:
    cooling = Load(cooling={"box/large": "it failed", "box/middle": "it failed"})
    found = made(load=cooling)
    assert ids(found) == ["box/small"]
    assert gates(found) == {"box/large": "cooling", "box/middle": "cooling"}
    everybody = Load(cooling={m.id: "it failed" for m in ALL.models})
    assert sorted(ids(made(load=everybody))) == ["box/large", "box/middle", "box/small"]
    assert made(load=everybody).rejected == ()


def test_a_short_answer_is_better_than_a_broken_backend() -> None:
    models = catalog(model("box/tight", context=100), model("box/broken"))
    load = Load(cooling={"box/broken": "it failed"})
    found = made(models=models, load=load, prompt_tokens=90, max_tokens=50)
    assert ids(found) == ["box/tight"]
    assert gates(found) == {"box/broken": "cooling"}


def test_a_hard_gate_never_bends() -> None:
    with pytest.raises(NoCapableModel) as caught:
        made(needs=F({"vision"}))
    assert "it needs vision" in caught.value.message
    assert "box/large, box/middle, box/small: has no vision" in caught.value.message
    assert caught.value.http_status == 400


def test_no_model_at_all() -> None:
    with pytest.raises(NoModelAvailable, match="No backend serves a model now"):
        made(models=Catalog())


def test_a_fallback_serves_while_it_is_alone() -> None:
    spare = model("own/tiny", fallback=True)
    assert ids(made(models=catalog(spare))) == ["own/tiny"]
    assert ids(made(models=catalog(spare, SMALL))) == ["box/small"]
    with pytest.raises(NoModelAvailable):
        made(models=catalog(spare, SMALL), needs=F({"vision"}))


def test_a_conversation_keeps_its_model() -> None:
    twins = catalog(model("box/a"), model("box/b"))
    assert ids(made(models=twins))[0] == "box/a"
    assert ids(made(models=twins, load=Load(sticky="box/b")))[0] == "box/b"
    better = catalog(model("box/a", quality={"overall": 0.95}), model("box/b"))
    sticky = Load(sticky="box/b")
    assert ids(made(models=better, load=sticky))[0] == "box/a"  # wins by more than the margin
    assert ids(made(models=better, load=sticky, tool_loop=True))[0] == "box/b"


@pytest.mark.parametrize("task", ["title", "tags", "follow_up"])
def test_a_background_task_goes_to_the_smallest_that_is_loaded(task: str) -> None:
    found = made(load=Load(resident=F({"box/large", "box/middle"})), task=task)
    assert (found.mode, found.rule) == ("task", f"task:{task}")
    assert ids(found) == ["box/middle", "box/large", "box/small"]
    tiny = catalog(model("box/tiny", size_b=0.1), SMALL, LARGE)
    assert ids(made(models=tiny, task=task)) == ["box/small", "box/large", "box/tiny"]
    chosen = policy(BOX + "tasks: {model: box/large}")
    assert ids(made(chosen, task=task))[0] == "box/large"


def test_a_rule_for_tasks_is_obeyed() -> None:
    text = BOX + "rules: [{name: t, when: {task: [any]}, preset: quality}, {name: d}]"
    found = made(policy(text), task="title")
    assert (found.mode, found.rule, found.preset) == ("routed", "t", "quality")


def test_embeddings() -> None:
    embedder = model("box/embed", capabilities=F({"embedding"}), size_b=0.1)
    models = catalog(SMALL, embedder)
    assert ids(made(models=models, kind="embeddings")) == ["box/embed"]
    with pytest.raises(NoCapableModel):
        made(kind="embeddings")


def test_ties_are_broken_by_id() -> None:
    names = ["box/c", "box/a", "box/b"]
    assert ids(made(models=catalog(*map(model, names)))) == sorted(names)


MODELS = [
    model(f"box/m{n}", size_b=float(2 ** (n % 6)), context=1000 * (n % 4 + 1)) for n in range(12)
]


@given(st.permutations(MODELS), st.sampled_from([0.1, 0.5, 0.9]), st.integers(1, 3900))
def test_the_order_of_the_catalog_never_matters(order: Any, complexity: float, tokens: int) -> None:
    load = Load(resident=F({"box/m3"}), busy={"box/m3": 2}, cooling={"box/m4": "x"})
    said = {"complexity": complexity, "prompt_tokens": tokens}
    found = made(models=catalog(*order), load=load, **said)
    assert found == made(models=catalog(*MODELS), load=load, **said)
    totals = [candidate.total for candidate in found.ranked]
    assert totals == sorted(totals, reverse=True)
    everybody = {*ids(found), *gates(found)}
    assert everybody == {m.id for m in MODELS}
    assert len(found.ranked) + len(found.rejected) == len(MODELS)


@given(st.floats(0, 1), st.integers(0, 10**6), st.integers(1, 10**6) | st.none())
def test_every_total_is_the_sum_of_its_terms(c: float, tokens: int, wanted: int | None) -> None:
    models = catalog(*(model(f"box/{n}", context=None, size_b=n or None) for n in range(4)))
    found = made(models=models, complexity=c, prompt_tokens=tokens, max_tokens=wanted)
    for candidate in found.ranked:
        assert candidate.total == pytest.approx(sum(points for _, points in candidate.terms))
        assert 0 <= candidate.quality <= 1
        assert candidate.seconds > 0
    json.dumps(describe(found), allow_nan=False)
