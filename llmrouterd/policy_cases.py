"""The section `tests` of the policy. `config/schema.json` says what each key means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmrouterd.policy import Globs
    from llmrouterd.problems import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a case expects; None, and no globs, is 'anything'. `task` "" is a human's message."""

    category: tuple[str, ...] | None
    rule: tuple[str, ...] | None
    models: Globs
    task: str | None
    min_complexity: float | None
    max_complexity: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request and what is expected of it. `body` is a chat request as JSON; `at` is where
    the case stands, as a problem without words. Moving a case does not make it another."""

    name: str
    body: bytes = field(repr=False)
    task: str
    preset: str
    client: str
    expected: Expected
    at: Problem = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTests:
    """`refuse`: whether an edit that breaks a case is refused, rather than warned about."""

    refuse: bool = False
    cases: tuple[Case, ...] = ()
