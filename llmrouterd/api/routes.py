"""Every endpoint with its access. There is no other way in: no wildcard, no pass-through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrouterd.api import (
    admin,
    evidence,
    health,
    lessons,
    live,
    loading,
    memory,
    metrics,
    openai,
    page,
    policy,
    profiling,
)
from llmrouterd.api.boundary import ADMIN, CLIENT, LOADING, OPEN, guarded

if TYPE_CHECKING:
    from aiohttp import web

    from llmrouterd.api.boundary import Handler

ROUTES: tuple[tuple[str, str, str, Handler], ...] = (
    ("GET", "/health", OPEN, health.health),
    ("GET", "/ready", OPEN, health.ready),
    ("GET", "/metrics", OPEN, metrics.metrics),
    ("GET", "/", OPEN, page.way),
    ("GET", "/ui", OPEN, page.page),
    ("GET", "/ui/", OPEN, page.way),
    ("GET", f"/ui/{{file:{page.NAMES}}}", OPEN, page.asset),
    ("GET", "/v1/models", CLIENT, openai.models),
    ("GET", "/v1/models/{id:.+}", CLIENT, openai.model),
    ("POST", "/v1/chat/completions", CLIENT, openai.chat_completions),
    ("POST", "/v1/completions", CLIENT, openai.completions),
    ("POST", "/v1/embeddings", CLIENT, openai.embeddings),
    ("POST", "/v1/feedback", CLIENT, evidence.feedback),
    ("GET", "/v1/decisions/{id}", CLIENT, evidence.decision),
    ("GET", "/models", LOADING, loading.models),
    ("POST", "/models/load", LOADING, loading.load),
    ("POST", "/models/unload", LOADING, loading.unload),
    ("GET", "/admin/models", ADMIN, admin.models),
    ("GET", "/admin/models/{id:.+}", ADMIN, evidence.model),
    ("POST", "/admin/models/{id:.+}/load", ADMIN, memory.load),
    ("POST", "/admin/models/{id:.+}/unload", ADMIN, memory.unload),
    ("POST", "/admin/models/{id:.+}/pin", ADMIN, memory.pin),
    ("POST", "/admin/models/{id:.+}/unpin", ADMIN, memory.unpin),
    ("GET", "/admin/vram", ADMIN, memory.vram),
    ("GET", "/admin/live", ADMIN, live.live),
    ("GET", "/admin/events", ADMIN, live.events),
    ("GET", "/admin/catalog", ADMIN, admin.catalog),
    ("GET", "/admin/backends", ADMIN, admin.backends),
    ("GET", "/admin/profiles", ADMIN, profiling.profiles),
    ("POST", "/admin/reprofile", ADMIN, profiling.reprofile),
    ("GET", "/admin/benchmarks", ADMIN, evidence.benchmarks),
    ("POST", "/admin/sync", ADMIN, evidence.sync),
    ("GET", "/admin/policy", ADMIN, policy.policy),
    ("PUT", "/admin/policy", ADMIN, policy.write),
    ("GET", "/admin/policy/text", ADMIN, policy.text),
    ("POST", "/admin/policy/try", ADMIN, policy.attempt),
    ("POST", "/admin/reload", ADMIN, policy.reload),
    ("GET", "/admin/decisions", ADMIN, admin.decisions),
    ("GET", "/admin/decisions/{id}", ADMIN, admin.decision),
    ("POST", "/admin/explain", ADMIN, admin.explain),
    ("POST", "/admin/feedback", ADMIN, lessons.correct),
    ("GET", "/admin/examples", ADMIN, lessons.examples),
    ("DELETE", "/admin/examples/{id}", ADMIN, lessons.forget),
)


def add_routes(app: web.Application) -> None:
    """Put every endpoint behind the boundary."""
    for method, path, access, handler in ROUTES:
        endpoint = path.partition("{")[0].rstrip("/") or path
        app.router.add_route(method, path, guarded(endpoint, access, handler))
