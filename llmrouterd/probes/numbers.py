"""Numbers in a text, as people and models write them."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

# Stands for a number too long to be an answer: equal to nothing that a probe asks for.
HUGE = Fraction(1, 1_000_000_007)
_LONGEST = 60
_SUPERSCRIPTS = str.maketrans({char: f"^{digit}" for digit, char in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")})
_SIGNS = str.maketrans(dict.fromkeys("‐‑‒–—−﹣-", "-") | {"⁄": "/"})
_GROUPED = r"\d{1,3}(?:(?P<group>[ ,'’_])\d{3})(?:(?P=group)\d{3})*(?!\d)(?:\.\d+)?"
_EUROPEAN = r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}(?![\d,])"
_PLAIN = r"\d+(?:[.,]\d+)?(?:[eE][+-]?\d{1,3}(?!\w))?|\.\d+"
_NUMBER = re.compile(rf"(?<![A-Za-z0-9_^.])[-+]?(?:{_GROUPED}|{_EUROPEAN}|{_PLAIN})", re.ASCII)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(-?\d{1,20})\s*\}\s*\{\s*(\d{1,20})\s*\}")
_LATEX_COMMA = re.compile(r"(?<=\d)(?:\{,\}|\\,|\\ )(?=\d{3})")
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_WORDS = {word: value for value, word in enumerate(_UNITS)} | {
    word: 20 + 10 * place for place, word in enumerate(_TENS)
}
_WORD = re.compile(
    rf"\b(?:({'|'.join(_TENS)})[- ]({'|'.join(_UNITS[1:10])})|({'|'.join(_WORDS)}))\b"
    r"(?!\s+(?:hundred|thousand|million))",
    re.IGNORECASE,
)


def plain(text: str) -> str:
    """One way to write each character: full width, minus signs, superscripts, spaces, digits."""
    folded = unicodedata.normalize("NFKC", text.translate(_SUPERSCRIPTS)).translate(_SIGNS)
    folded = _FRACTION.sub(r"\1/\2", _LATEX_COMMA.sub(",", folded))
    if folded.isascii():
        return folded
    return "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in folded)


def _value(token: str) -> Fraction:
    """The value of one matched number. A comma before three digits groups, else it is decimal."""
    if len(token) > _LONGEST:
        return HUGE
    sign = -1 if token.startswith("-") else 1
    token = re.sub(r"[ '’_]", "", token.lstrip("+-"))
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}", token):
        token = token.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?", token):
        token = token.replace(",", "")
    else:
        token = token.replace(",", ".")
    try:
        return sign * Fraction(token)
    except (ValueError, ZeroDivisionError):
        return HUGE


def find_numbers(text: str) -> list[Fraction]:
    """Every number of a `plain` text, in order; fractions like 3/4 are one number."""
    found: list[Fraction] = []
    end = -1
    for match in _NUMBER.finditer(text):
        token, start = match[0], match.start()
        if token[0] in "+-" and _joins(text[max(0, start - 8) : start]):
            token = token[1:]
        value = _value(token)
        if found and start == end + 1 and text[end] == "/" and value > 0:
            found[-1] = found[-1] / value
        else:
            found.append(value)
        end = match.end()
    return found


def _joins(before: str) -> bool:
    """Whether a sign after this text is an operator or a hyphen, not the number's own."""
    last = before.rstrip(" ")[-1:]
    return last.isdigit() or last in (")", "]") or (last.isalpha() and before[-1:] != " ")


def find_number_words(text: str) -> list[Fraction]:
    """English number words from zero to ninety-nine."""
    found = []
    for tens, unit, alone in _WORD.findall(text):
        value = _WORDS[alone.lower()] if alone else _WORDS[tens.lower()] + _WORDS[unit.lower()]
        found.append(Fraction(value))
    return found


def show(value: Fraction) -> str:
    """A number with a finite decimal expansion as text: 42, -7, 2.5."""
    if value.denominator == 1:
        return str(value.numerator)
    digits = f"{float(value):.6f}".rstrip("0")
    if Fraction(digits) != value:
        raise ValueError(f"{value} has no short decimal form")
    return digits
