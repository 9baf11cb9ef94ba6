"""/admin/vram and what the owner may do to a model: load, unload, pin, unpin."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from llmrouterd import tables
from llmrouterd.api.state import STATE, State, json_response
from llmrouterd.errors import BadRequest, Conflict, ModelNotFound, NoModelAvailable
from llmrouterd.residency.needs import never_fit
from llmrouterd.residency.ticket import API, PRIORITIES, Ticket

if TYPE_CHECKING:
    from aiohttp import web

    from llmrouterd.catalog import Model
    from llmrouterd.residency.host import Host


async def vram(request: web.Request) -> web.Response:
    """GET /admin/vram: each host's memory, what is in it, who waits, and its past."""
    state = request.app[STATE]
    places, now = state.places, time.monotonic()
    places.follow(state.current.snapshot)
    return json_response(
        {
            "hosts": [
                {
                    **host_data(name, host, now),
                    "misfits": places.misfits.get(name, ()),
                    "footprints": _footprints(host),
                }
                for name, host in places.hosts.items()
            ],
            "cards": [asdict(pool) for pool in places.cards.pools],
            "history": places.past.described(),
            "marks": list(places.past.marks),
        }
    )


def host_data(name: str, host: Host, now: float) -> dict[str, Any]:
    """A host's memory, what is in it and who waits for it. now: monotonic seconds."""
    moving = host.moving
    return {
        "name": name,
        "total_bytes": host.limits.budget,
        "used_bytes": host.used,
        "foreign_bytes": host.foreign,
        "max_models": host.limits.most,
        "models": [
            {
                "model": held.model,
                "bytes": held.size or None,
                "in_flight": len(host.in_flight(held.model)),
                "elsewhere": host.elsewhere(held.model, now),
                "waiting": held.waiting,
                "loaded_seconds": round(held.age, 1),
                "pinned": host.models[held.model].pinned,
                "movable": host.models[held.model].movable,
                "eviction_cost_seconds": round(held.cost, 2),
            }
            for held in host.room(now).held
        ],
        "moving": None
        if moving is None
        else {
            "kind": moving.kind,
            "models": sorted(moving.models),
            "for": moving.target,
            "seconds": round(now - moving.since, 1),
        },
        "queue": [
            {
                "model": ticket.model,
                "priority": PRIORITIES[ticket.priority],
                "client": ticket.client,
                "waited_seconds": round(now - ticket.since, 2),
            }
            for ticket in host.waiting
        ],
    }


def _footprints(host: Host) -> list[dict[str, Any]]:
    return [
        {
            "model": name,
            "bytes": host.models[name].size or None,
            "basis": host.models[name].basis,
            "error": round(host.models[name].error, 2),
            "pinned": host.models[name].pinned,
        }
        for name in sorted(host.served)
    ]


async def load(request: web.Request) -> web.Response:
    """POST /admin/models/{id}/load: returns once it is loaded."""
    state, model = _asked(request)
    await load_model(state, model)
    return json_response({"model": model.id, "loaded": True})


async def load_model(state: State, model: Model) -> None:
    """Have it loaded, waiting like a request of the API."""
    ticket = Ticket(model=model.id, priority=API, client="admin")
    await state.places.enter(state.current.snapshot, ticket)
    state.places.leave(ticket)


async def unload(request: web.Request) -> web.Response:
    """POST /admin/models/{id}/unload: 503 while it is in use, 409 while it is pinned."""
    state, model = _asked(request)
    await unload_model(state, model)
    return json_response({"model": model.id, "loaded": state.places.holds(model.id)})


async def unload_model(state: State, model: Model) -> None:
    """Have an idle model put out of memory. Raises NoModelAvailable where that cannot be now,
    Conflict while it is pinned, and BadRequest where it never can."""
    places = state.places
    places.follow(state.current.snapshot)
    if not places.moves(model.id):
        raise BadRequest(f"The backend of {model.id} neither loads nor unloads it.", param="model")
    if model.pinned:
        raise Conflict(f"{model.id} is pinned, and would be loaded again: unpin it first.")
    if places.holds(model.id) and not await places.unload(model.id):
        raise NoModelAvailable(f"{model.id} is in use, or another is being moved.", retry_after=5)


async def pin(request: web.Request) -> web.Response:
    """POST /admin/models/{id}/pin: keep it loaded, whatever the policy says; 409 where it does not
    fit beside what is pinned already."""
    return await _pin(request, True)


async def unpin(request: web.Request) -> web.Response:
    """POST /admin/models/{id}/unpin: let it go, whatever the policy says."""
    return await _pin(request, False)


async def _pin(request: web.Request, pinned: bool) -> web.Response:
    state, model = _asked(request)
    state.places.follow(state.current.snapshot)
    if pinned and not model.pinned:
        _check_pin(state, model)
    pins = {**state.discovery.knowledge.pins, model.id: pinned}
    if state.current.snapshot.policy.pins_model(model.id) == pinned:
        del pins[model.id]  # it follows the policy again, and the policy's later edits
    state.discovery.learn(pins=pins)
    state.places.follow(state.current.snapshot)
    state.places.mark("pin" if pinned else "unpin", model.id)
    with contextlib.suppress(sqlite3.Error, OSError):  # the store has said so itself
        await asyncio.wrap_future(state.store.run(tables.save_pins(pins)))
    return json_response({"model": model.id, "pinned": pinned})


def _check_pin(state: State, model: Model) -> None:
    for host in state.places.hosts.values():
        needs = {
            name: replace(host.models[name], pinned=True)
            for name in sorted(host.served)
            if host.models[name].pinned or name == model.id
        }
        if model.id in needs and (reasons := never_fit(host.limits, needs)):
            raise Conflict(f"{model.id} cannot be pinned: {'; '.join(reasons)}.")


def _asked(request: web.Request) -> tuple[State, Model]:
    state, name = request.app[STATE], request.match_info["id"]
    model = state.current.snapshot.catalog.find(name)
    if model is None:
        raise ModelNotFound(f"The model {name!r} does not exist here.", param="id")
    return state, model
