"""Complexity of a prompt from its structure: counts of plain features, a logistic function.

The weights are the policy's; the words that ask for depth, constraints or brevity are here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import re2

if TYPE_CHECKING:
    from llmrouterd.policy import Complexity

_BOUND = 6000
_DEPTH = re2.compile(
    r"(?i)\b(?:prove|derive|design|architect\w*|optimi[sz]e\w*|refactor\w*|analy[sz]e|compare|"
    r"trade-?offs?|step by step|in depth|in detail|comprehensive\w*|rigorous\w*|implement|"
    r"algorithm|concurren\w*|distributed|proof|theorem|edge cases?|critically|evaluate|"
    r"beweise|entwirf|optimiere|analysiere|schritt f.r schritt|d.montre\w*|con.ois|compare[rz]|"
    r"demuestra|dise.a|optimiza|analiza|paso a paso|dimostra|progetta)\b|"
    r"证明|设计|优化|分析|逐步|推导|證明|設計|証明|最適化|докажи|спроектируй|проанализируй"
)
_CONSTRAINTS = re2.compile(
    r"(?i)\b(?:must|should|exactly|at least|at most|no more than|without|only|ensure|constraint\w*|"
    r"require\w*|format|between|muss|genau|mindestens|h.chstens|ohne|doit|exactement|sans|"
    r"debe|exactamente|sin)\b|必须|不要|至少|不超过|要求"
)
_SIMPLE = re2.compile(
    r"(?i)\b(?:briefly|brief|short|simple|simply|one word|one sentence|quick|quickly|tl;?dr|yes or no|"
    r"kurz|einfach|bri.vement|breve|brevemente|corto)\b|简短|简单"
)
_QUESTIONS = re2.compile(r"[?？؟]|(?m)^\s*(?:\d+[.)]|[-*•])\s")
_CODE = re2.compile(
    r"```|(?m)^\s*(?:def |class |import |#include|function |public |SELECT )|[;{}]\s*$"
)
_MATHEMATICS = re2.compile(
    r"\\(?:frac|int|sum|sqrt|begin)|[∫∑√≤≥∞∂]|\$[^$\n]+\$|\b\w\^\{?\d|\d\s*[*/^=]\s*\d"
)
_WORDS = re2.compile(r"\w+|[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]")


def complexity(words: str, category: str, weights: Complexity) -> float:
    """Complexity of the human's words, 0 to 1. Long texts are read at both ends."""
    text = words if len(words) <= _BOUND else words[: _BOUND * 2 // 3] + words[-_BOUND // 3 :]
    length = len(_WORDS.findall(text)) if len(words) <= _BOUND else len(words) // 5
    total = (
        weights.bias
        + weights.categories.get(category, 0.0)
        + weights.length * max(0.0, math.log2((length + 1) / 8))
        + weights.questions * min(5, max(0, _count(_QUESTIONS, text, 6) - 1))
        + weights.constraints * _count(_CONSTRAINTS, text, 6)
        + weights.depth * _count(_DEPTH, text, 4)
        + weights.simple * _count(_SIMPLE, text, 2)
    )
    if _CODE.search(text):
        total += weights.code
    if _MATHEMATICS.search(text):
        total += weights.mathematics
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, total))))


def _count(pattern: re2._Regexp, text: str, most: int) -> int:
    return min(most, len(pattern.findall(text)))
