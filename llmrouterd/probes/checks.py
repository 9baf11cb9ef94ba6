"""What a probe is, and what its answer is held against: data only, no code of any model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fractions import Fraction

LEVELS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberCheck:
    """The final answer is this number."""

    value: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceCheck:
    """The final answer names one of `accepted` (other names of one thing), none of `others`."""

    accepted: tuple[str, ...]
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCheck:
    """The final answer names these items and no other of `universe`, in order where `ordered`."""

    items: tuple[str, ...]
    universe: tuple[str, ...]
    ordered: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PhraseCheck:
    """The final answer is one of these texts; case, accents, spaces, punctuation are free.

    `literal`: punctuation and case count, as for what a program prints.
    """

    accepted: tuple[str, ...]
    literal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DateCheck:
    """The final answer is this day (YYYY-MM-DD)."""

    day: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeCheck:
    """The final answer is this time of day (HH:MM, 24 hours)."""

    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonCheck:
    """The answer holds JSON equal to `value` (a JSON text). `unordered`: arrays are sets."""

    value: str
    unordered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule for a text. kind: see `rules.py`; what else is set depends on it."""

    kind: str
    number: int = 0
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCheck:
    """The answer keeps every rule."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCheck:
    """The answer is these tool calls, in any order: (name, arguments as JSON)."""

    calls: tuple[tuple[str, str], ...]


Check = (
    NumberCheck
    | ChoiceCheck
    | ListCheck
    | PhraseCheck
    | DateCheck
    | TimeCheck
    | JsonCheck
    | RuleCheck
    | CallCheck
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question with a verifiable answer.

    id: kind:level:seed, from which `generate` makes it again. guess: the chance that a guess
    passes. reference: one right answer (for tool calls, the calls as JSON).
    """

    id: str
    category: str
    kind: str
    level: int
    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    max_tokens: int
    guess: float
    check: Check
    reference: str

    @property
    def prompt(self) -> str:
        """The texts of all messages, joined."""
        return "\n".join(str(message["content"]) for message in self.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a generator makes of a level. hidden: the prompt must not hold the answer."""

    prompt: str | tuple[dict[str, Any], ...]
    check: Check
    reference: str
    guess: float = 0.0
    max_tokens: int = 400
    hidden: bool = True
    tools: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether an answer passed, and in a few words why."""

    passed: bool
    reason: str
