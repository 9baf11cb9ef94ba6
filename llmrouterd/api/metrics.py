"""GET /metrics: what has been counted, and what is true at this moment."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from aiohttp import web

from llmrouterd.api.state import STATE
from llmrouterd.classifier.words import TASK_NAMES
from llmrouterd.health import STATES
from llmrouterd.policy import GENERAL
from llmrouterd.residency.ticket import PRIORITIES

if TYPE_CHECKING:
    from llmrouterd.api.state import State
    from llmrouterd.metrics import Metrics
    from llmrouterd.residency.places import Places

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_VERSIONS = ("", "0.0.1", "1.0.0")


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics: Prometheus' text, or OpenMetrics for those who ask for it."""
    state = request.app[STATE]
    _set_gauges(state)
    openmetrics = prefers_openmetrics(",".join(request.headers.getall("Accept", ())))
    return web.Response(
        body=state.metrics.render(openmetrics=openmetrics),
        headers={"Content-Type": _OPENMETRICS if openmetrics else _TEXT, "Vary": "Accept"},
    )


def prefers_openmetrics(accept: str) -> bool:
    """Whether an Accept header puts OpenMetrics 1.0 before Prometheus' text. The client library's
    own choice fails on versions that are no numbers, and does not look at weights."""
    best = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.lower().split(","):
        kind, *rest = (word.strip() for word in part.split(";"))
        given = dict(word.split("=", 1) for word in rest if "=" in word)
        if kind not in best or (kind != "text/plain" and given.get("version", "") not in _VERSIONS):
            continue
        try:
            weight = float(given.get("q", "1"))
        except ValueError:
            weight = 0.0
        best[kind] = max(best[kind], weight)
    return best["application/openmetrics-text"] > best["text/plain"]


def names_now(state: State) -> dict[str, set[str]]:
    """By label the values that there are now, of labels whose values come and go."""
    snapshot = state.current.snapshot
    policy = snapshot.policy
    tasks = {f"task:{name}" for name in TASK_NAMES}
    return {
        "model": set(snapshot.catalog.by_id),
        "category": {*policy.categories, GENERAL},
        "rule": {rule.name for rule in policy.rules} | tasks | {"explicit", "embeddings"},
    }


def _set_gauges(state: State) -> None:
    found = state.metrics
    found.in_flight.set(state.dispatcher.in_flight)
    found.count_up_to(found.dropped, state.store.state.dropped)
    found.policy_loaded.set(state.reloader.loaded_at)
    found.backend_up.clear()
    found.backend_models.clear()
    for name, backend in state.discovery.backends.items():
        found.backend_up.labels(name).set(1 if backend.status == "ok" else 0)
        found.backend_models.labels(name).set(len(backend.facts))
    found.health.clear()
    for key in (*state.discovery.backends, *state.current.snapshot.catalog.by_id):
        condition = state.dispatcher.vitals.data(key)["state"]
        for name in STATES:
            found.health.labels(key, name).set(condition == name)
    found.budget_left.clear()
    for spec in state.current.snapshot.policy.backends:
        for period, usd in state.dispatcher.spending.left(spec).items():
            found.budget_left.labels(spec.name, period).set(usd)
    found.benchmarks_synced.clear()
    for source, status in state.benchmarks.figures.status.items():
        if status.synced_at:
            synced = datetime.fromisoformat(status.synced_at).timestamp()
            found.benchmarks_synced.labels(source).set(synced)
    state.places.follow(state.current.snapshot)
    _set_hosts(found, state.places)


def _set_hosts(found: Metrics, places: Places) -> None:
    """What waits and what is loaded; a host that no backend of the policy is on serves nothing."""
    gauges = found.queue_length, found.model_memory, found.memory_budget, found.memory_used
    for gauge in gauges:
        gauge.clear()
    for name, host in places.hosts.items():
        if not host.served and not host.waiting and not host.loaded:
            continue
        for number, priority in enumerate(PRIORITIES):
            waiting = sum(ticket.priority == number for ticket in host.waiting)
            found.queue_length.labels(name, priority).set(waiting)
        for model in host.loaded:
            found.model_memory.labels(name, model).set(host.size_of(model))
        found.memory_used.labels(name).set(host.used)
        if host.limits.budget is not None:
            found.memory_budget.labels(name).set(host.limits.budget)
