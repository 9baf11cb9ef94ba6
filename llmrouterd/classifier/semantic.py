"""The optional second opinion: a sentence embedding, and a linear model on it.

The encoder comes with the extra `semantic`; the plain classifier never needs it. Both opinions are
averaged as logits, and the lexicons are added as before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Protocol

import orjson

from llmrouterd.classifier.features import ends
from llmrouterd.classifier.model import CategoryModel, ModelError, normalised

SHARE = 0.5  # of the embedding's opinion


class Encoder(Protocol):
    """Gives a text's embedding, a sequence of numbers of a fixed length."""

    def __call__(self, text: str) -> Sequence[float]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendedModel:
    """The plain classifier with the embedding's. weights: a row for each category."""

    plain: CategoryModel
    encode: Encoder
    weights: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]

    @property
    def categories(self) -> tuple[str, ...]:
        return self.plain.categories

    def logits(self, text: str) -> list[float]:
        """As CategoryModel.logits."""
        embedding = self.encode(ends(text) or " ")
        told = normalised(
            [
                sum(map(mul, row, embedding)) + bias
                for row, bias in zip(self.weights, self.bias, strict=True)
            ]
        )
        return normalised(
            [
                SHARE * one + (1.0 - SHARE) * other
                for one, other in zip(told, self.plain.logits(text), strict=True)
            ]
        )


def blend(plain: CategoryModel, encode: Encoder, content: bytes) -> BlendedModel:
    """The blend from the embedding's weights as JSON. Raises ModelError."""
    try:
        data = orjson.loads(content)
        if data["categories"] != list(plain.categories):
            raise ModelError("the embedding's weights are for other categories")
        weights = tuple(tuple(map(float, row)) for row in data["weights"])
        bias = tuple(map(float, data["bias"]))
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ModelError(f"the embedding's weights cannot be read: {error}") from error
    if not all(math.isfinite(value) for row in weights for value in row):
        raise ModelError("the embedding's weights are not finite")
    return BlendedModel(plain=plain, encode=encode, weights=weights, bias=bias)
