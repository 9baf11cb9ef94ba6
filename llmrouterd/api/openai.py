"""/v1: the OpenAI API that clients speak."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp import web

from llmrouterd.api.access import Client, header_value, identify_client
from llmrouterd.api.body import read_body
from llmrouterd.api.relay import Progress, StreamRelay, collect, relay_stream
from llmrouterd.api.state import ORIGIN, REQUEST_ID, STATE, State, json_response
from llmrouterd.api.waiting import Signs
from llmrouterd.chat import ChatRequest, parse_request
from llmrouterd.classifier import classify
from llmrouterd.classifier.words import human_turns
from llmrouterd.decision import Decision, consider, refusal, resolve
from llmrouterd.errors import (
    Draining,
    ModelNotFound,
    NoModelAvailable,
    RouterError,
    UpstreamError,
)
from llmrouterd.journal import Outcome
from llmrouterd.outgoing import priority_of
from llmrouterd.signals import RequestContext
from llmrouterd.signature import render

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from llmrouterd.answer import Answer
    from llmrouterd.catalog import Model
    from llmrouterd.explanation import Attempt
    from llmrouterd.policy import Server
    from llmrouterd.snapshot import Snapshot


def context_of(request: web.Request, server: Server, client: str, user: str = "") -> RequestContext:
    """Session and task as the configured headers give them."""
    headers = request.headers
    session = next((v for name in server.session_headers if (v := headers.get(name))), "")
    task = next((v for name in server.task_headers if (v := headers.get(name))), "")
    return RequestContext(
        client=client,
        user=user,
        session=header_value(session, 256),
        task=header_value(task, 64),
    )


def read_decision(
    state: State, chat: ChatRequest, snapshot: Snapshot, context: RequestContext
) -> Decision:
    """Classify and decide, on one snapshot. Nothing is ranked where no model can serve it."""
    ask = resolve(chat.model, snapshot.policy, snapshot.catalog)
    if ask.preset:
        context = replace(context, preset=ask.preset)
    signals = classify(chat, snapshot.policy, context, state.tokens, snapshot.examples)
    priority = priority_of(chat, signals, snapshot.policy)
    load = state.dispatcher.load(snapshot, signals.session, priority)
    return consider(signals, snapshot.policy, snapshot.catalog, load, ask, snapshot.generation)


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """POST /v1/chat/completions."""
    return await _generate(request, "chat")


async def completions(request: web.Request) -> web.StreamResponse:
    """POST /v1/completions."""
    return await _generate(request, "completions")


async def embeddings(request: web.Request) -> web.StreamResponse:
    """POST /v1/embeddings."""
    return await _generate(request, "embeddings")


async def _generate(request: web.Request, kind: str) -> web.StreamResponse:
    state = request.app[STATE]
    snapshot = state.current.snapshot
    policy = snapshot.policy
    if state.draining:
        raise Draining("The router is being stopped.", retry_after=5)
    client = identify_client(request, policy.auth, policy.server, state.limiter)
    if state.active >= policy.server.limits.in_flight:
        raise NoModelAvailable("Too many requests are running.", retry_after=2)
    limits = client.enter(state.limiter)
    state.active += 1
    outcome = Outcome(id=request[REQUEST_ID], request=request[REQUEST_ID])
    try:
        body = await read_body(request, policy.server.limits)
        chat = parse_request(kind, body, policy.validators)
        return await _answer(request, chat, (state, snapshot, client), outcome, limits)
    finally:
        state.active -= 1
        tokens = (outcome.prompt_tokens or 0) + (outcome.completion_tokens or 0)
        client.leave(state.limiter, tokens)


async def _answer(
    request: web.Request,
    chat: ChatRequest,
    world: tuple[State, Snapshot, Client],
    outcome: Outcome,
    limits: dict[str, str],
) -> web.StreamResponse:
    state, snapshot, client = world
    started = time.monotonic()
    context = context_of(request, snapshot.policy.server, client.name, client.user)
    decision = read_decision(state, chat, snapshot, context)
    outcome.id = f"dec_{random.getrandbits(80):020x}"
    words = next(iter(human_turns(chat.messages, 1)), "")
    if chat.kind != "embeddings" and not decision.signals.task:
        state.lessons.remember(outcome.id, words)
    if snapshot.policy.logging.prompts:
        outcome.words = words[:2000]
    headers = {
        "x-request-id": request[REQUEST_ID],
        "x-router-decision": outcome.id,
        "x-router-category": decision.signals.category,
        "x-router-rule": header_text(decision.rule),
        **limits,
    }
    if request[ORIGIN]:  # a stream is under way before the boundary sees its response
        headers["Access-Control-Allow-Origin"] = request[ORIGIN]
    try:
        if not decision.ranked:
            raise refusal(decision)
        if chat.kind == "embeddings":
            return await _embed(chat, decision, world, outcome, headers)
        return await _send(request, chat, decision, world, (outcome, headers))
    except RouterError as error:
        outcome.status = error.code or error.type
        error.headers["x-router-decision"] = outcome.id
        raise
    except (asyncio.CancelledError, ConnectionError):
        outcome.status = "client_gone"
        raise
    finally:
        outcome.seconds = time.monotonic() - started
        state.journal.record(decision, outcome)


async def _send(
    request: web.Request,
    chat: ChatRequest,
    decision: Decision,
    world: tuple[State, Snapshot, Client],
    told: tuple[Outcome, dict[str, str]],
) -> web.StreamResponse:
    state, snapshot, _ = world
    outcome, headers = told
    dispatcher = state.dispatcher
    attempts: list[Attempt] = []
    outcome.attempts = attempts
    last: UpstreamError | None = None
    signs = Signs(request, snapshot.policy.queue, headers) if chat.stream else None
    while True:
        opening = dispatcher.open(chat, decision, snapshot, attempts, last, outcome.id)
        try:
            answer = await _opened(opening, signs, state, outcome.id)
        except RouterError as error:
            begun = await signs.fail(error.envelope()) if signs else None
            if begun is None:
                raise
            outcome.status = error.code or error.type
            return begun
        _tell(answer, outcome, headers)
        signature = _signature(snapshot, chat, decision, answer, outcome.id)
        progress = Progress()
        try:
            if chat.stream:
                relay = StreamRelay(chat.include_usage, signature, progress)
                begun = signs.response if signs else None
                response = await relay_stream(request, answer, relay, headers, begun)
                if not progress.complete:
                    outcome.status = "upstream_interrupted"
                return response
            result = await collect(answer, chat.kind, signature, progress)
            return json_response(result, headers=headers)
        except UpstreamError as error:
            # Raised by `collect` alone: this client has been sent nothing yet.
            dispatcher.note_failure(attempts, answer.model, error, answer.started)
            if not error.retryable:
                raise
            last = error
        finally:
            answer.close()
            _read_usage(progress, outcome)
            outcome.alone = 0 < answer.arrival == dispatcher.arrivals
            outcome.generated = time.monotonic() - answer.first_at


async def _opened(
    opening: Coroutine[Any, Any, Answer], signs: Signs | None, state: State, decision: str
) -> Answer:
    if signs is None:
        return await opening
    task = asyncio.create_task(opening, name="opening")
    return await signs.until(task, state.places, decision)


def _tell(answer: Answer, outcome: Outcome, headers: dict[str, str]) -> None:
    """Who answers: for the journal and for the client."""
    outcome.model = answer.model
    outcome.ttft = answer.first_at - answer.started
    outcome.waited = answer.first_at - answer.asked_at
    outcome.warm = answer.warm
    outcome.place = answer.place
    outcome.tools_dropped = answer.tools_dropped
    _name_model(answer.model, headers)


def _name_model(model: Model, headers: dict[str, str]) -> None:
    headers["x-router-model"] = header_text(model.name)
    headers["x-router-backend"] = model.backend


def _read_usage(progress: Progress, outcome: Outcome) -> None:
    if progress.usage:
        outcome.usage, outcome.timings = progress.usage, progress.timings
        outcome.prompt_tokens = _count(progress.usage.get("prompt_tokens"))
        outcome.completion_tokens = _count(progress.usage.get("completion_tokens"))


async def _embed(
    chat: ChatRequest,
    decision: Decision,
    world: tuple[State, Snapshot, Client],
    outcome: Outcome,
    headers: dict[str, str],
) -> web.Response:
    state, snapshot, _ = world
    model, result = await state.dispatcher.embed(chat, decision, snapshot, outcome.id)
    outcome.model = model
    usage = result.get("usage")
    if isinstance(usage, dict):
        outcome.prompt_tokens = _count(usage.get("prompt_tokens"))
    _name_model(model, headers)
    return json_response(result, headers=headers)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def header_text(text: str) -> str:
    """A text as a header may carry it: ASCII without control characters."""
    return text.encode("ascii", "replace").decode().translate(dict.fromkeys(range(32)))


def _signature(
    snapshot: Snapshot, chat: ChatRequest, decision: Decision, answer: Answer, id_: str
) -> str:
    """The signature for this answer, "" where one would do harm."""
    template = snapshot.policy.server.signature
    signals = decision.signals
    if not template or chat.kind != "chat" or signals.task or "json" in signals.needs:
        return ""
    return render(
        template.replace("\\n", "\n"),
        {
            "model": answer.model.name,
            "backend": answer.model.backend,
            "category": signals.category,
            "rule": decision.rule,
            "decision": id_,
        },
    )


async def models(request: web.Request) -> web.Response:
    """GET /v1/models."""
    state = request.app[STATE]
    _check_client(request, state)
    return json_response({"object": "list", "data": model_entries(state)})


async def model(request: web.Request) -> web.Response:
    """GET /v1/models/{id}."""
    state = request.app[STATE]
    _check_client(request, state)
    name = request.match_info["id"]
    snapshot = state.current.snapshot
    ask = resolve(name, snapshot.policy, snapshot.catalog)
    wanted = ask.models[0].id if ask.models else snapshot.policy.server.model_name
    for entry in model_entries(state, everything=True):
        if entry["id"] == wanted:
            return json_response({**entry, "id": name})
    raise ModelNotFound(f"The model {name!r} does not exist here.", param="model")


def _check_client(request: web.Request, state: State) -> None:
    policy = state.current.snapshot.policy
    client = identify_client(request, policy.auth, policy.server, state.limiter)
    client.enter(state.limiter)
    client.leave(state.limiter)


def model_entries(state: State, everything: bool = False) -> list[dict[str, Any]]:
    """The entries of /v1/models: the virtual model, then the real ones where they are shown."""
    snapshot = state.current.snapshot
    server = snapshot.policy.server
    entries: list[dict[str, Any]] = [
        {
            "id": server.model_name,
            "object": "model",
            "created": int(state.started_at),
            "owned_by": "local",
            "name": server.model_name,
            "description": server.description,
            "admin_auth_required": snapshot.policy.auth.admin_digest is not None,
            "status": {"value": "available"},  # neither loaded nor not
        }
    ]
    if server.expose_models or everything:
        entries += [entry_of(state, item) for item in snapshot.catalog.models]
    return entries


def entry_of(state: State, model: Model) -> dict[str, Any]:
    """A real model as /v1/models lists it. The status is of the form of llama.cpp's router."""
    state.places.follow(state.current.snapshot)
    entry: dict[str, Any] = {
        "id": model.id,
        "object": "model",
        "created": int(state.started_at),
        "owned_by": model.backend,
        "name": model.id,  # what a page shows: two backends may have the same model
        "status": {"value": state.places.status(model.id)},
    }
    if model.context:
        entry["context_length"] = model.context
    if model.capabilities is not None:
        entry["capabilities"] = sorted(model.capabilities)
    return entry
