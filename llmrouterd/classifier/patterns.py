"""Many RE2 patterns searched in one text at once, in time linear in the text whatever a user wrote.

Patterns with an unbounded gap (``.*``, ``[^x]+``) are kept in small sets. In one automaton each of
them doubles the states, which RE2 builds as texts need them: a new text would cost milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import re2

_GAPS_IN_A_SET = 4
_GAP = re2.compile(r"(?:\.|\[\^[^\]]*\])[*+]")
_MEMORY = 8 << 20  # bytes a set may use for its program and its states


class PatternTooLargeError(ValueError):
    """Patterns that are valid one by one but too large together."""


class PatternSet:
    """Numbered patterns, compiled; case-insensitive unless they say ``(?-i)``."""

    __slots__ = ("_sets",)

    def __init__(self, patterns: Sequence[tuple[int, str]]) -> None:
        """Compile (number, pattern) pairs that `pattern_problem` has passed."""
        plain = [pair for pair in patterns if not _GAP.search(pair[1])]
        gaps = [pair for pair in patterns if _GAP.search(pair[1])]
        chunks = [plain] if plain else []
        chunks += [gaps[at : at + _GAPS_IN_A_SET] for at in range(0, len(gaps), _GAPS_IN_A_SET)]
        self._sets = tuple(
            (tuple(number for number, _ in chunk), _compile([text for _, text in chunk]))
            for chunk in chunks
        )

    def search(self, text: bytes) -> Iterator[int]:
        """Yield the numbers of the patterns that occur in UTF-8 text."""
        for numbers, compiled in self._sets:
            for index in compiled.Match(text) or ():
                yield numbers[index]


def pattern_problem(pattern: str) -> str | None:
    """Return why a pattern is not RE2, or None."""
    try:
        re2.compile(pattern, _options())
    except re2.error as error:
        detail = error.args[0] if error.args else ""
        text = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
        return f"the pattern {pattern!r} is not RE2: {text}{_reason(text)}"
    return None


def _compile(patterns: Sequence[str]) -> Any:
    compiled = re2.Set.SearchSet(_options())
    for pattern in patterns:
        compiled.Add(pattern)
    try:
        compiled.Compile()
    except re2.error as error:
        raise PatternTooLargeError(
            f"{len(patterns)} patterns together need more than {_MEMORY >> 20} MiB"
        ) from error
    return compiled


def _options() -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MEMORY
    return options


def _reason(text: str) -> str:
    """Return what to say of the refusals that surprise users of Perl-like patterns."""
    if "(?" in text:
        return " (lookaround is refused: it cannot be matched in linear time)"
    if "invalid escape sequence" in text:
        return " (backreferences are refused: they cannot be matched in linear time)"
    return ""
