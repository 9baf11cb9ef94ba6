"""One kind of knowledge each -> findings on the common scale, with their deviations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmrouterd.catalog import Finding
from llmrouterd.evidence.figures import LOGITS_PER_RATING
from llmrouterd.evidence.subject import year_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmrouterd.evidence.figures import Figures, Scale
    from llmrouterd.evidence.subject import Figure, Subject

_SDS_OF_INTERVAL = 3.92  # a 95 % interval is this many deviations wide
_CHANCES = (0.001, 0.999)


def convert(figure: Figure, figures: Figures, newest: str) -> Finding | None:
    """A published row on the common scale; None for a board whose scale is not known.

    Its variance grows with the board's own scatter, its interval, few votes, its age beside the
    newest figure, and the grade of the names' match.
    """
    row, scale = figure.row, figures.scale(figure.row.board)
    if scale is None:
        return None
    rating = scale.offset + scale.factor * row.value
    parts = (
        scale.sd * (1.0 if row.value >= scale.least else 2.0),
        _sampling_sd(figure, scale),
        figures.grade_sd.get(figure.grade, max(figures.grade_sd.values())),
        figures.age_sd_per_year * _age(row.date, newest),
    )
    return Finding(
        source=f"{row.board} {row.value:g}" + _told(figure),
        mean=figures.logits(rating),
        sd=math.hypot(*parts) * LOGITS_PER_RATING,
    )


def _told(figure: Figure) -> str:
    return "" if figure.grade == "exact" else f" ({figure.row.model}, {figure.grade})"


def _sampling_sd(figure: Figure, scale: Scale) -> float:
    row = figure.row
    if row.low is not None and row.high is not None:
        return abs(scale.factor) * (row.high - row.low) / _SDS_OF_INTERVAL
    if row.votes:
        # The Fisher information of one vote between equals is 1/4 of a squared logit.
        return 2.0 / math.sqrt(row.votes) / LOGITS_PER_RATING
    return 0.0


def _age(date: str, newest: str) -> float:
    then, now = year_of(date), year_of(newest)
    return max(0.0, now - then) if then is not None and now is not None else 0.0


def board_findings(
    known: Iterable[Figure], boards: Mapping[str, float] | None, figures: Figures, newest: str
) -> list[Finding]:
    """One finding for each source. boards: by name their weights, for a category; None takes
    what says most about a model overall.

    The boards of one source share its prompts, judges and mistakes: they are averaged, and
    their common deviation does not shrink with their number.
    """
    by_source: dict[str, list[tuple[Figure, Finding, float]]] = {}
    for figure in known:
        weight = 1.0 if boards is None else boards.get(figure.row.board, 0.0)
        finding = convert(figure, figures, newest) if weight > 0 else None
        if finding is not None:
            by_source.setdefault(figure.row.source, []).append((figure, finding, weight))
    return [_of_source(_headlines(found, figures, boards)) for found in by_source.values()]


def _headlines(
    found: list[tuple[Figure, Finding, float]],
    figures: Figures,
    boards: Mapping[str, float] | None,
) -> list[tuple[Finding, float]]:
    if boards is None:
        first = [item for item in found if _is_headline(item[0], figures)]
        found = first or found
    return [(finding, weight) for _, finding, weight in found]


def _is_headline(figure: Figure, figures: Figures) -> bool:
    scale = figures.scale(figure.row.board)
    return scale is not None and scale.headline


def _of_source(found: list[tuple[Finding, float]]) -> Finding:
    if len(found) == 1 and found[0][1] == 1.0:
        return found[0][0]
    ordered = sorted(found, key=lambda item: (item[0].source, item[0].mean))
    total = math.fsum(weight for _, weight in ordered)
    mean = math.fsum(weight * finding.mean for finding, weight in ordered) / total
    variance = math.fsum(weight * finding.sd**2 for finding, weight in ordered) / total
    return Finding(
        source=" + ".join(finding.source for finding, _ in ordered),
        mean=mean,
        sd=math.sqrt(variance / min(1.0, max(weight for _, weight in ordered))),
    )


def degraded(finding: Finding, subject: Subject, figures: Figures, category: str) -> Finding:
    """A finding about the full model, for the model as it runs here: quantised, and with the
    context that it has. What was measured here needs no such step."""
    factor = figures.quantization_factor(subject.quantization)
    factor *= figures.truncation_factor(subject.context, category)
    if factor >= 1.0:
        return finding
    mean = _logit(factor / (1.0 + math.exp(-finding.mean)))
    return Finding(source=finding.source, mean=mean, sd=finding.sd)


def local_findings(subject: Subject, category: str, figures: Figures) -> list[Finding]:
    """The owner's estimate, probes, judgements and feedback of one category (or `overall`)."""
    found = []
    chance = subject.estimates.get(category)
    if chance is not None:
        mean = _logit(chance) / subject.discrimination
        found.append(Finding(source=f"owner: {chance:g}", mean=mean, sd=figures.owner_sd))
    if category in subject.abilities:
        mean, sd = subject.abilities[category]
        found.append(Finding(source="probes on this box", mean=mean, sd=sd))
    if category in subject.judged:
        judge, chance, answers = subject.judged[category]
        sd = math.hypot(math.sqrt(4.0 / (answers + 2)), figures.judge_sd)
        mean = _logit(chance) / subject.discrimination
        found.append(Finding(source=f"judged by {judge}: {chance:.2f}", mean=mean, sd=sd))
    number, total = subject.feedback.get(category, (0, 0.0))
    if number:
        found.append(_feedback(number, total, figures))
    return found


def _feedback(number: int, total: float, figures: Figures) -> Finding:
    """Thumbs as a binomial with one good and one bad answer added, so that none is certain."""
    good = (number + total) / 2 + 1
    bad = number + 2 - good
    return Finding(
        source=f"feedback: {number} with mean {total / number:+.2f}",
        mean=math.log(good / bad),
        sd=math.hypot(math.sqrt(4.0 / (number + 2)), figures.feedback_sd),
    )


def _logit(chance: float) -> float:
    bounded = min(max(chance, _CHANCES[0]), _CHANCES[1])
    return math.log(bounded / (1.0 - bounded))
