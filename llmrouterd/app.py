"""Wires everything: what is opened, in which order, and how it is closed again."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from llmrouterd import tables
from llmrouterd.api import live
from llmrouterd.api.boundary import strays
from llmrouterd.api.metrics import names_now
from llmrouterd.api.routes import add_routes
from llmrouterd.api.state import STATE, State
from llmrouterd.assemble import Knowledge
from llmrouterd.backends.base import Hooks
from llmrouterd.backends.pool import BackendPool
from llmrouterd.benchmarks.packaged import read_name_tables
from llmrouterd.benchmarks.worker import BenchmarkWorker
from llmrouterd.discovery import Discovery
from llmrouterd.dispatch import Dispatcher
from llmrouterd.edits import Edits
from llmrouterd.feedback import Feedback
from llmrouterd.journal import Journal, RecordEncoder
from llmrouterd.lessons import Lessons
from llmrouterd.library import Library
from llmrouterd.metrics import Metrics
from llmrouterd.prober import Prober
from llmrouterd.profiling.worker import Profiler
from llmrouterd.residency.loaded import Residency
from llmrouterd.residency.places import Places
from llmrouterd.snapshot import Current
from llmrouterd.spending import Spending
from llmrouterd.store import Store
from llmrouterd.tasks import guard
from llmrouterd.token_count import TokenCounter
from llmrouterd.vitals import Vitals
from llmrouterd.watcher import Reloader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llmrouterd.log import Log
    from llmrouterd.policy import Policy
    from llmrouterd.settings import Settings

_SWEEP_SECONDS = 3600.0
# Of which hours a model is wanted is learnt anew from so long ago.
_REMEMBERED_SECONDS = 28 * 86400.0


@dataclass(slots=True)
class Daemon:
    """The running daemon: the web application and what it is made of."""

    app: web.Application
    state: State


def database_path(policy: Policy, settings: Settings) -> Path:
    """Where the database is: the policy's, else in the state folder."""
    given = policy.storage.database
    return Path(given) if given else settings.state / "llmrouterd.db"


def secrets_of(policy: Policy) -> list[str]:
    """Texts that must never be shown: the keys of the backends and of the benchmark sources."""
    found = [str(spec.api_key) for spec in policy.backends]
    found += [str(given.api_key) for given in policy.benchmarks.providers.values()]
    found.append(str(policy.benchmarks.hf_token))
    return found + [str(value) for spec in policy.backends for _, value in spec.headers]


async def open_daemon(
    policy: Policy, settings: Settings, log: Log, stack: AsyncExitStack
) -> Daemon:
    """Open everything; the stack closes it in reverse. Nothing listens yet."""
    current, metrics, residency = Current(policy), Metrics(), Residency()
    metrics.policy.labels(policy.digest).set(1)
    metrics.policy_valid.set(1)
    kept = _open_store(policy, settings, log, stack)
    hooks = Hooks(log=log)
    pool = BackendPool(hooks)
    stack.push_async_callback(pool.close)
    known = Knowledge(library=Library(tables=await asyncio.to_thread(read_name_tables)))
    discovery = Discovery(current, pool, residency, known, log)
    hooks.changed = discovery.wake
    places = _open_places(pool, metrics, log, discovery, stack)
    vitals, spending = Vitals(policy, metrics, log), Spending(kept, metrics, log)
    discovery.on_listing = vitals.listed
    dispatcher = Dispatcher(pool, residency, places, spending, vitals, log)
    benchmarks = BenchmarkWorker(current, discovery, kept, log)
    benchmarks.count_matches = discovery.matched
    feedback = Feedback(discovery, kept, log)
    stack.callback(feedback.close)
    profiler = Profiler(current, discovery, (pool, places), dispatcher, (kept, residency), log)
    places.on_load = profiler.observe_load
    lessons = Lessons(current, kept, log)
    await _restore(kept, profiler, benchmarks, (feedback, lessons))
    await _restore_sums(kept, discovery, places, dispatcher.spending)
    edits = Edits(settings, current, kept, log)
    await edits.restore()
    reloader = Reloader(settings, current, discovery, metrics, log)
    reloader.on_applied.append(lambda new: log.configure(new.logging, secrets_of(new)))
    reloader.on_applied.append(lambda _: benchmarks.wake())
    reloader.on_applied.append(vitals.follow)
    reloader.on_edit = edits.note
    tokens = TokenCounter()
    state = State(
        current=current,
        dispatcher=dispatcher,
        discovery=discovery,
        edits=edits,
        feedback=feedback,
        journal=Journal(kept, metrics, log, profiler.observe),
        lessons=lessons,
        metrics=metrics,
        places=places,
        prober=Prober(current, vitals, pool, places),
        profiler=profiler,
        benchmarks=benchmarks,
        reloader=reloader,
        store=kept,
        tokens=tokens,
        on_event=log,
        started_at=time.time(),
        host_name=socket.gethostname().lower(),
    )
    discovery.follow(policy)
    stack.push_async_callback(discovery.close)
    await reloader.test("start")
    stack.push_async_callback(_cancel, _start_workers(state, settings))
    return Daemon(app=build_app(state), state=state)


def _open_store(policy: Policy, settings: Settings, log: Log, stack: AsyncExitStack) -> Store:
    kept = Store(
        database_path(policy, settings),
        most=policy.storage.queue,
        encode=RecordEncoder().encode,
        on_error=lambda message: log("store.degraded", {"detail": message}),
    )
    stack.push_async_callback(asyncio.to_thread, kept.close)
    return kept


def _open_places(
    pool: BackendPool, metrics: Metrics, log: Log, discovery: Discovery, stack: AsyncExitStack
) -> Places:
    places = Places(pool, metrics, log)
    stack.push_async_callback(places.close)
    places.changed = discovery.wake
    discovery.on_report = places.report
    return places


def _start_workers(state: State, settings: Settings) -> list[asyncio.Task[None]]:
    state.journal.on_row = state.feed.note_decision
    workers: dict[str, Callable[[], Awaitable[None]]] = {
        "watcher": state.reloader.watch,
        "edits": state.edits.work,
        "residency": partial(state.places.work, state.current),
        "hardware": state.places.cards.watch,
        "health": state.prober.work,
        "profiler": state.profiler.work,
        "benchmarks": state.benchmarks.work,
        "sweeper": partial(_sweep, state),
        "live": partial(live.watch, state),
    }
    guarded = [
        asyncio.create_task(guard(name, work, state.on_event), name=name)
        for name, work in workers.items()
    ]
    fetching = state.tokens.fetch(settings.state / "tiktoken", state.on_event)
    return [*guarded, asyncio.create_task(fetching, name="tokens")]


def build_app(state: State) -> web.Application:
    """The web application over an open state. Body sizes are limited by the handlers, since
    their limit can change while the daemon runs."""
    app = web.Application(client_max_size=0, middlewares=[strays])
    app[STATE] = state
    add_routes(app)
    app.on_shutdown.append(_end_feed)
    return app


async def _end_feed(app: web.Application) -> None:
    app[STATE].feed.close()


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _restore(
    kept: Store,
    profiler: Profiler,
    benchmarks: BenchmarkWorker,
    owner: tuple[Feedback, Lessons],
) -> None:
    """Read back what was measured, published and taught; without a database there is just less."""
    feedback, lessons = owner
    await benchmarks.restore()
    try:
        profiles = await asyncio.wrap_future(kept.run(tables.all_rows("measurements")))
        feedback.restore(await asyncio.wrap_future(kept.run(tables.feedback_sums)))
        await lessons.restore(await asyncio.wrap_future(kept.run(tables.examples)))
    except (sqlite3.Error, OSError):
        return  # the store has said so itself
    profiler.restore(profiles)


async def _restore_sums(
    kept: Store, discovery: Discovery, places: Places, spending: Spending
) -> None:
    """Read back the owner's pins, what answers have cost, and when which model was used."""
    try:
        since = time.time() - _REMEMBERED_SECONDS
        places.restore(await asyncio.wrap_future(kept.run(tables.uses_since(since))))
        pins = await asyncio.wrap_future(kept.run(tables.all_rows("pins")))
        spending.restore(await asyncio.wrap_future(kept.run(tables.all_rows("spending"))))
    except (sqlite3.Error, OSError):
        return  # the store has said so itself
    discovery.learn(pins={row["model"]: bool(row["pinned"]) for row in pins})


async def _sweep(state: State) -> None:
    """Forget old decisions, and the counts of what is no more, once an hour."""
    while True:
        state.metrics.keep(names_now(state))
        days = state.current.snapshot.policy.storage.decision_days
        work = state.store.run(tables.forget_decisions(time.time() - days * 86400))
        try:
            gone = await asyncio.wrap_future(work)
            if gone:
                state.on_event("decisions.forgotten", {"number": gone})
        except (sqlite3.Error, OSError):
            pass  # the store has said so itself
        await asyncio.sleep(_SWEEP_SECONDS)
