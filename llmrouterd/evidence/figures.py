"""The numbers of the evidence: scales, priors and penalties, as `data/evidence.json` has them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.probes.result import Levels

LOGITS_PER_RATING = math.log(10.0) / 400.0


class Scale(NamedTuple):
    """How a board's values become ratings: rating = offset + factor * value, with this sd.

    headline: it says what a model is worth overall, so the other boards of its source do not.
    least: below this value the board hardly tells models apart, and the deviation doubles.
    """

    offset: float
    factor: float
    sd: float
    headline: bool = False
    least: float = -math.inf


class Truncation(NamedTuple):
    """Up to `tokens` of usable context, the chance of a good answer is multiplied by `factor`."""

    tokens: int
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SizePrior:
    """rating = base + per_log2_b * log2(billions of parameters) + per_year * (release - epoch).

    Below `small_b` billions each halving costs `small_per_log2_b` instead, and adds `small_sd` to
    the deviation: no public rating is of so small a model. sd in rating points: `sd` where size
    and date are known, `undated_sd` where the date is not (`undated_years` is assumed),
    `unknown_sd` where the size is not (`unknown_b` is assumed).
    """

    base: float
    per_log2_b: float
    per_year: float
    epoch: float
    sd: float
    undated_years: float
    undated_sd: float
    smallest_b: float
    small_b: float
    small_per_log2_b: float
    small_sd: float
    unknown_b: float
    unknown_sd: float

    def halvings(self, size_b: float) -> float:
        """How many times a size lies below `small_b`."""
        return max(0.0, math.log2(self.small_b / max(size_b, self.smallest_b)))

    def by_size(self, size_b: float) -> float:
        """What a size adds to a rating."""
        above = self.per_log2_b * math.log2(max(size_b, self.small_b))
        return above - self.small_per_log2_b * self.halvings(size_b)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Figures:
    """All numbers. Deviations ending in `_sd` are in rating points, unless said otherwise.

    line_sd: of a rating taken from another size of the same line, line_sd_per_log2_b for each
    doubling of the size between them. grade_sd: by the grade of a name's match. age_sd_per_year:
    how much older figures are less certain. category_sd: how much a model's rating differs
    between categories. owner_sd,
    feedback_sd and judge_sd: in logits, of the owner's estimates, the clients' thumbs and a
    model's judgement. levels: how difficult the probes on this box are.
    """

    anchor: float
    size: SizePrior
    line_sd: float
    line_sd_per_log2_b: float
    grade_sd: Mapping[str, float]
    age_sd_per_year: float
    category_sd: float
    owner_sd: float
    feedback_sd: float
    judge_sd: float
    levels: Levels
    scales: Mapping[str, Scale]
    quantization: Mapping[str, float]
    truncation: tuple[Truncation, ...]
    truncated_categories: frozenset[str]
    bits_per_weight: Mapping[str, float] = field(default_factory=dict)

    def scale(self, board: str) -> Scale | None:
        """The scale of a board, else that of its source; None if neither is known."""
        return self.scales.get(board) or self.scales.get(board.partition("/")[0])

    def logits(self, rating: float) -> float:
        """A rating on the common scale."""
        return (rating - self.anchor) * LOGITS_PER_RATING

    def quantization_factor(self, quantization: str | None) -> float:
        """What is left of a good answer's chance; 1 for a quantisation that is not known."""
        if not quantization:
            return 1.0
        name = quantization.upper().replace("-", "_").removeprefix("UD_")
        while name:
            if name in self.quantization:
                return self.quantization[name]
            name = name.rpartition("_")[0]
        return 1.0

    def truncation_factor(self, context: int | None, category: str) -> float:
        """What is left of a good answer's chance with this usable context, in tokens."""
        if context is None or category not in self.truncated_categories:
            return 1.0
        fitting = [step.factor for step in self.truncation if context <= step.tokens]
        return min(fitting, default=1.0)

    def nearest_quantization(self, size_bytes: int | None, parameters: float | None) -> str | None:
        """The quantisation whose bits a weight are the nearest to those of a file. parameters:
        their number. None where either is missing or no known one is near."""
        if not size_bytes or not parameters or not self.bits_per_weight:
            return None
        bits = size_bytes * 8 / parameters
        name, found = min(self.bits_per_weight.items(), key=lambda item: abs(item[1] - bits))
        return name if abs(found - bits) <= 0.1 * bits else None


def build_figures(content: Mapping[str, Any], levels: Levels) -> Figures:
    """The Figures of a parsed evidence file, which its schema has accepted."""
    prior, line, context = content["prior"], content["line"], content["context"]
    return Figures(
        anchor=content["anchor"],
        size=SizePrior(**{name: prior[name] for name in SizePrior.__dataclass_fields__}),
        line_sd=line["sd"],
        line_sd_per_log2_b=line["sd_per_log2_b"],
        grade_sd=content["grade_sd"],
        age_sd_per_year=content["age_sd_per_year"],
        category_sd=content["category_sd"],
        owner_sd=content["owner_sd_logits"],
        feedback_sd=content["feedback_sd_logits"],
        judge_sd=content["judge_sd_logits"],
        levels=levels,
        scales={
            board: Scale(
                scale.get("offset", 0.0),
                scale.get("factor", 1.0),
                scale["sd"],
                scale.get("headline", False),
                scale.get("least", -math.inf),
            )
            for board, scale in content["boards"].items()
        },
        quantization=content["quantization"]["factors"],
        truncation=tuple(Truncation(step["tokens"], step["factor"]) for step in context["steps"]),
        truncated_categories=frozenset(context["categories"]),
        bits_per_weight=content["quantization"]["bits_per_weight"],
    )
