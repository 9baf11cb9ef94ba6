"""Figures of a classifier: accuracy, macro-F1, by language, four classes, calibration, gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import f1_score

from training.data import CATEGORIES, Row

FOUR = {"coding": 0, "reasoning": 1, "math": 1, "creative": 2, "roleplay": 2, "factual": 3}
GATE = 0.6


class Measures(NamedTuple):
    """All shares from 0 to 1; nan where a set has no such rows."""

    rows: int
    accuracy: float
    macro_f1: float
    english: float
    other: float
    four: float
    calibration_error: float
    coverage: float
    gated: float


def measure(chances: np.ndarray, rows: Sequence[Row]) -> Measures:
    """chances: rows x categories. macro_f1 is over the categories that the rows have."""
    labels = np.array([CATEGORIES.index(row.category) for row in rows])
    english = np.array([row.language == "en" for row in rows])
    told = chances.argmax(axis=1)
    right = told == labels
    sure = chances.max(axis=1)
    gate = sure >= GATE
    return Measures(
        len(rows),
        float(right.mean()),
        float(f1_score(labels, told, labels=np.unique(labels), average="macro", zero_division=0)),
        _mean(right[english]),
        _mean(right[~english]),
        _four(chances, labels),
        calibration_error(sure, right),
        float(gate.mean()),
        _mean(right[gate]),
    )


def calibration_error(sure: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over equal bins."""
    at = np.minimum((sure * bins).astype(int), bins - 1)
    total = 0.0
    for number in range(bins):
        inside = at == number
        if inside.any():
            total += float(inside.mean()) * abs(float(sure[inside].mean() - right[inside].mean()))
    return total


def _four(chances: np.ndarray, labels: np.ndarray) -> float:
    kept = [at for at, label in enumerate(labels) if CATEGORIES[label] in FOUR]
    summed = np.zeros((len(kept), 4))
    for name, four in FOUR.items():
        summed[:, four] += chances[kept, CATEGORIES.index(name)]
    wanted = np.array([FOUR[CATEGORIES[labels[at]]] for at in kept])
    return _mean(summed.argmax(axis=1) == wanted)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
