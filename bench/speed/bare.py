"""The bare proxy: the least that a gateway on aiohttp can do, and so the yardstick.

    python -m bench.speed.bare PORT UPSTREAM_URL

It parses the request's JSON, forwards the body with one shared client session, and relays the
answer: a stream chunk by chunk, anything else whole. It routes, checks and records nothing.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import aiohttp
import orjson
from aiohttp import web

from bench.speed.backend import run

_UPSTREAM = web.AppKey("upstream", str)
_CLIENT = web.AppKey("client", aiohttp.ClientSession)
_JSON = {"Content-Type": "application/json"}


async def _client(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
        app[_CLIENT] = client
        yield


async def _chat(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    chat = orjson.loads(body)
    url = request.app[_UPSTREAM] + "/v1/chat/completions"
    async with request.app[_CLIENT].post(url, data=body, headers=_JSON) as answer:
        if not chat.get("stream"):
            whole = await answer.read()
            return web.Response(body=whole, status=answer.status, content_type="application/json")
        response = web.StreamResponse(
            status=answer.status, headers={"Content-Type": "text/event-stream"}
        )
        await response.prepare(request)
        async for part in answer.content.iter_any():
            await response.write(part)
        await response.write_eof()
        return response


async def _ready(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def serve(port: int, upstream: str) -> None:
    """Serve on 127.0.0.1:`port` until cancelled."""
    app = web.Application(client_max_size=64 * 2**20)
    app[_UPSTREAM] = upstream
    app.cleanup_ctx.append(_client)
    app.router.add_post("/v1/chat/completions", _chat)
    app.router.add_get("/health", _ready)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(serve(int(sys.argv[1]), sys.argv[2]))
