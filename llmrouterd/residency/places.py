"""The hosts of this policy with their real backends: requests wait here for a place, and loads and
unloads are carried out. What is decided is decided by `host` and `plan`."""

from __future__ import annotations

import asyncio
import time
from operator import is_
from typing import TYPE_CHECKING, Any

from llmrouterd.errors import UpstreamBusy, UpstreamError, UpstreamTimeout
from llmrouterd.policy_residency import LOCAL
from llmrouterd.residency.cards import Cards
from llmrouterd.residency.host import Host
from llmrouterd.residency.moves import Abandoned, Loads, hold, take_back, unload
from llmrouterd.residency.needs import host_limits, needs_by_host, never_fit
from llmrouterd.residency.past import Past
from llmrouterd.residency.reuse import Reuse
from llmrouterd.residency.ticket import CHAT, PRIORITIES, ModelNeeds, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from llmrouterd.backends.pool import BackendPool
    from llmrouterd.catalog import Catalog, Model, ModelFacts
    from llmrouterd.hardware import MemoryPool
    from llmrouterd.metrics import Metrics
    from llmrouterd.policy import BackendSpec, Policy
    from llmrouterd.residency.ticket import Action
    from llmrouterd.scorer import Standing
    from llmrouterd.snapshot import Current, Snapshot

# How often is looked whether time alone has changed something.
_TICK_SECONDS = 0.25
# Backends are asked after a request what they hold, at most so often.
_ASK_SECONDS = 5.0
# What cannot be loaded in time is left alone for so long.
_WEDGED_REST_SECONDS = 60.0


class Places:
    """One for the daemon's life. `on_event` is the log."""

    def __init__(
        self,
        pool: BackendPool,
        metrics: Metrics,
        on_event: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._metrics = metrics
        for priority in PRIORITIES:
            metrics.inc(metrics.refusals, priority, by=0)
        self._pool = pool
        self._on_event = on_event
        self.hosts: dict[str, Host] = {}
        self.misfits: dict[str, tuple[str, ...]] = {}
        self._known: dict[str, tuple[Model, BackendSpec]] = {}
        self._hosts: dict[Ticket, Host] = {}
        self._waiters: dict[Ticket, asyncio.Future[None]] = {}
        self._errors: dict[str, UpstreamError] = {}
        self._loads = Loads()
        self._moves: set[asyncio.Task[bool]] = set()
        self._pins: set[str] = set()
        self._reported: dict[str, tuple[tuple[ModelFacts, ...], float]] = {}
        self._made_of: tuple[Policy, Catalog, tuple[MemoryPool, ...]] | None = None
        self.cards = Cards(self._see_cards)
        self.past = Past()
        self.reuse = Reuse(_hour_of_day)
        self._asked_at = float("-inf")
        self.changed: Callable[[], None] = lambda: None
        self.on_load: Callable[[Model, float], None] = lambda model, seconds: None

    def follow(self, snapshot: Snapshot) -> None:
        """Take another policy or catalog over, and what the cards have."""
        made_of = snapshot.policy, snapshot.catalog, self.cards.pools
        if self._made_of and all(map(is_, self._made_of, made_of)):
            return
        self._made_of = made_of
        policy, now = snapshot.policy, time.monotonic()
        self._reported = {
            name: told for name, told in self._reported.items() if policy.backend(name)
        }
        told = self._reported.items()
        facts = {f"{name}/{fact.name}": fact for name, (all_, _) in told for fact in all_}
        for model in snapshot.catalog.models:
            spec = policy.backend(model.backend)
            if spec is not None:
                self._known[model.id] = model, spec
        by_host = needs_by_host(policy, snapshot.catalog, facts)
        for name in by_host.keys() | self.hosts.keys():
            host = self.hosts.setdefault(name, Host(reuse=self.reuse))
            needs, used = by_host.get(name, {}), host.used
            host.configure(host_limits(name, policy, self.cards.pools), needs, now)
            if name == LOCAL and host.used != used:  # another `vram_gb`
                self.cards.wake()
            self._warn(name, never_fit(host.limits, needs))
        for backend, reported in self._reported.items():
            self.report(backend, *reported)
        pins = {name for needs in by_host.values() for name, each in needs.items() if each.pinned}
        for pin in pins - self._pins:
            host = self._host_of(pin)
            if pin in host.loaded and (host.moving is None or pin not in host.moving.models):
                self._begin(hold(self._pool, *self._known[pin]), f"hold:{pin}")
        self._pins = pins

    def _warn(self, name: str, misfits: tuple[str, ...]) -> None:
        if misfits != self.misfits.get(name, ()):
            self.misfits[name] = misfits
            for message in misfits:
                self._on_event("host.misfit", {"host": name, "reason": message})

    async def enter(self, snapshot: Snapshot, ticket: Ticket) -> None:
        """Wait until the ticket's model is loaded and has a free slot. Every enter that returns
        needs a `leave`. Raises UpstreamError: the load has failed, or it is not let in."""
        self.follow(snapshot)
        # Kept, for a reload may move the model's backend to another host meanwhile.
        host = self._hosts[ticket] = self._host_of(ticket.model)
        waiter = self._waiters[ticket] = asyncio.get_running_loop().create_future()
        try:
            host.arrive(ticket, time.monotonic())
            self._act(host)
            await waiter
        except asyncio.CancelledError:
            self.leave(ticket)
            raise
        except UpstreamError:
            del self._hosts[ticket]
            raise
        finally:
            del self._waiters[ticket]

    def enter_now(self, snapshot: Snapshot, ticket: Ticket) -> bool:
        """Take a place if the ticket's model has a free one and nobody waits on its host; never
        waits, loads or evicts. What returns True needs a `leave`."""
        self.follow(snapshot)
        host, now = self._host_of(ticket.model), time.monotonic()
        quiet = host.moving is None and not host.waiting
        found = host.standings({ticket.model} & host.served, now, ticket.priority) if quiet else {}
        if not any(each.state == "ready" and not each.wait for each in found.values()):
            return False
        self._hosts[ticket] = host
        host.arrive(ticket, now)
        self._act(host)
        if ticket.started is None:
            self.leave(ticket)
        return ticket.started is not None

    def waits_for(self, decision: str) -> str:
        """What the request of this decision waits for, in words; "" where a backend has it."""
        queued = ((host, each) for host in self.hosts.values() for each in host.waiting)
        found = next(((host, each) for host, each in queued if each.decision == decision), None)
        if found is None:
            return ""
        host, ticket = found
        model = ticket.model
        standing = host.standings((model,), time.monotonic(), ticket.priority, ticket)[model]
        doing = "loading" if standing.state == "loading" else "waiting for"
        seconds = standing.wait
        if standing.state == "absent":
            seconds += host.models[model].load_seconds
        return f"{doing} {self._known[model][0].name}, about {max(1.0, seconds):.0f} s"

    async def work(self, current: Current) -> None:
        """Look for ever what time alone has changed, and load what is pinned."""
        while True:
            self.follow(current.snapshot)
            policy = current.snapshot.policy
            for name, host in self.hosts.items():
                # What a backend holds that is no more is not ours to put out.
                gone = [each for each in host.loaded if not policy.backend(each.partition("/")[0])]
                self._believe(name, host, {}, gone)
            self.past.note({name: host.used for name, host in self.hosts.items()})
            await asyncio.sleep(_TICK_SECONDS)

    def _see_cards(self, began: float) -> None:
        """What others use follows from each reading, but not while something of ours moves: the
        cards count it, and nobody else does."""
        host = self.hosts.get(LOCAL)
        if host is not None and host.moving is None:
            host.foreign = self.cards.foreign(began, host.used - host.foreign, host.foreign)

    async def unload(self, model: str) -> bool:
        """Take an idle model out of memory; False if it is in use, or something is being moved."""
        host = self._host_of(model)
        if not host.unload(model, time.monotonic()):
            return False
        others = set(self._moves)
        self._act(host)
        # Whoever asked may be gone before it is done.
        done, _ = await asyncio.wait(self._moves - others)
        return all(task.result() for task in done)

    def holds(self, model: str) -> bool:
        """Whether a model is in memory; one that no host knows is not."""
        return any(model in host.loaded for host in self.hosts.values())

    def status(self, model: str) -> str:
        """`loaded`, `loading` or `unloaded`, as llama.cpp's router says it; what its backend
        neither loads nor unloads counts as loaded."""
        for host in self.hosts.values():
            if model in host.served:
                if model in host.loaded or not host.models[model].movable:
                    return "loaded"
                moving = host.moving
                return "loading" if moving and moving.target == model else "unloaded"
        return "unloaded"

    def moves(self, model: str) -> bool:
        """Whether a model's backend loads and unloads it when it is told to."""
        return any(
            model in host.served and host.models[model].movable for host in self.hosts.values()
        )

    def leave(self, ticket: Ticket) -> None:
        """The request has ended, or its client has gone."""
        host = self._hosts.pop(ticket)
        host.leave(ticket, time.monotonic())
        self._act(host)
        needs = host.models.get(ticket.model, ModelNeeds())
        if needs.movable:
            self._ask_soon()
        if not needs.pinned and all(other.model != ticket.model for other in host.waiting):
            self._loads.give_up(ticket.model)

    def standing(self, snapshot: Snapshot, priority: int = CHAT) -> dict[str, Standing]:
        """How every model stands, for a request of this priority, whose host has something to
        say."""
        self.follow(snapshot)
        now = time.monotonic()
        found: dict[str, Standing] = {}
        for host in self.hosts.values():
            told = (name for name in host.served if _has_say(host.models[name]))
            found |= host.standings(told, now, priority)
        return found

    def report(self, backend: str, facts: tuple[ModelFacts, ...], asked_at: float) -> None:
        """What a backend that was asked at this monotonic time says of its models."""
        self._reported[backend] = facts, asked_at
        told = {f"{backend}/{fact.name}": fact for fact in facts}
        silent = {model for model, fact in told.items() if fact.loaded is None}
        loaded = {model: fact.memory for model, fact in told.items() if fact.loaded}
        for name, host in self.hosts.items():
            # Of what it does not list it has nothing in memory.
            own = {each for each in host.models if each.startswith(f"{backend}/")} - silent
            for model in own & told.keys():
                fact = told[model]
                host.see_busy(model, fact.busy, asked_at, fact.expires)
            if own:
                self._believe(name, host, loaded, own, asked_at)

    def _believe(
        self,
        name: str,
        host: Host,
        loaded: Mapping[str, int | None],
        scope: Iterable[str],
        asked_at: float | None = None,
    ) -> None:
        """See `Host.report`. What is seen on the cards must be read with it; of what no backend
        was asked for (`asked_at`) nothing has been given back."""
        held, used = set(host.loaded), host.used
        host.report(loaded, scope, time.monotonic(), asked_at)
        if name == LOCAL and asked_at is not None and held - host.loaded.keys():
            self.cards.moved(freed=True)
        elif name == LOCAL and host.used != used:
            self.cards.wake()  # the difference has been taken for others' use
        self._act(host)

    async def close(self) -> None:
        """Give up what is being loaded."""
        for task in self._moves:
            task.cancel()
        await asyncio.gather(*self._moves, return_exceptions=True)

    def _ask_soon(self) -> None:
        """Have the backends asked what they hold, unless they have just been."""
        now = time.monotonic()
        if now - self._asked_at >= _ASK_SECONDS:
            self._asked_at = now
            self.changed()

    def _host_of(self, model: str) -> Host:
        """Of a model that was in the catalog of a snapshot that was followed."""
        return self.hosts[self._known[model][1].host]

    def _act(self, host: Host) -> None:
        for action in host.take():
            if action.ticket is not None:
                self._answer(action)
            else:
                self._begin(self._move(host, action), f"{action.kind}:{action.model}")

    def _begin(self, move: Coroutine[Any, Any, bool], name: str) -> None:
        task = asyncio.create_task(move, name=name)
        self._moves.add(task)
        task.add_done_callback(self._moves.discard)

    def _answer(self, action: Action) -> None:
        assert action.ticket is not None
        waiter = self._waiters.get(action.ticket)
        if waiter is None or waiter.done():
            return
        metrics, priority = self._metrics, PRIORITIES[action.ticket.priority]
        if action.kind == "start":
            metrics.observe(metrics.queue_wait, time.monotonic() - action.ticket.since, priority)
            waiter.set_result(None)
            return
        metrics.inc(metrics.refusals, priority)
        failed = self._errors.get(action.ticket.model)
        if failed is not None and failed.message == action.reason:
            waiter.set_exception(failed)
        else:
            text = f"{action.ticket.model} cannot be had now: {action.reason}."
            waiter.set_exception(UpstreamBusy(text, retry_after=max(1.0, action.retry_after)))

    async def _move(self, host: Host, action: Action) -> bool:
        """Load or unload, and tell the host how it went; whether it did."""
        name, kind = action.model, action.kind
        model, spec = self._known[name]
        entry = self._pool.lease(spec)
        started, moved = time.monotonic(), False
        try:
            async with asyncio.timeout(spec.timeouts.load or None):
                if kind == "load":
                    if spec.host == LOCAL:
                        await self.cards.wait_for(host.size_of(name))
                    await self._loads.load(entry.backend, model)
                elif not await unload(entry.backend, model.name):
                    raise UpstreamError(f"{name} cannot be unloaded")
        except Abandoned:
            host.set_unloaded(name, time.monotonic())
            self._on_event("model.abandoned", {"model": name})
        except (UpstreamError, TimeoutError) as error:
            if kind == "load" and isinstance(error, TimeoutError):
                await take_back(entry.backend, model.name)
            self._failed(host, action, error)
        else:
            moved = True
            self._tell(host, action, model, time.monotonic() - started)
            (host.set_loaded if kind == "load" else host.set_unloaded)(name, time.monotonic())
        finally:
            self._pool.release(entry)
            if spec.host == LOCAL:
                self.cards.moved(freed=kind == "unload" or not moved)
        self._act(host)
        self.changed()
        return moved

    def _tell(self, host: Host, action: Action, model: Model, seconds: float) -> None:
        """Who has waited for it, the log and the metrics learn of a load or an unload."""
        metrics, name, target = self._metrics, action.model, action.reason or action.model
        said = {"model": name, "seconds": round(seconds, 3), "for": action.reason}
        waiting = [ticket for ticket in host.waiting if ticket.model == target]
        if action.kind == "load":
            for ticket in waiting:
                ticket.load_seconds = seconds
            decision = next((ticket.decision for ticket in waiting if ticket.decision), "")
            metrics.observe(metrics.load_seconds, seconds, name, decision)
            self.mark("load", name)
            self.on_load(model, seconds)
            self._on_event("model.loaded", said)
            return
        for ticket in waiting:
            ticket.evicted = (*ticket.evicted, name)
        metrics.inc(metrics.evictions, name, "room" if action.reason else "owner")
        self.mark("evict" if action.reason else "unload", name, action.reason)
        self._on_event("model.unloaded", said)

    def restore(self, uses: Iterable[tuple[str, float]]) -> None:
        """Learn when models were used before the start: (model, Unix time), the oldest first."""
        shift = time.monotonic() - time.time()
        for model, at in uses:
            self.reuse.used(model, at + shift)

    def mark(self, kind: str, model: str, target: str = "") -> None:
        """See `Past.mark`."""
        self.past.mark(kind, model, self._known[model][1].host, target)

    def _failed(self, host: Host, action: Action, error: UpstreamError | TimeoutError) -> None:
        rest = 0.0  # who fails again and again is cooled by the dispatcher
        if not isinstance(error, UpstreamError):
            spec = self._known[action.model][1]
            error = UpstreamTimeout(
                f"{action.model} was not {action.kind}ed within {spec.timeouts.load:g} s."
            )
            rest = _WEDGED_REST_SECONDS
        self._errors[action.reason or action.model] = error
        self._on_event("load.failed", {"model": action.model, "reason": error.message})
        host.set_failed(action.model, time.monotonic(), error.message, rest)


def _has_say(needs: ModelNeeds) -> bool:
    """Whether a model may have to wait, or to be loaded."""
    return needs.movable or needs.slots is not None


def _hour_of_day(now: float) -> int:
    """Of monotonic seconds, by this machine's time zone."""
    return time.localtime(time.time() + now - time.monotonic()).tm_hour
