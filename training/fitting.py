"""Fits the category model on some rows, gives logits for others, and packs it for the daemon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from llmrouterd.classifier.features import STRUCTURE
from llmrouterd.classifier.model import write_model
from training.data import CATEGORIES, GENERATED, Row
from training.features import MOST_FEATURES, STRUCTURE_SHARE, Bags, Vocabulary
from training.softmax import fit

LEXICON_WEIGHT = 0.8  # what config/schema.json gives classification.lexicon_weight
PENALTY, STRUCTURE_PENALTY = 2e-5, 1e-4
# A source's weight grows with the root of its rows: a large one must not drown the others. So
# does a category's. What is made by rule counts less than what people wrote.
SOURCE_POWER, CATEGORY_POWER = 0.5, 0.5
GENERATED_SHARE = 0.3
_CLIPPED = 99.95  # percentile of the weights' sizes that the largest signed byte stands for


class Fitted:
    """A model in full precision."""

    def __init__(self, rows: Sequence[Row], bags: Bags, lexicon: np.ndarray, on: np.ndarray):
        self._bags = bags
        self.words = Vocabulary([bags.words[at] for at in on], MOST_FEATURES[0])
        self.pieces = Vocabulary([bags.pieces[at] for at in on], MOST_FEATURES[1])
        self.mean = bags.structure[on].mean(axis=0)
        self.scale = STRUCTURE_SHARE / (bags.structure[on].std(axis=0) + 1e-6)
        labels = np.array([CATEGORIES.index(rows[at].category) for at in on])
        vectors = self._vectors(on)
        penalty = np.full(vectors.shape[1], PENALTY)
        penalty[-len(STRUCTURE) :] = STRUCTURE_PENALTY
        offset = LEXICON_WEIGHT * lexicon[on]
        self.weights, self.bias = fit(vectors, labels, row_weights(rows, on), offset, penalty)

    def _vectors(self, at: np.ndarray) -> sparse.csr_matrix:
        parts = [
            self.words.matrix([self._bags.words[number] for number in at]),
            self.pieces.matrix([self._bags.pieces[number] for number in at]),
            sparse.csr_matrix((self._bags.structure[at] - self.mean) * self.scale),
        ]
        return sparse.hstack(parts).tocsr()

    def logits(self, at: np.ndarray) -> np.ndarray:
        """Rows x categories, without the lexicons."""
        return np.asarray(self._vectors(at) @ self.weights + self.bias)

    def packed(self) -> bytes:
        """The model's file."""
        first = len(self.words.features)
        second = first + len(self.pieces.features)
        of_structure = self.weights[second:] * self.scale[:, None]
        bias = self.bias - self.mean @ of_structure
        head = {
            "categories": list(CATEGORIES),
            "bias": [round(float(value), 5) for value in bias],
            "of_structure": [[round(float(v), 4) for v in row] for row in of_structure],
        }
        return write_model(
            head,
            [
                _table(self.words, self.weights[:first]),
                _table(self.pieces, self.weights[first:second]),
            ],
        )


def _table(vocabulary: Vocabulary, weights: np.ndarray) -> tuple[list[str], bytes, float, float]:
    scaled = weights * vocabulary.rarity[:, None]
    unit = float(np.percentile(np.abs(scaled), _CLIPPED)) / 127
    square_unit = float((vocabulary.rarity**2).max()) / 255
    lanes = np.clip(np.round(scaled / unit), -127, 127).astype(np.int8).view(np.uint8)
    squares = np.maximum(1, np.round(vocabulary.rarity**2 / square_unit)).astype(np.uint8)
    rows = np.hstack([lanes, squares[:, None]]).tobytes()
    return vocabulary.features, rows, unit, square_unit


def row_weights(rows: Sequence[Row], on: np.ndarray) -> np.ndarray:
    """How much each training row counts."""
    number = Counter((rows[at].source, rows[at].category) for at in on)
    weights = np.array(
        [number[rows[at].source, rows[at].category] ** (SOURCE_POWER - 1.0) for at in on]
    )
    weights *= [GENERATED_SHARE if rows[at].source.startswith(GENERATED) else 1.0 for at in on]
    labels = np.array([CATEGORIES.index(rows[at].category) for at in on])
    totals = np.bincount(labels, weights, len(CATEGORIES))
    return np.asarray(weights * ((totals.mean() / totals) ** CATEGORY_POWER)[labels])
