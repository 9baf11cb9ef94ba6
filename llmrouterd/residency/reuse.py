"""How likely a model is wanted again soon: by when it was used last, and by the hour of day.

Uses are taken as a Poisson process whose rate is an average that forgets, over all hours and for
each hour of the day; the chance is that of at least one use within the horizon.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_DAY, _HOURS = 86400.0, 24
# A rate is halved after so many seconds without a use: of all uses, and of those of one hour.
_HALF_LIFE, _HOUR_HALF_LIFE = 1800.0, 7 * _DAY
# Being put out is regretted if the model is wanted within this many times its load, or minutes.
_HORIZON_LOADS, _HORIZON = 10.0, 300.0


@dataclass(slots=True)
class _Rate:
    """Uses a second: `count` uses, halved every half-life, as of `at`."""

    half_life: float
    count: float = 0.0
    at: float = 0.0

    def add(self, now: float) -> None:
        self.count = self.decayed(now) + 1.0
        self.at = now

    def decayed(self, now: float) -> float:
        return self.count * math.exp2(-max(0.0, now - self.at) / self.half_life)

    def a_second(self, now: float) -> float:
        # The mean length of what an exponential average remembers.
        return self.decayed(now) * math.log(2.0) / self.half_life


@dataclass(slots=True)
class _Uses:
    recent: _Rate = field(default_factory=lambda: _Rate(_HALF_LIFE))
    by_hour: dict[int, _Rate] = field(default_factory=dict)


def hour_of_clock(now: float) -> int:
    """The hour of the day of a clock that began at midnight."""
    return int(now % _DAY // 3600.0)


class Reuse:
    """Times are seconds of any clock that runs evenly; `hour` tells the hour of the day by it."""

    def __init__(self, hour: Callable[[float], int] = hour_of_clock) -> None:
        self._hour = hour
        self._uses: dict[str, _Uses] = {}

    def used(self, model: str, now: float) -> None:
        """A request for this model begins."""
        uses = self._uses.setdefault(model, _Uses())
        uses.recent.add(now)
        uses.by_hour.setdefault(self._hour(now), _Rate(_HOUR_HALF_LIFE)).add(now)

    def chance(self, model: str, load_seconds: float, now: float) -> float:
        """0 to 1: whether it is wanted again before the horizon."""
        uses = self._uses.get(model)
        if uses is None:
            return 0.0
        rate = uses.recent.a_second(now)
        usual = uses.by_hour.get(self._hour(now))
        if usual is not None:
            # One hour of each day only: what was used in it is spread over a 24th of the time.
            rate = max(rate, usual.a_second(now) * _HOURS)
        horizon = max(_HORIZON, _HORIZON_LOADS * load_seconds)
        return -math.expm1(-rate * horizon)
