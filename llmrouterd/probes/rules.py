"""Rules for a text that a model writes: lengths, words kept or shunned, formats, languages.

kinds: keep, shun (words); numbers (no others than words); max_words, min_words, sentences,
lines, bullets, paragraphs (number); no_letter, starts, ends, lower, upper, unquoted, language
(words[0]); exact (words[0]).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmrouterd.probes.answers import folded, occurs
from llmrouterd.probes.numbers import find_number_words, find_numbers, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.probes.checks import Rule

_PREAMBLE = re.compile(
    r"^(?:sure|certainly|of course|okay|ok|here(?:'s| is| are)|rewritten|summary|the (?:rewritten|"
    r"summary))[^\n]{0,120}:[ \t]*\n+",
    re.IGNORECASE,
)
_LABEL = re.compile(r"^(?:summary|rewritten(?: text)?|answer)[ \t]*:[ \t]*", re.IGNORECASE)
_BULLET = re.compile(r"^[ \t]*(?:[-*•]|\d{1,2}[.)])[ \t]+\S", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?]+(?=[\s\"')\]]|$)")
_FUNCTION_WORDS = {
    "en": "the of and to in is that it was for with as on are this you at be have from or by not",
    "de": "der die das und ist nicht ein eine zu den mit von auf für sich dem im es auch wird sind",
    "fr": "le la les des est et un une du dans que pour qui sur pas avec au ce il elle sont cette",
    "es": "el la los las de y que es en un una por con para se del al su como son está lo muy",
    "it": "il lo la gli di e che è un una per con non si del della sono nel come le da al molto",
}


def text_of(answer: str) -> str:
    """The text itself: without an introduction, a label, bold marks or quotes all around."""
    text = _LABEL.sub("", _PREAMBLE.sub("", answer.strip(), count=1), count=1).strip()
    text = text.replace("**", "")
    if len(text) > 1 and text[0] in "\"'“‘" and text[-1] in "\"'”’":
        text = text[1:-1].strip()
    return text


def broken(rule: Rule, text: str) -> str:
    """What breaks the rule, or nothing."""
    return _RULES[rule.kind](rule, text)


def words_of(text: str) -> list[str]:
    """The words as people count them: what stands between spaces and holds a letter or digit."""
    return [word for word in text.split() if any(char.isalnum() for char in word)]


def sentences_of(text: str) -> int:
    """How many sentences. A dot inside of a number or a word ends none."""
    return len(_SENTENCE_END.findall(text.strip()))


def _keep(rule: Rule, text: str) -> str:
    flat = folded(text)
    numbers = set(find_numbers(plain(text)))
    for word in rule.words:
        wanted = find_numbers(plain(word)) if re.fullmatch(r"[\d.,]+", word) else []
        if not (wanted and wanted[0] in numbers) and not occurs(folded(word), flat):
            return f"{word!r} is missing"
    return ""


def _shun(rule: Rule, text: str) -> str:
    flat = folded(text)
    return next((f"{word!r} is used" for word in rule.words if occurs(folded(word), flat)), "")


def _numbers(rule: Rule, text: str) -> str:
    allowed = {value for word in rule.words for value in find_numbers(plain(word))}
    without_bullets = re.sub(r"^[ \t]*\d{1,2}[.)][ \t]+", "", text, flags=re.MULTILINE)
    # Small number words ('one of', 'two') are part of the language, not figures.
    said = [value for value in find_number_words(text) if value > 12]
    for value in [*find_numbers(plain(without_bullets)), *said]:
        if value not in allowed:
            return f"{value} is made up"
    return ""


def _counted(count: Callable[[str], int], name: str) -> Callable[[Rule, str], str]:
    def check(rule: Rule, text: str) -> str:
        found = count(text)
        return "" if found == rule.number else f"{found} {name}, not {rule.number}"

    return check


def _max_words(rule: Rule, text: str) -> str:
    found = len(words_of(text))
    return "" if found <= rule.number else f"{found} words, more than {rule.number}"


def _min_words(rule: Rule, text: str) -> str:
    found = len(words_of(text))
    return "" if found >= rule.number else f"{found} words, fewer than {rule.number}"


def _no_letter(rule: Rule, text: str) -> str:
    return "the letter is used" if rule.words[0] in text.casefold() else ""


def _lower(rule: Rule, text: str) -> str:
    return "" if text == text.lower() else "there are capitals"


def _upper(rule: Rule, text: str) -> str:
    return "" if text == text.upper() else "there are small letters"


def _starts(rule: Rule, text: str) -> str:
    begins = folded(text).startswith(folded(rule.words[0]))
    return "" if begins else "it starts in another way"


def _ends(rule: Rule, text: str) -> str:
    return "" if folded(text).endswith(folded(rule.words[0])) else "it ends in another way"


def _exact(rule: Rule, text: str) -> str:
    squeezed = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    wanted = [" ".join(line.split()) for line in rule.words[0].splitlines()]
    return "" if squeezed == wanted else "it is another text"


def _language(rule: Rule, text: str) -> str:
    if rule.words[0] == "zh":
        letters = [char for char in text if char.isalpha()]
        chinese = sum("\u4e00" <= char <= "\u9fff" for char in letters)
        return "" if letters and chinese * 2 > len(letters) else "it is not Chinese"
    words = re.findall(r"[^\W\d_]+", text.casefold())
    counts = {
        name: sum(word in set(listed.split()) for word in words)
        for name, listed in _FUNCTION_WORDS.items()
    }
    wanted = counts.pop(rule.words[0])
    if wanted < 2 or wanted <= max(counts.values()):
        return f"it is not clearly {rule.words[0]}"
    return ""


_RULES: dict[str, Callable[[Rule, str], str]] = {
    "keep": _keep,
    "shun": _shun,
    "numbers": _numbers,
    "max_words": _max_words,
    "min_words": _min_words,
    "sentences": _counted(sentences_of, "sentences"),
    "lines": _counted(lambda text: sum(bool(line.strip()) for line in text.splitlines()), "lines"),
    "bullets": _counted(lambda text: len(_BULLET.findall(text)), "bullet points"),
    "no_letter": _no_letter,
    "lower": _lower,
    "upper": _upper,
    "starts": _starts,
    "ends": _ends,
    "exact": _exact,
    "language": _language,
}
