"""Who watches the daemon, what is told them as it happens, and how busy it was lately."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from llmrouterd.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import Mapping

# How many may watch at once, and how many events wait for one that reads slowly.
MOST_LISTENERS, MOST_EVENTS = 20, 200
# Speeds and requests are counted over so many seconds and so many answers.
_SECONDS, _MOST_ANSWERS = 300.0, 10_000


class _Answered(NamedTuple):
    at: float
    model: str | None
    tokens: int
    seconds: float


class Listener:
    """One reader's events, encoded. One that reads slowly loses the oldest; of states of the
    daemon (`live`) only the newest is kept, since it replaces those before."""

    def __init__(self) -> None:
        self._events: deque[bytes] = deque(maxlen=MOST_EVENTS)
        self._live = b""
        self._wake = asyncio.Event()
        self.closed = False

    def put(self, name: str, data: bytes) -> None:
        """Add an encoded event."""
        if name == "live":
            self._live = data
        else:
            self._events.append(data)
        self._wake.set()

    def close(self) -> None:
        """Nothing more will come."""
        self.closed = True
        self._wake.set()

    async def take(self, seconds: float) -> bytes:
        """All that has come, waiting for so long; b"" if that was nothing."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return b""
        self._wake.clear()
        data, self._live = b"".join(self._events) + self._live, b""
        self._events.clear()
        return data


class Feed:
    """Tells all who listen. `watched` is set while anybody does."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._answers: deque[_Answered] = deque(maxlen=_MOST_ANSWERS)
        self.watched = asyncio.Event()

    def join(self) -> Listener:
        """A new listener, which has to `leave`. Raises RateLimited where there are too many."""
        if len(self._listeners) >= MOST_LISTENERS:
            raise RateLimited(
                f"At most {MOST_LISTENERS} may listen at once.", retry_after=30, headers={}
            )
        listener = Listener()
        self._listeners.add(listener)
        self.watched.set()
        return listener

    def leave(self, listener: Listener) -> None:
        """The reader has gone."""
        self._listeners.discard(listener)
        if not self._listeners:
            self.watched.clear()

    def close(self) -> None:
        """The daemon is being stopped: every listener comes to its end."""
        for listener in self._listeners:
            listener.close()

    def tell(self, name: str, data: Any) -> None:
        """Send an event to all who listen."""
        if self._listeners:
            encoded = encode_event(name, data)
            for listener in self._listeners:
                listener.put(name, encoded)

    def note_decision(self, row: Mapping[str, Any]) -> None:
        """A decision was recorded: the row that /admin/decisions shows."""
        ttft = row["ttft"]
        seconds = row["seconds"] - ttft if ttft is not None else 0.0
        self._answers.append(
            _Answered(row["at"], row["model"], row["completion_tokens"] or 0, seconds)
        )
        self.tell("decision", row)

    def requests_per_minute(self) -> int:
        """Decisions that were recorded in the last minute."""
        since = time.time() - 60.0
        return sum(answered.at >= since for answered in self._answers)

    def speeds(self) -> list[dict[str, Any]]:
        """What each model wrote in the last minutes: answers, tokens, and tokens a second while it
        was writing."""
        since = time.time() - _SECONDS
        while self._answers and self._answers[0].at < since:
            self._answers.popleft()
        found: dict[str, list[_Answered]] = {}
        for answered in self._answers:
            if answered.model is not None and answered.tokens and answered.seconds > 0:
                found.setdefault(answered.model, []).append(answered)
        return [
            {
                "model": model,
                "answers": len(answers),
                "tokens": (tokens := sum(answered.tokens for answered in answers)),
                "tokens_per_second": round(tokens / sum(each.seconds for each in answers), 2),
            }
            for model, answers in sorted(found.items())
        ]


def encode_event(name: str, data: Any) -> bytes:
    """A named server-sent event with JSON."""
    body = orjson.dumps(data, default=str, option=orjson.OPT_NON_STR_KEYS)
    return b"event: %s\ndata: %s\n\n" % (name.encode(), body)
