"""Benchmark rows, the owner's estimates and a prior by size -> mean and sd per (model, category).

Everything is on one scale: the logit of the chance of a good answer to a prompt of middling
difficulty. A rating on the arena's scale is (rating - ANCHOR) * ln(10) / 400 on it. Sources
combine by precision (inverse variance); the prior is one of them, so that a model without any
row is wide and middling, never zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmrouterd.catalog import Evidence, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmrouterd.catalog import Model
    from llmrouterd.policy import Category

OVERALL = "overall"
_ELO = math.log(10.0) / 400.0
_OWNER_SD = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRow:
    """One published figure. `low` and `high` are its 95 % interval, on the board's own scale.

    model: a model id, or a canonical identity. board: such as `lmarena/coding`.
    """

    model: str
    board: str
    value: float
    low: float | None = None
    high: float | None = None
    date: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """The fit of ratings by size, from `data/prior.json`, which says where it comes from.

    rating = base + per_log2_b * log2(size in billions); sd in rating points.
    """

    anchor: float
    base: float
    per_log2_b: float
    sd: float
    smallest_b: float
    unknown_b: float
    unknown_sd: float
    scales: Mapping[str, tuple[float, float, float]]

    def finding(self, size_b: float | None) -> Finding:
        size = max(size_b or self.unknown_b, self.smallest_b)
        rating = self.base + self.per_log2_b * math.log2(size)
        sd = self.sd if size_b else self.unknown_sd
        return Finding(
            source=f"prior: size {size:g}B" if size_b else "prior: size not known",
            mean=(rating - self.anchor) * _ELO,
            sd=sd * _ELO,
        )

    def convert(self, row: BenchmarkRow) -> Finding | None:
        """A row on the common scale; None for a board whose scale is not known.

        A board's scale is (offset, factor, sd): rating = offset + factor * value.
        """
        scale = self.scales.get(row.board) or self.scales.get(row.board.partition("/")[0])
        if scale is None:
            return None
        offset, factor, sd = scale
        if row.low is not None and row.high is not None:
            sd = math.hypot(sd, factor * (row.high - row.low) / 3.92)
        rating = offset + factor * row.value
        return Finding(
            source=f"{row.board} {row.value:g}", mean=(rating - self.anchor) * _ELO, sd=sd * _ELO
        )


def combine(findings: Iterable[Finding]) -> Evidence:
    """Combine by inverse variance. The order of the findings does not matter."""
    ordered = tuple(sorted(findings, key=lambda finding: (finding.source, finding.mean)))
    precision = math.fsum(finding.sd**-2 for finding in ordered)
    mean = math.fsum(finding.mean * finding.sd**-2 for finding in ordered) / precision
    return Evidence(mean=mean, sd=precision**-0.5, sources=ordered)


def build_evidence(
    model: Model,
    categories: Mapping[str, Category],
    rows: Mapping[str, tuple[BenchmarkRow, ...]],
    estimates: Mapping[str, float],
    prior: Prior,
) -> dict[str, Evidence]:
    """Evidence of one model for `overall` and each category.

    rows: by model id or canonical identity, matched by equality only. estimates: the owner's,
    as chances (0 to 1) by category or `overall`.
    """
    found = rows.get(model.id, ()) + (rows.get(model.canonical, ()) if model.canonical else ())
    converted = {row.board: finding for row in found if (finding := prior.convert(row))}
    start = prior.finding(model.size_b)
    evidence = {OVERALL: combine([start, *converted.values(), *_estimate(estimates, OVERALL)])}
    for name, category in categories.items():
        special: list[Finding] = []
        for board, weight in category.boards:
            finding = converted.get(board)
            if finding is not None and weight > 0:
                sd = finding.sd / math.sqrt(weight)
                special.append(Finding(source=finding.source, mean=finding.mean, sd=sd))
        own = _estimate(estimates, name) or _estimate(estimates, OVERALL)
        evidence[name] = combine([start, *special, *own]) if special or own else evidence[OVERALL]
    return evidence


def _estimate(estimates: Mapping[str, float], category: str) -> list[Finding]:
    chance = estimates.get(category)
    if chance is None:
        return []
    return [
        Finding(source=f"owner: {chance:g}", mean=math.log(chance / (1 - chance)), sd=_OWNER_SD)
    ]
