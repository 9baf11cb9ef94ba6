"""From passed and failed probes to an ability per category, with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmrouterd.probes.checks import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmrouterd.probes.checks import Probe

# The abilities that are weighed against each other, in logits.
_LOWEST, _HIGHEST, _STEPS = -14.0, 10.0, 481


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many probes of one kind and level passed.

    tried: those with a verdict. timeouts: those without one; they are no failures and not in
    `tried`. guess: the chance that a guess passes.
    """

    category: str
    kind: str
    level: int
    passed: int = 0
    tried: int = 0
    timeouts: int = 0
    guess: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """How difficult kinds and levels are: `data/probes.json`, which says how that is known.

    difficulty: logits by kind, one for each level; a model of that ability passes half of what
    guessing leaves. slope: logits of a pass for each logit of ability. prior: mean and sd of
    abilities before any probe. systematic_sd: how far the difficulties may be off as a whole.
    """

    difficulty: Mapping[str, tuple[float, ...]]
    slope: float
    prior_mean: float
    prior_sd: float
    systematic_sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """Ability in one category, in logits: posterior mean and sd, and what it rests on."""

    mean: float
    sd: float
    passed: int
    tried: int
    timeouts: int


def parse_levels(data: Mapping[str, Any]) -> Levels:
    """Read the difficulties from the parsed file. Raises ValueError or KeyError."""
    difficulty = {
        str(kind): tuple(float(value) for value in values)
        for kind, values in data["difficulty"].items()
    }
    for kind, values in difficulty.items():
        if len(values) != len(LEVELS) or any(not math.isfinite(value) for value in values):
            raise ValueError(
                f"{kind}: a finite difficulty for each of {len(LEVELS)} levels is needed"
            )
        if list(values) != sorted(values):
            raise ValueError(f"{kind}: a higher level must not be easier")
    levels = Levels(
        difficulty=difficulty,
        slope=float(data["slope"]),
        prior_mean=float(data["prior"]["mean"]),
        prior_sd=float(data["prior"]["sd"]),
        systematic_sd=float(data["systematic_sd"]),
    )
    if not (levels.prior_sd > 0 and levels.slope > 0 and levels.systematic_sd >= 0):
        raise ValueError("prior.sd and slope must be above 0 and systematic_sd not below it")
    return levels


def aggregate(outcomes: Iterable[tuple[Probe, bool | None]]) -> tuple[Tally, ...]:
    """Count outcomes: a probe with whether it passed, or None where it ran out of time."""
    tallies: dict[tuple[str, str, int, float], Tally] = {}
    for probe, passed in outcomes:
        key = (probe.category, probe.kind, probe.level, probe.guess)
        old = tallies.get(key) or Tally(
            category=probe.category, kind=probe.kind, level=probe.level, guess=probe.guess
        )
        tallies[key] = replace(
            old,
            passed=old.passed + bool(passed),
            tried=old.tried + (passed is not None),
            timeouts=old.timeouts + (passed is None),
        )
    return tuple(tallies[key] for key in sorted(tallies))


def merge(tallies: Iterable[Tally]) -> tuple[Tally, ...]:
    """Add up tallies of the same kind, level and guess, of several runs."""
    found: dict[tuple[str, str, int, float], Tally] = {}
    for tally in tallies:
        key = (tally.category, tally.kind, tally.level, tally.guess)
        old = found.get(key)
        found[key] = (
            tally
            if old is None
            else replace(
                old,
                passed=old.passed + tally.passed,
                tried=old.tried + tally.tried,
                timeouts=old.timeouts + tally.timeouts,
            )
        )
    return tuple(found[key] for key in sorted(found))


def ability(tallies: Iterable[Tally], levels: Levels) -> dict[str, Ability]:
    """Posterior ability by category; a category without any verdict is left out.

    P(pass) = guess + (1 - guess) / (1 + exp(slope (difficulty - ability))), with a weak normal
    prior, so that 0 of 5 and 5 of 5 give wide, finite results.
    """
    by_category: dict[str, list[Tally]] = {}
    for tally in tallies:
        if not 0 <= tally.passed <= tally.tried or tally.timeouts < 0:
            raise ValueError(f"counts that cannot be: {tally}")
        by_category.setdefault(tally.category, []).append(tally)
    return {
        category: _posterior(found, levels)
        for category, found in sorted(by_category.items())
        if any(tally.tried for tally in found)
    }


def _posterior(tallies: list[Tally], levels: Levels) -> Ability:
    width = (_HIGHEST - _LOWEST) / (_STEPS - 1)
    grid = [_LOWEST + width * step for step in range(_STEPS)]
    logs = [-0.5 * ((theta - levels.prior_mean) / levels.prior_sd) ** 2 for theta in grid]
    for tally in tallies:
        if tally.tried:
            difficulty = levels.difficulty[tally.kind][tally.level - 1]
            logs = [
                log + _log_likelihood(tally, levels.slope * (theta - difficulty))
                for log, theta in zip(logs, grid, strict=True)
            ]
    most = max(logs)
    weights = [math.exp(log - most) for log in logs]
    total = math.fsum(weights)
    mean = math.fsum(w * theta for w, theta in zip(weights, grid, strict=True)) / total
    square = math.fsum(w * (theta - mean) ** 2 for w, theta in zip(weights, grid, strict=True))
    return Ability(
        mean=mean,
        sd=math.hypot(math.sqrt(square / total), levels.systematic_sd),
        passed=sum(tally.passed for tally in tallies),
        tried=sum(tally.tried for tally in tallies),
        timeouts=sum(tally.timeouts for tally in tallies),
    )


def _log_likelihood(tally: Tally, margin: float) -> float:
    chance = tally.guess + (1 - tally.guess) / (1 + math.exp(-margin))
    # No chance is quite 0 or 1: a slip or a lucky hit is always possible.
    chance = min(max(chance, 0.002), 0.99)
    failed = tally.tried - tally.passed
    return tally.passed * math.log(chance) + failed * math.log1p(-chance)
