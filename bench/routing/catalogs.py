"""A table without one of its datasets -> the catalog that a router would have then.

Every board is put on one scale: a score counts in standard deviations of the board's models
from their mean, times the usual standard deviation in logits, so that neither a hard dataset nor
one on which all models are alike distorts what is known of a model. How much the boards of a
category disagree about a model, and all boards about it, is the standard deviation of a finding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from bench.routing.tables import Floats, Table
from llmrouterd.catalog import Evidence, Finding
from llmrouterd.evidence import OVERALL
from llmrouterd.evidence.combination import combine

# The same for every model, so that nothing but quality tells them apart.
_ALIKE: dict[str, Any] = {
    "capabilities": ["chat"],
    "context": 32768,
    "size_b": 8.0,
    "profile": {
        "load_seconds": 1.0,
        "prefill_tokens_per_second": 1000.0,
        "decode_tokens_per_second": 50.0,
    },
}
_LEAST_SD = 0.02


def model_id(table: Table, at: int) -> str:
    return f"bench/{table.models[at]}"


def known_evidence(table: Table, held: int) -> list[dict[str, Evidence]]:
    """Evidence of each model by category and overall, from all datasets but `held`."""
    known = np.flatnonzero(table.others(held))
    values = _standardised(table.scores[known])
    categories = np.array([table.categories[at] for at in known])
    names = [table.datasets[at] for at in known]
    within = _spread_within(values, categories)
    around = np.sqrt(((values - values.mean(0)) ** 2).sum(0) / (len(known) - 1))
    evidence = []
    for at in range(len(table.models)):
        found: dict[str, Evidence] = {}
        found[OVERALL] = _evidence(names, values[:, at], around[at])
        for category in sorted({str(name) for name in categories}):
            here = np.flatnonzero(categories == category)
            chosen = [names[number] for number in here]
            found[category] = _evidence(chosen, values[here, at], within[at])
        evidence.append(found)
    return evidence


def catalog_file(table: Table, held: int) -> dict[str, Any]:
    """The same as the content of a catalog file."""
    return {
        "models": [
            {"id": model_id(table, at), **_ALIKE, "evidence": _written(found)}
            for at, found in enumerate(known_evidence(table, held))
        ]
    }


def _standardised(scores: Floats) -> Floats:
    centred = scores - scores.mean(1, keepdims=True)
    chances = scores.clip(0.01, 0.99)
    usual = np.median(np.log(chances / (1 - chances)).std(1, ddof=1))
    scaled: Floats = usual * centred / centred.std(1, ddof=1, keepdims=True)
    return scaled


def _spread_within(values: Floats, categories: Any) -> Floats:
    """How far one dataset says another thing of a model than those of its category: a standard
    deviation for each model, over all categories with two datasets or more."""
    squares, free = np.zeros(values.shape[1]), 0
    for category in set(categories):
        rows = values[categories == category]
        squares += ((rows - rows.mean(0)) ** 2).sum(0)
        free += len(rows) - 1
    spread: Floats = np.sqrt(squares / max(free, 1))
    return spread


def _evidence(names: Iterable[str], values: Floats, sd: float) -> Evidence:
    least = max(float(sd), _LEAST_SD)
    return combine(
        Finding(source=name, mean=float(value), sd=least)
        for name, value in zip(names, values, strict=True)
    )


def _written(found: dict[str, Evidence]) -> dict[str, Any]:
    return {
        category: {
            "mean": one.mean,
            "sd": one.sd,
            "sources": [
                {"source": item.source, "mean": item.mean, "sd": item.sd} for item in one.sources
            ],
        }
        for category, one in found.items()
    }
