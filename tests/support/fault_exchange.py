"""One request at the scripted backend: what was seen of it, and the means to answer it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import openai_answers as answers

REASONS = {
    200: "OK",
    307: "Temporary Redirect",
    400: "Bad Request",
    429: "Too Many Requests",
}
# The promise that a real llama-server makes, and breaks after every streamed answer.
KEEP_ALIVE = "Keep-Alive: timeout=5, max=100"


@dataclass(slots=True, kw_only=True)
class Seen:
    """One request as the backend saw it; times are monotonic seconds, None until they happen.

    `model` is the body's model, `fault` the behaviour that answered. `opened` is when the whole
    request was there, `finished` when the answer had been written to its (possibly faulty) end or
    was cut by the server's stop,
    `closed` when the client closed the connection, `disconnected` whether it did so before
    `finished`. `events` counts the stream events written.
    """

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    body: Any
    model: str | None
    fault: str
    opened: float = field(default_factory=time.monotonic)
    finished: float | None = None
    closed: float | None = None
    disconnected: bool = False
    events: int = 0


class Ledger:
    """What a backend has seen, and ways to wait for it instead of sleeping."""

    def __init__(self) -> None:
        self.requests: list[Seen] = []
        self._changed = asyncio.Event()

    @property
    def asked(self) -> list[Seen]:
        """The requests that asked for something: the POSTs, without polls."""
        return [seen for seen in self.requests if seen.method == "POST"]

    @property
    def active(self) -> int:
        """How many requests are being answered now."""
        return sum(seen.finished is None and seen.closed is None for seen in self.requests)

    async def wait_requests(self, count: int = 1, timeout: float = 5.0) -> list[Seen]:
        """Wait until `count` POST requests were received and return them; raises TimeoutError."""
        return await self._wait(lambda: self.asked, count, timeout)

    async def wait_closed_by_client(self, count: int = 1, timeout: float = 5.0) -> list[Seen]:
        """Wait until the client left `count` requests before their answer was complete.

        Returns those requests; their `closed` says when. Raises TimeoutError.
        """
        return await self._wait(
            lambda: [seen for seen in self.requests if seen.disconnected], count, timeout
        )

    async def wait_idle(self, timeout: float = 5.0) -> None:
        """Wait until no request is being answered; raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while self.active:
                await self._changed.wait()

    async def _wait(
        self, current: Callable[[], list[Seen]], count: int, timeout: float
    ) -> list[Seen]:
        async with asyncio.timeout(timeout):
            while len(found := current()) < count:
                await self._changed.wait()
        return found

    def notify(self) -> None:
        """Wake those who wait: something about a request has changed."""
        self._changed.set()
        self._changed = asyncio.Event()


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request being answered, and the means to answer it."""

    seen: Seen
    argument: str | None
    writer: asyncio.StreamWriter
    models: list[dict[str, Any]]
    tokens: int
    delay: float
    last: bool = False
    style: str = "text"
    chunked: bool = True
    line_end: str = "\n"

    @property
    def body(self) -> dict[str, Any]:
        return self.seen.body if isinstance(self.seen.body, dict) else {}

    @property
    def model(self) -> str:
        return self.seen.model or "none"

    @property
    def streams(self) -> bool:
        paths = ("/v1/chat/completions", "/v1/completions")
        return self.seen.path in paths and bool(self.body.get("stream"))

    def number(self, default: int) -> int:
        """The argument as a count."""
        return int(self.argument) if self.argument else default

    def seconds(self, default: float) -> float:
        """The argument as seconds."""
        return float(self.argument) if self.argument else default

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int, kind: str, length: int | None, *extra: str) -> None:
        """Status line and headers; length None means chunked, or until close if not `chunked`."""
        lines = [
            f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}",
            f"Content-Type: {kind}",
        ]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        elif self.chunked:
            lines.append("Transfer-Encoding: chunked")
        if self.last and not self.chunked:
            lines.append("Connection: close")
        else:
            lines.append(KEEP_ALIVE)
        await self.write("\r\n".join([*lines, *extra, "", ""]).encode())

    async def whole(self, status: int, value: Any, *extra: str) -> None:
        """A JSON answer (or bytes or text as they are) with its length."""
        kind = "application/json"
        if isinstance(value, (bytes, str)):
            kind = "text/plain; charset=utf-8" if isinstance(value, str) else kind
            data = value.encode() if isinstance(value, str) else value
        else:
            data = answers.encode(value)
        await self.head(status, kind, len(data) if self.chunked else None, *extra)
        await self.write(data)

    async def start_stream(self) -> None:
        await self.head(200, "text/event-stream", None, "Cache-Control: no-cache")

    async def part(self, data: bytes) -> None:
        """Bytes of a stream, framed as a chunk when chunked."""
        await self.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    async def event(self, value: Any) -> None:
        """One SSE event: JSON, or text as it is."""
        data = value if isinstance(value, str) else answers.encode(value).decode()
        await self.part(f"data: {data}{self.line_end * 2}".encode())
        self.seen.events += 1
        if self.delay:
            await asyncio.sleep(self.delay)

    async def end_stream(self) -> None:
        if self.chunked:
            await self.write(b"0\r\n\r\n")

    def chunks(self) -> list[dict[str, Any]]:
        if self.seen.path == "/v1/completions":
            return answers.completion_chunks(self.body, self.model, self.tokens)
        return answers.chat_chunks(self.body, self.model, self.tokens, self.style)

    def normal_body(self) -> Any:
        """What a healthy backend answers to this request when it does not stream."""
        if self.seen.path == "/v1/completions":
            return answers.completion_body(self.body, self.model, self.tokens)
        if self.seen.path == "/v1/embeddings":
            return answers.embeddings_body(self.body, self.model)
        if self.seen.path == "/v1/models":
            return {"object": "list", "data": self.models}
        if self.seen.path == "/health":
            return {"status": "ok"}
        return answers.chat_body(self.body, self.model, self.tokens, self.style)

    async def begin(self, tokens: int) -> None:
        """Headers and the first `tokens` tokens of a stream, or the first half of a body."""
        if not self.streams:
            data = answers.encode(self.normal_body())
            await self.head(200, "application/json", len(data) if self.chunked else None)
            await self.write(data[: len(data) // 2])
            return
        self.tokens = max(self.tokens, tokens + 1)
        skip = 1 if self.seen.path == "/v1/chat/completions" else 0
        await self.start_stream()
        for chunk in self.chunks()[: skip + tokens]:
            await self.event(chunk)
