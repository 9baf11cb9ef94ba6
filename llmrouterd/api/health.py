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
