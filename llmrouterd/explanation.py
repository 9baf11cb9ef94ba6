"""A Decision as data and in words. Renders what was decided; recomputes nothing."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from llmrouterd.evidence import OVERALL
from llmrouterd.scorer import logistic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrouterd.catalog import Catalog, Model
    from llmrouterd.decision import Decision
    from llmrouterd.policy import Policy
    from llmrouterd.scorer import Load
    from llmrouterd.signals import Signals


class Attempt(NamedTuple):
    """One candidate that was tried and failed."""

    model: str
    error: str
    seconds: float


def describe_signals(signals: Signals) -> dict[str, Any]:
    """Signals with plain JSON values."""
    # Not asdict: it copies deeply, and this runs for every stored decision.
    data = {item.name: getattr(signals, item.name) for item in fields(signals)}
    data["needs"] = sorted(signals.needs)
    data["texts"] = sorted(signals.texts)
    return data


def describe(decision: Decision) -> dict[str, Any]:
    """A Decision with plain JSON values: the header, the stored row, the API and the command
    line all show this."""
    return {
        "mode": decision.mode,
        "rule": decision.rule,
        "preset": decision.preset,
        "model": decision.ranked[0].model if decision.ranked else None,
        "ranked": [
            {
                "model": candidate.model,
                "total": candidate.total,
                "quality": candidate.quality,
                "wait": candidate.wait,
                "seconds": candidate.seconds,
                "cents": candidate.cents,
                "terms": dict(candidate.terms),
                "standing": candidate.standing._asdict() if candidate.standing else None,
            }
            for candidate in decision.ranked
        ],
        "rejected": [rejection._asdict() for rejection in decision.rejected],
        "signals": describe_signals(decision.signals),
        "policy_digest": decision.policy_digest,
        "generation": decision.generation,
    }


def describe_load(load: Load) -> dict[str, Any]:
    """The live state with plain JSON values; `catalog_file.read_load` reads it back."""
    return {
        "resident": sorted(load.resident),
        "busy": dict(load.busy),
        "cooling": dict(load.cooling),
        "suspect": dict(load.suspect),
        "slots": dict(load.slots),
        "sticky": load.sticky,
        "standing": {model: standing._asdict() for model, standing in load.standing.items()},
        "spent": dict(load.spent),
    }


def describe_evidence(model: Model, policy: Policy) -> dict[str, Any]:
    """A model's evidence by category: each source with its share of the mean, and `quality`, the
    chance of a good answer to a prompt of middling difficulty: one sd below, mean, one above."""
    discrimination = policy.scoring.discrimination
    return {
        category: {
            "mean": found.mean,
            "sd": found.sd,
            "quality": [
                round(logistic(discrimination * (found.mean + side * found.sd)), 4)
                for side in (-1, 0, 1)
            ],
            "sources": [
                {
                    "source": source.source,
                    "mean": source.mean,
                    "sd": source.sd,
                    "weight": round(weight, 4),
                }
                for source, weight in zip(found.sources, found.weights, strict=True)
            ],
        }
        for category, found in model.evidence.items()
    }


def explain_candidates(decision: Decision, catalog: Catalog, policy: Policy) -> dict[str, Any]:
    """A described Decision in which each candidate has the evidence that its quality is from: of
    the category that was scored, else `overall`."""
    described = describe(decision)
    by_rule = {rule.name: rule.category for rule in policy.rules}
    category = by_rule.get(decision.rule) or decision.signals.category
    for candidate in described["ranked"]:
        model = catalog.by_id.get(candidate["model"])
        found = describe_evidence(model, policy) if model else {}
        candidate["evidence"] = found.get(category) or found.get(OVERALL)
    return described


def describe_attempts(attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    """The candidates that were tried and failed before the one that answered."""
    return [attempt._asdict() for attempt in attempts]


def in_words(described: dict[str, Any], most: int = 5) -> str:
    """A described Decision for a person to read, several lines."""
    signals = described["signals"]
    lines = [
        f"{described['model'] or 'no model'} by rule {described['rule']!r} "
        f"({described['mode']}, preset {described['preset']})",
        f"  category {signals['category']}{_chances(signals)}, complexity "
        f"{signals['complexity']:.2f}, {'' if signals['exact_tokens'] else 'up to '}"
        f"{signals['prompt_tokens']} prompt tokens"
        + (f" and {signals['tool_tokens']} for tools" if signals["tool_tokens"] else "")
        + (f", needs {', '.join(signals['needs'])}" if signals["needs"] else "")
        + (f", task {signals['task']}" if signals["task"] else "")
        + (f", text {', '.join(signals['texts'])}" if signals.get("texts") else ""),
    ]
    for place, candidate in enumerate(described["ranked"][:most], start=1):
        terms = "  ".join(f"{name} {points:+.1f}" for name, points in candidate["terms"].items())
        lines.append(
            f"  {place}. {candidate['model']}: {candidate['total']:.1f} = {terms}  "
            f"[good answer {candidate['quality']:.0%}, {candidate['seconds']:.1f} s"
            f"{_standing(candidate.get('standing'))}]"
        )
        if candidate.get("evidence"):
            lines.append(f"     {_evidence(candidate['evidence'])}")
    more = len(described["ranked"]) - most
    if more > 0:
        lines.append(f"  and {more} more")
    lines += [f"  not {r['model']}: {r['reason']} ({r['gate']})" for r in described["rejected"]]
    if not described["ranked"] and not described["rejected"]:
        named = described["mode"] == "explicit"
        lines.append(f"  no backend serves {'the model that was named' if named else 'one'}")
    return "\n".join(lines)


def stored_in_words(row: dict[str, Any]) -> str:
    """A stored decision for a person to read: who answered, and then what was decided."""
    described, answered = row["record"], who_answered(row)
    if answered not in (None, described["model"]):
        described = {**described, "model": f"{answered} in place of {described['model']}"}
    first, *rest = in_words(described).splitlines()
    return "\n".join([first, *(f"  {line}" for line in failures_in_words(row)), *rest])


def who_answered(row: dict[str, Any]) -> str | None:
    """The model whose answer the client of a stored decision has, or has the begin of. The row's
    model may have begun one that broke off before the client was sent anything."""
    answered: str | None = row["model"]
    failed = any(one["model"] == answered for one in row["record"].get("attempts") or [])
    # One that was still loading can have answered later.
    return None if failed and row["outcome"] != "ok" else answered


def failures_in_words(row: dict[str, Any]) -> list[str]:
    """Who failed after a stored decision, and who answered then, each in one line; nothing where
    the chosen model answered at once."""
    record, answered = row["record"], who_answered(row)
    attempts = record.get("attempts") or []
    lines = [
        f"{one['model']} failed after {one['seconds']:.1f} s: {' '.join(one['error'].split())}"
        for one in attempts
    ]
    if answered is not None and (attempts or answered != record["model"]):
        lines.append(f"{answered} answered")
    return lines


def _standing(standing: dict[str, Any] | None) -> str:
    """What happens in memory for a candidate; nothing for one that is loaded and free."""
    if standing is None or (standing["state"] == "ready" and not standing["wait"]):
        return ""
    parts = [] if standing["state"] == "ready" else [standing["state"]]
    if standing["wait"]:
        parts.append(f"{standing['wait']:.1f} s of waiting")
    if standing["evicts"]:
        parts.append("puts out " + ", ".join(standing["evicts"]))
    return ", " + ", ".join(parts)


def _evidence(found: dict[str, Any]) -> str:
    low, _, high = found["quality"]
    by_weight = sorted(found["sources"], key=lambda source: -source["weight"])
    sources = "; ".join(f"{source['source']} ({source['weight']:.0%})" for source in by_weight)
    return f"from {sources}: {low:.0%} to {high:.0%} at middling difficulty"


def _chances(signals: dict[str, Any]) -> str:
    best = sorted(signals["probabilities"].items(), key=lambda item: -item[1])[:2]
    shown = ", ".join(f"{name} {chance:.0%}" for name, chance in best)
    # Decisions that were stored before there were examples do not have the field.
    taught = f"taught, {signals['taught']:.0%} alike; " if signals.get("taught") else ""
    return f" ({taught}{shown}; doubt {signals['abstain']:.0%})" if shown else ""
