"""How others hold models in memory, behind the face of our own `Host`: arrive, leave, take, and
what the simulation tells it.

`Ollama`: requests are taken from the queue in order, and the first that needs a load holds up all
behind it; what has been idle longest goes; idle models go after `keep_alive`. (Its real choice of
a victim is by keep-alive, then by name; least recently used is what it is usually said to be, and
is kinder.) `LlamaRouter`: llama-server with --models-max: requests for what is loaded pass, the
least recently used model is put out, a busy one is waited for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from llmrouterd.residency.host import Host
from llmrouterd.residency.ticket import Action, Ticket

# Seconds that Ollama keeps an idle model unless it is told otherwise, and `residency.keep_alive`.
KEEP_ALIVE, OUR_KEEP_ALIVE = 300.0, 7200.0


class Memory(Protocol):
    """What the simulation drives."""

    def arrive(self, ticket: Ticket, now: float) -> None: ...
    def leave(self, ticket: Ticket, now: float) -> None: ...
    def set_loaded(self, model: str, now: float) -> None: ...
    def set_unloaded(self, model: str, now: float) -> None: ...
    def advance(self, now: float) -> None: ...
    def take(self) -> list[Action]: ...
    def holds(self) -> frozenset[str]: ...
    def waits(self) -> bool: ...


@dataclass(slots=True)
class _Live:
    used: float
    running: int = 0
    queue: deque[Ticket] = field(default_factory=deque)

    @property
    def idle(self) -> bool:
        return not self.running and not self.queue


class _Lru:
    """What Ollama and llama.cpp's router have in common."""

    def __init__(self, sizes: Mapping[str, int], slots: int) -> None:
        self.sizes = sizes
        self.slots = slots
        self.loaded: dict[str, _Live] = {}
        self.moving = ""
        self.pending: deque[Ticket] = deque()
        self._actions: list[Action] = []

    def take(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def holds(self) -> frozenset[str]:
        return frozenset(self.loaded)

    def waits(self) -> bool:
        return False  # nothing here depends on the time alone

    def arrive(self, ticket: Ticket, now: float) -> None:
        ticket.since = now
        self.pending.append(ticket)
        self.advance(now)

    def leave(self, ticket: Ticket, now: float) -> None:
        live = self.loaded[ticket.model]
        live.running -= 1
        live.used = now
        self.advance(now)

    def set_loaded(self, model: str, now: float) -> None:
        self.loaded[model] = _Live(used=now)
        self.moving = ""
        self.advance(now)

    def set_unloaded(self, model: str, now: float) -> None:
        self.loaded.pop(model)
        self.moving = ""
        self.advance(now)

    def advance(self, now: float) -> None:
        raise NotImplementedError

    def _place(self, ticket: Ticket) -> None:
        self.loaded[ticket.model].queue.append(ticket)

    def _start(self, now: float) -> None:
        for live in self.loaded.values():
            while live.queue and live.running < self.slots:
                ticket = live.queue.popleft()
                ticket.started = live.used = now
                live.running += 1
                self._actions.append(Action("start", ticket))

    def _oldest(self) -> str:
        """Idle ones first, of these the one that was used longest ago."""
        order = sorted(
            self.loaded, key=lambda name: (not self.loaded[name].idle, self.loaded[name].used)
        )
        return order[0]

    def _move(self, kind: str, model: str) -> None:
        self.moving = model
        self._actions.append(Action(kind, model=model))


class Ollama(_Lru):
    """budget: bytes. keep_alive: seconds, OLLAMA_KEEP_ALIVE."""

    def __init__(
        self, sizes: Mapping[str, int], slots: int, budget: int, keep_alive: float = KEEP_ALIVE
    ) -> None:
        super().__init__(sizes, slots)
        self.budget = budget
        self.keep_alive = keep_alive

    def advance(self, now: float) -> None:
        for name, live in list(self.loaded.items()):
            if live.idle and now - live.used > self.keep_alive and name != self.moving:
                del self.loaded[name]
        while self.pending and not self.moving:
            model = self.pending[0].model
            if model in self.loaded:
                self._place(self.pending.popleft())
                continue
            taken = sum(self.sizes[name] for name in self.loaded)
            if taken + self.sizes[model] <= self.budget:
                self._move("load", model)
            elif self.loaded[victim := self._oldest()].idle:
                self._move("unload", victim)
            else:
                break  # until it is idle; the queue stands still
        self._start(now)


class LlamaRouter(_Lru):
    """most: models at once."""

    def __init__(self, sizes: Mapping[str, int], slots: int, most: int) -> None:
        super().__init__(sizes, slots)
        self.most = most

    def advance(self, now: float) -> None:
        victim = first = ""
        for ticket in list(self.pending):
            name = ticket.model
            if name in self.loaded and name not in (victim, self.moving):
                self.pending.remove(ticket)
                self._place(ticket)
            elif name not in self.loaded and not first and not self.moving:
                first = name
                # Whoever comes later for the victim waits until it is loaded again.
                victim = self._oldest() if len(self.loaded) >= self.most else ""
        if first and not victim:
            self._move("load", first)
        elif first and self.loaded[victim].idle:
            self._move("unload", victim)
        self._start(now)


class Ours:
    """The daemon's own `Host` over an Ollama with `residency.keep_alive`."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def arrive(self, ticket: Ticket, now: float) -> None:
        self._expire(now)
        self.host.arrive(ticket, now)

    def leave(self, ticket: Ticket, now: float) -> None:
        self.host.leave(ticket, now)

    def set_loaded(self, model: str, now: float) -> None:
        self.host.set_loaded(model, now)

    def set_unloaded(self, model: str, now: float) -> None:
        self.host.set_unloaded(model, now)

    def advance(self, now: float) -> None:
        self._expire(now)
        self.host.advance(now)

    def take(self) -> list[Action]:
        return self.host.take()

    def holds(self) -> frozenset[str]:
        return frozenset(self.host.loaded)

    def waits(self) -> bool:
        return bool(self.host.waiting)

    def _expire(self, now: float) -> None:
        held = self.host.room(now).held
        left = {
            each.model: each.size
            for each in held
            if each.busy or min(each.idle, each.age) <= OUR_KEEP_ALIVE
        }
        if len(left) < len(held):
            self.host.report(left, self.host.models, now)
