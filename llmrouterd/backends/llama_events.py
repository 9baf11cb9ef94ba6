"""What a llama.cpp router tells by itself: `/models/sse`, an event for each step of a model."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import orjson

from llmrouterd.errors import UpstreamError
from llmrouterd.sse import FrameTooLong, SSEFramer

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.backends.connection import Response
    from llmrouterd.backends.http import HttpClient


class RouterEvents:
    """`on_change()` is called when the state of a model has changed, whoever changed it."""

    def __init__(self, client: HttpClient, on_change: Callable[[], None]) -> None:
        self._client = client
        self._on_change = on_change
        self._task: asyncio.Task[None] | None = None

    def follow(self) -> None:
        """Listen, unless it is being done. Where it breaks off, or the server is too old to have
        events, the polls go on, and each of them tries again."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen(), name="router-events")

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        with contextlib.suppress(UpstreamError, FrameTooLong):
            response = await self._client.get("/models/sse")
            try:
                await self._read(response)
            finally:
                self._client.release(response)

    async def _read(self, response: Response) -> None:
        framer, states = SSEFramer(), dict[str, str]()
        while block := await self._client.read_block(response, None):
            for event in framer.feed(block):
                model, state = _state_in(event.data)
                if state and states.get(model) != state:  # progress repeats the state
                    states[model] = state
                    self._on_change()


def _state_in(data: bytes | None) -> tuple[str, str]:
    """The model and the state that an event tells, "" for what it does not."""
    try:
        event = orjson.loads(data or b"null")
        return str(event["model"]), str(event["data"]["status"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "", ""
