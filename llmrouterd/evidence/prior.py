"""What a model is worth before anything was measured: its line, else its size and date."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmrouterd.catalog import Finding
from llmrouterd.evidence.combination import combine
from llmrouterd.evidence.figures import LOGITS_PER_RATING
from llmrouterd.evidence.findings import board_findings

if TYPE_CHECKING:
    from llmrouterd.evidence.figures import Figures
    from llmrouterd.evidence.subject import Subject

_MOST_NAMED = 3


def prior_finding(subject: Subject, figures: Figures) -> Finding:
    """Other sizes of the same line where they have figures and say more than size and date."""
    by_size = _by_size(subject, figures)
    by_line = _by_line(subject, figures)
    return by_line if by_line is not None and by_line.sd < by_size.sd else by_size


def _by_size(subject: Subject, figures: Figures) -> Finding:
    fit, known = figures.size, subject.size_b
    size = max(known or fit.unknown_b, fit.smallest_b)
    years = fit.undated_years
    if subject.released is not None:
        years = subject.released - fit.epoch
    halvings = max(0.0, math.log2(fit.small_b / size))
    rating = fit.base + fit.per_log2_b * math.log2(max(size, fit.small_b)) + fit.per_year * years
    rating -= fit.small_per_log2_b * halvings
    if not known:
        sd, source = fit.unknown_sd, "prior: size not known"
    elif subject.released is None:
        sd, source = fit.undated_sd, f"prior: size {size:g}B"
    else:
        sd, source = fit.sd, f"prior: size {size:g}B, released {subject.released:.1f}"
    sd += fit.small_sd * halvings
    return Finding(source=source, mean=figures.logits(rating), sd=sd * LOGITS_PER_RATING)


def _by_line(subject: Subject, figures: Figures) -> Finding | None:
    """The ratings of its relatives, moved by the slope of size. They share the line's own
    deviation, which therefore does not shrink with their number."""
    if not subject.size_b:
        return None
    here = math.log2(max(subject.size_b, figures.size.smallest_b))
    moved = []
    for relative in subject.relatives:
        found = board_findings(relative.figures, None, figures, subject.newest)
        if found:
            steps = here - math.log2(max(relative.size_b, figures.size.smallest_b))
            known = combine(found)
            mean = known.mean + figures.size.per_log2_b * steps * LOGITS_PER_RATING
            further = figures.line_sd_per_log2_b * abs(steps) * LOGITS_PER_RATING
            moved.append(Finding(source=relative.name, mean=mean, sd=math.hypot(known.sd, further)))
    if not moved:
        return None
    together = combine(moved)
    names = [finding.source for finding in sorted(together.sources, key=lambda item: item.sd)]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return Finding(
        source=f"prior: its line ({', '.join(names[:_MOST_NAMED])}{more})",
        mean=together.mean,
        sd=math.hypot(together.sd, figures.line_sd * LOGITS_PER_RATING),
    )
