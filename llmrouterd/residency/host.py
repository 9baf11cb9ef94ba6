"""One host: its memory and the queue of requests before it, without any I/O.

The caller tells what has happened and what time it is, and takes the actions that follow from it
(`take`): start or refuse a request, load or unload a model. Daemon, simulator and tests run this.

Order: requests for what is loaded are served first, so that they are batched by model. Who has
waited `max_wait` seconds comes before all others; then by priority; between clients in turn; then
first come, first served. One model is loaded or unloaded at a time. A model that has to go for one
who has waited that long still serves who came before that one, and who waited when it was loaded:
so a box with too much to do swaps once for each batch, and each model has its turn.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

from llmrouterd.residency.forecast import Seconds, Work, until_idle, until_loads, until_slot
from llmrouterd.residency.plan import Held, Plan, Room, Wanted, plan
from llmrouterd.residency.reuse import Reuse
from llmrouterd.residency.ticket import (
    CHAT,
    NEVER,
    TASK,
    Action,
    Asker,
    Bars,
    Limits,
    Live,
    ModelNeeds,
    Moving,
    Ticket,
    Turns,
    live_for,
)
from llmrouterd.residency.traffic import Traffic
from llmrouterd.scorer import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Host:
    """`waiting` and `running` hold the tickets, `loaded` what the backends say is in memory."""

    def __init__(self, limits: Limits | None = None, reuse: Reuse | None = None) -> None:
        self.limits = limits or Limits()
        self.models: dict[str, ModelNeeds] = {}
        self.served: frozenset[str] = frozenset()
        self.loaded: dict[str, Live] = {}
        self.waiting: list[Ticket] = []
        self.running: list[Ticket] = []
        self.foreign = 0
        self.moving: Moving | None = None
        self.reuse = reuse or Reuse()
        self._turns = Turns()
        self._traffic = Traffic()
        self._moved_at: dict[str, float] = {}
        self._draining: dict[str, int] = {}  # model that has to go -> the last whom it serves
        self._promised = ""
        self._barred = Bars()
        self._actions: list[Action] = []

    def take(self) -> list[Action]:
        """The actions that have come up since the last call."""
        actions, self._actions = self._actions, []
        return actions

    def configure(self, limits: Limits, models: Mapping[str, ModelNeeds], now: float) -> None:
        """Another policy or catalog. Requests for models that are gone are refused; one that is
        still in memory counts until it is out of it."""
        kept = self.loaded.keys() | {ticket.model for ticket in self.running}
        if self.moving is not None:
            kept |= {*self.moving.models, self.moving.target}
        left = {one: replace(self.models[one], pinned=False) for one in kept & self.models.keys()}
        self.limits, self.models, self.served = limits, {**left, **models}, frozenset(models)
        for ticket in [each for each in self.waiting if each.model not in self.served]:
            self._refuse(ticket, f"{ticket.model} is not served any more", 1.0)
        self.advance(now)

    def arrive(self, ticket: Ticket, now: float) -> None:
        """A request asks for its model: it is started, queued or refused."""
        ticket.since = now
        self._turns.give(ticket)
        if ticket.model not in self.served:
            self._actions.append(Action("refuse", ticket, reason=f"{ticket.model} is gone"))
            return
        if now < (bar := self._barred[ticket.model]).until:
            self._actions.append(Action("refuse", ticket, "", bar.reason, bar.until - now))
            return
        if self._can_start(ticket) and not self._in_queue(ticket.model):
            self._start(ticket, now)
            return
        wait = self.standings([ticket.model], now, ticket.priority)[ticket.model].wait
        if self.limits.refuse_wait and wait > self.limits.refuse_wait:
            text = f"it would wait about {wait:.0f} s for {ticket.model}"
            self._actions.append(Action("refuse", ticket, "", text, wait))
            return
        self.waiting.append(ticket)
        if len(self.waiting) > self.limits.queue:
            last = max(self.waiting, key=lambda each: (each.priority, each.turn, each.number))
            self._refuse(last, f"{len(self.waiting) - 1} requests are waiting", max(1.0, wait))
        self.advance(now)

    def leave(self, ticket: Ticket, now: float) -> None:
        """A request has ended, or its client has gone."""
        if ticket in self.waiting:
            self.waiting.remove(ticket)
        elif ticket in self.running:
            self.running.remove(ticket)
            if live := self.loaded.get(ticket.model):
                live.touch(now, ticket.background)
            if ticket.started is not None and ticket.answered:
                self._traffic.answered(ticket.model, now - ticket.started)
        self.advance(now)

    def set_loaded(self, model: str, now: float, size: int | None = None) -> None:
        """A load has ended well."""
        self._barred.pop(model, None)
        self.loaded.setdefault(model, live_for(self._in_queue(model), now)).size = size
        self._moved(model, now)
        self.advance(now)

    def set_unloaded(self, model: str, now: float) -> None:
        """An unload has ended, and the memory is free."""
        self.loaded.pop(model, None)
        self._moved(model, now)
        self.advance(now)

    def set_failed(self, model: str, now: float, reason: str, rest: float = 10.0) -> None:
        """A load or unload went wrong: those who wait for the model are refused, and it is left
        alone for `rest` seconds."""
        moving = self.moving
        target = moving.target if moving is not None and model in moving.models else model
        self._moved(model, now)
        self._barred[target] = self._barred[target].again(now, rest, reason)
        for ticket in self._in_queue(target):
            self._refuse(ticket, reason, rest)
        self.advance(now)

    def report(
        self,
        loaded: Mapping[str, int | None],
        scope: Iterable[str],
        now: float,
        asked_at: float | None = None,
    ) -> None:
        """What the backends say is in memory: model -> bytes (None: not told), of the models in
        `scope`. Somebody else may have loaded or unloaded; what we are moving is not touched, nor
        what we have moved since the backend was asked (`asked_at`)."""
        moving = self.moving.models if self.moving is not None else set()
        for name in scope:
            since = self._moved_at.get(name, NEVER)
            if name in moving or (asked_at is not None and since >= asked_at):
                continue
            if name in loaded and name in self.models:
                live = self.loaded.setdefault(name, Live(since=now))
                live.size = loaded[name] or live.size
            elif not self.in_flight(name):
                self.loaded.pop(name, None)
        self.advance(now)

    def in_flight(self, model: str) -> list[Ticket]:
        """Our requests that a model answers now."""
        return [ticket for ticket in self.running if ticket.model == model]

    def see_busy(
        self, model: str, busy: int | None, asked_at: float, expires: str | None = None
    ) -> None:
        """A backend told how many requests it was answering, and when it would let the model go."""
        live, ours = self.loaded.get(model), len(self.in_flight(model))
        used = max(live.used if live else NEVER, self._moved_at.get(model, NEVER))
        moving = self.moving.models if self.moving is not None else set()
        by_us = asked_at if ours or model in moving else used
        self._traffic.see_expiry(model, expires, asked_at, by_us)
        self._traffic.see_others(model, busy and max(0, busy - ours), asked_at, used)

    def elsewhere(self, model: str, now: float) -> int:
        """Requests of other clients that a model was answering when its backend was asked last;
        told for as long as an answer usually takes, or until it is asked again."""
        return self._traffic.others(model, now, self._usual(model))

    def unload(self, model: str, now: float) -> bool:
        """The owner wants it out of memory; False while it is in use or something moves."""
        if self.in_flight(model) or self.moving is not None or model not in self.loaded:
            return False
        self._move("unload", {model}, "", now)
        return True

    def advance(self, now: float) -> None:
        """Do what can be done now: after every change, and from time to time, as time counts."""
        self.waiting.sort(key=lambda ticket: ticket.order(now, self.limits.max_wait))
        for ticket in list(self.waiting):
            if self._can_start(ticket):
                self.waiting.remove(ticket)
                self._start(ticket, now)
        if self.moving is None:
            self._draining = {}
            self._make_room(now)

    def standings(
        self, models: Iterable[str], now: float, priority: int = CHAT, ticket: Ticket | None = None
    ) -> dict[str, Standing]:
        """How long a request would wait for each of these models, and what it would push out: one
        that came now, or this ticket, which waits."""
        queue = self.waiting if ticket is None else self.waiting[: self.waiting.index(ticket)]
        ahead = [each for each in queue if each.priority <= priority]
        asker = Asker(now, priority >= TASK, self.room(now), ahead)
        return {model: self._standing(model, asker) for model in models}

    def _standing(self, model: str, asker: Asker) -> Standing:
        if asker.now < (bar := self._barred[model]).until:
            return Standing("resting", reason=bar.reason)
        found, wait = self._outlook(model, asker)
        if found.kind == "ready":
            return Standing("ready", wait)
        if self.moving is not None and self.moving.target == model:
            return Standing("loading", wait)
        if found.kind == "refuse":
            return Standing("refused", reason=found.reason)
        return Standing("absent", wait, found.victims, found.cost)

    def room(self, now: float) -> Room:
        """The memory as `plan` sees it."""
        limits = self.limits
        return Room(
            budget=limits.budget,
            foreign=self.foreign,
            most=limits.most,
            minimum=limits.minimum,
            spared=limits.spared,
            held=tuple(self._held(name, live, now) for name, live in self.loaded.items()),
        )

    @property
    def used(self) -> int:
        """Bytes that our models take, those of others included."""
        return self.foreign + sum(self.size_of(name) for name in self.loaded)

    def _held(self, name: str, live: Live, now: float) -> Held:
        needs = self.models[name]
        again = self.reuse.chance(name, needs.load_seconds, now)
        return Held(
            model=name,
            size=self.size_of(name),
            busy=len(self.in_flight(name)) + self.elsewhere(name, now),
            waiting=len(self._in_queue(name)),
            age=now - live.since,
            idle=now - max(live.used, self._traffic.used(name)),
            chat_idle=now - max(live.chatted, self._traffic.used(name)),
            cost=again * needs.load_seconds,
            fixed=needs.pinned or not needs.movable,
            fleeting=live.fleeting,
        )

    def size_of(self, model: str) -> int:
        """Bytes: as its backend says while it is loaded, else as expected."""
        live = self.loaded.get(model)
        return (live.size if live is not None else None) or self.models[model].size

    def _is_ready(self, model: str) -> bool:
        return model in self.loaded or not self.models[model].movable

    def _can_start(self, ticket: Ticket) -> bool:
        needs = self.models[ticket.model]
        moving = self.moving is not None and ticket.model in self.moving.models
        drained = ticket.number > self._draining.get(ticket.model, ticket.number)
        if moving or drained or not self._is_ready(ticket.model):
            return False
        return needs.slots is None or len(self.in_flight(ticket.model)) < needs.slots

    def _in_queue(self, model: str) -> list[Ticket]:
        return [ticket for ticket in self.waiting if ticket.model == model]

    def _start(self, ticket: Ticket, now: float) -> None:
        ticket.started = now
        self.running.append(ticket)
        self._turns.reach(ticket)
        if ticket.wanted:
            self.reuse.used(ticket.model, now)
        if live := self.loaded.get(ticket.model):
            live.touch(now, ticket.background)
        self._actions.append(Action("start", ticket))

    def _refuse(self, ticket: Ticket, reason: str, retry_after: float) -> None:
        self.waiting.remove(ticket)
        self._actions.append(Action("refuse", ticket, "", reason, retry_after))

    def _make_room(self, now: float) -> None:
        """Begin at most one load or eviction: for the first in the queue that needs one and can
        have it; first for whom another was put out. Who has waited too long lets nobody pass."""
        seen: set[str] = set()
        room, promised, self._promised = self.room(now), self._promised, ""
        for ticket in sorted(self.waiting, key=lambda each: each.model != promised):
            model = ticket.model
            if model in seen or self._is_ready(model) or ticket not in self.waiting:
                continue
            seen.add(model)
            urgent = now - ticket.since >= self.limits.max_wait
            found = self._plan(model, room, urgent=urgent, background=ticket.background)
            if found.kind == "refuse":
                self._refuse_all(ticket, found.reason)
            elif found.kind == "wait":
                if urgent:
                    self._draining = {
                        name: max(ticket.number, self.loaded[name].batch) for name in found.victims
                    }
                    return
            else:
                self._carry_out(found, model, now)
                return
        self._load_pinned(now)

    def _refuse_all(self, first: Ticket, reason: str) -> None:
        """All that are in the same case as the first: chats may have what tasks may not."""
        for ticket in list(self.waiting):
            if ticket.model == first.model and ticket.background >= first.background:
                self._refuse(ticket, reason, 30.0)

    def _carry_out(self, found: Plan, model: str, now: float) -> None:
        if found.kind == "evict":
            self._promised = model
            self._move("unload", set(found.victims), model, now)
        else:
            self._move("load", {model}, model, now)

    def _load_pinned(self, now: float) -> None:
        for model in self.served:
            needs = self.models[model]
            if needs.pinned and not self._is_ready(model) and now >= self._barred[model].pinned:
                found = self._plan(model, self.room(now), background=True)
                if found.kind in ("load", "evict"):
                    self._carry_out(found, model, now)
                    return

    def _move(self, kind: str, models: set[str], target: str, now: float) -> None:
        self.moving = Moving(kind, set(models), now, target)
        self._draining = {}
        self._actions += [Action(kind, model=model, reason=target) for model in sorted(models)]

    def _moved(self, model: str, now: float) -> None:
        self._moved_at[model] = now
        if self.moving is not None:
            self.moving.models.discard(model)
            if not self.moving.models:
                self.moving = None

    def _plan(
        self, model: str, room: Room, *, urgent: bool = False, background: bool = False
    ) -> Plan:
        if self._is_ready(model):
            return Plan("ready")
        needs = self.models[model]
        size = self.size_of(model)
        return plan(room, Wanted(model, size, needs.apart, background, urgent, needs.beside))

    def _outlook(self, model: str, asker: Asker) -> tuple[Plan, float]:
        """The plan for a request; seconds until it could start, a load that is to come apart."""
        now, moving = asker.now, self.moving
        found = self._plan(model, asker.room, background=asker.background)
        before = sum(ticket.model == model for ticket in asker.ahead)
        wait = until_slot(self._work(model, now)._replace(waiting=before))
        if moving is not None and moving.target == model:
            return found, wait + moving.left(self.models[model].load_seconds, now)
        if found.kind != "ready" or (moving is not None and model in moving.models):
            loads = self._loads_before(model, asker)
            held = (*asker.room.held, *(Held(name, self.size_of(name)) for name in loads))
            beside = self._plan(model, replace(asker.room, held=held)).kind in ("ready", "load")
            wait += until_loads(loads.values(), beside)
        if found.kind == "wait":
            idle = max(until_idle(self._work(name, now)) for name in found.victims)
            wait += min(self.limits.max_wait, idle)
        return found, wait

    def _loads_before(self, model: str, asker: Asker) -> dict[str, Seconds]:
        """The models that are loaded before this one, or are being loaded."""
        found = {}
        if self.moving is not None and (target := self.moving.target) in self.models:
            left = self.moving.left(self.models[target].load_seconds, asker.now)
            found[target] = Seconds(left, self._usual(target))
        for name in takewhile(lambda each: each != model, (each.model for each in asker.ahead)):
            if name not in found and not self._is_ready(name):
                found[name] = Seconds(self.models[name].load_seconds, self._usual(name))
        return found

    def _work(self, model: str, now: float) -> Work:
        live = self.loaded.get(model)
        return Work(
            usual=self._usual(model),
            slots=self.models[model].slots,
            running=tuple(now - (each.started or now) for each in self.in_flight(model)),
            waiting=len(self._in_queue(model)),
            others=self.elsewhere(model, now),
            stays=live.since + self.limits.minimum - now if live else 0.0,
        )

    def _usual(self, model: str) -> float:
        """Seconds that an answer of a model takes."""
        return self._traffic.usual(model, self.models[model].answer_seconds)
