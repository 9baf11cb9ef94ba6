"""The per-dataset tables of the routing data: mean score of each model on each dataset."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

Floats = npt.NDArray[np.float64]
_META = frozenset({"id", "prompt", "dataset", "category", "metric", "split", "lang"})
_LARGEST = 700
# The table has no categories; these are the groups that its authors print it in.
_TABLE6 = ["math"] * 3 + ["coding"] * 3 + ["reasoning"] * 3 + ["factual"] * 4 + ["extraction"] * 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """scores: datasets x models, 0 to 1. weights: what a dataset counts, its prompts or 1.
    answers: prompts x models of each dataset, empty where only the means are published."""

    name: str
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    categories: tuple[str, ...]
    scores: Floats
    weights: Floats
    answers: tuple[Floats, ...] = ()

    def with_scores(self, scores: Floats) -> Table:
        """The same datasets with other means."""
        return Table(
            name=self.name,
            models=self.models,
            datasets=self.datasets,
            categories=self.categories,
            scores=scores,
            weights=self.weights,
            answers=self.answers,
        )

    def others(self, held: int) -> Floats:
        """Which datasets are known when one is held out, as a mask."""
        return np.arange(len(self.datasets)) != held

    def alike(self, held: int) -> Floats:
        """Which of the known ones are of the same category, as a mask."""
        same = np.array([name == self.categories[held] for name in self.categories])
        return same & self.others(held)


def load_tables(folder: Path) -> dict[str, Table]:
    """The tables of shared/data/routing by name. Raises OSError where a file is missing."""
    return {
        "llmrouter9": _prompts("llmrouter9", folder / "llmrouter9.parquet"),
        "routerdc7": _prompts("routerdc7", folder / "routerdc7.parquet", largest=_LARGEST),
        "routerdc7, all English": _prompts("routerdc7 full", folder / "routerdc7.parquet"),
        "table 6": _means(folder / "llmrouterbench_table6_20models_15datasets.csv"),
    }


def _prompts(name: str, file: Path, largest: int | None = None) -> Table:
    """largest: draw this many prompts of a larger dataset, as the published figures do."""
    columns: dict[str, list[Any]] = pq.read_table(file).to_pydict()
    models, prompts = english_prompts(columns, largest)
    scores = np.array([columns[model] for model in models], float).T
    datasets, categories = np.array(columns["dataset"]), np.array(columns["category"])
    names = sorted(set(datasets[prompts]))
    rows = [prompts[datasets[prompts] == dataset] for dataset in names]
    return Table(
        name=name,
        models=models,
        datasets=tuple(str(dataset) for dataset in names),
        categories=tuple(str(categories[chosen[0]]) for chosen in rows),
        scores=np.array([scores[chosen].mean(0) for chosen in rows]),
        weights=np.array([float(len(chosen)) for chosen in rows]),
        answers=tuple(scores[chosen] for chosen in rows),
    )


def english_prompts(
    columns: dict[str, list[Any]], largest: int | None = None
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """The models and the numbers of the English prompts, dataset by dataset; of a dataset with
    more than `largest` so many are drawn."""
    models = tuple(column for column in columns if column not in _META)
    datasets = np.array(columns["dataset"])
    english = np.array(columns.get("lang", ["en"] * len(datasets))) == "en"
    rows = []
    for dataset in sorted(set(datasets[english])):
        chosen = np.flatnonzero((datasets == dataset) & english)
        if largest is not None and len(chosen) > largest:
            draw = np.random.RandomState(0).choice(len(chosen), largest, replace=False)
            chosen = chosen[draw]
        rows.append(chosen)
    return models, np.concatenate(rows)


def _means(file: Path) -> Table:
    with file.open(newline="") as lines:
        head, *body = list(csv.reader(lines))
    return Table(
        name="table 6",
        models=tuple(row[0] for row in body),
        datasets=tuple(head[1:]),
        categories=tuple(_TABLE6),
        scores=np.array([[float(cell) / 100 for cell in row[1:]] for row in body]).T,
        weights=np.ones(len(head) - 1),
    )
