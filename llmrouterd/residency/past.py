"""What was in memory when, for plots."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# So many points, so many seconds apart, and so many marks.
_POINTS, _PAUSE_SECONDS, _MARKS = 720, 10.0, 200


class Past:
    """`marks` are the loads, evictions, unloads, pins and unpins, the oldest first."""

    def __init__(self) -> None:
        self.points: deque[tuple[float, Mapping[str, int]]] = deque(maxlen=_POINTS)
        self.marks: deque[dict[str, Any]] = deque(maxlen=_MARKS)

    def note(self, used: Mapping[str, int]) -> None:
        """Bytes in use by host; kept where it is time for another point."""
        now = time.time()
        if not self.points or now - self.points[-1][0] >= _PAUSE_SECONDS:
            self.points.append((now, used))

    def mark(self, kind: str, model: str, host: str, target: str = "") -> None:
        """kind: load, evict, unload, pin or unpin. target: the model that it was done for."""
        moment = round(time.time(), 2)
        self.marks.append({"at": moment, "kind": kind, "model": model, "host": host, "for": target})

    def described(self) -> list[dict[str, Any]]:
        """Bytes in use by host, the oldest first. at: Unix time."""
        return [{"at": round(at, 2), "used": dict(used)} for at, used in self.points]
