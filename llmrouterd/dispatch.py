"""Tries a Decision's candidates until the first byte of an answer.

Holds what is live: requests in flight, and which model a conversation uses.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from llmrouterd.answer import Answer, begin
from llmrouterd.errors import (
    NoModelAvailable,
    UpstreamBusy,
    UpstreamError,
    UpstreamInterrupted,
    UpstreamLeft,
    UpstreamLoading,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmrouterd.explanation import Attempt
from llmrouterd.health import ENDLESS
from llmrouterd.outgoing import call_for, ticket_for
from llmrouterd.residency.ticket import CHAT
from llmrouterd.scorer import Load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmrouterd.backends.pool import BackendPool, Entry
    from llmrouterd.catalog import Model
    from llmrouterd.chat import ChatRequest
    from llmrouterd.decision import Decision
    from llmrouterd.health import Watch
    from llmrouterd.policy import BackendSpec, Policy
    from llmrouterd.residency.loaded import Residency
    from llmrouterd.residency.places import Places
    from llmrouterd.residency.ticket import Ticket
    from llmrouterd.signals import Signals
    from llmrouterd.snapshot import Snapshot
    from llmrouterd.spending import Bill, Spending
    from llmrouterd.vitals import Vitals

_LOADING_POLL = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What stays the same over the attempts for one request; `attempts` collects the failures.
    `left`: who was not asked, for it was not well while it was waited for. `unreachable`: the names
    of backends."""

    chat: ChatRequest
    decision: Decision
    snapshot: Snapshot
    started: float
    attempts: list[Attempt]
    id: str
    left: list[tuple[Model, BackendSpec]] = field(default_factory=list)
    unreachable: set[str] = field(default_factory=set)

    @property
    def failed(self) -> int:
        """How many candidates were tried in vain."""
        return len(self.attempts) - len(self.left)


class Dispatcher:
    """One for the daemon's life; policies come and go with the snapshots it is given."""

    def __init__(
        self,
        pool: BackendPool,
        residency: Residency,
        places: Places,
        spending: Spending,
        vitals: Vitals,
        on_event: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._pool = pool
        self.spending = spending
        self._residency = residency
        self._places = places
        self._on_event = on_event
        self._sessions: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self.busy: dict[str, int] = {}
        self.vitals = vitals
        self.last_request = time.monotonic()  # a start is no idle time
        self.arrivals = 0
        self.arrived = asyncio.Event()

    @property
    def in_flight(self) -> int:
        return sum(self.busy.values())

    def load(self, snapshot: Snapshot, session: str, priority: int = CHAT) -> Load:
        """A frozen view of the live state for one decision of this priority."""
        cooling, suspect = self.vitals.left_alone(snapshot.catalog)
        sticky = self._sessions.get(session)
        return Load(
            resident=self._residency.resident,
            busy=dict(self.busy),
            cooling=cooling,
            suspect=suspect,
            slots=self._residency.slots,
            sticky=sticky[0] if sticky and sticky[1] > time.monotonic() else "",
            standing=self._places.standing(snapshot, priority),
            spent=self.spending.spent(snapshot.policy.backends),
        )

    def remember(self, session: str, model: str, policy: Policy) -> None:
        """A conversation uses this model from now on."""
        sessions = self._sessions
        sessions[session] = (model, time.monotonic() + policy.sessions.minutes * 60)
        sessions.move_to_end(session)
        while len(sessions) > policy.sessions.max:
            sessions.popitem(last=False)

    async def open(
        self,
        chat: ChatRequest,
        decision: Decision,
        snapshot: Snapshot,
        attempts: list[Attempt],
        last: UpstreamError | None = None,
        id_: str = "",
    ) -> Answer:
        """The first candidate's answer that begins. Raises the last candidate's error. id_: of
        the decision.

        Failures are added to `attempts`, and models that are already in it are not tried: so
        whoever holds an answer that failed before anything was sent can ask for the next one,
        with that failure as `last`.
        """
        request = _Request(
            chat=chat,
            decision=decision,
            snapshot=snapshot,
            started=time.monotonic(),
            attempts=attempts,
            id=id_,
        )
        loading: tuple[Model, BackendSpec] | None = None
        for model, spec in self._in_turn(request):
            if request.failed >= snapshot.policy.failover.attempts:
                break
            at = time.monotonic()
            try:
                return await self._try(request, model, spec)
            except UpstreamError as error:
                self.note_failure(attempts, model, error, at)
                last = error
                if not error.retryable:
                    raise
                if isinstance(error, UpstreamUnreachable):
                    request.unreachable.add(spec.name)
                if isinstance(error, UpstreamLeft):
                    request.left.append((model, spec))
                if isinstance(error, UpstreamLoading) and loading is None:
                    loading = (model, spec)
        if loading is not None:
            return await self._await_loading(request, *loading)
        if request.left:  # nobody else could
            return await self._try(request, *request.left[0])
        if last is None:
            raise NoModelAvailable("The chosen models are gone; try again.", retry_after=1)
        raise last

    def note_failure(
        self, attempts: list[Attempt], model: Model, error: UpstreamError, since: float
    ) -> None:
        """A candidate that was asked at `since` has failed."""
        attempts.append(Attempt(model.id, error.message, time.monotonic() - since))
        self._on_event("candidate.failed", {"model": model.id, "error": error.message})

    async def embed(
        self, chat: ChatRequest, decision: Decision, snapshot: Snapshot, id_: str = ""
    ) -> tuple[Model, dict[str, Any]]:
        """Embeddings from the first candidate that makes them."""
        last: UpstreamError | None = None
        candidates = self._candidates(decision, snapshot)
        for model, spec in candidates[: snapshot.policy.failover.attempts]:
            try:
                signals = decision.signals
                return model, await self._embed(chat, signals, model, spec, snapshot, id_)
            except UpstreamError as error:
                last = error
                if not error.retryable:
                    raise
        raise last or NoModelAvailable("The chosen models are gone; try again.", retry_after=1)

    async def _embed(
        self,
        chat: ChatRequest,
        signals: Signals,
        model: Model,
        spec: BackendSpec,
        snapshot: Snapshot,
        id_: str,
    ) -> dict[str, Any]:
        policy = snapshot.policy
        entry = self._pool.lease(spec)
        failure: UpstreamError | None = None
        bill: Bill | None = None
        place: Ticket | None = None
        answered = False
        watch = self._enter(model, spec)
        try:
            ticket = ticket_for(chat, signals, model, policy, id_)
            place = await self._enter_queue(entry, spec, snapshot, ticket)
            bill = self.spending.open(model, spec, signals, policy)
            async with asyncio.timeout(spec.timeouts.total or spec.timeouts.first_token or None):
                answer = await entry.backend.embed(call_for(chat, model, policy))
            answered = place.answered = True
            if bill is not None:
                bill.count(answer.get("usage"))
            return answer
        except TimeoutError:
            failure = UpstreamTimeout(f"{spec.name} made no embeddings in time.")
            raise failure from None
        except UpstreamError as error:
            failure = error
            raise
        finally:
            if bill is not None:
                bill.settle() if answered else bill.fail(failure)
            if place is not None:
                self._leave_queue(entry, place)
            self._leave(watch, failure, answered)
            self._pool.release(entry)

    def _candidates(
        self, decision: Decision, snapshot: Snapshot
    ) -> list[tuple[Model, BackendSpec]]:
        pairs = []
        for candidate in decision.ranked:
            model = snapshot.catalog.by_id[candidate.model]
            spec = snapshot.policy.backend(model.backend)
            if spec is not None:
                pairs.append((model, spec))
        return pairs

    def _untried(self, request: _Request) -> list[tuple[Model, BackendSpec]]:
        tried = {attempt.model for attempt in request.attempts}
        pairs, gone = self._candidates(request.decision, request.snapshot), request.unreachable
        return [(m, spec) for m, spec in pairs if m.id not in tried and spec.name not in gone]

    def _in_turn(self, request: _Request) -> Iterator[tuple[Model, BackendSpec]]:
        """The candidates as they were ranked, but whoever is not well by now after the others."""
        while left := self._untried(request):
            well = (pair for pair in left if not self.vitals.is_avoided(pair[0]))
            yield next(well, left[0])

    def _has_other(self, request: _Request, model: Model, spec: BackendSpec) -> bool:
        """Whether somebody else who is well may be asked, without the memory that this one has."""
        return request.failed + 1 < request.snapshot.policy.failover.attempts and any(
            other is not model
            and (other.remote or its.host != spec.host or self._places.holds(other.id))
            and not self.vitals.is_avoided(other)
            for other, its in self._untried(request)
        )

    async def _await_loading(self, request: _Request, model: Model, spec: BackendSpec) -> Answer:
        """Nobody else is left: ask again until the model is loaded or the time for it is over."""
        deadline = time.monotonic() + (spec.timeouts.load or float("inf"))
        entry = self._pool.lease(spec)  # or a reload would close what is being waited for
        try:
            while True:
                await asyncio.sleep(_LOADING_POLL)
                try:
                    return await self._try(request, model, spec)
                except UpstreamLoading:
                    if time.monotonic() >= deadline:
                        raise
        finally:
            self._pool.release(entry)

    async def _try(self, request: _Request, model: Model, spec: BackendSpec) -> Answer:
        policy, decision = request.snapshot.policy, request.decision
        entry = self._pool.lease(spec)
        call = call_for(request.chat, model, policy, decision.signals)
        bill: Bill | None = None
        place: Ticket | None = None
        answered = False
        failure: UpstreamError | None = None
        warm = model.remote or model.id in self._residency.resident
        watch = self._enter(model, spec)
        arrival = self.arrivals if self.in_flight == 1 else 0
        try:
            ticket = ticket_for(request.chat, decision.signals, model, policy, request.id)
            async with self.vitals.abandoning(
                watch, partial(self._has_other, request, model, spec)
            ):
                place = await self._enter_queue(entry, spec, request.snapshot, ticket)
                # A load of ours is over by now, and is no part of how fast the model answers.
                warm = warm or self._places.holds(model.id)
                bill = self.spending.open(model, spec, decision.signals, policy)
                asked_at = self.vitals.ask(watch, model, decision.signals, warm)
                stream, first = await begin(entry.backend, call, spec)
            answered = True
            self.vitals.token(watch)
        except UpstreamError as error:
            failure = error
            raise
        finally:
            if not answered:
                if bill is not None:
                    bill.fail(failure)
                if place is not None:
                    self._leave_queue(entry, place)
                self._pool.release(entry)
                self._leave(watch, failure, False)

        if decision.signals.session and not decision.signals.task:
            self.remember(decision.signals.session, model.id, policy)
        return Answer(
            model=model,
            spec=spec,
            attempts=request.attempts,
            started=request.started,
            first_at=time.monotonic(),
            place=place,
            tools_dropped=bool(request.chat.tools_json) and "tools" not in call.body,
            asked_at=asked_at,
            warm=warm,
            arrival=arrival,
            bill=bill,
            _stream=stream,
            _first=first,
            _release=partial(self._finish, entry, place, watch),
            _watch=watch,
            _on_news=self.vitals.token,
        )

    async def _enter_queue(
        self, entry: Entry, spec: BackendSpec, snapshot: Snapshot, ticket: Ticket
    ) -> Ticket:
        """Wait for the model, whose loading has a limit of its own, and for a place."""
        limits = spec.timeouts
        patience = limits.queue + limits.load if limits.queue and limits.load else None
        placed = entered = False
        try:
            async with asyncio.timeout(patience):
                await self._places.enter(snapshot, ticket)
                placed = True
            ticket.held = True
            async with asyncio.timeout(limits.queue or None):
                await entry.enter()
            ticket.held, entered = False, True
        except TimeoutError:
            waited = limits.queue if placed else patience
            raise UpstreamBusy(
                f"{spec.name} had no free place within {waited:g} s.", retry_after=5
            ) from None
        finally:
            if placed and not entered:
                self._places.leave(ticket)
        return ticket

    def _leave_queue(self, entry: Entry, ticket: Ticket) -> None:
        entry.leave()
        self._places.leave(ticket)

    def _finish(
        self, entry: Entry, place: Ticket, watch: Watch, error: UpstreamError | None
    ) -> None:
        place.answered = error is None and watch.waits_since == ENDLESS  # else its client left
        self._leave_queue(entry, place)
        self._pool.release(entry)
        self._leave(watch, error, error is None)

    def _enter(self, model: Model, spec: BackendSpec) -> Watch:
        self.last_request = time.monotonic()
        self.busy[model.id] = self.busy.get(model.id, 0) + 1
        self.arrivals += 1
        self.arrived.set()
        return self.vitals.begin(model, spec)

    def _leave(self, watch: Watch, error: UpstreamError | None, answered: bool) -> None:
        left = self.busy.get(watch.model, 1) - 1
        if left > 0:
            self.busy[watch.model] = left
        else:
            self.busy.pop(watch.model, None)
        self.last_request = time.monotonic()
        if answered:
            self._residency.used(watch.model)
        self.vitals.end(watch, error, answered)


def interrupted(spec: BackendSpec) -> UpstreamInterrupted:
    """The error for an answer that ended without saying that it was complete."""
    return UpstreamInterrupted(f"{spec.name} ended the answer before it was complete.")
