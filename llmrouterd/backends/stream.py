"""Streaming answers over HTTP as frames; those of OpenAI-compatible upstreams untouched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import orjson

from llmrouterd.backends.base import Frame
from llmrouterd.errors import UpstreamError, UpstreamInvalid, UpstreamStatus
from llmrouterd.sse import DONE, FrameTooLong, SSEFramer, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmrouterd.backends.connection import Response
    from llmrouterd.backends.http import HttpClient
    from llmrouterd.sse import Event

_STREAM_TYPES = ("text/event-stream", "application/octet-stream", "application/x-ndjson")


class FrameStream(ABC):
    """A streaming answer over HTTP, read block by block. What came before a failure in the same
    block is given out first, so that no token is lost to the chance of how bytes arrive."""

    def __init__(self, client: HttpClient, response: Response) -> None:
        self._client = client
        self._response: Response | None = response
        self._failure: UpstreamError | None = None
        self._ended = False

    @abstractmethod
    def _cut(self, block: bytes) -> Iterator[Frame]:
        """The frames that a block completes; b"" is the end. Raises UpstreamError."""

    @property
    @abstractmethod
    def _said_all(self) -> bool:
        """Whether the answer's last frame has come."""

    async def next(self, timeout: float | None) -> list[Frame] | None:
        """See `backends.base.Stream`."""
        while not self._ended and self._response is not None:
            if self._failure is not None:
                raise self._failure
            block = await self._client.read_block(self._response, timeout)
            self._ended = not block
            frames: list[Frame] = []
            try:
                frames.extend(self._cut(block))
            except UpstreamError as error:
                if not frames:
                    raise
                self._failure, self._ended = error, False
            if frames:
                return frames
        return None

    def close(self) -> None:
        """See `backends.base.Stream`."""
        response, self._response = self._response, None
        if response is not None:
            self._client.release(response, ending=self._said_all)


class SSEStream(FrameStream):
    """Server-sent events of an OpenAI-compatible upstream, untouched."""

    def __init__(self, client: HttpClient, response: Response) -> None:
        super().__init__(client, response)
        self._framer = SSEFramer()
        self._done = False

    @property
    def _said_all(self) -> bool:
        return self._done

    def _cut(self, block: bytes) -> Iterator[Frame]:
        try:
            events = self._framer.feed(block) if block else self._framer.close()
        except FrameTooLong as error:
            raise UpstreamInvalid(f"{self._client.name}: {error}") from error
        return map(self._frame, events)

    def _frame(self, event: Event) -> Frame:
        data = event.data
        if data is None:
            return Frame(event.raw, None)
        if data == b"[DONE]":
            self._done = True
            return Frame(event.raw, None, True)
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise UpstreamInvalid(
                f"{self._client.name} sent an event that is not JSON: {error}"
            ) from error
        if not isinstance(chunk, dict):
            raise UpstreamInvalid(f"{self._client.name} sent an event that is not an object.")
        error_object = chunk.get("error")
        if error_object:
            raise stream_error(self._client.name, error_object)
        check_chunk(self._client.name, chunk)
        return Frame(event.raw, chunk)


class WholeAnswer:
    """An answer of an upstream that did not stream although asked to: one chunk and the end."""

    __slots__ = ("_frames",)

    def __init__(self, chunk: dict[str, Any]) -> None:
        self._frames: list[Frame] | None = [
            Frame(encode(chunk), chunk),
            Frame(DONE, None, True),
        ]

    async def next(self, timeout: float | None) -> list[Frame] | None:
        """See `backends.base.Stream`; `timeout` is not needed."""
        frames, self._frames = self._frames, None
        return frames

    def close(self) -> None:
        """See `backends.base.Stream`."""


async def open_stream(client: HttpClient, response: Response) -> SSEStream | WholeAnswer:
    """The stream behind a 200; takes a whole JSON answer too, and an error sent with a 200."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not kind or kind in _STREAM_TYPES:
        return SSEStream(client, response)
    try:
        if kind != "application/json":
            raise UpstreamInvalid(f"{client.name} answered with {kind}, not with a stream.")
        answer = await client.read_json(response)
    finally:
        client.release(response)
    error = answer.get("error")
    if error:
        raise stream_error(client.name, error)
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UpstreamInvalid(f"{client.name} answered with JSON that has no choices.")
    check_chunk(client.name, answer)
    return WholeAnswer(_as_chunk(answer))


def check_chunk(name: str, chunk: dict[str, Any]) -> None:
    """Raise UpstreamInvalid where a part that the relay reads is of another kind than OpenAI's."""
    choices = chunk.get("choices")
    if choices:
        if not isinstance(choices, list):
            raise UpstreamInvalid(f"{name} sent choices that are no list.")
        for choice in choices:
            if not isinstance(choice, dict) or not isinstance(choice.get("index", 0), int):
                raise UpstreamInvalid(f"{name} sent a choice that is none.")
            if not isinstance(choice.get("delta") or {}, dict):
                raise UpstreamInvalid(f"{name} sent a delta that is no object.")
    for part in ("usage", "timings"):
        if not isinstance(chunk.get(part) or {}, dict):
            raise UpstreamInvalid(f"{name} sent {part} that is no object.")


def _as_chunk(answer: dict[str, Any]) -> dict[str, Any]:
    """A whole chat.completion as the one chunk that says the same."""
    choices = [
        {**{k: v for k, v in choice.items() if k != "message"}, "delta": choice["message"]}
        if isinstance(choice, dict) and isinstance(choice.get("message"), dict)
        else choice
        for choice in answer["choices"]
    ]
    kind = str(answer.get("object", "")).replace("chat.completion", "chat.completion.chunk")
    return {**answer, "object": kind, "choices": choices}


def stream_error(name: str, error: Any) -> UpstreamError:
    """The error that an upstream sends inside of an answer: an object, or a text."""
    message = error.get("message") if isinstance(error, dict) else error
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code <= 599 else 502
    body = {"error": error} if isinstance(error, dict) else {"error": {"message": str(error)}}
    return UpstreamStatus(f"{name}: {message}", upstream_status=status, body=body)
