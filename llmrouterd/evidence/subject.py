"""What is known of one model, before it becomes evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.benchmarks.rows import BenchmarkRow, PublishedFacts


class Figure(NamedTuple):
    """A published row that counts for a model, with the grade of the match of their names."""

    row: BenchmarkRow
    grade: str


class Relative(NamedTuple):
    """Another size of the same line, with its figures."""

    name: str
    size_b: float
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is published about one model under the names that it has elsewhere. size_b and quant:
    as its own name says. released: as a year. facts: of registries, the best match first. newest:
    the date of the newest figure of all models."""

    size_b: float | None = None
    quant: str = ""
    released: float | None = None
    facts: tuple[PublishedFacts, ...] = ()
    figures: tuple[Figure, ...] = ()
    relatives: tuple[Relative, ...] = ()
    newest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """size_b: billions of parameters. released: as a year, such as 2025.25. context: usable
    tokens. abilities: (mean, sd) in logits by category, from probes on this box. judged: (judge,
    chance, answers) by category. feedback:
    (number, sum of values from -1 to 1) by category. estimates: the owner's, as chances, by
    category or `overall`; discrimination: what the scorer multiplies logits with, so that it comes
    to these chances again. newest: the date of the newest figure of all, for the age of others.
    """

    size_b: float | None = None
    released: float | None = None
    quantization: str | None = None
    context: int | None = None
    figures: tuple[Figure, ...] = ()
    relatives: tuple[Relative, ...] = ()
    abilities: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    judged: Mapping[str, tuple[str, float, int]] = field(default_factory=dict)
    feedback: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    estimates: Mapping[str, float] = field(default_factory=dict)
    discrimination: float = 1.0
    newest: str = ""

    def kinds(self) -> set[str]:
        """The kinds of prompts (`category/form`) of which something was found here."""
        found = {*self.estimates, *self.abilities, *self.judged, *self.feedback}
        return {name for name in found if "/" in name}


def year_of(date: str) -> float | None:
    """`2025-04-17`, `2025-04` or `2025` as 2025.29; None for anything else."""
    parts = date.strip()[:10].split("-")
    if not all(part.isascii() and part.isdigit() for part in parts) or len(parts[0]) != 4:
        return None
    month = int(parts[1]) if len(parts) > 1 else 7
    day = int(parts[2]) if len(parts) > 2 else 15
    if not 1 <= month <= 12 or not 1 <= day <= 31:
        return None
    return int(parts[0]) + (month - 1) / 12 + (day - 1) / 365
