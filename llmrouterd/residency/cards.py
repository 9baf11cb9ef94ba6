"""What memory this machine's cards have, as their drivers say."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from llmrouterd.hardware import own_memory, probes, read_pools, used_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmrouterd.hardware import MemoryPool, Probe

# Asking the drivers takes some hundredths of a second of a thread.
_PROBE_SECONDS = 10.0
# A driver may take a moment to give back what a model had: it is asked so often, for so long.
_FREED_SECONDS, _FREED_PAUSE = 5.0, 0.1


class Cards:
    """`pools` as they were read last, the same object while nothing changes; `on_read(began)` is
    called after each reading, with the monotonic time at which it began."""

    def __init__(
        self, on_read: Callable[[float], None], found: Iterable[Probe] | None = None
    ) -> None:
        self.pools: tuple[MemoryPool, ...] = ()
        self._on_read = on_read
        self._probes = tuple(probes() if found is None else found)
        self._wake = asyncio.Event()
        self._moved_at = self._freed_at = float("-inf")

    def wake(self) -> None:
        """Have them read now."""
        self._wake.set()

    def moved(self, *, freed: bool) -> None:
        """Something of ours has just come in, or gone out (`freed`)."""
        self._moved_at = time.monotonic()
        if freed:
            self._freed_at = self._moved_at

    def foreign(self, began: float, own: int, before: int) -> int:
        """What others use by the reading that began then: all that is used but `own`, where all
        cards tell; as `before` where something of ours has moved since. Of a unified pool nothing
        is said: what programs have in RAM gives way."""
        if self._moved_at >= began:
            return before
        seen = max(0, (used_bytes(self.pools) or 0) - own)
        # What a driver has not given back yet is nobody's.
        return min(before, seen) if began < self._freed_at + _FREED_SECONDS else seen

    async def watch(self) -> None:
        """Read them for ever."""
        while True:
            self._wake.clear()
            began = time.monotonic()
            pools = await self._read()
            if pools != self.pools:
                self.pools = pools
            self._on_read(began)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PROBE_SECONDS):
                    await self._wake.wait()

    async def wait_for(self, size: int) -> None:
        """After an unload: wait until there is room for so many bytes. They may be wrong, and what
        is in use somebody else's, so not for long."""
        while time.monotonic() < self._freed_at + _FREED_SECONDS:
            pools = await self._read()
            used, total = used_bytes(pools), sum(pool.total_bytes for pool in own_memory(pools))
            if used is None or total - used >= size:
                return
            await asyncio.sleep(_FREED_PAUSE)

    async def _read(self) -> tuple[MemoryPool, ...]:
        return await asyncio.to_thread(read_pools, self._probes)
