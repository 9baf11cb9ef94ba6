"""llama.cpp's own endpoints to load and unload, for clients that know its router mode: Open WebUI's
admin page shows buttons for them where its connection's provider is `llama.cpp`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from llmrouterd.api.body import read_body
from llmrouterd.api.memory import load_model, unload_model
from llmrouterd.api.openai import entry_of
from llmrouterd.api.state import STATE, json_response
from llmrouterd.decision import resolve
from llmrouterd.errors import BadRequest

if TYPE_CHECKING:
    from aiohttp import web

    from llmrouterd.api.state import State
    from llmrouterd.catalog import Model


async def models(request: web.Request) -> web.Response:
    """GET /models: the real models with their status, as llama.cpp's router lists its own."""
    state = request.app[STATE]
    data = [entry_of(state, model) for model in state.current.snapshot.catalog.models]
    return json_response({"object": "list", "data": data})


async def load(request: web.Request) -> web.Response:
    """POST /models/load: {"model": ID}. Unlike llama.cpp's it returns once the model is loaded."""
    state = request.app[STATE]
    await load_model(state, await _asked(request, state))
    return json_response({"success": True})


async def unload(request: web.Request) -> web.Response:
    """POST /models/unload: {"model": ID}."""
    state = request.app[STATE]
    await unload_model(state, await _asked(request, state))
    return json_response({"success": True})


async def _asked(request: web.Request, state: State) -> Model:
    snapshot = state.current.snapshot
    name = _name(await read_body(request, snapshot.policy.server.limits))
    models = resolve(name, snapshot.policy, snapshot.catalog).models
    if not models:
        raise BadRequest(
            f"{name} is no model that can be loaded: one is chosen for each chat.", param="model"
        )
    return models[0]


def _name(body: bytes) -> str:
    try:
        data: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error}") from None
    name = data.get("model") if isinstance(data, dict) else None
    if not isinstance(name, str) or not name:
        raise BadRequest("model must be a model's id.", param="model")
    return name
