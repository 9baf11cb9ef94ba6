"""Complexity of a prompt from its structure: a few counts, weighed, through a logistic function.

The weights are the policy's; what is counted is here. Long words and words that ask for depth make
an open request harder, not a sum or a question with options, so they count only where neither
numbers and symbols nor options are. "Not" and "except" are what makes options tricky, and count
only there. `bench.complexity` measures what that is worth.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmrouterd.policy_reading import Complexity

_BOUND = 6000
_EXAM = "exam"
_LONG_WORD = 7
_DEPTH = frozenset(
    """prove proof derive analyse analyze analysis explain why compare comparison design evaluate
    justify discuss implement implementation optimise optimize optimal algorithm algorithms theorem
    strategy strategies develop architecture refactor concurrency distributed critically thorough
    detailed comprehensive rigorous step tradeoff tradeoffs
    beweise beweis begründe entwirf entwickle optimiere analysiere vergleiche erkläre herleitung
    démontre démontrer conçois concevoir optimise analyse compare comparez explique expliquez
    demuestra diseña optimiza analiza compara
    explica desarrolla dimostra progetta ottimizza analizza
    confronta spiega prove projete otimize analise explique desenvolva bewijs ontwerp analyseer
    vergelijk udowodnij zaprojektuj przeanalizuj porównaj wyjaśnij
    докажи докажите спроектируй проанализируй сравни оптимизируй объясни поясни
    kanıtla tasarla analiz karşılaştır açıkla""".split()
)
_COMPARISONS = frozenset(
    """more less than twice half times total remaining left per each percent fraction ratio
    average together another difference rest third quarter double
    mehr weniger als doppelt hälfte mal insgesamt übrig pro prozent durchschnitt zusammen rest
    plus moins double moitié fois total restant pour moyenne ensemble
    más menos doble mitad veces total restante cada promedio resto
    più meno doppio metà volte totale ciascuno media mais metade vezes média cada
    больше меньше вдвое половина раз всего осталось процент среднее вместе""".split()
)
_SEARCH = frozenset(
    """maximum minimum largest smallest greatest possible distinct integer integers positive
    probability polynomial sum ordered sequence function triangle circle divisible remainder real
    values satisfies satisfying größte kleinste wahrscheinlichkeit folge maximal minimal
    maximale minimale probabilité suite máximo mínimo probabilidad massimo minimo probabilità
    максимум минимум вероятность наибольшее наименьшее""".split()
)
_EXCEPTIONS = frozenset(
    """not no never except neither nor without unless least false incorrect cannot
    nicht kein keine außer nie ohne pas sauf jamais sans no excepto nunca sin non tranne mai
    não exceto не кроме никогда без""".split()
)
_DEPTH_CJK = (
    "证明", "證明", "設計", "设计", "优化", "最適化", "分析", "比较", "比較", "推导",
    "証明", "说明", "説明", "증명", "설계", "분석", "설명",
)  # fmt: skip
_WORDS = re.compile(r"[^\W\d_]+")
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")
_NUMBERS = re.compile(r"\d+(?:[.,]\d+)*")
_SYMBOLS = re.compile(r"\\[a-zA-Z]+|[=^_+*/<>∫∑√≤≥]")


def complexity(words: str, category: str, form: str, weights: Complexity) -> float:
    """Complexity of the human's words, 0 to 1. Long texts are read at both ends."""
    long = len(words) > _BOUND
    text = words[: _BOUND * 2 // 3] + words[-_BOUND // 3 :] if long else words
    tokens = _WORDS.findall(text.lower())
    number = len(tokens)
    unspaced = 0 if text.isascii() else len(_UNSPACED.findall(text))
    length = number + unspaced // 2
    if long:
        length = length * len(words) // _BOUND
    numbers = math.log1p(sum(1 for _ in _NUMBERS.finditer(text)))
    symbols = math.log1p(sum(1 for _ in _SYMBOLS.finditer(text)))
    total = (
        weights.bias
        + weights.categories.get(category, 0.0)
        + weights.length * math.log1p(length)
        + weights.numbers * numbers
        + weights.comparisons * _count(tokens, _COMPARISONS)
        + weights.search * _count(tokens, _SEARCH)
        + weights.brackets * math.log1p(text.count("("))
    )
    if form == _EXAM:
        total += weights.exceptions * _count(tokens, _EXCEPTIONS)
    else:
        deep = sum(map(_DEPTH.__contains__, tokens))
        if unspaced:
            deep += sum(map(text.count, _DEPTH_CJK))
        share = sum(len(token) >= _LONG_WORD for token in tokens) / max(1, number)
        unreckoned = 1.0 - min(1.0, numbers / 1.5 + symbols / 2)
        total += unreckoned * (weights.depth * math.log1p(deep) + weights.long_words * share)
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, total))))


def _count(tokens: list[str], known: frozenset[str]) -> float:
    return math.log1p(sum(map(known.__contains__, tokens)))
