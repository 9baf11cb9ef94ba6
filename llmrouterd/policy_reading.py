"""The policy's sections about reading a prompt: `classification`, `complexity`, `reasoning`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    model: str
    semantic: str
    lexicon_weight: float
    temperature: float
    abstain_logit: float
    threshold: float
    prior: Mapping[str, float]
    teach_similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Complexity:
    bias: float
    length: float
    numbers: float
    comparisons: float
    search: float
    brackets: float
    exceptions: float
    depth: float
    long_words: float
    categories: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    by_complexity: bool
    medium: float
    high: float
