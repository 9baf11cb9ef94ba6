"""Which models and backends are left alone for a while after failures.

A key is a model's id, or a backend's name for failures that concern all of its models. After
`errors_to_cool` failures in a row it cools; when that time is over one request is let through as
a probe while the others still see it cooling; a failed probe doubles the time, up to ten minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmrouterd.policy import Failover

LONGEST = 600.0


@dataclass(slots=True)
class _State:
    failures: int = 0
    times: int = 0
    until: float = 0.0
    probing_until: float = 0.0
    reason: str = ""


class Cooldowns:
    """Times are monotonic seconds, given by the caller."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}

    def __bool__(self) -> bool:
        return bool(self._states)

    def reason(self, key: str, now: float) -> str | None:
        """Why a key is to be left alone now; None if it may be used."""
        state = self._states.get(key)
        if state is None or not state.times:
            return None
        if now < state.until:
            return f"cooling for {state.until - now:.0f} s more: {state.reason}"
        if now < state.probing_until:
            return f"recovering, one request is trying it: {state.reason}"
        return None

    def begin(self, key: str, now: float, probe_seconds: float) -> None:
        """A request starts on this key; after a cooling it is the probe."""
        state = self._states.get(key)
        if state is not None and state.times and now >= state.until:
            state.probing_until = now + probe_seconds

    def ended(self, *keys: str) -> None:
        """A request on these keys ended; unless it tells more, the next one may be the probe."""
        for key in keys:
            state = self._states.get(key)
            if state is not None:
                state.probing_until = 0.0

    def succeeded(self, key: str) -> bool:
        """Forget the failures; True if it had been cooling."""
        state = self._states.pop(key, None)
        return state is not None and state.times > 0

    def failed(self, key: str, reason: str, policy: Failover, now: float) -> bool:
        """Count a failure; True if the key begins to cool."""
        state = self._states.setdefault(key, _State())
        state.failures += 1
        state.reason = reason
        if state.failures < policy.errors_to_cool and not state.times:
            return False
        state.until = now + min(LONGEST, policy.cool_seconds * 2.0**state.times)
        state.times = min(state.times + 1, 20)
        state.probing_until = 0.0
        return True

    def rest(self, key: str, reason: str, seconds: float, now: float) -> None:
        """Leave a key alone for as long as its backend asked for (429 with Retry-After)."""
        state = self._states.setdefault(key, _State())
        state.reason = reason
        state.times = max(state.times, 1)
        state.until = max(state.until, now + min(LONGEST, seconds))

    def keep(self, keys: set[str]) -> None:
        """Forget all keys but these."""
        for key in self._states.keys() - keys:
            del self._states[key]

    def view(self, now: float) -> dict[str, str]:
        """Key -> reason for all that are to be left alone."""
        reasons = {key: self.reason(key, now) for key in self._states}
        return {key: reason for key, reason in reasons.items() if reason is not None}
