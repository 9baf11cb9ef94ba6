"""What models are worth and why: the evidence of each, and what clients thought of answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson

from llmrouterd.api.access import identify_client
from llmrouterd.api.admin import model_data, query
from llmrouterd.api.body import read_body
from llmrouterd.api.state import STATE, json_response
from llmrouterd.errors import BadRequest, NotFound
from llmrouterd.explanation import describe_evidence, stored_in_words
from llmrouterd.tables import decision as stored_decision
from llmrouterd.tables import decisions_of_request as of_request

if TYPE_CHECKING:
    from aiohttp import web

    from llmrouterd.api.access import Client
    from llmrouterd.api.state import State
    from llmrouterd.catalog import Model
    from llmrouterd.naming import ModelKey

_THUMBS = {"up": 1.0, "good": 1.0, "positive": 1.0, "down": -1.0, "bad": -1.0, "negative": -1.0}


async def feedback(request: web.Request) -> web.Response:
    """POST /v1/feedback: {"decision": ID, "value": -1..1}; Open WebUI's thumbs come as `rating`
    with 1 or -1. A client judges its own decisions; a later opinion replaces the former."""
    state = request.app[STATE]
    policy = state.current.snapshot.policy
    client = identify_client(request, policy.auth, policy.server, state.limiter)
    client.enter(state.limiter)
    try:
        id_, value = _opinion(await read_body(request, policy.server.limits))
        row = await _own_decision(state, client, id_)
        if row is None or row["model"] is None:
            raise NotFound("No answer of yours with this decision is kept.")
        await state.feedback.give(row, client.name, value)
    finally:
        client.leave(state.limiter)
    return json_response({"decision": row["id"], "model": row["model"], "value": value})


async def decision(request: web.Request) -> web.Response:
    """GET /v1/decisions/{id}: why this model. A client sees its own decisions, by their id or by
    their x-request-id, and no human's words nor the policy's patterns."""
    state = request.app[STATE]
    policy = state.current.snapshot.policy
    client = identify_client(request, policy.auth, policy.server, state.limiter)
    client.enter(state.limiter)
    try:
        row = await _own_decision(state, client, request.match_info["id"])
    finally:
        client.leave(state.limiter)
    if row is None:
        raise NotFound("No such decision of yours is kept.")
    for key in ("words", "load"):  # what the human wrote, and what others were doing
        row["record"].pop(key, None)
    row["record"]["signals"].pop("texts", None)  # the policy's patterns
    return json_response({**row, "words": stored_in_words(row)})


async def _own_decision(state: State, client: Client, id_: str) -> dict[str, Any] | None:
    """The client's decision of this id. Of a request's id: the newest that was no background
    task, for those are about the same message."""
    rows = [await query(state, stored_decision(id_)), *await query(state, of_request(id_))]
    own = [row for row in rows if row and row["record"]["signals"]["client"] == client.name]
    human = [row for row in own if not row["record"]["signals"]["task"]]
    return next(iter([*human, *own]), None)


def _opinion(body: bytes) -> tuple[str, float]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadRequest("The body must be a JSON object.")
    id_ = data.get("decision")
    if not isinstance(id_, str) or not id_:
        raise BadRequest(
            "decision must be an answer's x-router-decision or x-request-id.", param="decision"
        )
    value = data.get("value", data.get("rating"))
    value = _THUMBS.get(value, value) if isinstance(value, str) else value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1 <= value <= 1:
        raise BadRequest("value must be a number from -1 to 1.", param="value")
    return id_, float(value)


async def model(request: web.Request) -> web.Response:
    """GET /admin/models/{id}: one model with its evidence, its names and their matches."""
    state = request.app[STATE]
    found = state.current.snapshot.catalog.find(request.match_info["id"])
    if found is None:
        raise NotFound(f"No backend serves {request.match_info['id']!r} now.")
    resident = state.dispatcher.load(state.current.snapshot, "").resident
    return json_response(
        {
            **model_data(found),
            "resident": found.id in resident,
            "evidence": describe_evidence(found, state.current.snapshot.policy),
            "naming": naming_data(state, found),
        }
    )


def key_data(key: ModelKey) -> dict[str, Any]:
    """A canonical key as JSON."""
    return {**asdict(key), "variants": sorted(key.variants)}


def naming_data(state: State, found: Model) -> dict[str, Any]:
    """What a model is taken for: its key, the published names that count as its own, and, where
    no board knows it, similar ones for the owner to choose from (`models[].canonical`)."""
    library = state.discovery.knowledge.library
    identity = state.discovery.identify(found)
    matches = library.matches(identity, found.id)
    known = bool(library.figures(matches))
    return {
        "key": key_data(library.identify(identity).key),
        "matches": [asdict(match) for match in matches],
        "has_figures": known,
        "suggestions": []
        if known
        else [
            {"source": source, "model": name, "similarity": similarity}
            for source, name, similarity in library.suggest(identity)
        ],
    }


async def benchmarks(request: web.Request) -> web.Response:
    """GET /admin/benchmarks: the sources, which models they know, and what came of it."""
    state = request.app[STATE]
    worker, snapshot = state.benchmarks, state.current.snapshot
    models = snapshot.catalog.models
    named = {found.id: naming_data(state, found) for found in models}
    known = {id_: found["matches"] for id_, found in named.items() if found["matches"]}
    unknown = {id_: found for id_, found in named.items() if not found["has_figures"]}
    return json_response(
        {
            "sources": worker.sources(),
            "syncing": worker.waiting(),
            "matched": known,
            "unmatched": {id_: found["suggestions"] for id_, found in unknown.items()},
            "evidence": {found.id: describe_evidence(found, snapshot.policy) for found in models},
        }
    )


async def sync(request: web.Request) -> web.Response:
    """POST /admin/sync: fetch published figures now; 202 with what is fetched or waits."""
    state = request.app[STATE]
    worker = state.benchmarks
    reasons = worker.askable()
    wanted = [name for name, reason in reasons.items() if not reason]
    if request.body_exists:
        body = await read_body(request, state.current.snapshot.policy.server.limits)
        named = _named_sources(body)
        wanted = wanted if named is None else named
    for name in wanted:
        if name not in reasons:
            raise BadRequest(
                f"There is no source {name!r}; there are: {', '.join(reasons)}.", param="sources"
            )
        if reasons[name]:
            raise BadRequest(f"{name} cannot be fetched: {reasons[name]}.", param="sources")
    return json_response({"status": "accepted", "sources": worker.ask(wanted)}, 202)


def _named_sources(body: bytes) -> list[str] | None:
    """The names in {"sources": [...]}; None where it names none."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadRequest("The body must be a JSON object.")
    unknown = sorted(data.keys() - {"sources"})
    if unknown:
        raise BadRequest(f"{unknown[0]} is not known here.", param=unknown[0])
    named = data.get("sources")
    if named is None:
        return None
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise BadRequest("sources must be a list of names.", param="sources")
    return named
