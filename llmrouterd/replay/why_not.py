"""Why this model and not that one: the gate it failed, or the terms it lost by, and what change of
one weight would have chosen it. Pure.

The weights are found by deciding again with others, so what is told is what would happen.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from llmrouterd.decision import Ask, Decision, consider
from llmrouterd.policy import Weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.policy import Policy

# A weight is tried so many times larger at most, in steps of this factor, then made exact.
_STEP, _MOST_STEPS, _HALVINGS = 1.5, 12, 14
# What a weight that is zero is tried with first.
_FROM_ZERO = 0.01


class TermGap(NamedTuple):
    """Points that a term gives the chosen model and the other one."""

    name: str
    chosen: float
    other: float


class WeightChange(NamedTuple):
    """A weight that alone would have chosen the other model."""

    name: str
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyNot:
    """gate and reason: what the model failed, "" where it was ranked. terms: the largest gap
    first. weights: the smallest change first. place: in the ranking, from 1. mode: as the
    decision's."""

    model: str
    chosen: str
    mode: str = "routed"
    gate: str = ""
    reason: str = ""
    place: int = 0
    terms: tuple[TermGap, ...] = ()
    weights: tuple[WeightChange, ...] = ()


def why_not(decision: Decision, policy: Policy, model: str) -> WhyNot:
    """Why `model` (an id) was not chosen. policy: the one that decided."""
    chosen = decision.ranked[0].model if decision.ranked else ""
    for rejection in decision.rejected:
        if rejection.model == model:
            return WhyNot(model=model, chosen=chosen, gate=rejection.gate, reason=rejection.reason)
    ranked = {candidate.model: candidate for candidate in decision.ranked}
    if model not in ranked:
        known = model in decision.catalog.by_id
        reason = "the client named another model" if known else "it was not there"
        return WhyNot(model=model, chosen=chosen, gate="absent", reason=reason)
    terms, others = dict(ranked[chosen].terms), dict(ranked[model].terms)
    gaps = [
        TermGap(name, terms.get(name, 0.0), others.get(name, 0.0))
        for name in dict.fromkeys((*terms, *others))
    ]
    gaps.sort(key=lambda gap: gap.other - gap.chosen)
    return WhyNot(
        model=model,
        chosen=chosen,
        mode=decision.mode,
        place=[candidate.model for candidate in decision.ranked].index(model) + 1,
        terms=tuple(gaps),
        weights=() if model == chosen else _weights(decision, policy, model),
    )


def _weights(decision: Decision, policy: Policy, model: str) -> tuple[WeightChange, ...]:
    """Only a routed decision follows the weights."""
    rule = next((rule for rule in policy.rules if rule.name == decision.rule), None)
    if decision.mode != "routed" or rule is None:
        return ()
    before = rule.weights[decision.preset]
    found = []
    for name in (field.name for field in fields(Weights)):
        value = _least(getattr(before, name), _chooses(decision, policy, name, model))
        if value is not None:
            found.append(WeightChange(name, getattr(before, name), value))
    return tuple(sorted(found, key=_extent))


def _extent(change: WeightChange) -> float:
    larger, smaller = max(change.before, change.after), min(change.before, change.after)
    return larger / smaller if smaller > 0 else float("inf")


def _chooses(decision: Decision, policy: Policy, name: str, model: str) -> Callable[[float], bool]:
    """Whether another value of one weight chooses the model."""
    ask = Ask(decision.preset, None)

    def chooses(value: float) -> bool:
        rules = []
        for rule in policy.rules:
            if rule.name == decision.rule:
                weights = replace(rule.weights[decision.preset], **{name: value})
                rule = replace(rule, weights={**rule.weights, decision.preset: weights})
            rules.append(rule)
        other = replace(policy, rules=tuple(rules))
        made = consider(decision.signals, other, decision.catalog, decision.load, ask)
        return bool(made.ranked) and made.ranked[0].model == model

    return chooses


def _least(before: float, chooses: Callable[[float], bool]) -> float | None:
    """The value nearest to `before` that does it, above or below; None where none does."""
    found: list[tuple[float, float]] = []
    for factor in (_STEP, 1.0 / _STEP):
        value = before if before > 0 else _FROM_ZERO
        without = before
        for step in range(_MOST_STEPS + 1):
            # Below, the last one tried is zero.
            value = 0.0 if factor < 1 and step == _MOST_STEPS else value * factor
            if chooses(value):
                exact = _between(without, value, chooses)
                found.append((abs(exact - before), exact))
                break
            without = value
        if before == 0:
            break
    return min(found)[1] if found else None


def _between(fails: float, works: float, chooses: Callable[[float], bool]) -> float:
    """A value that works, as near to the one that fails as is worth telling."""
    for _ in range(_HALVINGS):
        middle = (fails + works) / 2
        if chooses(middle):
            works = middle
        else:
            fails = middle
    return _rounded(works, chooses)


def _rounded(value: float, chooses: Callable[[float], bool]) -> float:
    """With as few digits as still do it."""
    for digits in range(2, 6):
        short = float(f"{value:.{digits}g}")
        if chooses(short):
            return short
    return value


def describe_why_not(found: WhyNot) -> dict[str, Any]:
    """With plain JSON values."""
    return {
        "model": found.model,
        "chosen": found.chosen,
        "gate": found.gate or None,
        "reason": found.reason,
        "place": found.place or None,
        "terms": [{**gap._asdict(), "difference": gap.other - gap.chosen} for gap in found.terms],
        "weights": [
            {"name": change.name, "from": change.before, "to": change.after}
            for change in found.weights
        ],
        "words": why_not_in_words(found),
    }


def why_not_in_words(found: WhyNot) -> str:
    """For a person to read."""
    if found.model == found.chosen:
        return f"{found.model} was chosen."
    if found.gate:
        return f"{found.model} was not chosen: {found.reason} ({found.gate})"
    lost = sum(gap.chosen - gap.other for gap in found.terms)
    lines = [
        f"{found.model} was not chosen: place {found.place}, {lost:.1f} points behind "
        f"{found.chosen}"
    ]
    for gap in found.terms:
        if abs(gap.other - gap.chosen) >= 0.05:
            lines.append(
                f"  {gap.name}: {gap.other:+.1f} against {gap.chosen:+.1f} "
                f"({gap.other - gap.chosen:+.1f})"
            )
    if found.weights:
        told = ", or ".join(
            f"{change.name} {change.after:g} instead of {change.before:g}"
            for change in found.weights[:3]
        )
        lines.append(f"  it would be chosen with the weight {told}")
    elif found.mode == "task":
        lines.append(
            "  background tasks take what is loaded, then the smallest, whatever the points"
        )
    else:
        lines.append("  no single weight would change that")
    return "\n".join(lines)
