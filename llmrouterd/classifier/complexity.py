"""Complexity of a prompt from its structure: counts of plain features, a logistic function.

The weights are the policy's; the words that ask for depth, constraints or brevity are here. The
text is cut into words once, and each word costs a look-up or two.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmrouterd.policy import Complexity

_BOUND = 6000
_DEPTH = frozenset(
    """prove proof theorem derive derivation design architect architecture optimise optimize
    optimising optimizing optimal refactor refactoring analyse analyze analysis compare comparison
    tradeoff tradeoffs comprehensive comprehensively rigorous rigorously implement implementation
    algorithm concurrency concurrent distributed critically evaluate thorough thoroughly
    beweise beweis entwirf entwickle optimiere analysiere vergleiche herleitung
    démontre démontrer conçois concevoir optimise analyse compare comparez
    demuestra diseña optimiza analiza compara dimostra progetta ottimizza analizza confronta
    prove projete otimize analise compare bewijs ontwerp analyseer vergelijk
    udowodnij zaprojektuj przeanalizuj porównaj
    докажи докажите спроектируй проанализируй сравни оптимизируй
    kanıtla tasarla analiz karşılaştır""".split()
)
_CONSTRAINTS = frozenset(
    """must should exactly only without ensure constraint constraints require required requires
    requirement requirements format between muss müssen genau mindestens höchstens ohne nur
    doit doivent exactement sans seulement debe deben exactamente sin solo sólo
    deve devono esattamente senza devem exatamente sem apenas moet precies zonder
    должен должны ровно без только musi dokładnie bez""".split()
)
_SIMPLE = frozenset(
    """briefly brief short simple simply quick quickly tldr kurz einfach brièvement bref breve
    brevemente corto court curto krótko кратко коротко kısaca singkat""".split()
)
_DEPTH_PHRASES = ("step by step", "in depth", "in detail", "edge case", "trade-off")
_CONSTRAINT_PHRASES = ("at least", "at most", "no more than")
_SIMPLE_PHRASES = ("one word", "one sentence", "yes or no", "tl;dr")
_DEPTH_CJK = (
    "证明",
    "證明",
    "設計",
    "设计",
    "优化",
    "最適化",
    "分析",
    "逐步",
    "推导",
    "証明",
    "증명",
    "설계",
    "분석",
)
_CONSTRAINT_CJK = ("必须", "不要", "至少", "不超过", "要求", "必ず", "반드시")
_SIMPLE_CJK = ("简短", "简单", "簡単", "간단")
_WORDS = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")
_PARTS = re.compile(r"^[ \t]*(?:\d{1,3}[.)]|[-*•])[ \t]", re.MULTILINE)
_CODE = re.compile(
    r"```|^[ \t]*(?:def |class |import |#include|function |public |SELECT )|[;{}][ \t]*$",
    re.MULTILINE,
)
_MATHEMATICS = re.compile(
    r"\\(?:frac|int|sum|sqrt|begin)|[∫∑√≤≥∞∂]|\$[^$\n]{1,200}\$|\b\w\^\{?\d|\d ?[*/^=] ?\d"
)


def complexity(words: str, category: str, weights: Complexity) -> float:
    """Complexity of the human's words, 0 to 1. Long texts are read at both ends."""
    long = len(words) > _BOUND
    text = words[: _BOUND * 2 // 3] + words[-_BOUND // 3 :] if long else words
    lowered = text.lower()
    tokens = _WORDS.findall(lowered)
    wide = not text.isascii()
    length = len(tokens) + (len(_UNSPACED.findall(text)) // 2 if wide else 0)
    if long:
        length = length * len(words) // _BOUND
    questions = text.count("?") + text.count("؟") + (text.count("？") if wide else 0)
    total = (
        weights.bias
        + weights.categories.get(category, 0.0)
        + weights.length * max(0.0, math.log2((length + 1) / 8))
        + weights.questions * min(5, max(0, questions + len(_PARTS.findall(text)) - 1))
        + weights.constraints
        * min(
            6, _count(tokens, lowered, _CONSTRAINTS, _CONSTRAINT_PHRASES + _CONSTRAINT_CJK * wide)
        )
        + weights.depth
        * min(4, _count(tokens, lowered, _DEPTH, _DEPTH_PHRASES + _DEPTH_CJK * wide))
        + weights.simple
        * min(2, _count(tokens, lowered, _SIMPLE, _SIMPLE_PHRASES + _SIMPLE_CJK * wide))
    )
    if _CODE.search(text):
        total += weights.code
    if _MATHEMATICS.search(text):
        total += weights.mathematics
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, total))))


def _count(tokens: list[str], text: str, known: frozenset[str], phrases: tuple[str, ...]) -> int:
    return sum(map(known.__contains__, tokens)) + sum(map(text.count, phrases))
