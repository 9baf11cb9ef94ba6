"""Rows as the vectors that llmrouterd.classifier.features describes, for many rows at once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse

from llmrouterd.classifier.features import structure, words_and_pieces
from llmrouterd.classifier.model import COUNT_WEIGHTS

LEAST_ROWS = 3  # in which a feature must occur
MOST_FEATURES = (24_000, 36_000)  # words, pieces
STRUCTURE_SHARE = 0.2
_UNIT = COUNT_WEIGHTS[1]


class Vocabulary:
    """The features of one kind that a training set has, and how rare each is."""

    def __init__(self, bags: Sequence[Mapping[str, int]], most: int) -> None:
        frequency = Counter(feature for bag in bags for feature in bag)
        known = [item for item in frequency.items() if item[1] >= LEAST_ROWS]
        known.sort(key=lambda item: (-item[1], item[0]))
        self.features = [feature for feature, _ in known[:most]]
        self.index = {feature: at for at, feature in enumerate(self.features)}
        counts = np.array([count for _, count in known[:most]], dtype=float)
        self.rarity = np.log((1.0 + len(bags)) / (1.0 + counts)) + 1.0

    def matrix(self, bags: Sequence[Mapping[str, int]]) -> sparse.csr_matrix:
        """Rows x features, each row of length 1 by the measure that the model's file uses."""
        rows, columns, values = [], [], []
        for row, bag in enumerate(bags):
            known = [(self.index[name], count) for name, count in bag.items() if name in self.index]
            if not known:
                continue
            at = np.array([number for number, _ in known])
            weight = np.array([COUNT_WEIGHTS[min(count, 64)] / _UNIT for _, count in known])
            rarity = self.rarity[at]
            length = math.sqrt(float((weight * rarity**2).sum()))
            rows.append(np.full(len(at), row))
            columns.append(at)
            values.append(weight * rarity / length)
        shape = (len(bags), len(self.features))
        if not rows:
            return sparse.csr_matrix(shape)
        place = (np.concatenate(rows), np.concatenate(columns))
        return sparse.csr_matrix((np.concatenate(values), place), shape=shape)


class Bags:
    """What is read of every text once, whatever set it will belong to."""

    def __init__(self, texts: Sequence[str]) -> None:
        read = [words_and_pieces(text) for text in texts]
        self.words = [words for words, _ in read]
        self.pieces = [pieces for _, pieces in read]
        self.structure = np.array([structure(text) for text in texts])
