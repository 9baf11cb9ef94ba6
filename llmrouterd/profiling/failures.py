"""Models that could not be measured: why, and when they are tried again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrouterd.catalog import Model

_LONGEST_PAUSE = 6 * 3600.0
# A step that failed so often is left out; without the first one there is nothing to measure.
_PATIENCE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """attempts: in a row at this step. retry_at: monotonic seconds."""

    step: str
    reason: str
    attempts: int
    retry_at: float

    @property
    def hopeless(self) -> bool:
        """Whether the step has had its tries."""
        return self.attempts >= _PATIENCE


class Failures:
    """By model and digest, so that new weights begin anew."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str | None], Failure] = {}

    def add(self, model: Model, step: str, reason: str, pause: float, now: float) -> Failure:
        """Another failure. pause: seconds after the first; doubled with each further one."""
        before = self._found.get((model.id, model.digest))
        attempts = before.attempts + 1 if before is not None and before.step == step else 1
        wait = min(_LONGEST_PAUSE, pause * 2.0 ** min(attempts - 1, 30))
        failure = Failure(step=step, reason=reason, attempts=attempts, retry_at=now + wait)
        self._found[(model.id, model.digest)] = failure
        return failure

    def clear(self, model: Model) -> None:
        """It works, or is to be tried at once."""
        self._found.pop((model.id, model.digest), None)

    def rests(self, model: Model, now: float) -> bool:
        """Whether it is not yet the time for another try."""
        failure = self._found.get((model.id, model.digest))
        return failure is not None and now < failure.retry_at

    def data(self, now: float) -> dict[str, dict[str, Any]]:
        """By model id, as JSON."""
        return {
            name: {
                "step": failure.step,
                "reason": failure.reason,
                "attempts": failure.attempts,
                "retry_in": round(max(0.0, failure.retry_at - now), 1),
            }
            for (name, _), failure in self._found.items()
        }
