"""/admin/profiles and /admin/reprofile: what was measured here, and measuring it again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import orjson

from llmrouterd.api.body import read_body
from llmrouterd.api.state import STATE, json_response
from llmrouterd.errors import BadRequest

if TYPE_CHECKING:
    from aiohttp import web

_MOST_GLOBS, _MOST_GLOB_TEXT = 200, 10_000
_KEYS = {"models", "speed_only"}


async def profiles(request: web.Request) -> web.Response:
    """GET /admin/profiles: what was measured, what could not be, and the measuring in hand."""
    state = request.app[STATE]
    measured = [
        {"model": model.id, "digest": model.digest, **asdict(model.profile)}
        for model in state.current.snapshot.catalog.models
        if model.profile.measured_at or model.profile.live_at
    ]
    return json_response(
        {
            "profiles": measured,
            "asked": state.profiler.asked(),
            "failed": state.profiler.failures(),
            "progress": state.profiler.progress.data(),
        }
    )


async def reprofile(request: web.Request) -> web.Response:
    """POST /admin/reprofile: measure again; all models, or those that the body's globs name."""
    state = request.app[STATE]
    names, speed_only = ["*"], False
    if request.body_exists:
        body = await read_body(request, state.current.snapshot.policy.server.limits)
        names, speed_only = _read(body)
    asked = state.profiler.ask(names, speed_only=speed_only)
    return json_response({"status": "accepted", "models": len(asked), "asked": asked}, 202)


def _read(body: bytes) -> tuple[list[str], bool]:
    """The globs and the flag of `{"models": [...], "speed_only": bool}`, both optional."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadRequest("The body must be a JSON object.")
    if unknown := sorted(data.keys() - _KEYS):
        raise BadRequest(f"{unknown[0]} is not known here.", param=unknown[0])
    names, speed_only = data.get("models"), data.get("speed_only", False)
    names = ["*"] if names is None else names
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise BadRequest("models must be a list of names or globs.", param="models")
    if len(names) > _MOST_GLOBS or sum(map(len, names)) > _MOST_GLOB_TEXT:
        raise BadRequest("models has too many or too long globs.", param="models")
    if not isinstance(speed_only, bool):
        raise BadRequest("speed_only must be true or false.", param="speed_only")
    return names, speed_only
