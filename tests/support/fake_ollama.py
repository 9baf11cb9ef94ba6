"""A fake of Ollama's native API, faithful field by field to its documented behaviour.

Ollama itself cannot be installed where these tests run: no package carries its binary. This fake
follows docs/openapi.yaml, api/types.go, server/routes.go and server/sched.go of ollama/ollama:
NDJSON streams by default, durations in nanoseconds with zeros left out, whole tool calls with
object arguments, keep_alive that loads, pins, re-arms and unloads, reloads on another num_ctx,
runner option or shift, one load at a time, eviction, the 503 of a full queue, and each error's
text.

It is stricter in one way: what real Ollama would silently lose (sampling parameters outside
`options`, for one) is refused with 400, and recorded in `violations`.

    async with FakeOllama([FakeModel(name="llama3.1:8b")]) as ollama:
        ... ask ollama.url + "/api/chat" ...
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any

from aiohttp import web

from . import ollama_rows as rows
from . import openai_answers
from .fault_exchange import Ledger, Seen
from .ollama_rules import Refused, check_body, only_loads, parse_keep_alive
from .ollama_scheduler import (
    FakeModel,
    Limits,
    Loaded,
    QueueFull,
    Scheduler,
    expiry_text,
    full_name,
)
from .ollama_stream import RUNNER_DIED, STREAM_FAULTS, send_lines
from .ollama_text import Spoken, metrics, prompt_length, speak

__all__ = ["FakeModel", "FakeOllama", "Limits", "Loaded"]

QUEUE_FULL = "server busy, please try again.  maximum pending requests exceeded"

Handler = Callable[[web.Request, Seen], Awaitable[web.StreamResponse]]


def _dump(value: Any) -> str:
    return openai_answers.encode(value).decode()


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(value, status=status, dumps=_dump)


class NativeError(Exception):
    """An answer `{"error": text}` with its status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class FakeOllama(Ledger):
    """The server. `tokens` is an answer's length, `delay` the seconds after every streamed line.

    `limits` may be changed while it runs, and so may `tokens` and `delay`. `violations` are the
    messages of what the sender said that Ollama does not understand.
    """

    def __init__(
        self,
        models: Iterable[FakeModel] = (),
        *,
        limits: Limits | None = None,
        tokens: int = 5,
        delay: float = 0.0,
        version: str = "0.12.6",
    ) -> None:
        super().__init__()
        self.limits = limits or Limits()
        self.scheduler = Scheduler(models, self.limits)
        self.tokens = tokens
        self.delay = delay
        self.version = version
        self.violations: list[str] = []
        self.port = 0
        self._faults: dict[str, tuple[str, int | None]] = {}
        self._running = asyncio.Event()
        self._running.set()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """http://host:port, the address Ollama's own clients are given."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def models(self) -> list[FakeModel]:
        return list(self.scheduler.models.values())

    @property
    def loaded(self) -> dict[str, Loaded]:
        """What is in memory now, by full name, longest expiry first."""
        return {full_name(each.model.name): each for each in self.scheduler.current()}

    @property
    def reloads(self) -> int:
        """How often a loaded model had to be loaded again because its runner options changed."""
        return self.scheduler.reloads

    @property
    def loads(self) -> list[str]:
        """The names of all loads, in order; `scheduler.evicted` are those that made room."""
        return self.scheduler.loads

    async def __aenter__(self) -> FakeOllama:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after a stop, on the same port, with nothing loaded."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, shutdown_timeout=0.0, access_log=None
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening and drop what is in memory."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.scheduler.loaded.clear()

    def pause(self) -> None:
        """From now on requests are accepted and hang before any answer."""
        self._running.clear()

    def resume(self) -> None:
        """Answer again, those that hang first."""
        self._running.set()

    def add(self, model: FakeModel) -> None:
        """Add a model, or replace the one of its name (as a pull of a new version does)."""
        self.scheduler.models[full_name(model.name)] = model

    def remove(self, name: str) -> None:
        """Delete a model, loaded or not."""
        model = self.scheduler.models.pop(full_name(name))
        self.scheduler.expire(model)

    def advance(self, seconds: float) -> None:
        """Move the clock of keep_alive without waiting."""
        self.scheduler.shift += seconds

    def set_fault(self, target: str, fault: str | None, times: int | None = None) -> None:
        """Fail `target` (a model's name or a path), for its next `times` requests or for good.

        Faults: a status as text ("500"), "load-error" (500 as of a runner that died), "hang",
        "error-mid-stream", "drop-mid-stream", "hang-mid-stream", "ends-early" (each after two
        pieces of a stream). None takes it back.
        """
        if fault is None:
            self._faults.pop(target, None)
        elif fault in ("load-error", "hang", *STREAM_FAULTS) or fault.isdigit():
            self._faults[target] = (fault, times)
        else:
            raise ValueError(f"no such fault: {fault}")

    def _take_fault(self, seen: Seen) -> str:
        for target in (seen.model, full_name(seen.model or ""), seen.path):
            fault, left = self._faults.get(target or "", ("ok", None))
            if fault in STREAM_FAULTS and only_loads(seen.body):
                continue  # there is no stream to break
            if fault != "ok":
                if left is not None:
                    self._faults[target or ""] = (fault, left - 1) if left > 1 else ("ok", None)
                return fault
        return "ok"

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        named = (body.get("model") or body.get("name")) if isinstance(body, dict) else None
        seen = Seen(
            method=request.method,
            path=request.path,
            headers={name.lower(): value for name, value in request.headers.items()},
            raw=raw,
            body=body,
            model=named if isinstance(named, str) else None,
            fault="ok",
        )
        seen.fault = self._take_fault(seen)
        self.requests.append(seen)
        self.notify()
        try:
            await self._running.wait()
            response = await self._answer(request, seen)
        except (asyncio.CancelledError, ConnectionError):
            seen.closed, seen.disconnected = time.monotonic(), True
            self.notify()
            raise
        seen.finished = time.monotonic()
        self.notify()
        return response

    async def _answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        compatible = seen.path.startswith("/v1/")
        try:
            return await self._route(request, seen)
        except NativeError as error:
            status, text = error.status, error.text
        except QueueFull:
            status, text = 503, QUEUE_FULL
        except Refused as refused:
            status, text = 400, str(refused)
            if refused.violation:
                self.violations.append(f"{seen.path}: {text}")
        if not compatible:
            return _json({"error": text}, status)
        kind = {400: "invalid_request_error", 404: "not_found_error"}.get(status, "api_error")
        error_fields = {"message": text, "type": kind, "param": None, "code": None}
        return _json({"error": error_fields}, status)

    async def _route(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        if seen.fault == "hang":
            await asyncio.Event().wait()
        if seen.fault.isdigit():
            raise NativeError(int(seen.fault), f"scripted {seen.fault}")
        reads: dict[str, Callable[[], web.Response]] = {
            "/": lambda: web.Response(text="Ollama is running"),
            "/api/version": lambda: _json({"version": self.version}),
            "/api/tags": lambda: _json(rows.tags(self.models)),
            "/api/ps": lambda: _json(rows.ps(self.scheduler.listed())),
            "/v1/models": lambda: _json(rows.openai_models(self.models)),
        }
        if seen.method in ("GET", "HEAD") and seen.path in reads:
            return reads[seen.path]()
        writes: dict[str, Handler] = {
            "/api/show": self._show,
            "/api/chat": self._chat,
            "/api/generate": self._generate,
            "/api/embed": self._embed,
            "/api/embeddings": self._embed,
            "/v1/chat/completions": self._openai_chat,
        }
        if seen.path not in writes or seen.method != "POST":
            return web.Response(status=404, text="404 page not found")
        if not seen.raw:
            raise NativeError(400, "missing request body")
        if not seen.path.startswith("/v1/"):
            check_body(seen.body)
        return await writes[seen.path](request, seen)

    def _find(self, seen: Seen) -> FakeModel:
        model = self.scheduler.models.get(full_name(seen.model or ""))
        if not seen.model:
            raise NativeError(400, "model is required")
        if model is None:
            raise NativeError(404, f"model '{seen.model}' not found")
        return model

    async def _show(self, request: web.Request, seen: Seen) -> web.Response:
        return _json(rows.show(self._find(seen)))

    def _check_capabilities(self, model: FakeModel, seen: Seen, verb: str) -> None:
        if "completion" not in model.capabilities:
            raise NativeError(400, f'"{seen.model}" does not support {verb}')
        if seen.body.get("tools") and "tools" not in model.capabilities:
            where = f"registry.ollama.ai/library/{full_name(model.name)}"
            raise NativeError(400, f"{where} does not support tools")
        if seen.body.get("think") and "thinking" not in model.capabilities:
            raise NativeError(400, f'"{seen.model}" does not support thinking')

    async def _chat(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        messages = seen.body.get("messages") or []
        return await self._talk(request, seen, messages, "chat")

    async def _generate(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        prompt = seen.body.get("prompt")
        message = {"role": "user", "content": prompt, "images": seen.body.get("images")}
        return await self._talk(request, seen, [message] if prompt else [], "generate")

    def _line(self, seen: Seen, content: str, **extra: Any) -> dict[str, Any]:
        """One line of an answer; `extra` may hold thinking, tool_calls and the last line's rest."""
        line = {"model": seen.model, "created_at": expiry_text(self.scheduler.now())}
        thinking, calls = extra.pop("thinking", None), extra.pop("tool_calls", None)
        spoken = {"thinking": thinking} if thinking else {}
        if seen.path == "/api/generate":
            return {**line, "response": content, **spoken, "done": False, **extra}
        message: dict[str, Any] = {"role": "assistant", "content": content, **spoken}
        if calls:
            message["tool_calls"] = calls
        return {**line, "message": message, "done": False, **extra}

    async def _talk(
        self, request: web.Request, seen: Seen, messages: list[dict[str, Any]], verb: str
    ) -> web.StreamResponse:
        """Chat and generate: unload, load, or load and answer."""
        model, body = self._find(seen), seen.body
        keep_alive = parse_keep_alive(body.get("keep_alive"))
        if not messages and keep_alive == 0:
            self.scheduler.expire(model)
            return _json(self._line(seen, "", done=True, done_reason="unload"))
        self._check_capabilities(model, seen, verb)
        if seen.fault == "load-error":
            raise NativeError(500, RUNNER_DIED)
        options = body.get("options") or {}
        if body.get("shift") is False:  # the default is true
            options = {**options, "shift": False}
        loaded, spent = await self.scheduler.acquire(model, options, keep_alive)
        try:
            if not messages:
                return _json(self._line(seen, "", done=True, done_reason="load"))
            async with loaded.slots:
                spoken = speak(body, messages, model, self.tokens)
                prompt = prompt_length(messages, loaded.num_ctx)
                words = json.dumps(messages)
                counted = 0 if loaded.last_prompt == words else prompt
                loaded.last_prompt = words
                last = self._line(seen, "", done=True, done_reason=spoken.reason)
                last |= metrics(model, spent, counted, spoken.tokens)
                if body.get("stream") is False:
                    return await self._whole(seen, spoken, last)
                return await send_lines(request, seen, self._lines(seen, spoken, last), self.delay)
        finally:
            self.scheduler.release(loaded)

    def _lines(self, seen: Seen, spoken: Spoken, last: dict[str, Any]) -> list[dict[str, Any]]:
        lines = [self._line(seen, "", thinking=thought) for thought in spoken.thoughts]
        lines += [self._line(seen, piece) for piece in spoken.pieces]
        if spoken.calls:
            lines.append(self._line(seen, "", tool_calls=list(spoken.calls)))
        return [*lines, last]

    async def _whole(self, seen: Seen, spoken: Spoken, last: dict[str, Any]) -> web.Response:
        if seen.fault in STREAM_FAULTS:
            raise NativeError(500, RUNNER_DIED)
        await asyncio.sleep(self.delay * spoken.tokens)
        said = {"thinking": "".join(spoken.thoughts), "tool_calls": list(spoken.calls)}
        line = self._line(seen, "".join(spoken.pieces), **said)
        return _json({**last, **{key: line[key] for key in ("message", "response") if key in line}})

    async def _embed(self, request: web.Request, seen: Seen) -> web.Response:
        model, body = self._find(seen), seen.body
        keep_alive = parse_keep_alive(body.get("keep_alive"))
        loaded, spent = await self.scheduler.acquire(model, body.get("options") or {}, keep_alive)
        self.scheduler.release(loaded)
        size = body.get("dimensions") or 8
        if seen.path == "/api/embeddings":
            return _json({"embedding": openai_answers.vector(body.get("prompt") or "", size)})
        asked = body.get("input")
        texts = asked if isinstance(asked, list) else [asked or ""]
        vectors = [openai_answers.vector(text, size) for text in texts]
        prompt = sum(len(text.split()) + 1 for text in texts)
        spoken = metrics(model, spent, prompt, 0)
        kept = ("total_duration", "load_duration", "prompt_eval_count")
        counts = {name: spoken[name] for name in kept if name in spoken}
        return _json({"model": seen.model, "embeddings": vectors, **counts})

    async def _openai_chat(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        """The compatible endpoint, as much as a test needs: text, stream or not, usage."""
        if not isinstance(seen.body, dict):
            raise Refused("invalid JSON")
        model = self._find(seen)
        self._check_capabilities(model, seen, "chat")
        loaded, _ = await self.scheduler.acquire(model, {}, None)
        try:
            name = seen.model or ""
            if not seen.body.get("stream"):
                whole = openai_answers.chat_body(seen.body, name, self.tokens)
                return _json({**whole, "system_fingerprint": "fp_ollama"})
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            for chunk in openai_answers.chat_chunks(seen.body, name, self.tokens):
                data = _dump({**chunk, "system_fingerprint": "fp_ollama"})
                await response.write(f"data: {data}\n\n".encode())
                seen.events += 1
                await asyncio.sleep(self.delay)
            await response.write(b"data: [DONE]\n\n")
            await response.write_eof()
            return response
        finally:
            self.scheduler.release(loaded)
