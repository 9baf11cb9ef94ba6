"""Small asynchronous clients for tests: a port to listen on, a stream read event by event."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One server-sent event as it reached the client.

    `data` is the joined text of the `data:` lines, `event` the value of an `event:` line or None,
    `at` the monotonic time in seconds at which its last byte was seen.
    """

    data: str
    at: float
    event: str | None = None

    @property
    def done(self) -> bool:
        """Whether this is the `[DONE]` mark."""
        return self.data == "[DONE]"

    def json(self) -> Any:
        """The data as JSON; raises json.JSONDecodeError."""
        return json.loads(self.data)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _parse_event(block: str, at: float) -> Event | None:
    """The event in one blank-line-delimited block, or None when it holds only comments."""
    data: list[str] = []
    kind: str | None = None
    for line in block.split("\n"):
        field, _, value = line.partition(":")
        if field == "data":
            data.append(value.removeprefix(" "))
        elif field == "event":
            kind = value.removeprefix(" ")
    return Event(data="\n".join(data), at=at, event=kind) if data else None


async def iterate_sse(response: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """Yield the events of a response as they arrive; LF, CRLF and CR line ends are understood.

    A truncated transfer raises the aiohttp error after the whole events before it were yielded.
    Text after the last blank line is not an event, as the SSE standard says.
    """
    pending = b""
    async for part in response.content.iter_any():
        pending += part
        # A CR at the very end may be the first half of a CRLF: it waits for the next bytes.
        held = b"\r" if pending.endswith(b"\r") and not pending.endswith(b"\r\r") else b""
        text = pending[: len(pending) - len(held)]
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *blocks, rest = text.split(b"\n\n")
        pending = rest + held
        at = time.monotonic()
        for block in blocks:
            event = _parse_event(block.decode(), at)
            if event is not None:
                yield event


async def read_sse(response: aiohttp.ClientResponse, limit: int | None = None) -> list[Event]:
    """All events of a response, or its first `limit` events."""
    events: list[Event] = []
    async for event in iterate_sse(response):
        events.append(event)
        if limit is not None and len(events) >= limit:
            break
    return events


def stream_text(events: list[Event], index: int = 0) -> str:
    """The text that the chat (or completion) chunks of choice `index` add up to."""
    text = ""
    for event in events:
        if event.done:
            continue
        for choice in event.json().get("choices") or ():
            if choice.get("index", 0) == index:
                text += choice.get("text") or (choice.get("delta") or {}).get("content") or ""
    return text


async def wait_http(url: str, *, status: int = 200, timeout: float = 30.0) -> None:
    """Ask `url` until it answers with `status`; raises TimeoutError after `timeout` seconds."""
    async with asyncio.timeout(timeout), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == status:
                        return
            except aiohttp.ClientError:
                pass  # not listening yet
            await asyncio.sleep(0.02)
