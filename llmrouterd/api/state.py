"""What the handlers share, under one AppKey, and how they answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from llmrouterd.limits import Limiter
from llmrouterd.live import Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmrouterd.benchmarks.worker import BenchmarkWorker
    from llmrouterd.discovery import Discovery
    from llmrouterd.dispatch import Dispatcher
    from llmrouterd.edits import Edits
    from llmrouterd.feedback import Feedback
    from llmrouterd.journal import Journal
    from llmrouterd.lessons import Lessons
    from llmrouterd.metrics import Metrics
    from llmrouterd.prober import Prober
    from llmrouterd.profiling.worker import Profiler
    from llmrouterd.residency.places import Places
    from llmrouterd.snapshot import Current
    from llmrouterd.store import Store
    from llmrouterd.token_count import TokenCounter
    from llmrouterd.watcher import Reloader


@dataclass(slots=True)
class State:
    """The parts of the running daemon. `active` counts generation requests; `draining` is set
    when it is being stopped."""

    current: Current
    dispatcher: Dispatcher
    discovery: Discovery
    edits: Edits
    feedback: Feedback
    journal: Journal
    lessons: Lessons
    metrics: Metrics
    places: Places
    prober: Prober
    profiler: Profiler
    benchmarks: BenchmarkWorker
    reloader: Reloader
    store: Store
    tokens: TokenCounter
    on_event: Callable[[str, dict[str, Any]], None]
    started_at: float
    host_name: str
    limiter: Limiter = field(default_factory=Limiter)
    feed: Feed = field(default_factory=Feed)
    active: int = 0
    draining: bool = False


SERVER = "llmrouterd"  # the Server header, and not the versions of what it is made of
STATE: web.AppKey[State] = web.AppKey("state", State)
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
# The origin of a page that may read the response, "" for none.
ORIGIN: web.RequestKey[str] = web.RequestKey("origin", str)


def json_response(
    data: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON response; values that JSON has no form for become texts."""
    try:
        body = orjson.dumps(data, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # bytes of a request that are no text, such as an Origin, are quoted in it
        body = json.dumps(data, default=str).encode()
    return web.Response(
        body=body,
        status=status,
        content_type="application/json",
        headers=headers,
    )
