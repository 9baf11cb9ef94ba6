"""One generation for measuring: what it took, by the backend's own clock where it has one."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmrouterd.aggregate import ChatAggregate
from llmrouterd.backends.base import Call
from llmrouterd.catalog import SpeedPoint
from llmrouterd.errors import UpstreamError, UpstreamLoading
from llmrouterd.residency.ticket import PROFILING, Ticket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from llmrouterd.backends.base import Stream
    from llmrouterd.backends.pool import BackendPool
    from llmrouterd.catalog import Model
    from llmrouterd.policy import BackendSpec
    from llmrouterd.residency.places import Places
    from llmrouterd.snapshot import Current

_LOADING_PAUSE = 0.1
_LONGEST_SECONDS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished generation. Seconds; `began` and `ended` are monotonic times of the first and
    the last token. load_seconds: the backend's own figure. answer: the whole chat completion."""

    point: SpeedPoint
    began: float
    ended: float
    load_seconds: float | None
    answer: dict[str, Any]


class _Seen:
    """What the frames of a running answer have told so far."""

    def __init__(self) -> None:
        self.first = self.last = 0.0
        self.pieces = 0
        self.usage: dict[str, Any] = {}
        self.timings: dict[str, Any] = {}
        self.aggregate = ChatAggregate()

    def read(self, chunk: dict[str, Any]) -> None:
        self.aggregate.add(chunk)
        self.usage = chunk.get("usage") or self.usage
        self.timings = chunk.get("timings") or self.timings
        choices = chunk.get("choices") or ()
        if any(_speaks(choice) for choice in choices):
            self.last = time.monotonic()
            self.first = self.first or self.last
            self.pieces += 1
        elif not self.first and any(choice.get("finish_reason") for choice in choices):
            self.first = self.last = time.monotonic()  # an empty answer is one, too

    def point(self, started: float) -> SpeedPoint:
        """The measured point. Without timings the first token's share is not in the decoding."""
        timings, usage = self.timings, self.usage
        written = count(timings.get("predicted_n")) or count(usage.get("completion_tokens"))
        written = written or self.pieces
        decode = milliseconds(timings.get("predicted_ms"))
        if decode is None and written > 1 and self.last > self.first:
            decode = (self.last - self.first) * written / (written - 1)
        return SpeedPoint(
            prompt_tokens=evaluated_tokens(usage, timings),
            ttft=round(self.first - started, 6),
            prefill_seconds=milliseconds(timings.get("prompt_ms")),
            output_tokens=written,
            decode_seconds=decode,
        )


class Generator:
    """Generates for measuring, as the least important in the queue."""

    def __init__(self, current: Current, pool: BackendPool, places: Places) -> None:
        self._current = current
        self._pool = pool
        self._places = places

    @asynccontextmanager
    async def place(self, model: Model) -> AsyncIterator[Ticket]:
        """The model is loaded and has a place within. Raises UpstreamError: it has not."""
        ticket = Ticket(model=model.id, priority=PROFILING, client="profiling")
        await self._places.enter(self._current.snapshot, ticket)
        try:
            yield ticket
        finally:
            self._places.leave(ticket)

    async def unload(self, model: Model) -> bool:
        """Whether the model could be taken out of memory."""
        return self._places.holds(model.id) and await self._places.unload(model.id)

    async def generate(self, spec: BackendSpec, model: Model, body: dict[str, Any]) -> Run:
        """Send a chat to a model that has a `place`, and read its whole answer. Cancelled, it
        closes the connection, so that the backend stops generating. Raises UpstreamError; waits
        while the backend loads."""
        entry = self._pool.lease(spec)
        call = Call("chat", model.name, body, model.num_ctx, model.keep_alive)
        seen = _Seen()
        stream: Stream | None = None
        try:
            while stream is None:
                started = time.monotonic()
                try:
                    stream = await entry.backend.stream(call)
                except UpstreamLoading:
                    await asyncio.sleep(_LOADING_PAUSE)
            while (frames := await stream.next(None)) is not None:
                for frame in frames:
                    if frame.chunk is not None:
                        seen.read(frame.chunk)
        finally:
            if stream is not None:
                stream.close()
            self._pool.release(entry)
        if not seen.first:
            raise UpstreamError(f"{model.id} generated nothing")
        return Run(
            point=seen.point(started),
            began=seen.first,
            ended=seen.last,
            load_seconds=milliseconds(seen.timings.get("load_ms")),
            answer=seen.aggregate.result(),
        )


def _speaks(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or {}
    said = ("content", "reasoning_content", "reasoning", "tool_calls")
    return any(delta.get(name) for name in said)


def count(value: Any) -> int:
    """A number of tokens as a server says it; 0 where it is none."""
    return value if type(value) is int and value > 0 else 0


def milliseconds(value: Any) -> float | None:
    """Seconds of a positive duration in milliseconds; None where it is none. A microsecond is
    what llama.cpp writes where it measured nothing."""
    if isinstance(value, (int, float)) and 0.002 < value < _LONGEST_SECONDS * 1000.0:
        return round(value / 1000.0, 6)
    return None


def evaluated_tokens(usage: dict[str, Any], timings: dict[str, Any]) -> int:
    """Tokens of the prompt that were really read: those of the cache are left out where the
    server tells them."""
    evaluated = count(timings.get("prompt_n"))
    if evaluated:
        return evaluated
    return max(0, count(usage.get("prompt_tokens")) - (cached_tokens(usage, timings) or 0))


def cached_tokens(usage: dict[str, Any], timings: dict[str, Any]) -> int | None:
    """Tokens of the prompt that came from the cache; None where the server does not tell."""
    found = timings.get("cache_n")
    if found is None:
        details = usage.get("prompt_tokens_details")
        found = details.get("cached_tokens") if isinstance(details, dict) else None
    return found if type(found) is int and found >= 0 else None
