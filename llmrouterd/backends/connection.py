"""HTTP/1.1 connections to one origin: llhttp (httptools) on asyncio, with a small pool.

A general client spends more on a small answer than all of the routing does (docs/performance.md
has the figures), so this one does only what a backend needs: no redirects, no cookies, no
proxies, no compression; bodies with a length, chunked, or ended by the connection's end.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HIGH_WATER = 256 * 1024
_MAX_HEAD = 128 * 1024
_END_SECONDS = 0.5
_KEPT_SECONDS = 4.0  # less than the five after which common servers close


class ConnectionBroken(Exception):
    """The connection ended, or what came over it is not HTTP."""


class CannotConnect(ConnectionBroken):
    """No connection could be made."""


class Origin(NamedTuple):
    """Where to connect to. path: the base URL's path, without a slash at its end."""

    host: str
    port: int
    tls: bool
    path: str
    authority: str


def parse_origin(url: str) -> Origin:
    """Take an http:// or https:// base URL apart. Raises ValueError."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    host = parts.hostname or ""
    port = parts.port or (443 if tls else 80)
    shown = f"[{host}]" if ":" in host else host.encode("idna").decode()
    authority = shown if parts.port is None else f"{shown}:{parts.port}"
    return Origin(host, port, tls, quote(parts.path, safe="/%:@").rstrip("/"), authority)


class Response(asyncio.Protocol):
    """One connection, and the response that is on it now.

    The names that begin with `on_` are what httptools calls.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._paused = False
        self._error = ""
        self.closed = False
        self.reused = False
        self.released_at = 0.0
        self._reset()
        self.complete = True

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._head_size = 0
        self._head_done = False
        self.started = False
        self.complete = False
        self._kept_alive = False
        self._on_complete: Callable[[], None] | None = None
        self.status = 0
        self.headers: dict[str, str] = {}

    def begin(self, request: bytes) -> None:
        """Send a request over an idle connection."""
        self._reset()
        assert self._transport is not None
        self._transport.write(request)

    async def head(self) -> int:
        """Wait for the status and headers; returns the status. Raises ConnectionBroken."""
        while not self._head_done:
            if self.closed:
                raise ConnectionBroken(self._error or "the connection was closed")
            await self._wait()
        return self.status

    async def read(self) -> bytes:
        """The bytes of the body that have come, b"" at its end. Raises ConnectionBroken where
        the body is cut short."""
        while not self._parts:
            if self.complete:
                return b""
            if self.closed:
                raise ConnectionBroken(self._error or "the connection was closed")
            await self._wait()
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        if self._paused and self._transport is not None and not self.closed:
            self._paused = False
            self._transport.resume_reading()
        return data

    def close(self) -> None:
        """Drop the connection, at once."""
        if not self.closed and self._transport is not None:
            self._transport.abort()
        self.closed = True

    @property
    def reusable(self) -> bool:
        """Whether another request may follow on this connection."""
        return self._kept_alive and not self.closed and not self._parts

    def await_end(self, on_complete: Callable[[], None]) -> None:
        """Drop what still comes of the body and call when it has ended; if it does not end soon,
        close the connection."""
        self._parts.clear()
        self._on_complete = on_complete
        self._deadline = self._loop.call_later(_END_SECONDS, self.close)
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self.started = True
        if self.complete:  # nothing was asked: whatever this is, it is not ours
            self.close()
            return
        if not self._head_done:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"not HTTP: {error}")
        if not self._head_done and self._head_size > _MAX_HEAD:
            self._fail(f"more than {_MAX_HEAD} bytes of headers")
        if self._size > _HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.closed = True
        sized = "content-length" in self.headers or "transfer-encoding" in self.headers
        if exc is None and self._head_done and not sized:
            self.complete = True  # such a body ends with the connection
        elif not self.complete and not self._error:
            self._error = str(exc) if exc else "the connection was closed too early"
        self._wake()

    def _fail(self, message: str) -> None:
        self._error = message
        self.close()

    def on_message_begin(self) -> None:
        if self.complete:  # more than was asked for; the next request must not get it
            raise ConnectionBroken("a second response")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            return  # trailers
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self._head_done = True

    def on_body(self, body: bytes) -> None:
        if self._on_complete is not None:
            return
        self._parts.append(body)
        self._size += len(body)

    def on_message_complete(self) -> None:
        if self.status < 200:  # 100 Continue and the like come before the response
            self.headers = {}
        else:
            self.complete = True
            self._kept_alive = self._parser.should_keep_alive()
            if self._on_complete is not None:
                self._deadline.cancel()
                self._on_complete()


class ConnectionPool:
    """Connections to one origin. `kept`: idle ones are kept for the next request. Header values
    must be free of line breaks."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        kept: bool,
        connect_seconds: float | None,
    ) -> None:
        self.origin = parse_origin(url)
        self._connect_seconds = connect_seconds
        named = {"host": self.origin.authority, **headers}
        lines = [f"{name}: {text}" for name, text in named.items()]
        self._head = "\r\n".join(lines).encode("utf-8") + b"\r\n"
        self._kept = kept
        self._idle: deque[Response] = deque()
        self._ssl = ssl.create_default_context() if self.origin.tls else None
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def request(self, method: str, path: str, body: bytes | None) -> Response:
        """Send a request and wait for the head of its response. A connection that turns out to
        have been closed while it was idle is replaced. Raises ConnectionBroken, CannotConnect."""
        head = f"{method} {self.origin.path}{path} HTTP/1.1\r\n".encode("ascii") + self._head
        if body is None:
            request = head + b"\r\n"
        else:
            kind = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            request = b"".join((head, kind, body))
        while True:
            response = self._take() or await self._connect()
            try:
                response.begin(request)
                await response.head()
            except ConnectionBroken:
                if not response.reused or response.started:
                    raise
                continue
            except BaseException:  # boundary: however it ends, also cancelled, and raised again
                response.close()
                raise
            return response

    def release(self, response: Response, *, ending: bool = False) -> None:
        """Take a connection back: kept if another request may follow, else closed. `ending`: all
        that matters was read, and the end of the body is about to come."""
        if ending and self._kept and not response.complete and not response.closed:
            response.await_end(partial(self.release, response))
        elif self._kept and not self._closed and response.reusable:
            loop = asyncio.get_running_loop()
            response.reused = True
            response.released_at = loop.time()
            self._idle.append(response)
            if self._sweeper is None:
                self._sweeper = loop.call_later(_KEPT_SECONDS, self._sweep)
        else:
            response.close()

    def close(self) -> None:
        """Close the idle connections; those in use are closed when they are released."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Response | None:
        while self._idle:
            response = self._idle.pop()
            if not response.closed:
                return response
        return None

    async def _connect(self) -> Response:
        loop = asyncio.get_running_loop()
        origin = self.origin
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, response = await loop.create_connection(
                    Response, origin.host, origin.port, ssl=self._ssl
                )
        except TimeoutError as error:
            # The system has a limit of its own, also where there is none of ours.
            limit = self._connect_seconds
            reason = f"no connection within {limit:g} s" if limit else "the connection timed out"
            raise CannotConnect(f"{origin.host}:{origin.port}: {reason}") from error
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise CannotConnect(f"{origin.host}:{origin.port}: {reason}") from error
        return response

    def _sweep(self) -> None:
        self._sweeper = None
        loop = asyncio.get_running_loop()
        oldest = loop.time() - _KEPT_SECONDS
        while self._idle and self._idle[0].released_at <= oldest:
            self._idle.popleft().close()
        if self._idle:
            self._sweeper = loop.call_later(_KEPT_SECONDS, self._sweep)
