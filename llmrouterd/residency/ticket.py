"""What a host is told and what it says: tickets, models, limits, actions and standings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrouterd.residency.plan import Room

CHAT, API, TASK, PROFILING = range(4)
PRIORITIES = ("chat", "api", "task", "profiling")
NEVER = -1e9
_LONGEST_PAUSE = 60.0


class Action(NamedTuple):
    """kind: start | refuse | load | unload. ticket: of the first two. model: of the others.
    reason: for a person. retry_after: seconds."""

    kind: str
    ticket: Ticket | None = None
    model: str = ""
    reason: str = ""
    retry_after: float = 0.0


@dataclass(eq=False, slots=True, kw_only=True)
class Ticket:
    """A request in the queue or in flight. priority: index of PRIORITIES. since: its arrival.
    turn: its place between clients. load_seconds: of the load that it has waited for, and evicted
    what was put out for it. decision: the id of its decision, "" for the router's own. held: it
    waits for one of its backend's places (`concurrency`). answered: it has had an answer."""

    model: str
    priority: int = CHAT
    client: str = ""
    since: float = 0.0
    turn: float = 0.0
    number: int = 0
    started: float | None = None
    load_seconds: float | None = None
    evicted: tuple[str, ...] = ()
    decision: str = ""
    held: bool = False
    answered: bool = False

    @property
    def background(self) -> bool:
        return self.priority >= TASK

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the answer: measuring and probing are no use of a model."""
        return self.priority < PROFILING

    def order(self, now: float, max_wait: float) -> tuple[bool, float, float, int]:
        """Its place in the queue: see `host`."""
        if now - self.since >= max_wait:
            return (False, 0.0, 0.0, self.number)
        return (True, float(self.priority), self.turn, self.number)


class Turns:
    """The clients' turns within each priority: who has asked for much is behind who has not."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int], float] = {}
        self._reached = 0.0
        self._numbers = 0

    def give(self, ticket: Ticket) -> None:
        """A ticket comes, with the next number, and its client's next turn."""
        ticket.number = self._numbers = self._numbers + 1
        key = ticket.client, ticket.priority
        ticket.turn = self._last[key] = max(self._reached, self._last.get(key, 0.0)) + 1.0

    def reach(self, ticket: Ticket) -> None:
        """A ticket has its turn: who comes later is not before those who wait for theirs."""
        self._reached = max(self._reached, ticket.turn - 1.0)


class Asker(NamedTuple):
    """A request whose wait is foretold. ahead: those in the queue before it, in their order."""

    now: float
    background: bool
    room: Room
    ahead: Sequence[Ticket]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNeeds:
    """A model as its host sees it. size: bytes in memory, 0 for unknown, by `basis` (declared,
    measured, unknown, or estimated, then with `error` as the share by which it may be wrong).
    slots: requests at once, None for any number. load_seconds: expected. answer_seconds: of a usual
    answer, until some have been seen. pinned: it stays loaded. movable: the backend loads and
    unloads it when told; otherwise it is always ready. apart: models that must not be beside it.
    beside: models of its backend, itself among them, that are loaded at once at most."""

    size: int = 0
    slots: int | None = None
    load_seconds: float = 0.0
    answer_seconds: float = 0.0
    pinned: bool = False
    movable: bool = True
    apart: frozenset[str] = frozenset()
    beside: int | None = None
    basis: str = "estimated"
    error: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the policy says of a host. budget: bytes. queue: most requests that wait. Seconds:
    max_wait until a request comes before all others, refuse_wait as the longest estimated wait
    (0: any), minimum residency, and how long chats' models are spared from background work."""

    budget: int | None = None
    most: int | None = None
    queue: int = 64
    max_wait: float = 30.0
    refuse_wait: float = 0.0
    minimum: float = 10.0
    spared: float = 600.0


@dataclass(slots=True)
class Live:
    """What is known of a loaded model. Times are the caller's seconds. fleeting: it was loaded for
    background work alone. batch: the number of the last ticket that waited when it was loaded."""

    since: float
    size: int | None = None
    used: float = NEVER
    chatted: float = NEVER
    fleeting: bool = False
    batch: int = 0

    def touch(self, now: float, background: bool) -> None:
        """It is in use at this moment."""
        self.used = now
        if not background:
            self.chatted = now


def live_for(waiting: Sequence[Ticket], now: float) -> Live:
    """A model that has just been loaded for these."""
    return Live(
        since=now,
        fleeting=bool(waiting) and all(each.background for each in waiting),
        batch=max((each.number for each in waiting if each.wanted), default=0),
    )


class Bar(NamedTuple):
    """What has failed: `until` when it is left alone, and why; until when it is not loaded only
    because it is `pinned`, and the `pause` in seconds that this was."""

    until: float = NEVER
    reason: str = ""
    pinned: float = NEVER
    pause: float = 0.0

    def again(self, now: float, rest: float, reason: str) -> Bar:
        """After one more failure; `rest` seconds for all, and for a pin twice its last pause."""
        pause = min(_LONGEST_PAUSE, 2.0 * self.pause or 1.0)
        return Bar(now + rest, reason, now + max(rest, pause), pause)


class Bars(dict[str, Bar]):
    """By model; one that has not failed has a bar that is over."""

    def __missing__(self, model: str) -> Bar:
        return Bar()


@dataclass(slots=True)
class Moving:
    """The one load or unload in hand. target: the model that it is done for."""

    kind: str
    models: set[str]
    since: float
    target: str

    def left(self, load: float, now: float) -> float:
        """Seconds until the target is loaded, of the `load` seconds that this takes."""
        return max(0.0, load - (now - self.since))
