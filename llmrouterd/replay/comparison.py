"""What another policy changes about recorded decisions, in figures and in words. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, NamedTuple

from llmrouterd.explanation import describe, in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmrouterd.decision import Decision
    from llmrouterd.policy import Policy
    from llmrouterd.replay.recorded import Recorded, Replayer

_MOST_SHOWN = 5
_NOBODY = "nobody"


class Choice(NamedTuple):
    """A chosen model, None where the request is refused. quality: chance of a good answer. wait
    and seconds: expected until the first token and the answer's end. cents: US cents. swap: it
    has to be loaded first."""

    model: str | None
    quality: float = 0.0
    wait: float = 0.0
    seconds: float = 0.0
    cents: float = 0.0
    swap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Of all choices together: the mean quality, the medians of wait and seconds, the sum of the
    dollars, how many models had to be loaded and how many requests were refused."""

    quality: float = 0.0
    wait: float = 0.0
    seconds: float = 0.0
    dollars: float = 0.0
    swaps: int = 0
    refused: int = 0


class Move(NamedTuple):
    """So many decisions go from one model to another."""

    before: str
    after: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """One decision that changes. gain: points by which the new policy prefers the new choice, None
    where it would not have the old one at all, or there was none."""

    id: str
    at: float
    category: str
    before: str
    after: str
    gain: float | None
    words_before: str
    words_after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """skipped: decisions that were stored without what re-deciding needs. new_texts: `when.text` of
    the new policy that the recorded requests were not searched for."""

    decisions: int = 0
    skipped: int = 0
    changed: int = 0
    moves: tuple[Move, ...] = ()
    before: Expected = field(default_factory=Expected)
    after: Expected = field(default_factory=Expected)
    affected: tuple[Affected, ...] = ()
    new_texts: tuple[str, ...] = ()


class _Change(NamedTuple):
    gain: float | None
    recorded: Recorded
    before: Mapping[str, Any]
    after: Mapping[str, Any]


def compare(
    records: Iterable[Recorded | None],
    after: Replayer,
    before: Replayer | None = None,
    active: Policy | None = None,
) -> Comparison:
    """What `after` would decide, against what was decided, or against what `before` would. None
    among the records is one that cannot be re-decided. active: the policy that they were read by,
    where it is neither."""
    searched = active or (before or after).policy
    skipped = 0
    pairs: list[tuple[Choice, Choice]] = []
    changes: list[_Change] = []
    for recorded in records:
        if recorded is None:
            skipped += 1
            continue
        decision = after.decide(recorded)
        old = recorded.described if before is None else describe(before.decide(recorded))
        new = describe(decision)
        pair = _choice(old), _choice(new)
        pairs.append(pair)
        if pair[0].model != pair[1].model:
            changes.append(_Change(_gain(decision, pair[0].model), recorded, old, new))
            # Only the most affected are kept with their explanations.
            changes = sorted(changes, key=_extent, reverse=True)[:_MOST_SHOWN]
    moves = Counter((one.model, other.model) for one, other in pairs if one.model != other.model)
    return Comparison(
        decisions=len(pairs),
        skipped=skipped,
        changed=sum(moves.values()),
        moves=tuple(
            Move(one or _NOBODY, other or _NOBODY, number)
            for (one, other), number in moves.most_common()
        ),
        before=_expected([one for one, _ in pairs]),
        after=_expected([other for _, other in pairs]),
        affected=tuple(_affected(change) for change in changes),
        new_texts=tuple(sorted(_texts(after.policy) - _texts(searched))),
    )


def _texts(policy: Policy) -> set[str]:
    return {rule.when.text for rule in policy.rules if rule.when.text is not None}


def _choice(described: Mapping[str, Any]) -> Choice:
    if not described["ranked"]:
        return Choice(None)
    first = described["ranked"][0]
    standing = first.get("standing")
    return Choice(
        model=first["model"],
        quality=first["quality"],
        wait=first.get("wait", 0.0),
        seconds=first["seconds"],
        cents=first.get("cents") or 0.0,
        swap=standing is not None and standing["state"] == "absent",
    )


def _gain(decision: Decision, model: str | None) -> float | None:
    """See `Affected.gain`."""
    totals = {one.model: one.total for one in decision.ranked}
    return decision.ranked[0].total - totals[model] if model in totals else None


def _extent(change: _Change) -> float:
    return float("inf") if change.gain is None else change.gain


def _expected(choices: list[Choice]) -> Expected:
    answered = [choice for choice in choices if choice.model is not None]
    if not answered:
        return Expected(refused=len(choices))
    return Expected(
        quality=fmean(choice.quality for choice in answered),
        wait=median(choice.wait for choice in answered),
        seconds=median(choice.seconds for choice in answered),
        dollars=sum(choice.cents for choice in answered) / 100.0,
        swaps=sum(choice.swap for choice in answered),
        refused=len(choices) - len(answered),
    )


def _affected(change: _Change) -> Affected:
    return Affected(
        id=change.recorded.id,
        at=change.recorded.at,
        category=change.recorded.signals.category,
        before=change.before["model"] or _NOBODY,
        after=change.after["model"] or _NOBODY,
        gain=None if change.gain is None else round(change.gain, 2),
        words_before=in_words(dict(change.before)),
        words_after=in_words(dict(change.after)),
    )


def describe_comparison(compared: Comparison) -> dict[str, Any]:
    """A comparison with plain JSON values."""
    data = asdict(compared)
    data["moves"] = [
        {"from": move.before, "to": move.after, "count": move.number} for move in compared.moves
    ]
    return {**data, "summary": summary(compared)}


def summary(compared: Comparison) -> str:
    """One line."""
    if not compared.decisions:
        return "there are no recorded requests to try this edit on"
    unread = "; new `when.text` shows in new requests only" if compared.new_texts else ""
    if not compared.changed:
        return f"this edit changes none of {compared.decisions} recorded requests{unread}"
    whole = compared.decisions
    most = compared.moves[0]
    text = f"this edit moves {_share(compared.changed, whole)} of {whole} recorded requests"
    if len(compared.moves) > 1:
        text += f", {_share(most.number, whole)}"
    text += f" from {most.before} to {most.after}"
    before, after = compared.before, compared.after
    if max(before.refused, after.refused) < whole:  # of no choice there is no quality
        text += f", {_signed(after.wait - before.wait, 1)} s median wait"
        text += f", {_signed(100 * (after.quality - before.quality), 1)} points quality"
    if before.dollars or after.dollars:
        text += f", {_signed(after.dollars - before.dollars, 2)} dollars"
    more = after.refused - before.refused
    if more:
        text += f"; {abs(more)} would {'be refused' if more > 0 else 'no longer be refused'}"
    return text + unread


def _signed(value: float, digits: int) -> str:
    """With its sign, which zero has none of."""
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"


def _share(part: int, whole: int) -> str:
    share = 100.0 * part / whole
    return f"{share:.0f} %" if share >= 1 else f"{share:.1f} %"
