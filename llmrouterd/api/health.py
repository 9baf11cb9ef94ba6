"""Liveness and readiness. They tell nothing that a stranger may not know."""

from __future__ import annotations

from aiohttp import web

from llmrouterd import __version__
from llmrouterd.api.state import STATE, json_response


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
    """GET /ready: 200 while at least one backend can serve, else 503. One that lists its models,
    all of which are cooling or dead, is `unwell`."""
    state = request.app[STATE]
    catalog = state.current.snapshot.catalog
    cooling, _ = state.dispatcher.vitals.left_alone(catalog)
    serving = {model.backend for model in catalog.models if model.id not in cooling}
    backends = {
        name: "unwell"
        if health.status == "ok" and health.facts and name not in serving
        else health.status
        for name, health in state.discovery.backends.items()
    }
    is_ready = not state.draining and any(backends.get(name) == "ok" for name in serving)
    return json_response(
        {
            "status": "ready" if is_ready else "not_ready",
            "models": len(catalog.models),
            "backends": backends,
        },
        200 if is_ready else 503,
        None if is_ready else {"retry-after": "2"},
    )
