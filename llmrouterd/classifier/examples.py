"""Prompts whose category the owner has corrected, and the nearest of them to a new prompt.

Similarity is the cosine of two bags of features: words, pairs of neighbouring words, and, in
short texts, the three-letter pieces of words, so that a typo does not make another word of it.
Frequent features count little. Only the beginning and the end of a text are read: people say
there what they want.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from llmrouterd.classifier.tokens import fold, is_break, tokenize
from llmrouterd.policy import GENERAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MOST_EXAMPLES = 500
MOST_CHARACTERS = 4000
_HEAD, _TAIL = 400, 160
_SHORT_TEXT = 40  # words; longer texts have enough of them to do without their pieces
_SHORT_WORD = 3  # letters; mostly articles and the like
_PIECE, _PIECE_SHARE, _SHORT_SHARE = 3, 0.5, 0.5
_UNSEEN = 10  # examples that are assumed besides the real ones, or one alone would weigh nothing
# Features are looked up from the rarest on, until so many examples were met; the best of
# them are then compared in full.
_MOST_MET = 250
_COMPARED = 3
_FAR = 0.3  # what is less alike is not looked for

Features = dict[str, float]


class Near(NamedTuple):
    """The nearest example: its category, how near (0 to 1), its id and its words."""

    category: str
    similarity: float
    id: int
    text: str


def features(text: str) -> Features:
    """The features of a text with their counts' logarithms; empty where there are no words."""
    if len(text) > _HEAD + _TAIL:
        text = f"{text[:_HEAD]}\n{text[-_TAIL:]}"
    words = [token for token in tokenize(fold(text)) if not is_break(token)]
    counts = Counter(words)
    found = {
        word: (_SHORT_SHARE if len(word) <= _SHORT_WORD and word.isascii() else 1.0)
        * (1.0 + math.log(number))
        for word, number in counts.items()
    }
    for pair in pairwise(words):
        found[" ".join(pair)] = 1.0
    if len(words) <= _SHORT_TEXT:
        for word in counts:
            if len(word) >= _PIECE:
                closed = f"^{word}$"
                for at in range(len(closed) - _PIECE + 1):
                    found["#" + closed[at : at + _PIECE]] = _PIECE_SHARE
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Immutable. `rows`: (id, category, text), the newest first; the rest is made by `of`."""

    rows: tuple[tuple[int, str, str], ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict, repr=False)
    postings: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict, repr=False)
    vectors: tuple[Features, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Examples:
        """From rows with id, category and text, the newest first; more than 500 are left out."""
        kept = tuple((row["id"], row["category"], row["text"]) for row in rows)[:MOST_EXAMPLES]
        bags = [features(text) for _, _, text in kept]
        frequency = Counter(feature for bag in bags for feature in bag)
        weights = {name: _rarity(len(kept), number) for name, number in frequency.items()}
        vectors = tuple(_unit(bag, weights, len(kept)) for bag in bags)
        postings: dict[str, list[tuple[int, float]]] = {}
        for at, vector in enumerate(vectors):
            for name, value in vector.items():
                postings.setdefault(name, []).append((at, value))
        return cls(
            rows=kept,
            weights=weights,
            postings={name: tuple(places) for name, places in postings.items()},
            vectors=vectors,
        )

    def nearest(self, text: str) -> Near | None:
        """The example most like a text; None where none is at all like it."""
        if not self.rows:
            return None
        vector = _unit(features(text), self.weights, len(self.rows))
        best, similarity = -1, 0.0
        for at in self._candidates(vector):
            other = self.vectors[at]
            # Rounding may give a little more than 1; equal ones go to the newer example.
            found = min(1.0, sum(value * other.get(name, 0.0) for name, value in vector.items()))
            if found > similarity + 1e-9:
                best, similarity = at, found
        if similarity < _FAR:
            return None
        id_, category, words = self.rows[best]
        return Near(category, similarity, id_, words)

    def _candidates(self, vector: Features) -> list[int]:
        """The examples that share most with a text, by its features from the rarest on."""
        known = [(len(self.postings[name]), name) for name in vector if name in self.postings]
        # By Cauchy and Schwarz no cosine is above the length of the part that is known at all.
        if sum(vector[name] ** 2 for _, name in known) < _FAR**2:
            return []
        known.sort()
        shared: dict[int, float] = {}
        met = 0
        for number, name in known:
            met += number
            if met > _MOST_MET and shared:
                break
            value = vector[name]
            for at, other in self.postings[name]:
                shared[at] = shared.get(at, 0.0) + value * other
        return sorted(sorted(shared, key=lambda at: (-shared[at], at))[:_COMPARED])


def taught(
    examples: Examples, words: str, read: str, least: float, classify: Callable[[str], str]
) -> Near | None:
    """The example that overrides what was read from the words, None where none does.

    read: the category without examples. least: the similarity that is needed. An example stands
    for one mistake: where its own words would be read otherwise than these (`classify` gives the
    category of a text), these are another task on the same text, and not that mistake.
    """
    near = examples.nearest(words) if words else None
    if near is None or near.similarity < least:
        return None
    if read in (GENERAL, near.category) or classify(near.text) == read:
        return near
    return None


def blend(
    probabilities: Mapping[str, float], abstain: float, near: Near
) -> tuple[Mapping[str, float], float]:
    """Probabilities and doubt after an override: the similarity's share goes to the taught
    category, and the rest stays as it was."""
    rest = 1.0 - near.similarity
    mixed = {name: chance * rest for name, chance in probabilities.items()}
    mixed[near.category] = mixed.get(near.category, 0.0) + 1.0 - sum(mixed.values())
    return mixed, abstain * rest


def _rarity(number: int, frequency: int) -> float:
    return math.log(1.0 + (number + _UNSEEN) / (frequency + 1))


def _unit(bag: Features, weights: Mapping[str, float], number: int) -> Features:
    """A bag, weighted and scaled to length 1."""
    unseen = _rarity(number, 0)
    weighted = {name: value * weights.get(name, unseen) for name, value in bag.items()}
    length = math.sqrt(sum(value * value for value in weighted.values())) or 1.0
    return {name: value / length for name, value in weighted.items()}
