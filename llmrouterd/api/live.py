"""/admin/live and /admin/events: what happens now, asked for once or followed as it goes on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aiohttp import web

from llmrouterd.api.admin import backends_data
from llmrouterd.api.memory import host_data
from llmrouterd.api.relay import STREAM_HEADERS, write_within
from llmrouterd.api.state import ORIGIN, STATE, State, json_response
from llmrouterd.live import encode_event
from llmrouterd.residency.ticket import PRIORITIES

if TYPE_CHECKING:
    from llmrouterd.residency.host import Host
    from llmrouterd.residency.ticket import Ticket

# How often it is looked whether anything has changed, how often a quiet stream says that it
# lives, and how long a reader may take nothing.
_LOOK_SECONDS, _BEAT_SECONDS, _PATIENCE_SECONDS = 1.0, 15.0, 30.0
# What time alone changes is no change.
_CLOCKS = frozenset(
    {
        "at",
        "again_in",
        "age_seconds",
        "checked_at",
        "eviction_cost_seconds",
        "loaded_seconds",
        "seconds",
        "waited_seconds",
    }
)


async def live(request: web.Request) -> web.Response:
    """GET /admin/live: requests, memory, backends, speeds and the policy, as they are now."""
    return json_response(live_data(request.app[STATE]))


async def events(request: web.Request) -> web.StreamResponse:
    """GET /admin/events: the same whenever it changes, each decision, and edits of the policy."""
    state = request.app[STATE]
    listener = state.feed.join()
    try:
        origin = request[ORIGIN]  # the boundary sees the response too late
        allowed = {"Access-Control-Allow-Origin": origin} if origin else {}
        response = web.StreamResponse(headers={**STREAM_HEADERS, **allowed})
        await response.prepare(request)
        data = encode_event("live", live_data(state))
        while not listener.closed:
            await write_within(request, response, data or b": \n\n", _PATIENCE_SECONDS)
            data = await listener.take(_BEAT_SECONDS)
    finally:
        state.feed.leave(listener)
    await response.write_eof()
    return response


async def watch(state: State) -> None:
    """Look for ever what has changed, as long as anybody listens."""
    feed, shown, edited = state.feed, None, _edit(state)
    while True:
        if not feed.watched.is_set():
            await feed.watched.wait()
            shown, edited = None, _edit(state)
        now = live_data(state)
        seen = _timeless(now)
        if seen != shown or now["requests"]:
            feed.tell("live", now)
            shown = seen
        if edited != (edited := _edit(state)):
            feed.tell("policy", now["policy"])
        await asyncio.sleep(_LOOK_SECONDS)


def live_data(state: State) -> dict[str, Any]:
    """What GET /admin/live answers."""
    places, now = state.places, time.monotonic()
    places.follow(state.current.snapshot)
    requests = [
        _request_data(name, host, ticket, now)
        for name, host in places.hosts.items()
        for ticket in (*host.running, *host.waiting)
    ]
    return {
        "at": time.time(),
        "policy": _policy_data(state),
        "requests": requests,
        "in_flight": sum(item["state"] == "answering" for item in requests),
        "queued": sum(item["state"] != "answering" for item in requests),
        "requests_per_minute": state.feed.requests_per_minute(),
        "speeds": state.feed.speeds(),
        "hosts": [host_data(name, host, now) for name, host in places.hosts.items()],
        "cards": [asdict(pool) for pool in places.cards.pools],
        "history": _steps(places.past.described()),
        "marks": list(places.past.marks),
        "backends": backends_data(state),
    }


def _steps(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the points between two equal ones: memory changes seldom."""
    return [
        point
        for place, point in enumerate(points)
        if any(
            not 0 <= other < len(points) or points[other]["used"] != point["used"]
            for other in (place - 1, place + 1)
        )
    ]


def _request_data(name: str, host: Host, ticket: Ticket, now: float) -> dict[str, Any]:
    running = ticket.started is not None and not ticket.held
    loads = host.moving is not None and host.moving.target == ticket.model
    return {
        "model": ticket.model,
        "host": name,
        "priority": PRIORITIES[ticket.priority],
        "client": ticket.client,
        "state": "answering" if running else "loading" if loads else "queued",
        "age_seconds": round(now - ticket.since, 2),
    }


def _policy_data(state: State) -> dict[str, Any]:
    snapshot, rejected = state.current.snapshot, state.reloader.rejected
    return {
        "digest": snapshot.policy.digest,
        "generation": snapshot.generation,
        "loaded_at": state.reloader.loaded_at,
        "rejected_digest": rejected.fingerprint if rejected else None,
        "problems": [str(problem) for problem in rejected.problems] if rejected else [],
    }


def _edit(state: State) -> tuple[object, ...]:
    """What a reload or a refused edit changes; what it does to decisions is known later."""
    summary = state.edits.history[0]["summary"] if state.edits.history else None
    digest, reloader = state.current.snapshot.policy.digest, state.reloader
    return digest, reloader.loaded_at, reloader.rejected, summary


def _timeless(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _timeless(value) for key, value in data.items() if key not in _CLOCKS}
    return [_timeless(item) for item in data] if isinstance(data, list | tuple) else data
