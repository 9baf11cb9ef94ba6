"""Ollama through its native API, which tells and takes more than its OpenAI-compatible one."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from llmrouterd.backends.base import Footprint, Frame, Hooks, ModelFacts
from llmrouterd.backends.http import HttpClient
from llmrouterd.backends.ollama_facts import (
    RunningModel,
    ShownModel,
    TaggedModel,
    parse_ps,
    parse_show,
    parse_tags,
)
from llmrouterd.backends.ollama_stream import ChatStream, CompletionStream, OllamaStreamError
from llmrouterd.backends.ollama_wire import (
    Untranslatable,
    chat_request,
    embed_request,
    embed_response,
    generate_request,
)
from llmrouterd.backends.stream import FrameStream, stream_error
from llmrouterd.errors import (
    UpstreamBusy,
    UpstreamError,
    UpstreamInterrupted,
    UpstreamInvalid,
    UpstreamStatus,
)
from llmrouterd.sse import DONE, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmrouterd.backends.base import Call, Stream
    from llmrouterd.backends.connection import Response
    from llmrouterd.policy import BackendSpec

_UNLOAD_SECONDS, _LOOK_PAUSE = 30.0, 0.1
_MAX_LINE = 16 * 1024 * 1024
# Ollama's word for a capability -> ours.
_CAPABILITIES = {"completion": "chat"}


class OllamaBackend:
    """spec.url is the server's root; a trailing `/v1` or `/api` is taken off."""

    def __init__(self, spec: BackendSpec, hooks: Hooks) -> None:
        self.spec = spec
        root = spec.url.removesuffix("/v1").removesuffix("/api")
        self._client = HttpClient(replace(spec, url=root), pooled=True)
        self._shown: dict[tuple[str, str | None], ShownModel] = {}

    async def discover(self) -> tuple[ModelFacts, ...]:
        """See `Backend`. `/api/show` is asked once for each digest."""
        tags, running = await asyncio.gather(
            self._client.get_json("/api/tags"), self._client.get_json("/api/ps")
        )
        try:
            models = parse_tags(tags)
            loaded = {model.name: model for model in parse_ps(running)}
        except ValueError as error:
            raise UpstreamInvalid(f"{self.spec.name}: {error}") from error
        shown = await asyncio.gather(*(self._show(model) for model in models))
        self._shown = {
            (model.name, model.digest): facts for model, facts in zip(models, shown, strict=True)
        }
        return tuple(
            _facts(model, facts, loaded.get(model.name))
            for model, facts in zip(models, shown, strict=True)
        )

    async def stream(self, call: Call) -> Stream:
        """See `Backend`."""
        build = chat_request if call.kind == "chat" else generate_request
        path = "/api/chat" if call.kind == "chat" else "/api/generate"
        response = await self._client.post(path, _translated(build, call))
        return OllamaStream(self._client, response, call)

    async def embed(self, call: Call) -> dict[str, Any]:
        """See `Backend`."""
        body = _translated(embed_request, call)
        answer = await self._client.post_json("/api/embed", body, timeout=None)
        try:
            return embed_response(
                answer, call.model, str(call.body.get("encoding_format") or "float")
            )
        except ValueError as error:
            raise UpstreamInvalid(f"{self.spec.name}: {error}") from error

    async def load(self, call: Call) -> None:
        """See `Backend`: a request without a prompt loads."""
        path, body = "/api/generate", dict[str, Any](model=call.model)
        if call.kind == "embeddings":
            path, body["input"] = "/api/embed", []
        keep_alive = parse_keep_alive(call.keep_alive)
        if keep_alive is not None:
            body["keep_alive"] = keep_alive
        if call.num_ctx:
            body["options"] = {"num_ctx": call.num_ctx}
        await self._client.post_json(path, body, timeout=None)

    async def unload(self, model: str) -> bool:
        """See `Backend`: it says yes at once, and lets the model go when nobody uses it."""
        body = {"model": model, "keep_alive": 0}
        try:
            async with asyncio.timeout(_UNLOAD_SECONDS):
                await self._client.post_json("/api/generate", body, timeout=None)
                while await self.footprint(model) is not None:
                    await asyncio.sleep(_LOOK_PAUSE)
        except TimeoutError:
            text = (
                f"{self.spec.name} still holds {model} after {_UNLOAD_SECONDS:g} s: others use it."
            )
            raise UpstreamBusy(text, retry_after=5) from None
        return True

    async def footprint(self, model: str) -> Footprint | None:
        """See `Backend`: /api/ps gives the whole size and the part of it that is in VRAM."""
        try:
            running = parse_ps(await self._client.get_json("/api/ps"))
        except ValueError as error:
            raise UpstreamInvalid(f"{self.spec.name}: {error}") from error
        for found in running:
            if found.name == model:
                size, vram = found.size or 0, found.size_vram or 0
                return Footprint(vram, max(0, size - vram), found.context_length)
        return None

    def state(self) -> dict[str, Any]:
        """See `Backend`."""
        return {}

    def want(self, wanted: bool) -> None:
        """See `Backend`; a foreign server is not ours to start."""

    async def close(self) -> None:
        """See `Backend`."""
        await self._client.close()

    async def _show(self, model: TaggedModel) -> ShownModel:
        known = self._shown.get((model.name, model.digest))
        if known is not None:
            return known
        try:
            return parse_show(
                await self._client.post_json("/api/show", {"model": model.name}, timeout=10)
            )
        except (UpstreamError, ValueError):
            # One broken model must not hide the others; /api/tags says enough to use it.
            return ShownModel()


def _translated(build: Callable[..., dict[str, Any]], call: Call) -> dict[str, Any]:
    """The call in Ollama's words. Where its API has none, a backend of another type may have."""
    keep_alive = parse_keep_alive(call.keep_alive)
    try:
        return build(call.body, model=call.model, keep_alive=keep_alive, num_ctx=call.num_ctx)
    except Untranslatable as error:
        raise _not_for_ollama(error) from error


def _not_for_ollama(error: Untranslatable) -> UpstreamStatus:
    said = {"message": str(error), "type": "invalid_request_error", "param": error.field}
    found = UpstreamStatus(str(error), upstream_status=400, body={"error": said})
    found.retryable = True
    return found


def parse_keep_alive(text: str | None) -> int | str | None:
    """A number of seconds, a duration such as `30m`, or None to leave it to Ollama."""
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        return text


def _facts(tag: TaggedModel, shown: ShownModel, running: RunningModel | None) -> ModelFacts:
    named = shown.capabilities or tag.capabilities
    capabilities = {_CAPABILITIES.get(name, name) for name in named}
    if "chat" in capabilities:
        capabilities.add("json")  # `format` constrains any model's output
    count = shown.parameter_count or tag.parameter_count
    return ModelFacts(
        name=tag.name,
        digest=tag.digest,
        family=shown.family or tag.family,
        base_model=shown.base_model,
        capabilities=frozenset(capabilities) or None,
        context=shown.context_length or tag.context_length,
        size_b=count / 1e9 if count else None,
        size_bytes=tag.size,
        quantization=shown.quantization or tag.quantization,
        loaded=running is not None,
        movable=tag.remote_host is None,
        cache=shown.cache,
        memory=(running.size_vram or running.size) if running is not None else None,
        expires=running.expires_at if running is not None else None,
    )


class OllamaStream(FrameStream):
    """Native NDJSON lines as OpenAI frames."""

    def __init__(self, client: HttpClient, response: Response, call: Call) -> None:
        super().__init__(client, response)
        self._rest = b""
        kind = ChatStream if call.kind == "chat" else CompletionStream
        prefix = "chatcmpl-" if call.kind == "chat" else "cmpl-"
        self._translated = kind(
            completion_id=prefix + uuid.uuid4().hex, created=int(time.time()), model=call.model
        )

    @property
    def _said_all(self) -> bool:
        return self._translated.finished

    def _cut(self, block: bytes) -> Iterator[Frame]:
        lines = (self._rest + block).split(b"\n")
        self._rest = lines.pop() if block else b""
        if len(self._rest) > _MAX_LINE:
            raise UpstreamInvalid(f"{self._client.name} sent a line of over {_MAX_LINE} bytes.")
        for line in lines:
            if line.strip():
                yield from self._frames(line)
        if not block and not self._translated.finished:
            raise UpstreamInterrupted(f"{self._client.name} broke the answer off.")

    def _frames(self, line: bytes) -> list[Frame]:
        try:
            data = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise UpstreamInvalid(
                f"{self._client.name} sent a line that is not JSON: {error}"
            ) from error
        if not isinstance(data, dict):
            raise UpstreamInvalid(f"{self._client.name} sent a line that is not an object.")
        try:
            chunks = self._translated.feed(data)
        except OllamaStreamError as error:
            raise stream_error(self._client.name, error.message) from error
        frames = [Frame(encode(chunk), chunk) for chunk in chunks]
        if self._translated.finished and frames:
            frames.append(Frame(DONE, None, True))
        return frames
