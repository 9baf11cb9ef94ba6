"""From all that a model wrote to the piece of it that is its final answer."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from llmrouterd.probes.numbers import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

# An answer beyond these is no answer to a short question; the second is without the thoughts.
MOST_CHARACTERS = 1_000_000
MOST_VISIBLE = 50_000
_THOUGHTS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel|>analysis", "<|channel|>final<|message|>"),
)
_SPECIAL = re.compile(r"<\|[a-z_]{1,30}\|>|</s>|<end_of_turn>")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[\w+-]*[ \t]*$", re.MULTILINE)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}\n]|\{[^{}\n]{0,200}\}){0,400})\}")
_LATEX_TEXT = re.compile(
    r"\\(?:text|mathrm|mathbf|textbf|mbox|operatorname)\s*\{([^{}\n]{0,200})\}"
)
_LATEX_SPACE = re.compile(r"\\[,;:! ]|\\(?:quad|left|right|displaystyle)\b")
_EMPHASIS = re.compile(r"\*\*|__|`|\$|\\[()\[\]]|(?<!\w)\*(?=\w)|(?<=\w)\*(?!\w)")
_MARK = re.compile(
    r"(?:\b(?:final answer|answer|antwort|réponse|reponse|respuesta|risposta)\b|最终答案|答案)"
    r"[ \t]{0,4}(?::|=|是|为)",
    re.IGNORECASE,
)
_SAID = re.compile(
    r"\b(?:the|my|final|correct|right)[ ]{1,2}(?:final |correct |right )?(?:answer|result|output)"
    r"[ ]{1,2}(?:is|would be|must be|equals)\b[ ]{0,2}:?",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    r"\b(?:so|therefore|thus|hence|in total|altogether|finally|in conclusion|result|left)\b|=|∴",
    re.IGNORECASE,
)
_REVISES = re.compile(
    r"\b(?:actually|wait|correction|instead|or rather|i was wrong|mistake|alternatively|on second"
    r" thought)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+|(?<=[。！？])")


def visible(answer: str) -> str:
    """The answer without the thoughts before it. Thoughts without an end hide all after them."""
    for opening, closing in _THOUGHTS:
        pieces: list[str] = []
        place = 0
        while (start := answer.find(opening, place)) >= 0:
            pieces.append(answer[place:start])
            end = answer.find(closing, start)
            place = len(answer) if end < 0 else end + len(closing)
        answer = "".join(pieces) + answer[place:]
        # The chat template may have opened them.
        if closing != opening and closing in answer:
            answer = answer[answer.rindex(closing) + len(closing) :]
    return _SPECIAL.sub("", answer).strip()


def unfenced(text: str) -> str:
    """Without the lines that open and close code fences."""
    return _FENCE.sub("", text).strip()


def without_echo(text: str, asked: tuple[str, ...]) -> str:
    """Without verbatim copies of what was asked, also with other spaces."""
    squeezed = " ".join(text.split())
    found = False
    for question in asked:
        copy = " ".join(question.split())
        if len(copy) >= 20 and copy in squeezed:
            squeezed = squeezed.replace(copy, "\n")
            found = True
    return squeezed.strip() if found else text


def bare(text: str) -> str:
    """A `plain` text without markdown and LaTeX around its words; boxed answers are marked."""
    text = _LATEX_TEXT.sub(r" \1 ", text)
    text = _BOXED.sub(r"\nAnswer: \1\n", text)
    text = _LATEX_SPACE.sub(" ", text)
    return _EMPHASIS.sub("", plain(text)).strip()


def finals(text: str) -> tuple[list[str], bool]:
    """The pieces of a `bare` text that give its answer, and whether they are marked as such.

    Marked are 'Answer: ...' and 'The answer is ...', to the end of the line. All must agree, so
    that nobody passes by giving two. Without any mark it is the one sentence, or the last one.
    """
    marked = list(_pieces(text))
    if marked:
        return marked, True
    sentences = [part.strip() for part in _SENTENCE.split(text) if part and part.strip()]
    if len(sentences) <= 1:
        return sentences, False
    return [sentences[-1]], False


def concludes(text: str) -> bool:
    """Whether a sentence reads like the end of a calculation."""
    return bool(_CONCLUDES.search(text))


def revision(text: str) -> str:
    """What follows the last marked answer where it takes it back; else nothing."""
    marks = _marks(text)
    if not marks:
        return ""
    rest = text[marks[-1].end() :].lstrip().partition("\n")[2]
    return rest if _REVISES.search(rest[:2000]) else ""


def _marks(text: str) -> list[re.Match[str]]:
    found = [*_MARK.finditer(text), *_SAID.finditer(text)]
    return sorted(found, key=lambda match: match.start())


def _pieces(text: str) -> Iterator[str]:
    marks = _marks(text)
    for place, match in enumerate(marks):
        end = marks[place + 1].start() if place + 1 < len(marks) else len(text)
        if end <= match.end():
            continue  # 'The final answer is: Answer: ...'
        piece = text[match.end() : end].lstrip(" \t:").lstrip("\n ").partition("\n")[0].strip()
        if piece:
            yield piece


def folded(text: str) -> str:
    """For comparing words: lower case, no accents, one space, no punctuation but inside words."""
    lowered = plain(text).casefold().replace("’", "'")
    parts = unicodedata.normalize("NFD", lowered)
    letters = "".join(char for char in parts if not unicodedata.combining(char))
    return " ".join(re.sub(r"[^\w'+%-]|_", " ", letters).split())


def occurs(word: str, text: str) -> list[int]:
    """Where a `folded` word stands in a `folded` text as a word of its own."""
    if not word:
        return []
    places, start = [], text.find(word)
    while start >= 0:
        end = start + len(word)
        before, after = text[start - 1 : start], text[end : end + 1]
        if not (_inside(before) and _inside(word[0])) and not (
            _inside(after) and _inside(word[-1])
        ):
            places.append(start)
        start = text.find(word, start + 1)
    return places


def _inside(char: str) -> bool:
    """Whether a character makes one word with its neighbours; Chinese has no such."""
    return char.isalnum() and not "\u3040" <= char <= "\u9fff"
