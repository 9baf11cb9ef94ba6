"""The scripted backend: an OpenAI-compatible server that costs next to nothing.

    python -m bench.speed.backend PORT

Raw asyncio protocol, answers rendered once. It serves GET /health, GET /v1/models and POST
/v1/chat/completions, streamed (chunked server-sent events) and not; see `wire.Plan` for the pace.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import Coroutine
from functools import lru_cache
from typing import cast

from bench.speed import wire

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def run(main: Coroutine[object, object, None]) -> None:
    """Run `main` on the fastest event loop that is installed, until it ends or Ctrl-C."""
    factory = None if uvloop is None else uvloop.new_event_loop
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


def _json(body: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@lru_cache(maxsize=64)
def _chunks(count: int) -> tuple[bytes, ...]:
    return tuple(_chunk(event) for event in wire.events_of(count))


@lru_cache(maxsize=64)
def _last_chunks(count: int, usage: bool) -> bytes:
    return _chunk(wire.ending_of(count, usage=usage)) + b"0\r\n\r\n"


@lru_cache(maxsize=8)
def _short_stream(usage: bool) -> bytes:
    chunks = b"".join(_chunks(wire.SHORT_EVENTS))
    return _STREAM_HEAD + chunks + _last_chunks(wire.SHORT_EVENTS, usage)


_WHOLE = _json(wire.whole_answer(wire.SHORT_EVENTS))
_MODELS = _json(wire.model_list())
_HEALTH = _json(b'{"status":"ok"}')
_NOT_FOUND = _json(b'{"error":{"message":"not found"}}', b"404 Not Found")


@lru_cache(maxsize=4096)
def _framing(head: bytes) -> tuple[int, bool]:
    """Body length in bytes (0 if none is given) and whether the body is chunked."""
    length = _LENGTH.search(head)
    return (int(length[1]) if length else 0), _CHUNKED.search(head) is not None


def _dechunk(data: bytes, start: int) -> tuple[bytes, int] | None:
    """The chunked body that begins at `start` and where it ends; None while it is incomplete."""
    parts: list[bytes] = []
    while True:
        line_end = data.find(b"\r\n", start)
        if line_end < 0:
            return None
        size = int(data[start:line_end].split(b";")[0], 16)
        start = line_end + 2 + size + 2
        if len(data) < start:
            return None
        if size == 0:
            return b"".join(parts), start
        parts.append(data[line_end + 2 : start - 2])


class Backend(asyncio.Protocol):
    """One connection; answers requests in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._streaming = False
        self._blocked = False
        self._waiting = False
        self._chunks: tuple[bytes, ...] = ()
        self._next = 0
        self._interval = 0.0
        self._due = 0.0
        self._end = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # not a subclass on uvloop

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._streaming:
            self._serve()

    def _serve(self) -> None:
        while self._buffer and not self._streaming:
            head_end = self._buffer.find(b"\r\n\r\n") + 4
            if head_end < 4:
                return
            head = self._buffer[:head_end]
            length, chunked = _framing(head)
            if chunked:
                found = _dechunk(self._buffer, head_end)
                if found is None:
                    return
                body, end = found
            else:
                end = head_end + length
                if len(self._buffer) < end:
                    return
                body = self._buffer[head_end:end]
            self._buffer = self._buffer[end:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        assert self._transport is not None
        if head.startswith(b"POST /v1/chat/completions"):
            self._chat(body)
        elif head.startswith(b"GET /v1/models"):
            self._transport.write(_MODELS)
        elif head.startswith(b"GET /health"):
            self._transport.write(_HEALTH)
        else:
            self._transport.write(_NOT_FOUND)

    def _chat(self, body: bytes) -> None:
        assert self._transport is not None
        plan = wire.plan_of(body)
        if not wire.wants_stream(body):
            whole = _WHOLE if plan is None else _json(wire.whole_answer(plan.events))
            self._transport.write(whole)
        elif plan is None:
            self._transport.write(_short_stream(wire.wants_usage(body)))
        else:
            self._streaming = True
            self._chunks, self._next = _chunks(plan.events), 0
            self._end = _last_chunks(plan.events, wire.wants_usage(body))
            self._interval = plan.interval_ms / 1000
            self._due = self._loop.time()
            self._transport.write(_STREAM_HEAD + self._chunks[0])
            self._next = 1
            self._schedule()

    def _schedule(self) -> None:
        if self._interval:
            self._due += self._interval
            self._loop.call_at(self._due, self._step)
        else:
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        """Send the next token, then the end; wait while the peer does not read."""
        if self._transport is None:
            return
        if self._blocked:
            self._waiting = True
            return
        if self._next < len(self._chunks):
            self._transport.write(self._chunks[self._next])
            self._next += 1
            self._schedule()
            return
        self._transport.write(self._end)
        self._streaming = False
        self._serve()

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        if self._waiting:
            self._waiting = False
            self._step()


async def serve(port: int) -> None:
    """Serve on 127.0.0.1:`port` until cancelled."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Backend(loop), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    run(serve(int(sys.argv[1])))
