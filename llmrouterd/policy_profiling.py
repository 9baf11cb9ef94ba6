"""The section `profiling` of the policy. `config/schema.json` says what each key means."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveProfiles:
    enabled: bool
    half_life_samples: float
    half_life_hours: float
    save_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    enabled: bool
    per_category: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """`model` is an id or a name; "" is none."""

    model: str
    per_category: int
    budget_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiling:
    enabled: bool
    idle_seconds: float
    prompt_tokens: tuple[int, ...]
    output_tokens: int
    parallel: int
    reload: bool
    timeout_seconds: float
    retry_seconds: float
    max_age_days: float
    remote: bool
    live: LiveProfiles
    abilities: Abilities
    judge: Judge
