"""Clients of backends, shared by equal specs, kept open until their last lease is given back."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from llmrouterd.backends.base import Backend, Hooks
from llmrouterd.backends.llamacpp import LlamaCppBackend
from llmrouterd.backends.managed import ManagedBackend
from llmrouterd.backends.ollama import OllamaBackend
from llmrouterd.backends.openai import OpenAIBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmrouterd.policy import BackendSpec

BACKENDS: Mapping[str, Callable[[BackendSpec, Hooks], Backend]] = {
    "openai": OpenAIBackend,
    "llamacpp": LlamaCppBackend,
    "ollama": OllamaBackend,
    "managed": ManagedBackend,
}


class Entry:
    """An open backend with its leases and its places (spec.concurrency), given out in turn."""

    __slots__ = ("_free", "_waiters", "backend", "leases", "running")

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.leases = self.running = 0
        self._free = backend.spec.concurrency
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def queued(self) -> int:
        return len(self._waiters)

    async def enter(self) -> None:
        """Take a place; waits for one where the backend's concurrency is limited."""
        if self.backend.spec.concurrency:
            await self._take_place()
        self.running += 1

    def leave(self) -> None:
        """Give the place to the one who has waited longest."""
        self.running -= 1
        if self.backend.spec.concurrency:
            self._free_place()

    async def _take_place(self) -> None:
        if self._free > 0:
            self._free -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._free_place()  # the place had just been handed to us
            elif waiter in self._waiters:  # not if a place was freed at the same moment
                self._waiters.remove(waiter)
            raise

    def _free_place(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1


class BackendPool:
    """Keyed by BackendSpec: a reload that leaves a backend as it is keeps its connections."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._entries: dict[BackendSpec, Entry] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def lease(self, spec: BackendSpec) -> Entry:
        """Open the backend if it is not, and hold it until `release`."""
        entry = self._entries.get(spec)
        if entry is None:
            entry = self._entries[spec] = Entry(BACKENDS[spec.type](spec, self._hooks))
        entry.leases += 1
        return entry

    def find(self, spec: BackendSpec) -> Entry | None:
        """The open backend of a spec, without a lease."""
        return self._entries.get(spec)

    def release(self, entry: Entry) -> None:
        """Give a lease back; the last one closes the backend in the background."""
        entry.leases -= 1
        if entry.leases == 0:
            self._entries.pop(entry.backend.spec, None)
            task = asyncio.create_task(
                entry.backend.close(), name=f"close:{entry.backend.spec.name}"
            )
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close everything, leased or not."""
        entries, self._entries = list(self._entries.values()), {}
        await asyncio.gather(
            *(entry.backend.close() for entry in entries), *self._closing, return_exceptions=True
        )
