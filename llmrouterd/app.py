"""Wires everything: what is opened, in which order, and how it is closed again."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from llmrouterd import data, store
from llmrouterd.api.boundary import strays
from llmrouterd.api.routes import add_routes
from llmrouterd.api.state import STATE, State
from llmrouterd.assemble import Knowledge
from llmrouterd.backends.base import Hooks
from llmrouterd.backends.pool import BackendPool
from llmrouterd.benchmarks.worker import BenchmarkWorker
from llmrouterd.catalog import Profile
from llmrouterd.discovery import Discovery
from llmrouterd.dispatch import Dispatcher
from llmrouterd.evidence import Prior
from llmrouterd.journal import Journal, encode_record
from llmrouterd.metrics import Metrics
from llmrouterd.profiler import Profiler
from llmrouterd.residency import Residency
from llmrouterd.snapshot import Current
from llmrouterd.store import Store
from llmrouterd.tasks import guard
from llmrouterd.token_count import TokenCounter
from llmrouterd.watcher import Reloader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llmrouterd.log import Log
    from llmrouterd.policy import Policy
    from llmrouterd.settings import Settings

_SWEEP_SECONDS = 3600.0


@dataclass(slots=True)
class Daemon:
    """The running daemon: the web application and what it is made of."""

    app: web.Application
    state: State


def database_path(policy: Policy, settings: Settings) -> Path:
    """Where the database is: the policy's, else in the state folder."""
    given = policy.storage.database
    return Path(given) if given else settings.state / "llmrouterd.db"


def read_prior() -> Prior:
    """The packaged prior; see `data/prior.json` for its source."""
    content = json.loads(data.PRIOR.read_bytes())
    scales = {board: tuple(scale) for board, scale in content.pop("scales").items()}
    content.pop("source")
    return Prior(**content, scales=scales)


def secrets_of(policy: Policy) -> list[str]:
    """Texts that must never be shown: the keys of the backends."""
    found = [str(spec.api_key) for spec in policy.backends]
    return found + [str(value) for spec in policy.backends for _, value in spec.headers]


async def open_daemon(
    policy: Policy, settings: Settings, log: Log, stack: AsyncExitStack
) -> Daemon:
    """Open everything; the stack closes it in reverse. Nothing listens yet."""
    current, metrics, residency = Current(policy), Metrics(), Residency()
    metrics.policy.labels(policy.digest).set(1)
    metrics.policy_valid.set(1)
    kept = Store(
        database_path(policy, settings),
        most=policy.storage.queue,
        encode=encode_record,
        on_error=lambda message: log("store.degraded", {"detail": message}),
    )
    stack.push_async_callback(asyncio.to_thread, kept.close)
    hooks = Hooks(log=log)
    pool = BackendPool(hooks)
    stack.push_async_callback(pool.close)
    discovery = Discovery(current, pool, residency, Knowledge(prior=read_prior()), log)
    hooks.changed = discovery.wake
    dispatcher = Dispatcher(pool, residency, log)
    benchmarks = BenchmarkWorker(current, discovery, kept, log)
    await _restore(kept, discovery, benchmarks, log)
    reloader = Reloader(settings, current, discovery, metrics, log)
    reloader.on_applied.append(lambda new: log.configure(new.logging, secrets_of(new)))
    tokens = TokenCounter()
    profiler = Profiler(current, discovery, pool, dispatcher, (kept, residency), log)
    state = State(
        current=current,
        dispatcher=dispatcher,
        discovery=discovery,
        journal=Journal(kept, metrics, log),
        metrics=metrics,
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
    workers: dict[str, Callable[[], Awaitable[None]]] = {
        "watcher": reloader.watch,
        "profiler": profiler.work,
        "benchmarks": benchmarks.work,
        "sweeper": partial(_sweep, state),
    }
    tasks = [
        asyncio.create_task(guard(name, work, log), name=name) for name, work in workers.items()
    ]
    tasks.append(asyncio.create_task(tokens.fetch(settings.state / "tiktoken", log), name="tokens"))
    stack.push_async_callback(_cancel, tasks)
    return Daemon(app=build_app(state), state=state)


def build_app(state: State) -> web.Application:
    """The web application over an open state. Body sizes are limited by the handlers, since
    their limit can change while the daemon runs."""
    app = web.Application(client_max_size=0, middlewares=[strays])
    app[STATE] = state
    add_routes(app)
    return app


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _restore(
    kept: Store, discovery: Discovery, benchmarks: BenchmarkWorker, log: Log
) -> None:
    """Read back what was measured and published; without a database there is just less."""
    try:
        profiles, rows, sources = await asyncio.gather(
            *(
                asyncio.wrap_future(kept.run(store.all_rows(table)))
                for table in ("profiles", "benchmarks", "benchmark_sources")
            )
        )
    except (sqlite3.Error, OSError) as error:
        log("store.degraded", {"detail": f"nothing could be read back: {error}"})
        return
    known = {row["model"]: (row["digest"], _profile(row)) for row in profiles}
    discovery.knowledge = Knowledge(prior=discovery.knowledge.prior, profiles=known)
    benchmarks.restore(rows, sources)
    benchmarks.publish()


def _profile(row: dict[str, Any]) -> Profile:
    return Profile(**{name: row[name] for name in Profile.__dataclass_fields__})


async def _sweep(state: State) -> None:
    """Forget old decisions, once an hour."""
    while True:
        days = state.current.snapshot.policy.storage.decision_days
        work = state.store.run(store.forget_decisions(time.time() - days * 86400))
        try:
            gone = await asyncio.wrap_future(work)
            if gone:
                state.on_event("decisions.forgotten", {"number": gone})
        except (sqlite3.Error, OSError):
            pass  # the store has said so itself
        await asyncio.sleep(_SWEEP_SECONDS)
