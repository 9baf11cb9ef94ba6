"""Which models wait to be measured, and which steps of each are not done yet. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from llmrouterd.profiling.steps import SPEED_KINDS, Step, speed_steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmrouterd.catalog import Model
    from llmrouterd.policy_profiling import Profiling
    from llmrouterd.profiling.record import Record
    from llmrouterd.profiling.steps import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A model whose measuring is not finished. asked: the owner wants it now."""

    model: Model
    record: Record
    todo: tuple[Step, ...]
    total: int
    asked: bool = False


def is_measurable(model: Model, profiling: Profiling) -> bool:
    """Whether a model is ever measured: remote ones cost money, and some do not chat."""
    return (
        model.enabled
        and (not model.remote or profiling.remote)
        and (model.capabilities is None or "chat" in model.capabilities)
    )


def make_job(
    model: Model, record: Record, slots: int, profiling: Profiling, further: Sequence[Step]
) -> Job:
    """What is left to do of one model. further: the steps after those of its speed."""
    steps = (*speed_steps(model, slots, profiling), *further)
    fresh = "load" not in record.done or is_old(record, profiling.max_age_days)
    todo = tuple(
        step for step in steps if step.key not in record.done or (fresh and _is_speed(step.key))
    )
    return Job(model=model, record=record, todo=todo, total=len(steps))


def is_old(record: Record, days: float) -> bool:
    """Whether the speed was measured too long ago; never with 0 days."""
    if not days or not record.profile.measured_at:
        return False
    try:
        measured = datetime.fromisoformat(record.profile.measured_at)
    except ValueError:
        return True
    if measured.tzinfo is None:
        measured = measured.replace(tzinfo=UTC)
    return datetime.now(UTC) - measured > timedelta(days=days)


def after(step: Step, done: Mapping[str, Result], result: Result) -> dict[str, Result]:
    """The results with a further one. The first step begins the measuring of speed anew."""
    kept = {key: value for key, value in done.items() if step.kind != "load" or not _is_speed(key)}
    return {**kept, step.key: result}


def without(done: Mapping[str, Result], *, speed_only: bool) -> dict[str, Result]:
    """The results that stay when a model is to be measured again."""
    return {
        key: value
        for key, value in done.items()
        if key != "load" and (speed_only or _is_speed(key))
    }


def _is_speed(key: str) -> bool:
    return key.partition(":")[0] in SPEED_KINDS
