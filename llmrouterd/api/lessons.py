"""What the owner corrects: a decision's category, a better model, prompts as examples."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from llmrouterd.api.admin import query
from llmrouterd.api.body import read_body
from llmrouterd.api.state import STATE, json_response
from llmrouterd.chat import parse_request
from llmrouterd.classifier.words import human_turns
from llmrouterd.errors import BadRequest, NoModelAvailable, NotFound
from llmrouterd.lessons import MOST_REMEMBERED
from llmrouterd.tables import decision as stored_decision

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from aiohttp import web

    from llmrouterd.api.state import State
    from llmrouterd.catalog import Model

# Whose opinions the two of a better model are; a later correction replaces them.
BETTER, CHOSEN = "owner:better", "owner:chosen"
_KEYS = ("id", "prompt", "category", "model")


class _Correction(NamedTuple):
    """What the body says; "" where it says nothing."""

    id: str
    prompt: str
    category: str
    model: str


async def correct(request: web.Request) -> web.Response:
    """POST /admin/feedback: {"id": DECISION, "category": RIGHT, "model": BETTER} or {"prompt": ...,
    "category": RIGHT}. All is checked before any of it is kept."""
    state = request.app[STATE]
    policy = state.current.snapshot.policy
    said = _read(await read_body(request, policy.server.limits))
    if said.category and said.category not in policy.categories:
        names = ", ".join(policy.categories)
        raise BadRequest(
            f"There is no category {said.category!r}; there are: {names}.", param="category"
        )
    row = await _row(state, said) if said.id else None
    better = _better(state, said, row) if row is not None and said.model else None
    text = _text(state, said, policy.validators) if said.category else ""
    example = None
    if text:
        client = "" if row is None else row["record"]["signals"]["client"]
        example = await _kept(state.lessons.learn(text, said.category, said.id, client))
    if row is not None and better is not None:
        judged = {**row, "category": said.category or row["category"]}
        await _kept(state.feedback.give({**judged, "model": better.id}, BETTER, 1.0))
        await _kept(state.feedback.give(judged, CHOSEN, -1.0))
    return json_response(
        {
            "decision": said.id or None,
            "category": said.category or None,
            "model": better.id if better is not None else None,
            "instead_of": row["model"] if row is not None and better is not None else None,
            "example": example,
            "examples": len(state.lessons.rows),
            "similarity": policy.classification.teach_similarity,
        }
    )


async def examples(request: web.Request) -> web.Response:
    """GET /admin/examples: the corrected prompts, the newest first."""
    return json_response({"examples": request.app[STATE].lessons.rows})


async def forget(request: web.Request) -> web.Response:
    """DELETE /admin/examples/{id}."""
    state = request.app[STATE]
    id_ = request.match_info["id"]
    if not id_.isdecimal() or len(id_) > 15 or not await _kept(state.lessons.forget(int(id_))):
        raise NotFound(f"There is no example {id_!r}; GET /admin/examples lists all.")
    return json_response({"status": "ok", "examples": len(state.lessons.rows)})


def _read(body: bytes) -> _Correction:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadRequest("The body must be a JSON object.")
    for name, value in data.items():
        if name not in _KEYS:
            raise BadRequest(f"{name} is not known here; use {', '.join(_KEYS)}.", param=name)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise BadRequest(f"{name} must be a text that is not empty.", param=name)
    said = _Correction(**{name: data.get(name) or "" for name in _KEYS})
    if bool(said.id) == bool(said.prompt):
        raise BadRequest("Give the id of a decision, or a prompt.", param="id")
    if said.prompt and not said.category:
        raise BadRequest("A prompt needs its category.", param="category")
    if said.prompt and said.model:
        raise BadRequest("A better model needs the id of a decision.", param="model")
    if not said.category and not said.model:
        raise BadRequest("Give the right category, a better model, or both.", param="category")
    return said


async def _row(state: State, said: _Correction) -> dict[str, Any]:
    row: dict[str, Any] | None = await query(state, stored_decision(said.id))
    if row is None:
        raise NotFound(
            f"No decision {said.id!r} is kept; an answer's x-router-decision is its id.", param="id"
        )
    return row


def _better(state: State, said: _Correction, row: dict[str, Any]) -> Model:
    model = state.current.snapshot.catalog.find(said.model)
    if model is None:
        raise BadRequest(f"No backend serves {said.model!r} now.", param="model")
    if row["model"] is None:
        raise BadRequest("No model answered then, so that none can be better.", param="model")
    if row["model"] == model.id:
        raise BadRequest(f"{model.id} is the model that answered.", param="model")
    return model


def _text(state: State, said: _Correction, validators: Any) -> str:
    """The human's words to learn from, as the classifier would read them."""
    if said.id:
        words = state.lessons.words_of(said.id)
        if words is None:
            raise NotFound(
                f"The words of this decision are not in memory: only those of the last "
                f"{MOST_REMEMBERED} are, since the start. Give the prompt instead of the id.",
                param="id",
            )
        return words
    message = {"messages": [{"role": "user", "content": said.prompt}]}
    chat = parse_request("chat", orjson.dumps(message), validators)
    words = next(iter(human_turns(chat.messages, 1)), "")
    if not words:
        raise BadRequest("There are no words of a human's in the prompt.", param="prompt")
    return words


async def _kept(work: Awaitable[Any]) -> Any:
    """What a change of the database gives; NoModelAvailable while it cannot be written."""
    try:
        return await asyncio.wait_for(work, 10)
    except (sqlite3.Error, OSError, TimeoutError) as error:
        raise NoModelAvailable(f"The database cannot be written now: {error}") from error
