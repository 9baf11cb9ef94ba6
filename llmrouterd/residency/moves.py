"""Loads and unloads as they are carried out on a real backend."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from llmrouterd.backends.base import Call
from llmrouterd.errors import UpstreamError, UpstreamStatus, UpstreamUnreachable

if TYPE_CHECKING:
    from llmrouterd.backends.base import Backend
    from llmrouterd.backends.pool import BackendPool
    from llmrouterd.catalog import Model
    from llmrouterd.policy import BackendSpec

# A server that hangs does not answer this either.
_BACK_SECONDS = 5.0


class Abandoned(Exception):
    """Nobody waits for this load any more."""


class Loads:
    """The loads in hand."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def load(self, backend: Backend, model: Model) -> None:
        """Load. Raises UpstreamError, or Abandoned once it is taken back after `give_up`."""
        task = self._tasks[model.id] = asyncio.create_task(
            load(backend, model), name=f"loading:{model.id}"
        )
        try:
            await asyncio.wait((task,))
            if not task.cancelled():
                await task
                return
        finally:
            del self._tasks[model.id]
            task.cancel()
        await unload(backend, model.name)
        raise Abandoned

    def give_up(self, model: str) -> None:
        """End the load of this model (its id), if it is being loaded."""
        if model in self._tasks:
            self._tasks[model].cancel()


async def load(backend: Backend, model: Model) -> None:
    """Take a model into memory as its requests will want it. Raises UpstreamError."""
    embeds = model.capabilities is not None and "chat" not in model.capabilities
    kind = "embeddings" if embeds else "chat"
    await backend.load(Call(kind, model.name, {}, model.num_ctx, model.keep_alive))


async def unload(backend: Backend, model: str) -> bool:
    """Whether a model is out of memory now; so it is where its server has ended, or does not know
    it any more. Raises UpstreamError."""
    try:
        return await backend.unload(model)
    except UpstreamUnreachable:
        return True
    except UpstreamStatus as error:
        if error.upstream_status != 404:
            raise
        return True


async def take_back(backend: Backend, model: str) -> None:
    """Unload what was not loaded in time, so that it does not come up later in what is then
    another's room. What cannot be told so within a few seconds is left as it is."""
    with contextlib.suppress(UpstreamError, TimeoutError):
        async with asyncio.timeout(_BACK_SECONDS):
            await backend.unload(model)


async def hold(pool: BackendPool, model: Model, spec: BackendSpec) -> bool:
    """Have the server keep a loaded model that has just been pinned; whether it was told so. If
    not it may let it go in time, and it is loaded again."""
    entry = pool.lease(spec)
    try:
        async with asyncio.timeout(spec.timeouts.load or None):
            await load(entry.backend, model)
    except (UpstreamError, TimeoutError):
        return False
    finally:
        pool.release(entry)
    return True
