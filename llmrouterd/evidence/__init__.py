"""Everything known of one model -> mean and sd for each category. Pure.

All is on one scale: the logit of the chance of a good answer to a prompt of middling difficulty;
a rating on the arena's scale is (rating - anchor) * ln(10) / 400 on it. The prior is one of the
findings, so a model without any figure is wide and middling, never zero. The numbers are in
`data/evidence.json`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmrouterd.catalog import Finding
from llmrouterd.evidence.combination import combine
from llmrouterd.evidence.figures import LOGITS_PER_RATING
from llmrouterd.evidence.findings import board_findings, degraded, local_findings
from llmrouterd.evidence.prior import prior_finding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.catalog import Evidence
    from llmrouterd.evidence.figures import Figures
    from llmrouterd.evidence.subject import Subject
    from llmrouterd.policy import Category

OVERALL = "overall"


def build_evidence(
    subject: Subject, categories: Mapping[str, Category], figures: Figures
) -> dict[str, Evidence]:
    """Evidence of one model for `overall` and each category.

    A category starts from what is known overall, widened by how much models differ between
    categories, so that a model that is good elsewhere is expected to be good here. A kind
    (`category/form`) of which something was found here starts from its category in the same way.
    """
    published = board_findings(subject.figures, None, figures, subject.newest)
    full = [prior_finding(subject, figures), *published]
    here = [degraded(finding, subject, figures, OVERALL) for finding in full]
    local = local_findings(subject, OVERALL, figures)
    evidence = {OVERALL: combine([*here, *local])}
    differs = figures.category_sd * LOGITS_PER_RATING
    for name, category in categories.items():
        start = [degraded(finding, subject, figures, name) for finding in full]
        overall = combine([*start, *local])
        boards = board_findings(subject.figures, dict(category.boards), figures, subject.newest)
        special = [degraded(finding, subject, figures, name) for finding in boards]
        special += local_findings(subject, name, figures)
        evidence[name] = _category(overall, special, differs)
    for kind in sorted(subject.kinds()):
        category_of_kind = evidence.get(kind.partition("/")[0])
        if category_of_kind is not None:
            special = local_findings(subject, kind, figures)
            evidence[kind] = _category(category_of_kind, special, differs)
    return evidence


def _category(overall: Evidence, special: list[Finding], differs: float) -> Evidence:
    sd = math.hypot(overall.sd, differs)
    if not special:
        return type(overall)(mean=overall.mean, sd=sd, sources=overall.sources)
    names = "; ".join(finding.source for finding in overall.sources)
    return combine([Finding(source=f"overall ({names})", mean=overall.mean, sd=sd), *special])
