"""Liveness, readiness, metrics. They tell nothing that a stranger may not know."""

from __future__ import annotations

from aiohttp import web

from llmrouterd import __version__
from llmrouterd.api.state import STATE, json_response
from llmrouterd.residency.ticket import PRIORITIES


async def health(request: web.Request) -> web.Response:
    """GET /health: 200 as long as the process serves."""
    state = request.app[STATE]
    rejected = state.reloader.rejected
    return json_response(
        {
            "status": "ok",
            "name": "llmrouterd",
            "version": __version__,
            "policy": {
                "digest": state.current.snapshot.policy.digest,
                "rejected_digest": rejected.fingerprint if rejected else None,
            },
            "store": {"ok": not state.store.state.error, "dropped": state.store.state.dropped},
        }
    )


async def ready(request: web.Request) -> web.Response:
    """GET /ready: 200 while at least one backend can serve, else 503."""
    state = request.app[STATE]
    is_ready = state.discovery.ready() and not state.draining
    backends = {name: health.status for name, health in state.discovery.backends.items()}
    return json_response(
        {
            "status": "ready" if is_ready else "not_ready",
            "models": len(state.current.snapshot.catalog.models),
            "backends": backends,
        },
        200 if is_ready else 503,
        None if is_ready else {"retry-after": "2"},
    )


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics: Prometheus text."""
    state = request.app[STATE]
    found = state.metrics
    found.in_flight.set(state.dispatcher.in_flight)
    found.dropped.set(state.store.state.dropped)
    found.backend_up.clear()
    found.backend_models.clear()
    for name, backend in state.discovery.backends.items():
        found.backend_up.labels(name).set(1 if backend.status == "ok" else 0)
        found.backend_models.labels(name).set(len(backend.facts))
    found.budget_left.clear()
    for spec in state.current.snapshot.policy.backends:
        for period, usd in state.dispatcher.spending.left(spec).items():
            found.budget_left.labels(spec.name, period).set(usd)
    found.queue_length.clear()
    found.memory.clear()
    for name, host in state.places.hosts.items():
        for number, priority in enumerate(PRIORITIES):
            waiting = sum(ticket.priority == number for ticket in host.waiting)
            found.queue_length.labels(name, priority).set(waiting)
        for model in host.loaded:
            found.memory.labels(name, model).set(host.size_of(model))
    return web.Response(
        body=found.render(),
        headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
    )
