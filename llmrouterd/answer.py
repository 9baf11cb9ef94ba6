"""A running answer of a backend, held by whoever relays it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmrouterd.errors import UpstreamError, UpstreamInvalid, UpstreamTimeout
from llmrouterd.health import ENDLESS

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.backends.base import Backend, Call, Frame, Stream
    from llmrouterd.catalog import Model
    from llmrouterd.explanation import Attempt
    from llmrouterd.health import Watch
    from llmrouterd.policy import BackendSpec
    from llmrouterd.residency.ticket import Ticket
    from llmrouterd.spending import Bill


@dataclass(slots=True)
class Answer:
    """A running answer. Whoever holds it must call `close`, also after an error; it settles the
    bill, where there is one.

    `started`, `asked_at` (of this candidate) and `first_at` are monotonic seconds. `warm`: the
    model was loaded before. `arrival` counts the requests that had come, 0 where another ran.
    `place`: what it has waited for. `_watch` knows since when the backend is silent, and
    `_on_news` is called for a token of a model that was not healthy.
    """

    model: Model
    spec: BackendSpec
    attempts: list[Attempt]
    started: float
    first_at: float
    place: Ticket
    _stream: Stream
    _first: list[Frame] | None
    _release: Callable[[UpstreamError | None], None]
    _watch: Watch
    _on_news: Callable[[Watch], None]
    tools_dropped: bool = False
    asked_at: float = 0.0
    warm: bool = False
    arrival: int = 0
    bill: Bill | None = None
    _closed: bool = field(default=False)

    async def next(self) -> list[Frame] | None:
        """The next frames, None at the end. Raises UpstreamError."""
        frames = await self._next()
        if frames and self.bill is not None:
            self.bill.read(frames)
        return frames

    async def _next(self) -> list[Frame] | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        self._watch.waits_since = now = time.monotonic()
        try:
            frames = await self._receive(now)
        except UpstreamError:
            self._watch.waits_since = ENDLESS  # unlike one that is cancelled, it has been told
            raise
        if _lives(frames) and self._watch.move(time.monotonic()):
            self._on_news(self._watch)
        return frames

    async def _receive(self, now: float) -> list[Frame] | None:
        idle, total = self.spec.timeouts.idle or None, self.spec.timeouts.total
        if not total:
            return await self._stream.next(idle)
        left = self.started + total - now
        try:
            if left > 0:
                return await self._stream.next(min(left, idle or left))
        except UpstreamTimeout:
            if idle and idle <= left:
                raise
        raise UpstreamTimeout(f"{self.spec.name} took more than {total:g} s.")

    def close(self, error: UpstreamError | None = None) -> None:
        """Let go of the backend; `error` is what the answer failed with, if it did."""
        if not self._closed:
            self._closed = True
            self._stream.close()
            self._release(error)
            if self.bill is not None:
                self.bill.read(self._first or ())
                self.bill.settle()


async def begin(backend: Backend, call: Call, spec: BackendSpec) -> tuple[Stream, list[Frame]]:
    """The stream of an answer and its first frames, within the time for the first token. Raises
    UpstreamError, and then the stream is closed."""
    stream: Stream | None = None
    begun = False
    try:
        async with asyncio.timeout(spec.timeouts.first_token or None):
            stream = await backend.stream(call)
            first = await first_frames(stream, spec)
        begun = True
        return stream, first
    except TimeoutError:
        limit = spec.timeouts.first_token
        raise UpstreamTimeout(f"{spec.name} sent no token within {limit:g} s.") from None
    finally:
        if stream is not None and not begun:
            stream.close()


async def first_frames(stream: Stream, spec: BackendSpec) -> list[Frame]:
    """Frames up to and with the first in which something was generated; all are kept."""
    kept: list[Frame] = []
    while True:
        frames = await stream.next(None)
        if frames is None:
            raise UpstreamInvalid(f"{spec.name} sent an empty answer.")
        kept += frames
        if any(frame.begins() for frame in frames):
            return kept
        if any(frame.done for frame in frames):
            raise UpstreamInvalid(f"{spec.name} ended its answer without beginning it.")


def _lives(frames: list[Frame] | None) -> bool:
    """Whether this is a sign of life: a comment is none."""
    if frames is None:
        return True
    for frame in frames:  # noqa: SIM110 - once for every token, so without a generator
        if frame.chunk is not None or frame.done:
            return True
    return False
