"""The sections `failover` and `health` of the policy; `config/schema.json` has their words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    attempts: int
    errors_to_cool: int
    cool_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthLimits:
    suspect_factor: float
    floor_seconds: float
    unprofiled_seconds: float
    held_tokens: int
    probe_seconds: float
    probe_idle_minutes: float
    probe_remote: bool
    coolings_to_die: int
    longest_cool_seconds: float
    longest_dead_seconds: float
