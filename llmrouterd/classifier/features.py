"""Text -> what the trained classifier reads of it: words, pieces of words, and its structure.

Only the beginning and the end of a long text are cut into words: people say there what they want.
Structure is read from more of it. The training uses these very functions.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

from llmrouterd.classifier.tokens import fold, tokenize

HEAD, TAIL = 300, 150
_STRUCTURE_HEAD, _STRUCTURE_TAIL = 4000, 2000
_OPENING = 400
_SHORTEST, _LONGEST = 2, 4  # letters of a piece
_WORD_BOUND = 24
_NON_SPACE = re.compile(r"\S+")
_CODE = re.compile(
    r"```|^[ \t]*(?:def |class |import |from \w+ import|#include|function |public |SELECT |const "
    r"|let |var |return\b|if \(|for \()|[;{}][ \t]*$|\w\(\w*\)|=>|==|!=|&&|\|\||</\w|\$ \w|--\w",
    re.MULTILINE,
)
_OPTION = re.compile(r"(?:^|\s)\(?[A-Ea-e1-4][.):、．]\s?\S", re.MULTILINE)
_MATHEMATICS = re.compile(
    r"\\(?:frac|int|sum|sqrt|begin)|[∫∑√≤≥∞∂±×÷]"
    r"|\$[^$\n]{1,200}\$|\b\w\^\{?\d|\d ?[*/^=+] ?\d"
)
_NUMBER = re.compile(r"\d+")
_SELF = re.compile(r"\b(?:i|my|me|ich|mein|je|mon|yo|mi|io|eu|я|мой|мне)\b")
_YOU = re.compile(r"\b(?:you|your|du|dich|tu|te|sie|usted|вы|ты)\b|[你您]")
_QUESTION_END = ("?", "？", "؟")


def ends(text: str) -> str:
    """The parts of a text that are cut into words."""
    text = text.strip()
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]} \n {text[-TAIL:]}"


def words_and_pieces(text: str) -> tuple[dict[str, int], dict[str, int]]:
    """Counts of words (single, in pairs, and marked with `^` and `$` where the text begins and
    ends) and of the pieces of words, two to four characters long, with a space at a word's bounds.
    """
    text = fold(ends(text))
    tokens = ["0" if token.isdigit() else token for token in tokenize(text)]
    words = Counter(tokens)
    words.update(f"{one} {other}" for one, other in pairwise(tokens))
    spoken = [token for token in tokens if token[0].isalnum()] or tokens
    for number in range(1, min(3, len(tokens)) + 1):
        words["^" + " ".join(tokens[:number])] = 1
    for number in range(1, min(2, len(spoken)) + 1):
        words["$" + " ".join(spoken[-number:])] = 1
    found: list[str] = []
    for word in _NON_SPACE.findall(text):
        closed = f" {word} "[:_WORD_BOUND]
        last = len(closed) + 1
        for size in range(_SHORTEST, _LONGEST + 1):
            found += [closed[at : at + size] for at in range(last - size)]
    return words, Counter(found)


def structure(text: str) -> list[float]:
    """Numbers of the order of 1 that describe a text's form; STRUCTURE names them, in order."""
    size = len(text)
    if size > _STRUCTURE_HEAD + _STRUCTURE_TAIL:
        text = f"{text[:_STRUCTURE_HEAD]}\n{text[-_STRUCTURE_TAIL:]}"
    text = text.strip()
    read = max(1, len(text))
    opening = text[:_OPENING].lower()
    words = len(text.split())
    lines = text.count("\n")
    first = text.partition("\n")[0]
    code = sum(1 for _ in _CODE.finditer(text))
    numbers = sum(1 for _ in _NUMBER.finditer(text))
    options = sum(1 for _ in _OPTION.finditer(text))
    formulas = sum(1 for _ in _MATHEMATICS.finditer(text))
    questions = sum(map(text.count, _QUESTION_END))
    letters = sum(map(str.isalpha, opening)) / max(1, len(opening))
    capitals = sum(map(str.isupper, text[:_OPENING])) / max(1, len(opening))
    return [
        math.log1p(size) / 8,
        math.log1p(lines) / 3,
        float(lines == 0),
        len(first) / read,
        math.log1p(code) / 3,
        float(code > 2),
        min(1.0, 20 * code / read),
        math.log1p(numbers) / 3,
        min(1.0, 20 * numbers / read),
        min(1.0, math.log1p(options) / 2),
        float(options > 2),
        math.log1p(formulas) / 2,
        float(text.endswith(_QUESTION_END)),
        min(3, questions) / 3,
        1.0 - letters,
        capitals,
        float(words <= 3),
        float(words <= 8),
        float(size > 600),
        float(size > 1500),
        float(text[:1].islower()),
        float(":" in first or "：" in first),
        float("\n\n" in text),
        float("://" in text),
        float("@" in text),
        float("!" in text),
        float("___" in text),
        float("_" in text and "___" not in text),
        float("|" in text),
        float(text.count('"') > 1 or "“" in text or "«" in text or "「" in text),
        float(_SELF.search(opening) is not None),
        float(_YOU.search(opening) is not None),
    ]


STRUCTURE = (
    "log length", "log lines", "one line", "share of the first line", "log code", "code",
    "code density", "log numbers", "number density", "log options", "options", "log formulas",
    "ends as a question", "questions", "not letters", "capitals", "three words", "eight words",
    "over 600", "over 1500", "begins small", "colon in the first line", "paragraphs", "address",
    "at sign", "exclamation", "gap", "underscore", "bar", "quotation", "self", "you",
)  # fmt: skip
