"""Around every handler: request id, host and origin, access, limits; errors become responses."""

from __future__ import annotations

import math
import random
import re
import time
import traceback
from typing import TYPE_CHECKING, Any

from aiohttp import web

from llmrouterd.api.access import check_admin, check_host, check_loading, check_origin
from llmrouterd.api.state import ORIGIN, REQUEST_ID, SERVER, STATE, State, json_response
from llmrouterd.errors import BadRequest, InternalError, NotFound, RouterError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_CORS = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "600",
}

OPEN, CLIENT, LOADING, ADMIN = "open", "client", "loading", "admin"
_CHECKS = {LOADING: check_loading, ADMIN: check_admin}


def guarded(endpoint: str, access: str, handler: Handler) -> Handler:
    """The handler of one route behind the boundary. access: open, client (the handler itself
    identifies the client, whose limits last as long as its answer), loading, or admin."""

    async def handle(request: web.Request) -> web.StreamResponse:
        state = request.app[STATE]
        started = time.perf_counter()
        request[REQUEST_ID] = request_id(request)
        origin = ""
        try:
            server = state.current.snapshot.policy.server
            check_host(request, server, state.host_name)
            origin = request[ORIGIN] = check_origin(request, server)
            if access in _CHECKS:
                auth = state.current.snapshot.policy.auth
                _CHECKS[access](request, auth, server, state.limiter)
            response = await handler(request)
        except RouterError as error:
            response = error_response(error, request[REQUEST_ID])
        except web.HTTPException as error:
            response = error_response(_translated(error), request[REQUEST_ID])
        except ConnectionResetError:
            raise  # the client has gone, and aiohttp knows what to do
        except Exception:  # boundary: a fault of ours is a 500, never a dropped connection
            state.on_event(
                "request.crashed",
                {"id": request[REQUEST_ID], "trace": traceback.format_exc()},
            )
            response = error_response(
                InternalError(f"A fault of the router; see its log for {request[REQUEST_ID]}."),
                request[REQUEST_ID],
            )
        if not response.prepared:
            response.headers["Server"] = SERVER
            if origin:
                response.headers["Access-Control-Allow-Origin"] = origin
        _count(state, endpoint, response, time.perf_counter() - started)
        return response

    return handle


def _count(state: State, endpoint: str, response: web.StreamResponse, seconds: float) -> None:
    metrics, decision = state.metrics, response.headers.get("x-router-decision", "")
    metrics.inc(metrics.requests, endpoint, str(response.status))
    metrics.observe(metrics.duration, seconds, endpoint, decision)


def request_id(request: web.Request) -> str:
    """The client's own x-request-id if it is harmless, else a new one."""
    given = request.headers.get("X-Request-Id", "")
    return given if _SAFE_ID.fullmatch(given) else f"req_{random.getrandbits(96):024x}"


def error_response(error: RouterError, id_: str) -> web.Response:
    """OpenAI's envelope, with what tells a client whether and when to try again."""
    headers = {
        "x-request-id": id_,
        "x-should-retry": "true" if error.should_retry else "false",
        "x-router-error-side": error.side,
        **error.headers,
    }
    status = error.http_status
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    elif status in (429, 503):
        headers["retry-after"] = "5"
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return json_response(error.envelope(), status, headers)


def _translated(error: web.HTTPException) -> RouterError:
    if error.status in (404, 405):
        return _NoRoute(error.status)
    return BadRequest(f"The request cannot be read: {error.reason}.")


class _NoRoute(NotFound):
    def __init__(self, status: int) -> None:
        what = "This method is not allowed here" if status == 405 else "There is no such endpoint"
        super().__init__(what + "; docs/api.md lists all.")
        self._status = status

    @property
    def http_status(self) -> int:
        return self._status


@web.middleware
async def strays(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Requests that match no route get the same envelope; CORS preflights their answer."""
    if request.match_info.http_exception is None:
        return await handler(request)
    state = request.app[STATE]
    try:
        server = state.current.snapshot.policy.server
        check_host(request, server, state.host_name)
        if request.method == "OPTIONS":
            origin = check_origin(request, server)
            allowed: dict[str, Any] = {"Access-Control-Allow-Origin": origin} if origin else {}
            return web.Response(status=204, headers={**_CORS, **allowed} if origin else {})
        return await handler(request)
    except web.HTTPException as error:
        response = error_response(_translated(error), request_id(request))
    except RouterError as error:
        response = error_response(error, request_id(request))
    state.metrics.inc(state.metrics.requests, "none", str(response.status))
    return response
