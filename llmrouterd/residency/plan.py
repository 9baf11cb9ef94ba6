"""plan(): what has to happen in a host's memory before a model can answer. Pure.

The memory is one pool for all models of a host. A model goes in when it fits; else idle ones are
put out, the cheapest set that makes enough room; else somebody has to finish first; and a model
that would not fit into an empty pool beside the pinned ones is refused with the numbers. A model of
unknown size (0) is taken to need all that the pinned ones leave.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

# Sets of victims are compared one by one up to so many models; beyond, the cheapest go first.
_COMPARED = 10


class Held(NamedTuple):
    """A model in memory. size: bytes. busy, waiting: its requests in flight and in the queue.

    age, idle and chat_idle: seconds since it was loaded, used, and used by a chat. cost: seconds
    that putting it out is expected to lose. fixed: it is pinned, or cannot be unloaded.
    fleeting: it was loaded for background work, and makes no chat wait because it is new.
    """

    model: str
    size: int
    busy: int = 0
    waiting: int = 0
    age: float = 1e9
    idle: float = 1e9
    chat_idle: float = 1e9
    cost: float = 0.0
    fixed: bool = False
    fleeting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A host's memory at one moment. budget: bytes for all models, None for as much as they take.
    foreign: bytes that others use. most: how many models, None for any number. minimum: seconds
    that a model stays once it is loaded. spared: seconds that a model is kept from background
    work after a chat has used it."""

    budget: int | None = None
    foreign: int = 0
    most: int | None = None
    minimum: float = 0.0
    spared: float = 0.0
    held: tuple[Held, ...] = ()


class Wanted(NamedTuple):
    """The model to make room for. size: bytes. apart: models that must not be loaded beside it.
    background: asked for by a task or by the router itself. urgent: its requests have waited as
    long as they may, so those that wait for a victim no longer keep it. beside: models of its
    backend, itself among them, that are loaded at once at most, None for any number."""

    model: str
    size: int
    apart: frozenset[str] = frozenset()
    background: bool = False
    urgent: bool = False
    beside: int | None = None


class Plan(NamedTuple):
    """kind: ready | load | evict (then load) | wait | refuse. victims: what is put out, or, for
    `wait`, what is waited for. cost: seconds that the eviction is expected to lose others."""

    kind: str
    victims: tuple[str, ...] = ()
    cost: float = 0.0
    reason: str = ""


def plan(room: Room, wanted: Wanted) -> Plan:
    """What to do so that `wanted` is loaded."""
    if any(held.model == wanted.model for held in room.held):
        return Plan("ready")
    room, wanted = _at_worst(room, wanted)
    if room.budget is not None and wanted.size > room.budget - room.foreign - _fixed(room):
        return Plan("refuse", reason=_numbers(room, wanted))
    barred = [held.model for held in room.held if held.fixed and held.model in wanted.apart]
    if barred:
        return Plan("refuse", reason=f"{', '.join(barred)} is pinned and must not run beside it")
    if _enough(room, wanted, ()):
        return Plan("load")
    now = _cheapest(room, wanted, [held for held in room.held if _may_go(held, room, wanted)])
    if now is not None:
        return Plan("evict", tuple(held.model for held in now), sum(held.cost for held in now))
    later = _cheapest(room, wanted, [held for held in room.held if _could_go(held, room, wanted)])
    if later is not None:
        names = tuple(held.model for held in later)
        return Plan("wait", names, sum(held.cost for held in later))
    if wanted.background:
        return Plan("refuse", reason="background work does not put out what chats use")
    return Plan("refuse", reason=_numbers(room, wanted))


def _at_worst(room: Room, wanted: Wanted) -> tuple[Room, Wanted]:
    """Those of unknown size with as much as there is, so that a budget is never overdrawn."""
    if room.budget is None:
        return room, wanted
    rest = max(1, room.budget - room.foreign - _fixed(room))
    held = tuple(
        each if each.size or each.fixed else each._replace(size=rest) for each in room.held
    )
    return replace(room, held=held), wanted._replace(size=wanted.size or rest)


def _fixed(room: Room) -> int:
    return sum(held.size for held in room.held if held.fixed)


def _could_go(held: Held, room: Room, wanted: Wanted) -> bool:
    """Whether it can be put out at all, now or once it is idle."""
    return not held.fixed and not (wanted.background and held.chat_idle < room.spared)


def _may_go(held: Held, room: Room, wanted: Wanted) -> bool:
    """Whether it can be put out now."""
    young = held.age < room.minimum and (wanted.background or not held.fleeting)
    kept = held.busy or young or (held.waiting and not wanted.urgent)
    return not kept and _could_go(held, room, wanted)


def _enough(room: Room, wanted: Wanted, victims: tuple[Held, ...]) -> bool:
    """Whether the model fits once the victims are gone."""
    left = [held for held in room.held if held not in victims]
    if room.most is not None and len(left) >= room.most:
        return False
    if wanted.beside is not None and _siblings(left, wanted) >= wanted.beside:
        return False
    if any(held.model in wanted.apart for held in left):
        return False
    taken = sum(held.size for held in left) + room.foreign + wanted.size
    return room.budget is None or taken <= room.budget


def _siblings(held: list[Held], wanted: Wanted) -> int:
    """How many of these are of the same backend."""
    backend = wanted.model.partition("/")[0] + "/"
    return sum(each.model.startswith(backend) for each in held)


def _cheapest(room: Room, wanted: Wanted, eligible: list[Held]) -> tuple[Held, ...] | None:
    """The set of least cost that makes enough room; of equal ones the smaller, then by name."""
    eligible = sorted(eligible, key=lambda held: (held.cost, -held.idle, held.model))
    if not _enough(room, wanted, tuple(eligible)):
        return None
    if len(eligible) > _COMPARED:
        return _greedy(room, wanted, eligible)
    found = (
        victims
        for number in range(1, len(eligible) + 1)
        for victims in combinations(eligible, number)
        if _enough(room, wanted, victims)
    )
    return min(found, key=lambda victims: sum(held.cost for held in victims), default=None)


def _greedy(room: Room, wanted: Wanted, eligible: list[Held]) -> tuple[Held, ...]:
    victims: tuple[Held, ...] = ()
    for held in eligible:
        if _enough(room, wanted, victims):
            break
        victims = (*victims, held)
    for held in victims:  # whom a later, larger one has made needless stays
        fewer = tuple(each for each in victims if each is not held)
        if _enough(room, wanted, fewer):
            victims = fewer
    return victims


def _numbers(room: Room, wanted: Wanted) -> str:
    pinned = [held.model for held in room.held if held.fixed]
    of = f" of {gigabytes(room.budget)}" if room.budget is not None else ""
    parts = [f"needs {gigabytes(wanted.size)}{of}"]
    if room.foreign:
        parts.append(f"others use {gigabytes(room.foreign)}")
    if pinned:
        parts.append(f"{', '.join(pinned)} stays and takes {gigabytes(_fixed(room))}")
    if room.most is not None:
        parts.append(f"at most {room.most} models are loaded at once")
    if wanted.beside is not None:
        parts.append(f"its server holds at most {wanted.beside} at once")
    return ", ".join(parts)


def gigabytes(size: int) -> str:
    """Bytes for a person to read, in units of 10^9."""
    return f"{size / 1e9:.1f} GB"
