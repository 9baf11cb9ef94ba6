"""The part of the policy that says what a backend's answers may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """US dollars; 0 is no limit."""

    usd_per_day: float = 0.0
    usd_per_month: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.usd_per_day or self.usd_per_month)


NO_BUDGET = Budget()
