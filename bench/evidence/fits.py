"""Fits between public boards, and how well the evidence predicts ratings that were kept from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmrouterd.assemble import Knowledge, with_evidence
from llmrouterd.catalog import Model
from llmrouterd.evidence.figures import LOGITS_PER_RATING
from llmrouterd.library import Library
from llmrouterd.naming import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmrouterd.benchmarks.rows import BenchmarkRow
    from llmrouterd.evidence.subject import Figure
    from llmrouterd.naming import Match
    from llmrouterd.policy import Policy

ARENA = "lmarena"
OVERALL = "lmarena/overall"
# The board of the arena that is the nearest to what a board measures; overall for all others.
NEAREST = {
    "open_llm_leaderboard/ifeval": "lmarena/instruction_following",
    "open_llm_leaderboard/bbh": "lmarena/hard_prompts",
    "open_llm_leaderboard/musr": "lmarena/hard_prompts",
    "open_llm_leaderboard/math_lvl_5": "lmarena/math",
    "bigcodebench/complete": "lmarena/coding",
    "bigcodebench/instruct": "lmarena/coding",
    "bigcodebench/hard_complete": "lmarena/coding",
    "bigcodebench/hard_instruct": "lmarena/coding",
    "livebench/coding": "lmarena/coding",
    "livebench/agentic_coding": "lmarena/coding",
    "livebench/mathematics": "lmarena/math",
    "livebench/reasoning": "lmarena/hard_prompts",
    "livebench/data_analysis": "lmarena/hard_prompts",
    "livebench/instruction_following": "lmarena/instruction_following",
}
_FEWEST = 10


@dataclass(frozen=True, slots=True)
class Fit:
    """rating = offset + factor * value, over `number` models with values from low to high.
    error: root mean square of the errors with each model left out. spread: sd of the ratings."""

    board: str
    target: str
    number: int
    offset: float
    factor: float
    error: float
    spread: float
    low: float
    high: float


def values_by_board(rows: Iterable[BenchmarkRow]) -> dict[str, dict[str, float]]:
    """Board -> model -> value."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row.board, {})[row.model] = row.value
    return found


def category_shifts(boards: Mapping[str, Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """By board of the arena: mean and sd of its models' distance to their overall ratings."""
    shifts = {}
    for board, values in boards.items():
        if board.startswith(f"{ARENA}/"):
            apart = [
                value - boards[OVERALL][m] for m, value in values.items() if m in boards[OVERALL]
            ]
            if apart:
                shifts[board] = (float(np.mean(apart)), float(np.std(apart)))
    return shifts


def fit_boards(library: Library) -> list[Fit]:
    """Every board against the arena. Names are joined by the same rules as local ones."""
    boards = values_by_board(library.rows)
    shifts = category_shifts(boards)
    joined: dict[str, dict[str, str]] = {}
    for model in boards[OVERALL]:
        for match in library.identify(Identity(name=model)).matches:
            joined.setdefault(match.source, {})[model] = match.model
    fits = []
    for board, values in sorted(boards.items()):
        source = board.partition("/")[0]
        target = NEAREST.get(board, OVERALL)
        if source == ARENA:
            continue
        pairs = [
            (values[theirs], boards[target][model] - shifts[target][0])
            for model, theirs in joined.get(source, {}).items()
            if theirs in values and model in boards[target]
        ]
        if len(pairs) >= _FEWEST:
            fits.append(_fit(board, target, pairs))
    return fits


def _fit(board: str, target: str, pairs: Sequence[tuple[float, float]]) -> Fit:
    x, y = np.array(pairs).T
    spread = ((x - x.mean()) ** 2).sum()
    factor = ((x - x.mean()) * (y - y.mean())).sum() / spread
    offset = y.mean() - factor * x.mean()
    leverage = 1 / len(x) + (x - x.mean()) ** 2 / spread
    error = math.sqrt(float((((y - offset - factor * x) / (1 - leverage)) ** 2).mean()))
    return Fit(
        board,
        target,
        len(x),
        float(offset),
        float(factor),
        error,
        float(y.std()),
        float(x.min()),
        float(x.max()),
    )


def fit_prior(library: Library) -> tuple[int, tuple[float, float, float], float]:
    """rating = base + per_log2_b * log2(B) + per_year * years since 2024, over the arena's models
    of known size and date: (number, coefficients, mean error with each family left out)."""
    boards = values_by_board(library.rows)
    rows: list[tuple[str, float, float, float]] = []
    for model, rating in boards[OVERALL].items():
        resolution = library.identify(Identity(name=model))
        facts = library.known_facts(resolution.matches)
        sizes = [resolution.key.size_b, *(fact.size_b for fact in facts)]
        size = next((size for size in sizes if size), None)
        year = library.released(resolution, facts)
        if size and size >= 1 and year:
            rows.append((resolution.key.family, math.log2(size), year - 2024, rating))
    families = np.array([row[0] for row in rows])
    x = np.array([(1.0, row[1], row[2]) for row in rows])
    y = np.array([row[3] for row in rows])
    errors = []
    for family in set(families):
        out = families == family
        found = np.linalg.lstsq(x[~out], y[~out], rcond=None)[0]
        errors += list(np.abs(y[out] - x[out] @ found))
    base, per_size, per_year = np.linalg.lstsq(x, y, rcond=None)[0]
    return len(rows), (float(base), float(per_size), float(per_year)), float(np.mean(errors))


@dataclass(frozen=True, slots=True)
class Prediction:
    """A rating that was kept back, and what the evidence says without it."""

    model: str
    rating: float
    mean: float
    sd: float
    by: str


def predict_hidden(library: Library, policy: Policy) -> list[Prediction]:
    """Each model of the arena whose size is known, from everything but the arena's rows of
    itself; other models' rows stay, as they would for a model that the arena does not have."""
    boards = values_by_board(library.rows)
    figures = policy.figures
    found = []
    for model, rating in boards[OVERALL].items():
        identity = Identity(name=model)
        resolution = library.identify(identity)
        sizes = [resolution.key.size_b]
        sizes += [fact.size_b for fact in library.known_facts(resolution.matches)]
        size = next((size for size in sizes if size), None)
        if size is None:
            continue
        hidden = _Without(library, model)
        made = with_evidence(
            Model(id=f"x/{model}", name=model, backend="x", size_b=size),
            policy,
            Knowledge(library=hidden),
            {},
        )
        overall = made.evidence["overall"]
        found.append(
            Prediction(
                model,
                rating,
                figures.anchor + overall.mean / LOGITS_PER_RATING,
                overall.sd / LOGITS_PER_RATING,
                _kind([source.source for source in overall.sources]),
            )
        )
    return found


def _kind(sources: Sequence[str]) -> str:
    """What a prediction rests on."""
    if any(not source.startswith("prior:") for source in sources):
        return "other boards"
    (prior,) = sources
    if prior.startswith("prior: its line"):
        return "its line"
    return "size and date" if "released" in prior else "size alone"


class _Without(Library):
    """The library without the arena's rows of one model."""

    def __init__(self, library: Library, model: str) -> None:
        for name in vars(library):
            setattr(self, name, getattr(library, name))
        self._hidden = model

    def figures(self, matches: Iterable[Match]) -> tuple[Figure, ...]:
        return tuple(figure for figure in super().figures(matches) if figure.row.source != ARENA)


def describe(
    predictions: Sequence[Prediction],
) -> list[tuple[str, int, float, float, float, float]]:
    """(kind, number, mean error, spread of the ratings, share within 1 sd, within 2 sd)."""
    rows = []
    for kind in ("all", *sorted({p.by for p in predictions})):
        chosen = [p for p in predictions if kind in ("all", p.by)]
        if chosen:
            errors = np.array([abs(p.mean - p.rating) for p in chosen])
            sds = np.array([p.sd for p in chosen])
            rows.append(
                (
                    kind,
                    len(chosen),
                    float(errors.mean()),
                    float(np.std([p.rating for p in chosen])),
                    float((errors <= sds).mean()),
                    float((errors <= 2 * sds).mean()),
                )
            )
    return rows
