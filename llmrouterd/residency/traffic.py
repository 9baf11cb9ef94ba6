"""What is seen of the requests that models answer: how long they take, and how many are others'."""

from __future__ import annotations

from llmrouterd.residency.ticket import NEVER

# What one more answer counts for in the mean of all before.
_NEWEST = 0.2


class Traffic:
    """Times are the caller's seconds."""

    def __init__(self) -> None:
        self._usual: dict[str, float] = {}
        self._others: dict[str, tuple[int, float]] = {}

    def answered(self, model: str, seconds: float) -> None:
        """An answer of ours has ended after so long."""
        before = self._usual.get(model, seconds)
        self._usual[model] = (1.0 - _NEWEST) * before + _NEWEST * seconds

    def usual(self, model: str, assumed: float) -> float:
        """Seconds that an answer of a model takes; `assumed` until one was seen."""
        return self._usual.get(model, assumed)

    def see_others(self, model: str, number: int, at: float) -> None:
        """So many requests of other clients were being answered at this time."""
        self._others[model] = number, at

    def others(self, model: str, now: float, seconds: float) -> int:
        """The number seen last, unless that is longer ago than `seconds`."""
        number, seen = self._others.get(model, (0, NEVER))
        return number if now - seen < seconds else 0
