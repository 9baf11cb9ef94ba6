"""Signs of life for a streaming client while its request waits or its model is loaded: comments,
which every client skips, and for Open WebUI the status line that it shows above an answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from llmrouterd.answer import Answer
from llmrouterd.api.relay import STREAM_HEADERS
from llmrouterd.sse import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.policy_residency import Queue
    from llmrouterd.residency.places import Places

_OPEN_WEBUI = "x-openwebui-"


class Signs:
    """For one request. `response` is what was begun, None as long as nothing had to be said."""

    def __init__(self, request: web.Request, queue: Queue, headers: Mapping[str, str]) -> None:
        self._request = request
        self._seconds = queue.sign_seconds
        self._headers = headers
        self._shows = queue.status_events == "always" or (
            queue.status_events == "auto"
            and any(name.lower().startswith(_OPEN_WEBUI) for name in request.headers)
        )
        self.response: web.StreamResponse | None = None

    async def until(self, opening: asyncio.Task[Answer], places: Places, decision: str) -> Answer:
        """The answer that `opening` gives, whose errors are passed on. decision: the request's id.
        If the client leaves, the opening is cancelled, and an answer that came is closed."""
        try:
            while True:
                done, _ = await asyncio.wait((opening,), timeout=self._seconds or None)
                if done:
                    answer = opening.result()
                    if self.response is not None and self._shows:
                        await self._status("", done=True)
                    return answer
                await self._tell(places.waits_for(decision))
        except (asyncio.CancelledError, ConnectionError):
            opening.cancel()
            (left,) = await asyncio.gather(opening, return_exceptions=True)
            if isinstance(left, Answer):
                left.close()
            raise

    async def fail(self, envelope: dict[str, object]) -> web.StreamResponse | None:
        """Tell an error in the stream that was begun; None if none was."""
        if self.response is None:
            return None
        await self.response.write(encode(envelope))
        await self.response.write_eof()
        return self.response

    async def _tell(self, text: str) -> None:
        if self.response is None:
            if not text:
                return  # the backend has it and reads the prompt: its status may yet count
            self.response = web.StreamResponse(headers={**STREAM_HEADERS, **self._headers})
            await self.response.prepare(self._request)
        await self.response.write(f": {text or 'waiting for the first token'}\n\n".encode())
        if text and self._shows:
            await self._status(text, done=False)

    async def _status(self, text: str, *, done: bool) -> None:
        assert self.response is not None
        data = {"description": text or "ready", "done": done}
        await self.response.write(encode({"event": {"type": "status", "data": data}}))
