"""The parts of the policy that say what stays in memory and who waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmrouterd.policy import Globs

LOCAL = "local"  # the host that is this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpec:
    """A machine that models are loaded on. budget: bytes, None where no limit is known. most:
    models at once, None for any number."""

    name: str
    budget: int | None
    most: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """`apart`: groups of models of which one at a time is loaded."""

    keep_alive: str
    num_ctx: int
    hosts: tuple[HostSpec, ...]
    minimum_seconds: float
    spare_minutes: float
    apart: tuple[Globs, ...]

    def host(self, name: str) -> HostSpec:
        """What is declared of a host; one without limits where nothing is."""
        declared = (spec for spec in self.hosts if spec.name == name)
        return next(declared, HostSpec(name=name, budget=None, most=None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Who waits, and how long; 0 seconds is no limit."""

    max: int
    max_wait_seconds: float
    refuse_seconds: float
    sign_seconds: float
    status_events: str
