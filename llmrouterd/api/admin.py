"""/admin: what the router knows and decides, for its owner."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aiohttp import web

from llmrouterd import tables
from llmrouterd.api.body import read_body
from llmrouterd.api.openai import context_of, read_decision
from llmrouterd.api.state import STATE, State, json_response
from llmrouterd.chat import parse_request
from llmrouterd.errors import BadRequest, NoModelAvailable, NotFound
from llmrouterd.explanation import describe_evidence, explain_candidates, in_words
from llmrouterd.policy_tests import describe_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlite_utils import Database

    from llmrouterd.catalog import Model
    from llmrouterd.policy import BackendSpec
    from llmrouterd.policy_tests import Result


async def models(request: web.Request) -> web.Response:
    """GET /admin/models: every model with all that is known of it."""
    state = request.app[STATE]
    resident = state.dispatcher.load(state.current.snapshot, "").resident
    return json_response(
        {
            "models": [
                {
                    **model_data(item),
                    "evidence": describe_evidence(item, state.current.snapshot.policy),
                    "resident": item.id in resident,
                }
                for item in state.current.snapshot.catalog.models
            ]
        }
    )


def model_data(model: Model) -> dict[str, Any]:
    """A model as JSON; the form of the catalog files, too."""
    data = asdict(model)
    data["capabilities"] = None if model.capabilities is None else sorted(model.capabilities)
    return data


async def catalog(request: web.Request) -> web.Response:
    """GET /admin/catalog: the catalog in the form that `decide --catalog` reads."""
    snapshot = request.app[STATE].current.snapshot
    return json_response({"models": [model_data(model) for model in snapshot.catalog.models]})


async def backends(request: web.Request) -> web.Response:
    """GET /admin/backends."""
    state = request.app[STATE]
    now = time.monotonic()
    cooling = state.dispatcher.cooldowns.view(now)
    found = []
    for name, health in state.discovery.backends.items():
        found.append(
            {
                "name": name,
                "type": health.spec.type,
                "url": health.spec.url,
                "status": health.status,
                "error": health.error,
                "checked_at": health.checked_at,
                "models": [fact.name for fact in health.facts],
                "fallback": health.spec.fallback,
                "queued": health.entry.queued,
                "in_flight": sum(
                    number
                    for model, number in state.dispatcher.busy.items()
                    if model.startswith(name + "/")
                ),
                "cooling": {
                    key: reason
                    for key, reason in cooling.items()
                    if key == name or key.startswith(name + "/")
                },
                "spending": state.dispatcher.spending.describe(_spec_of(state, health.spec)),
                **health.entry.backend.state(),
            }
        )
    return json_response({"backends": found})


def _spec_of(state: State, known: BackendSpec) -> BackendSpec:
    """A backend as the policy has it now, which discovery follows a moment later."""
    return state.current.snapshot.policy.backend(known.name) or known


async def policy(request: web.Request) -> web.Response:
    """GET /admin/policy: the active policy, and the edit that was refused, if any."""
    state = request.app[STATE]
    snapshot, rejected = state.current.snapshot, state.reloader.rejected
    return json_response(
        {
            "file": str(state.reloader.settings.policy),
            "active": {
                "digest": snapshot.policy.digest,
                "loaded_at": state.reloader.loaded_at,
                "generation": snapshot.generation,
                "rules": [rule.name for rule in snapshot.policy.rules],
                "backends": [spec.name for spec in snapshot.policy.backends],
                "tests": _tests_data(state.reloader.tested),
            },
            "rejected": None
            if rejected is None
            else {
                "digest": rejected.fingerprint,
                "at": rejected.at,
                "problems": [
                    {**asdict(problem), "text": str(problem)} for problem in rejected.problems
                ],
            },
        }
    )


def _tests_data(results: tuple[Result, ...]) -> dict[str, Any]:
    """How many passed; those that did not, whole."""
    shown = [describe_result(result) for result in results if result.missed or result.skipped]
    return {
        "passed": len(results) - sum(item["status"] != "passed" for item in shown),
        "failed": [item for item in shown if item["status"] == "failed"],
        "skipped": [item for item in shown if item["status"] == "skipped"],
    }


async def reload(request: web.Request) -> web.Response:
    """POST /admin/reload: read the policy now; 422 with all problems if it is refused."""
    state = request.app[STATE]
    applied, problems = await state.reloader.reload("admin")
    digest = state.current.snapshot.policy.digest
    if applied:
        return json_response({"status": "ok", "digest": digest})
    return json_response(
        {
            "error": {
                "message": "The policy was refused; the old one keeps serving.",
                "type": "invalid_policy",
                "param": None,
                "code": "invalid_policy",
            },
            "digest": digest,
            "problems": [str(problem) for problem in problems],
        },
        422,
    )


async def decisions(request: web.Request) -> web.Response:
    """GET /admin/decisions?limit=&before=: the newest first."""
    state = request.app[STATE]
    limit = int(_number(request, "limit", 50.0, 1.0, 1000.0))
    before = _number(request, "before", 0.0, 0.0, 1e12) or None
    rows = await query(state, tables.recent_decisions(limit, before))
    return json_response({"decisions": rows})


async def decision(request: web.Request) -> web.Response:
    """GET /admin/decisions/{id}: one, with everything that made it."""
    state = request.app[STATE]
    row = await query(state, tables.decision(request.match_info["id"]))
    if row is None:
        raise NotFound("No such decision is kept.")
    return json_response({**row, "words": in_words(row["record"])})


async def explain(request: web.Request) -> web.Response:
    """POST /admin/explain: a chat request in, the whole Decision out, nothing sent."""
    state = request.app[STATE]
    snapshot = state.current.snapshot
    body = await read_body(request, snapshot.policy.server.limits)
    kind = request.query.get("kind", "chat")
    if kind not in ("chat", "completions", "embeddings"):
        raise BadRequest("kind must be chat, completions or embeddings.", param="kind")
    chat = parse_request(kind, body, snapshot.policy.validators)
    context = context_of(request, snapshot.policy.server, request.query.get("client", ""))
    made = read_decision(state, chat, snapshot, context)
    described = explain_candidates(made, snapshot.catalog, snapshot.policy)
    return json_response({**described, "words": in_words(described)})


async def query(state: State, work: Callable[[Database], Any]) -> Any:
    """What a query of the database gives; NoModelAvailable while it cannot be read."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(state.store.run(work)), 10)
    except (sqlite3.Error, OSError, TimeoutError) as error:
        raise NoModelAvailable(f"The database cannot be read now: {error}") from error


def _number(request: web.Request, name: str, default: float, low: float, high: float) -> float:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise BadRequest(f"{name} must be a number.", param=name) from None
    if not low <= value <= high:
        raise BadRequest(f"{name} must be between {low:g} and {high:g}.", param=name)
    return value
