"""How long a model will be at work: rough figures from how long its answers have taken. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

# An answer that has taken longer than usual may end at any time, but not at once.
_LEAST_LEFT = 0.5


class Work(NamedTuple):
    """A model's requests. usual: seconds of an answer. slots: requests at once, None for any
    number. running: how many seconds ago each in flight began. waiting: how many queue. others:
    those of other clients in flight. stays: seconds that it is kept, whatever it does."""

    usual: float
    slots: int | None
    running: tuple[float, ...]
    waiting: int
    others: int
    stays: float = 0.0


class Seconds(NamedTuple):
    """What the load of a model takes, or what is left of it, and an answer."""

    load: float
    answer: float


def until_slot(work: Work) -> float:
    """Seconds until all before are served and a slot is free."""
    ahead = work.waiting + len(work.running) + work.others
    if work.slots is None or ahead < work.slots:
        return 0.0
    return (ahead - work.slots + 1) / work.slots * work.usual


def until_idle(work: Work) -> float:
    """Seconds until it has nothing to do and may go."""
    left = max((max(_LEAST_LEFT, work.usual - ago) for ago in work.running), default=0.0)
    left += work.waiting / (work.slots or 1) * work.usual
    return max(left, work.stays)


def until_loads(before: Iterable[Seconds], beside: bool) -> float:
    """Seconds until others are loaded, one after the other. beside: there is room for all; else
    each has to answer before it makes room."""
    return sum(each.load if beside else each.load + each.answer for each in before)
