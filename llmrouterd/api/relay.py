"""An answer's frames -> the client: as a stream, byte for byte, or as one object."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import web

from llmrouterd.aggregate import ChatAggregate, CompletionAggregate
from llmrouterd.api.state import SERVER
from llmrouterd.dispatch import interrupted
from llmrouterd.errors import UpstreamError
from llmrouterd.signature import StreamSigner, sign_message
from llmrouterd.sse import DONE, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from llmrouterd.answer import Answer
    from llmrouterd.backends.base import Frame

STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
    "Server": SERVER,
}


class Progress:
    """What is known of a running answer. `complete`: it said that it was over."""

    __slots__ = ("_finished", "done", "timings", "usage")

    def __init__(self) -> None:
        self.usage: dict[str, Any] | None = None
        self.timings: dict[str, Any] | None = None
        self.done = False
        self._finished: dict[int, bool] = {}

    @property
    def complete(self) -> bool:
        """[DONE] came, or every choice that was seen has its finish reason."""
        return self.done or (bool(self._finished) and all(self._finished.values()))

    def read(self, chunk: Mapping[str, Any]) -> bool:
        """Take a chunk in; True if it carries nothing but token counts."""
        usage = chunk.get("usage")
        if usage:
            self.usage = usage
            self.timings = chunk.get("timings")
        choices = chunk.get("choices")
        if not choices:
            return bool(usage)
        for choice in choices:
            index = choice.get("index", 0)
            if choice.get("finish_reason"):
                self._finished[index] = True
            else:
                self._finished.setdefault(index, False)
        return False


class StreamRelay:
    """Frames to bytes. Nothing is changed but two things: a chunk of token counts that the client
    did not ask for is left out, and the signature, if there is one, is put in."""

    __slots__ = ("_include_usage", "_signer", "progress")

    def __init__(self, include_usage: bool, signature: str, progress: Progress) -> None:
        self.progress = progress
        self._include_usage = include_usage
        self._signer = StreamSigner(signature) if signature else None

    def encode(self, frames: list[Frame]) -> bytes:
        """The bytes to send for these frames."""
        parts: list[bytes] = []
        for raw, chunk, done in frames:
            if chunk is None:
                self.progress.done = self.progress.done or done
                parts.append(raw)
            elif not self.progress.read(chunk) or self._include_usage:
                signed = self._signer.instead_of(chunk) if self._signer is not None else ()
                parts += [encode(part) for part in signed] or [raw]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def end(self) -> bytes:
        """What a complete answer still lacks: some upstreams forget the last line."""
        return b"" if self.progress.done else DONE


async def _until_complete(answer: Answer, progress: Progress) -> AsyncIterator[list[Frame]]:
    """The answer's frames, which the caller reads into `progress`. Raises UpstreamError where it
    breaks off; what goes wrong after every finish reason has come is no matter any more."""
    while not progress.done:
        try:
            frames = await answer.next()
        except UpstreamError:
            if progress.complete:
                return
            raise
        if frames is None:
            break
        yield frames
    if not progress.complete:
        raise interrupted(answer.spec)


async def relay_stream(
    request: web.Request,
    answer: Answer,
    relay: StreamRelay,
    headers: Mapping[str, str],
    begun: web.StreamResponse | None = None,
) -> web.StreamResponse:
    """Send the answer as it comes. A failure after the first byte becomes one error event and
    the end; the relay's progress says that the answer is not complete. begun: what the client has
    been sent signs of life on."""
    response = begun or web.StreamResponse(headers={**STREAM_HEADERS, **headers})
    if begun is None:
        await response.prepare(request)
    patience = answer.spec.timeouts.idle
    try:
        async for frames in _until_complete(answer, relay.progress):
            data = relay.encode(frames)
            if data:
                await write_within(request, response, data, patience)
    except UpstreamError as error:
        answer.close(error)
        await write_within(request, response, encode(error.envelope()), patience)
    else:
        answer.close()
        tail = relay.end()
        if tail:
            await write_within(request, response, tail, patience)
    await response.write_eof()
    return response


async def write_within(
    request: web.Request, response: web.StreamResponse, data: bytes, patience: float
) -> None:
    """Write. A client that takes nothing for `patience` seconds (0: for ever) is as good as gone:
    its connection is cut, which cancels the handler."""
    transport = request.transport
    if not patience or transport is None:
        await response.write(data)
        return
    timer = asyncio.get_running_loop().call_later(patience, transport.abort)
    try:
        await response.write(data)
    finally:
        timer.cancel()


async def collect(answer: Answer, kind: str, signature: str, progress: Progress) -> dict[str, Any]:
    """The whole answer as one object, as a server that does not stream would have sent it."""
    aggregate = ChatAggregate() if kind == "chat" else CompletionAggregate()
    try:
        async for frames in _until_complete(answer, progress):
            for _, chunk, done in frames:
                if chunk is not None:
                    progress.read(chunk)
                    aggregate.add(chunk)
                progress.done = progress.done or done
    except UpstreamError as error:
        answer.close(error)
        raise
    answer.close()
    result = aggregate.result()
    if signature and kind == "chat":
        result["choices"] = [
            {**choice, "message": sign_message(choice["message"], signature)}
            if choice.get("finish_reason") in ("stop", "length")
            else choice
            for choice in result["choices"]
        ]
    return result
