"""/admin: what the router knows and decides, for its owner."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from aiohttp import web

from llmrouterd import tables
from llmrouterd.api.body import read_body
from llmrouterd.api.openai import context_of, read_decision
from llmrouterd.api.state import STATE, State, json_response
from llmrouterd.chat import parse_request
from llmrouterd.decision import refusal
from llmrouterd.errors import BadRequest, ModelNotFound, NoModelAvailable, NotFound
from llmrouterd.explanation import (
    describe_evidence,
    explain_candidates,
    failures_in_words,
    in_words,
    stored_in_words,
)
from llmrouterd.replay.reading import Worlds, read_row
from llmrouterd.replay.recorded import Replayer
from llmrouterd.replay.why_not import describe_why_not, why_not
from llmrouterd.signals import context_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlite_utils import Database

    from llmrouterd.catalog import Model
    from llmrouterd.decision import Decision
    from llmrouterd.policy import BackendSpec, Policy


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
                    "health": state.dispatcher.vitals.data(item.id),
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
    return json_response({"backends": backends_data(request.app[STATE])})


def backends_data(state: State) -> list[dict[str, Any]]:
    """How every backend is doing."""
    vitals = state.dispatcher.vitals
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
                "answered": health.answered,
                "models": [fact.name for fact in health.facts],
                "fallback": health.spec.fallback,
                "queued": health.entry.queued,
                "in_flight": sum(
                    number
                    for model, number in state.dispatcher.busy.items()
                    if model.startswith(name + "/")
                ),
                "health": vitals.data(name),
                "unwell": vitals.unwell(name),
                "spending": state.dispatcher.spending.describe(_spec_of(state, health.spec)),
                **health.entry.backend.state(),
            }
        )
    return found


def _spec_of(state: State, known: BackendSpec) -> BackendSpec:
    """A backend as the policy has it now, which discovery follows a moment later."""
    return state.current.snapshot.policy.backend(known.name) or known


async def decisions(request: web.Request) -> web.Response:
    """GET /admin/decisions?limit=&before=: the newest first."""
    state = request.app[STATE]
    limit = int(_number(request, "limit", 50.0, 1.0, 1000.0))
    before = _number(request, "before", 0.0, 0.0, 1e12) or None
    rows = await query(state, tables.recent_decisions(limit, before))
    return json_response({"decisions": rows})


async def decision(request: web.Request) -> web.Response:
    """GET /admin/decisions/{id}?why_not=MODEL: one, with everything that made it."""
    state = request.app[STATE]
    row = await query(state, tables.decision(request.match_info["id"]))
    if row is None:
        raise NotFound("No such decision is kept.")
    answer = {**row, "words": stored_in_words(row)}
    if name := request.query.get("why_not"):
        recorded = await query(
            state, lambda database: read_row(row, row["record"], Worlds(database))
        )
        policy = state.current.snapshot.policy
        if recorded is None:
            raise NotFound("This decision cannot be made again: what it was made from is not kept.")
        made = Replayer(policy).decide(recorded)
        answer["why_not"] = found = await _why_not(made, policy, name)
        # Another policy may have decided; this is what the present one says.
        found["same_policy"] = row["policy"] == policy.digest
        lines = failures_in_words(row)
        if not found["same_policy"]:
            lines.append("Another policy decided; the present one decides:")
        found["words"] = "\n".join([*lines, found["words"]])
    return json_response(answer)


async def explain(request: web.Request) -> web.Response:
    """POST /admin/explain?why_not=: a chat request in, the whole Decision out, nothing sent. It
    may name a `client` and a `task`, as on the command line."""
    state = request.app[STATE]
    snapshot = state.current.snapshot
    body = await read_body(request, snapshot.policy.server.limits)
    kind = request.query.get("kind", "chat")
    if kind not in ("chat", "completions", "embeddings"):
        raise BadRequest("kind must be chat, completions or embeddings.", param="kind")
    chat = parse_request(kind, body, snapshot.policy.validators)
    named = context_named(chat.raw)
    client = request.query.get("client", named.client)
    context = context_of(request, snapshot.policy.server, client)
    context = replace(context, task=context.task or named.task)
    made = read_decision(state, chat, snapshot, context)
    if not made.ranked:
        raise refusal(made)
    described = explain_candidates(made, snapshot.catalog, snapshot.policy)
    answer = {**described, "words": in_words(described)}
    if name := request.query.get("why_not"):
        answer["why_not"] = await _why_not(made, snapshot.policy, name)
    return json_response(answer)


async def _why_not(made: Decision, policy: Policy, name: str) -> dict[str, Any]:
    """name: an id, a name or an alias. Some hundred decisions are made, so in a thread."""
    model = made.catalog.find(name)
    if model is None:
        raise ModelNotFound(f"The model {name!r} did not exist for this decision.", param="why_not")
    return describe_why_not(await asyncio.to_thread(why_not, made, policy, model.id))


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
