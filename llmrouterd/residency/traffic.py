"""What is seen of the requests that models answer: how long they take, how many are others', and
when others have used a model last."""

from __future__ import annotations

from llmrouterd.residency.ticket import NEVER

# What one more answer counts for in the mean of all before.
_NEWEST = 0.2
# What a backend says so soon after a use of ours may be of that.
_OURS_SECONDS = 1.0
# The next reading has come by then, however short the answers are.
_READ_SECONDS = 60.0


class Traffic:
    """Times are the caller's seconds."""

    def __init__(self) -> None:
        self._usual: dict[str, float] = {}
        self._others: dict[str, tuple[int, float]] = {}
        self._expiries: dict[str, tuple[str | None, float]] = {}
        self._used: dict[str, float] = {}

    def answered(self, model: str, seconds: float) -> None:
        """An answer of ours has ended after so long."""
        before = self._usual.get(model, seconds)
        self._usual[model] = (1.0 - _NEWEST) * before + _NEWEST * seconds

    def usual(self, model: str, assumed: float) -> float:
        """Seconds that an answer of a model takes; `assumed` until one was seen."""
        return self._usual.get(model, assumed)

    def see_others(self, model: str, number: int | None, at: float, ours: float) -> None:
        """So many requests of other clients were being answered at this time; None: not told.
        ours: when we used the model last."""
        if number is not None and at - ours > _OURS_SECONDS:
            self._others[model] = number, at
            if number:
                self._used[model] = at

    def see_expiry(self, model: str, expires: str | None, at: float, ours: float) -> None:
        """When a model would be let go, as was said at this time; None: it is not loaded. Whoever
        uses it moves that: others, unless we have since it was said before."""
        before, asked = self._expiries.get(model, (None, NEVER))
        if expires not in (None, before) and asked - ours > _OURS_SECONDS:
            self._used[model] = at
        self._expiries[model] = expires, at

    def used(self, model: str) -> float:
        """When others are known to have used a model last."""
        return self._used.get(model, NEVER)

    def others(self, model: str, now: float, seconds: float) -> int:
        """The number seen last, unless that is longer ago than `seconds`, and than it takes to look
        again."""
        number, seen = self._others.get(model, (0, NEVER))
        return number if now - seen < max(seconds, _READ_SECONDS) else 0
