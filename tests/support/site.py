"""A scripted web site in the place of the public internet, whatever host is asked for.

    async with Site() as site:
        site.on("/results.json", Reply(500), Reply(body=b"{}"))
        ... ask site.url, or any host through site.resolver at site.port ...

A path's replies are used one after the other, and the last one for ever. A reply with an ETag
answers 304 to a request that knows it. What was asked is in `site.seen`.
"""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import pyarrow
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from pyarrow import parquet


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `missing`: bytes that Content-Length promises and that never come. `stall`: say
    the beginning of the body and then nothing more. `token`: 401 to whoever does not bear it."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    missing: int = 0
    stall: bool = False
    token: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request."""

    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


class EveryHostIsHere(AbstractResolver):
    """Resolves every name to this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        here = {"hostname": host, "host": "127.0.0.1", "port": port}
        return [ResolveResult(**here, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing is open."""


class Site:
    """The site. `url` is its address without a path."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.resolver = EveryHostIsHere()
        self.url = ""
        self.port = 0
        self._replies: dict[str, list[Reply]] = {}
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)

    async def __aenter__(self) -> Site:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()

    def on(self, path: str, *replies: Reply) -> None:
        """Answer a path, with its query if given so, with these."""
        self._replies[path] = list(replies)

    def rows(self, path: str, rows: list[dict[str, Any]], at: Mapping[int, list[Reply]]) -> None:
        """Serve rows as the datasets server does, 100 a page. at: by offset what comes before
        the page."""
        for offset in range(0, len(rows), 100):
            page = {
                "features": [],
                "rows": [
                    {"row_idx": offset + number, "row": row, "truncated_cells": []}
                    for number, row in enumerate(rows[offset : offset + 100])
                ],
                "num_rows_total": len(rows),
                "num_rows_per_page": 100,
                "partial": False,
            }
            reply = Reply(body=json.dumps(page).encode())
            self.on(f"{path}?offset={offset}", *at.get(offset, ()), reply)

    def asked(self, path: str) -> list[Seen]:
        """The requests for a path, whatever their query."""
        return [seen for seen in self.seen if seen.path == path]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path, offset = request.path, request.query.get("offset")
        self.seen.append(Seen(request.host, path, dict(request.query), {**request.headers}))
        queue = self._replies.get(path if offset is None else f"{path}?offset={offset}")
        if not queue:
            return web.Response(status=404)
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        if reply.token and request.headers.get("Authorization") != f"Bearer {reply.token}":
            return web.Response(status=401)
        etag = reply.headers.get("ETag")
        if etag and request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        if reply.missing:
            response.content_length = len(reply.body) + reply.missing
        await response.prepare(request)
        await response.write(reply.body)
        if reply.stall:
            await asyncio.Event().wait()
        if reply.missing and request.transport is not None:
            request.transport.abort()
        return response


def as_parquet(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as a Parquet file."""
    written = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), written)
    return written.getvalue()
