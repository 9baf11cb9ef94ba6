"""How far the measuring is, and how long it will still take."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(slots=True)
class Progress:
    """What GET /admin/profiles shows of the work in hand.

    state: idle | waiting (for the box to be idle, or for the time of the next try) | measuring.
    steps_done and steps_total are those of `model`; `eta_seconds` is for it and all that wait,
    None where nothing is to be done; `waiting` counts the models that are not finished.
    """

    state: str = "idle"
    model: str | None = None
    step: str | None = None
    steps_done: int = 0
    steps_total: int = 0
    eta_seconds: float | None = None
    waiting: int = 0

    def data(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


class Pace:
    """How real times compare to expected ones, by kind of step: the newest count most."""

    def __init__(self) -> None:
        self._ratios: dict[str, float] = {}

    def learn(self, kind: str, expected: float, taken: float) -> None:
        """A step that was expected to take so long took so long."""
        ratio = min(100.0, max(0.01, taken / max(expected, 1e-3)))
        before = self._ratios.get(kind)
        self._ratios[kind] = ratio if before is None else 0.7 * before + 0.3 * ratio

    def correct(self, kind: str, expected: float) -> float:
        """What is to be expected really."""
        return expected * self._ratios.get(kind, 1.0)
