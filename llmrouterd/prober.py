"""Finds what time alone shows of the models' health, and probes: one request of one token.

A probe goes to a model that its backend says is loaded, through the queue where nobody waits, and
is given up as soon as a request arrives that it could delay. It never loads or evicts a model.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from llmrouterd.answer import first_frames
from llmrouterd.backends.base import Call
from llmrouterd.errors import UpstreamError, UpstreamTimeout
from llmrouterd.health import Watch, expect
from llmrouterd.residency.ticket import PROFILING, Ticket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmrouterd.backends.base import Stream
    from llmrouterd.backends.pool import BackendPool, Entry
    from llmrouterd.catalog import Model
    from llmrouterd.policy import BackendSpec, Policy
    from llmrouterd.residency.places import Places
    from llmrouterd.snapshot import Current
    from llmrouterd.vitals import Vitals

# Requests that come and go in one moment are looked at together.
_BREATH_SECONDS = 0.05
_ENDLESS = float("inf")
_BODY = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
# About what a chat template makes of that.
_TOKENS = 32


class Prober:
    """One for the daemon's life. One probe at a time."""

    def __init__(self, current: Current, vitals: Vitals, pool: BackendPool, places: Places) -> None:
        self._current = current
        self._vitals = vitals
        self._pool = pool
        self._places = places
        self._started = time.monotonic()
        self._tried: dict[str, float] = {}
        self._probed: BackendSpec | None = None
        self._probe: asyncio.Task[None] | None = None
        vitals.give_way = self._give_way

    async def work(self) -> None:
        """Look for ever, whenever something has changed or its time has come."""
        changed = self._vitals.changed
        try:
            while True:
                changed.clear()
                pause = self._vitals.look()
                self._settle()
                if self._probe is None:
                    pause = min(pause, self._begin(time.monotonic()))
                try:
                    async with asyncio.timeout(pause if pause < _ENDLESS else None):
                        await changed.wait()
                except TimeoutError:
                    pass
                await asyncio.sleep(_BREATH_SECONDS)
        finally:
            probe, self._probe = self._probe, None
            if probe is not None:
                probe.cancel()
                await asyncio.gather(probe, return_exceptions=True)

    def _give_way(self, model: Model, spec: BackendSpec) -> None:
        """A request comes. Where its model is to be loaded, the probed one may have to go."""
        if self._probe is None or self._probed is None:
            return
        loads = spec.host == self._probed.host and not self._places.holds(model.id)
        if loads or spec.name == self._probed.name:
            self._probe.cancel()

    def _settle(self) -> None:
        """Take leave of a probe that is over; what should not have gone wrong is raised."""
        if self._probe is not None and self._probe.done():
            probe, self._probe = self._probe, None
            if not probe.cancelled():
                probe.result()

    def _begin(self, now: float) -> float:
        """Begin the probe that is due, if there is one; else in how many seconds there may be."""
        policy = self._current.snapshot.policy
        # What is loaded meanwhile, by whomever, may be idle for as long from then on.
        idle = policy.health.probe_idle_minutes * 60.0
        again = now + idle if idle else _ENDLESS
        for model, at in self._candidates(policy, now):
            spec = policy.backend(model.backend)
            if at <= now and spec is not None:
                self._tried[model.id] = now
                self._probed = spec
                work = self._run(model, spec, policy)
                self._probe = asyncio.create_task(work, name=f"probe:{model.id}")
                self._probe.add_done_callback(lambda _: self._vitals.changed.set())
                return _ENDLESS
            again = min(again, at)
        return again - now

    def _candidates(self, policy: Policy, now: float) -> Iterator[tuple[Model, float]]:
        """Models that may be probed, and when: first those of which a probe would tell something,
        then those that were not used for long."""
        limits, vitals = policy.health, self._vitals
        models = [
            model
            for model in self._current.snapshot.catalog.models
            if _is_probed(model, policy)
            and (model.remote or self._places.holds(model.id))
            and policy.backend(model.backend) is not None
        ]
        untried = vitals.untried()
        for model in models:
            if model.id in untried or model.backend in untried:
                tried = self._tried.get(model.id)
                yield model, now if tried is None else tried + policy.failover.cool_seconds
        busy = vitals.in_flight()
        for model in models if limits.probe_idle_minutes else ():
            idle = model.id not in busy and not _is_kept_by_use(model)
            if idle and vitals.is_healthy(model.id):
                tried = self._tried.get(model.id, self._started)
                used = max(vitals.moved(model.id), tried)
                yield model, used + limits.probe_idle_minutes * 60.0

    async def _run(self, model: Model, spec: BackendSpec, policy: Policy) -> None:
        """Probe a model, if that can be done without a load and without anybody having to wait."""
        entry = self._pool.lease(spec)
        watch = self._vitals.begin_probe(model, spec)
        error: UpstreamError | None = None
        answered = False
        try:
            if await self._is_loaded(model, entry):
                answered = await self._ask(model, policy, entry)
        except UpstreamError as failure:
            error = failure
        finally:
            self._vitals.end_probe(watch, error, answered)
            self._pool.release(entry)

    async def _is_loaded(self, model: Model, entry: Entry) -> bool:
        """Whether the backend says at this moment that it holds the model as it would be asked
        for. Raises UpstreamError: it says nothing, which confirms what is held against it."""
        try:
            facts = {fact.name: fact for fact in await entry.backend.discover()}
            fact = facts.get(model.name)
            if fact is None or not (fact.loaded or (model.remote and fact.loaded is None)):
                return False
            if model.num_ctx is None:
                return True
            # Ollama loads a model anew for another context.
            held = await entry.backend.footprint(model.name)
            return held is not None and held.context in (None, model.num_ctx)
        except UpstreamError:
            if not self._vitals.is_healthy(model.id):
                raise
            return False  # discovery will see for itself

    async def _ask(self, model: Model, policy: Policy, entry: Entry) -> bool:
        """Send the probe; False where there is no place for it. Raises UpstreamError."""
        spec = entry.backend.spec
        ticket = Ticket(model=model.id, priority=PROFILING, client="health")
        free = not spec.concurrency or entry.running < spec.concurrency
        if not free or not self._places.enter_now(self._current.snapshot, ticket):
            return False
        limit = _limit(model, policy)
        try:
            await entry.enter()  # at once, for a place is free
            try:
                async with asyncio.timeout(limit):
                    call = Call("chat", model.name, _BODY, model.num_ctx, model.keep_alive)
                    await _first_word(await entry.backend.stream(call), spec)
            finally:
                entry.leave()
        except TimeoutError:
            text = f"a probe of one token had no answer within {limit:g} s"
            raise UpstreamTimeout(text) from None
        finally:
            self._places.leave(ticket)
        return True


def _is_probed(model: Model, policy: Policy) -> bool:
    """Whether the policy lets a model be probed at all."""
    chats = model.capabilities is None or "chat" in model.capabilities
    allowed = policy.health.probe_remote or not model.remote
    return bool(policy.health.probe_seconds) and chats and allowed and model.enabled


def _is_kept_by_use(model: Model) -> bool:
    """Whether a use would keep the model in memory for longer than its users do."""
    return model.keep_alive is not None and not model.keep_alive.startswith("-")


def _limit(model: Model, policy: Policy) -> float:
    """Seconds until a probe must have been answered."""
    expected = Watch(model=model.id, backend=model.backend)
    expect(expected, model, _TOKENS, True, policy.scoring.assumed)
    slow = policy.health.suspect_factor * expected.work if expected.judged else 0.0
    return max(policy.health.probe_seconds, slow)


async def _first_word(stream: Stream, spec: BackendSpec) -> None:
    """Read until something was generated."""
    try:
        await first_frames(stream, spec)
    finally:
        stream.close()
