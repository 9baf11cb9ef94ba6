"""What a source's figures must fulfil before they may replace those that are kept. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmrouterd.benchmarks.providers.base import Bounds, Parsed, Provider, ProviderError

if TYPE_CHECKING:
    from llmrouterd.benchmarks.rows import BenchmarkRow, PublishedFacts

# An interval may miss its value by as much as the rounding of both.
_ROUNDING = 1.0


def figures(parsed: Parsed) -> int:
    """How many figures a source gave: rows, or facts where it has no board."""
    return len(parsed.rows) or len(parsed.facts)


def check(provider: Provider, parsed: Parsed, former: int = 0) -> None:
    """Raise ProviderError unless the figures may replace the former ones, of which there were
    `former` as `figures` counts them: something is there, at least half of the former, each in the
    source's bounds, none twice, and every board without which the source is not whole."""
    about = provider.about
    found = figures(parsed)
    if not found:
        raise ProviderError("no figures at all")
    if 2 * found < former:
        raise ProviderError(f"{found} figures, less than half of the former {former}")
    seen: set[tuple[str, str]] = set()
    for row in parsed.rows:
        _check_row(row, about.name, about.bounds)
        if (row.model, row.board) in seen:
            raise ProviderError(f"{row.board}: {row.model} is there twice")
        seen.add((row.model, row.board))
    boards = {row.board for row in parsed.rows}
    for board in about.required:
        if board not in boards:
            raise ProviderError(f"the board {board} is missing")
    names: set[str] = set()
    for facts in parsed.facts:
        _check_facts(facts, about.name)
        if facts.model in names:
            raise ProviderError(f"the facts of {facts.model} are there twice")
        names.add(facts.model)


def _check_row(row: BenchmarkRow, source: str, bounds: Bounds) -> None:
    place = f"{row.board} {row.model}"
    if not row.model.strip():
        raise ProviderError(f"{row.board}: a row has no model")
    if row.source != source:
        raise ProviderError(f"{place}: not a board of {source}")
    if not math.isfinite(row.value) or not bounds.low <= row.value <= bounds.high:
        raise ProviderError(f"{place}: {row.value:g} is not in {bounds.low:g}..{bounds.high:g}")
    low = row.value if row.low is None else row.low
    high = row.value if row.high is None else row.high
    if not low - _ROUNDING <= row.value <= high + _ROUNDING:
        raise ProviderError(f"{place}: {row.value:g} is not in its interval {low:g}..{high:g}")
    if row.votes is not None and row.votes < 0:
        raise ProviderError(f"{place}: {row.votes} votes")


def _check_facts(facts: PublishedFacts, source: str) -> None:
    if not facts.model.strip() or facts.source != source:
        raise ProviderError(f"facts of {facts.model!r} by {facts.source!r} in {source}")
    if facts.context is not None and not 0 < facts.context <= 100_000_000:
        raise ProviderError(f"{facts.model}: a context of {facts.context} tokens")
    for size in (facts.size_b, facts.active_b):
        if size is not None and not 0 < size < 100_000:
            raise ProviderError(f"{facts.model}: {size:g} billion parameters")
    for price in facts.price or ():
        if not 0 <= price < 100_000:
            raise ProviderError(f"{facts.model}: a price of {price:g} for a million tokens")
