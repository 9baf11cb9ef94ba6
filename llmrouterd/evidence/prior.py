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
    size = known or fit.unknown_b
    years = fit.undated_years
    if subject.released is not None:
        years = subject.released - fit.epoch
    rating = fit.base + fit.by_size(size) + fit.per_year * years
    if not known:
        sd, source = fit.unknown_sd, "prior: size not known"
    elif subject.released is None:
        sd, source = fit.undated_sd, f"prior: size {size:g}B"
    else:
        sd, source = fit.sd, f"prior: size {size:g}B, released {subject.released:.1f}"
    sd += fit.small_sd * fit.halvings(size)
    return Finding(source=source, mean=figures.logits(rating), sd=sd * LOGITS_PER_RATING)


def _by_line(subject: Subject, figures: Figures) -> Finding | None:
    """The ratings of its relatives, moved by the slope of size. They share the line's own
    deviation, which therefore does not shrink with their number."""
    if not subject.size_b:
        return None
    fit, moved = figures.size, []
    for relative in subject.relatives:
        found = board_findings(relative.figures, None, figures, subject.newest)
        if found:
            known, size = combine(found), relative.size_b
            moved_by = fit.by_size(subject.size_b) - fit.by_size(size)
            mean = known.mean + moved_by * LOGITS_PER_RATING
            further = figures.line_sd_per_log2_b * abs(math.log2(subject.size_b / size))
            further += fit.small_sd * abs(fit.halvings(subject.size_b) - fit.halvings(size))
            further *= LOGITS_PER_RATING
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
