"""llama.cpp servers that the daemon owns: one process for each declared model."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrouterd.backends.base import Footprint, Hooks, ModelFacts
from llmrouterd.backends.gguf import GGUFError, read_header
from llmrouterd.backends.llama_process import (
    LlamaProcess,
    LlamaSpec,
    LlamaUnavailable,
    find_model,
)
from llmrouterd.backends.llamacpp import LlamaCppBackend
from llmrouterd.errors import UpstreamError, UpstreamLoading, UpstreamUnreachable
from llmrouterd.footprint import cache_of

if TYPE_CHECKING:
    from llmrouterd.backends.base import Call, Stream
    from llmrouterd.policy import BackendSpec, ManagedModel


_RESTART_PAUSE = 0.05


class ManagedBackend:
    """Starts its processes when wanted, watches and restarts them, stops them when closed. With
    `start: on_demand` a process is started by `load` and stopped by `unload`."""

    def __init__(self, spec: BackendSpec, hooks: Hooks) -> None:
        self.spec = spec
        self._servers = {model.name: _Server(model, spec, hooks) for model in spec.models}

    async def discover(self) -> tuple[ModelFacts, ...]:
        """See `Backend`. Only ready processes are asked; the others serve nothing, unless they are
        started on demand. Who has ended is left out, as long as another is there."""
        servers = self._servers.values()
        found = await asyncio.gather(*(one.discover() for one in servers), return_exceptions=True)
        facts: list[ModelFacts] = []
        ended: list[UpstreamUnreachable] = []
        for part in found:
            if isinstance(part, UpstreamUnreachable):
                ended.append(part)
            elif isinstance(part, BaseException):
                raise part  # it may hold its model all the same
            else:
                facts += part
        if ended and not facts:
            raise ended[0]
        return tuple(facts)

    async def stream(self, call: Call) -> Stream:
        """See `Backend`."""
        return await self._server(call.model).stream(call)

    async def embed(self, call: Call) -> dict[str, Any]:
        """See `Backend`."""
        return await self._server(call.model).embed(call)

    async def load(self, call: Call) -> None:
        """See `Backend`: movable are models that are started on demand."""
        await self._servers[call.model].load()

    async def unload(self, model: str) -> bool:
        """See `Backend`: a process that is not started on demand is started anew."""
        server = self._servers[model]
        if self.spec.start == "on_demand":
            await server.unload()
            return True
        return await server.restart()

    async def footprint(self, model: str) -> Footprint | None:
        """See `Backend`: the memory of the process, and the time from its start until it served."""
        return await asyncio.to_thread(self._servers[model].footprint)

    def state(self) -> dict[str, Any]:
        """See `Backend`: the state of each process."""
        return {
            "processes": {
                name: {"state": server.process.state, "detail": server.detail}
                for name, server in self._servers.items()
            }
        }

    def want(self, wanted: bool) -> None:
        """See `Backend`."""
        if wanted and self.spec.start == "on_demand":
            return
        for server in self._servers.values():
            server.want(wanted)

    async def close(self) -> None:
        """See `Backend`."""
        await asyncio.gather(*(server.close() for server in self._servers.values()))

    def _server(self, model: str) -> LlamaCppBackend:
        server = self._servers[model]
        if server.client is None:
            raise UpstreamLoading(f"{self.spec.name}/{model} is being started.", retry_after=2)
        return server.client


class _Server:
    """One process and the client to it."""

    def __init__(self, model: ManagedModel, spec: BackendSpec, hooks: Hooks) -> None:
        self._model = model
        self._spec = spec
        self._hooks = hooks
        self._task: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._dropping: asyncio.Task[None] | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._facts: tuple[ModelFacts, ...] = ()
        self._started = 0.0
        self._load_seconds: float | None = None
        self.client: LlamaCppBackend | None = None
        self.detail = ""
        self.process = self._new_process()

    def want(self, wanted: bool) -> None:
        """Start the process if it is wanted and not running, stop it if it is not wanted."""
        if wanted and self._task is None and self._stopping is None:
            self.process = self._new_process()
            self._task = asyncio.create_task(self.process.run(), name=f"managed:{self._model.name}")
        elif not wanted and self._task is not None and self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(), name=f"stop:{self._model.name}")

    async def discover(self) -> tuple[ModelFacts, ...]:
        on_demand = self._spec.start == "on_demand"
        client = self.client
        if client is None:
            if on_demand:
                self._facts = self._facts or await asyncio.to_thread(self._declare)
                return self._facts
            if self.process.state == "failed":
                raise UpstreamUnreachable(f"{self._model.name} could not be started: {self.detail}")
            # While it is started anew on purpose, requests wait for it.
            return self._facts if self._restarting is not None else ()
        if not self._facts:  # for the shape, which the server does not tell
            self._facts = await asyncio.to_thread(self._declare)
        facts = await client.discover()
        # Whatever the process calls it, it is known by the name that the policy declares; and it
        # does not say that it was started for embeddings.
        named = tuple(
            replace(
                found,
                name=self._model.name,
                capabilities=frozenset({"embedding"})
                if self._model.embeddings
                else found.capabilities,
                movable=on_demand,
                cache=self._facts[0].cache if self._facts else None,
            )
            for found in facts[:1]
        )
        self._facts = tuple(replace(found, loaded=False) for found in named)
        return named

    async def load(self) -> None:
        """Start the process and wait until it serves. Raises UpstreamError: it cannot. Cancelled,
        it goes on: whoever does not want it any more unloads."""
        self.want(True)
        while self.client is None:
            if self.process.state == "failed":
                detail = self.detail
                await self.unload()
                raise UpstreamError(f"{self._model.name} could not be started: {detail}")
            await asyncio.sleep(_RESTART_PAUSE)

    async def unload(self) -> None:
        """Stop the process; its memory is free once it has ended."""
        self.want(False)
        if self._stopping is not None:
            await asyncio.shield(self._stopping)

    async def restart(self) -> bool:
        """Stop and start a running process; False where none runs. Cancelling the wait does not
        leave it stopped."""
        if self.client is None or self._stopping is not None or self._restarting is not None:
            return False
        self._restarting = asyncio.create_task(self._restart(), name=f"anew:{self._model.name}")
        await asyncio.shield(self._restarting)
        return True

    def footprint(self) -> Footprint | None:
        """The resident memory of the process, from /proc."""
        pid = self.process.pid
        if pid is None:
            return None
        resident = resident_bytes(pid)
        context = self._model.context * self._model.parallel
        return Footprint(None, resident, context, self._load_seconds)

    async def close(self) -> None:
        if self._restarting is not None:
            self._restarting.cancel()
            await asyncio.gather(self._restarting, return_exceptions=True)
        if self._stopping is not None:
            await self._stopping
        await self._stop()

    def _declare(self) -> tuple[ModelFacts, ...]:
        """What is known of a model whose process has never run; nothing where it has no file."""
        model = self._model
        try:
            file = find_model(model.model)
            size = file.stat().st_size
        except (LlamaUnavailable, OSError) as error:
            self.detail = f"cannot be started: {error}"
            return ()
        try:
            cache = cache_of(read_header(file))
        except GGUFError:
            cache = None  # the server says it better, once it is asked to load it
        facts = ModelFacts(
            name=model.name,
            file=file.name,
            capabilities=frozenset({"embedding"}) if model.embeddings else None,
            context=model.context,
            size_bytes=size,
            slots=model.parallel,
            loaded=False,
            movable=True,
            cache=cache,
        )
        return (facts,)

    def _new_process(self) -> LlamaProcess:
        fields = {name: getattr(self._model, name) for name in self._model.__dataclass_fields__}
        return LlamaProcess(LlamaSpec(**fields), on_state=self._on_state)

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.process.stop()
        await self._drop_client()
        self._stopping = None

    async def _restart(self) -> None:
        """Ends once the new process serves, or is known to fail."""
        try:
            self._stopping = asyncio.create_task(self._stop(), name=f"stop:{self._model.name}")
            await asyncio.shield(self._stopping)
            self.want(True)
            while self.client is None and self._task is not None and self.process.state != "failed":
                await asyncio.sleep(_RESTART_PAUSE)
        finally:
            self._restarting = None

    async def _drop_client(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            await client.close()

    def _on_state(self, state: str, detail: str) -> None:
        self.detail = detail
        if state == "starting":
            self._started = time.monotonic()
        elif state == "ready":
            self._load_seconds = time.monotonic() - self._started if self._started else None
        if state != "starting":
            self._started = 0.0
        self._hooks.log("managed." + state, {"model": self._model.name, "detail": detail})
        if state == "ready":
            self.client = LlamaCppBackend(replace(self._spec, url=self.process.url), Hooks())
        elif self.client is not None:
            # The old address is dead; requests on it fail and move on by themselves.
            self._dropping = asyncio.create_task(self._drop_client(), name="managed:drop")
        self._hooks.changed()


def resident_bytes(pid: int) -> int | None:
    """The memory that a process has in RAM, its mapped files included; None where it is gone or
    the system has no /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        found = next(line for line in lines if line.startswith("VmRSS:"))
        return int(found.split()[1]) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        return None
