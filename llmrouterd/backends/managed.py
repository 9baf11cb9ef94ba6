"""llama.cpp servers that the daemon owns: one process for each declared model."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmrouterd.backends.base import Hooks, ModelFacts
from llmrouterd.backends.llama_process import LlamaProcess, LlamaSpec
from llmrouterd.backends.llamacpp import LlamaCppBackend
from llmrouterd.errors import UpstreamLoading, UpstreamUnreachable

if TYPE_CHECKING:
    from llmrouterd.backends.base import Call, Stream
    from llmrouterd.policy import BackendSpec, ManagedModel


class ManagedBackend:
    """Starts its processes when wanted, watches and restarts them, stops them when closed."""

    def __init__(self, spec: BackendSpec, hooks: Hooks) -> None:
        self.spec = spec
        self._servers = {model.name: _Server(model, spec, hooks) for model in spec.models}

    async def discover(self) -> tuple[ModelFacts, ...]:
        """See `Backend`. Only ready processes are asked; the others serve nothing."""
        found = await asyncio.gather(*(server.discover() for server in self._servers.values()))
        return tuple(facts for part in found for facts in part)

    async def stream(self, call: Call) -> Stream:
        """See `Backend`."""
        return await self._server(call.model).stream(call)

    async def embed(self, call: Call) -> dict[str, Any]:
        """See `Backend`."""
        return await self._server(call.model).embed(call)

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
        if self.client is None:
            if self.process.state == "failed":
                raise UpstreamUnreachable(f"{self._model.name} could not be started: {self.detail}")
            return ()
        facts = await self.client.discover()
        # Whatever the process calls it, it is known by the name that the policy declares; and it
        # does not say that it was started for embeddings.
        return tuple(
            replace(
                found,
                name=self._model.name,
                capabilities=frozenset({"embedding"})
                if self._model.embeddings
                else found.capabilities,
            )
            for found in facts[:1]
        )

    async def close(self) -> None:
        if self._stopping is not None:
            await self._stopping
        await self._stop()

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

    async def _drop_client(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            await client.close()

    def _on_state(self, state: str, detail: str) -> None:
        self.detail = detail
        self._hooks.log("managed." + state, {"model": self._model.name, "detail": detail})
        if state == "ready":
            self.client = LlamaCppBackend(replace(self._spec, url=self.process.url), Hooks())
        elif self.client is not None:
            # The old address is dead; requests on it fail and move on by themselves.
            self._dropping = asyncio.create_task(self._drop_client(), name="managed:drop")
        self._hooks.changed()
