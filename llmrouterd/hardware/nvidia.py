"""NVIDIA cards through NVML, the driver's own library.

One pool per card, or one per MIG instance where a card is split: then the instances are the
memories that models compete for, and the card itself has none to give.

Parts that share the system's RAM (GB10, Jetson) answer "not supported" to the question about
memory; their pool is the RAM, as /proc/meminfo has it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pynvml

from llmrouterd.hardware.pool import MemoryPool
from llmrouterd.hardware.sysfs import system_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

_VENDOR = "nvidia"


class Nvml(Protocol):
    """The part of pynvml's module that is used here; handles are opaque."""

    @property
    def NVMLError(self) -> type[Exception]: ...
    @property
    def NVMLError_NotSupported(self) -> type[Exception]: ...
    def nvmlInit(self) -> None: ...
    def nvmlShutdown(self) -> None: ...
    def nvmlDeviceGetCount(self) -> int: ...
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...
    def nvmlDeviceGetName(self, handle: Any) -> str: ...
    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any: ...
    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> Sequence[Any]: ...
    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: Any) -> Sequence[Any]: ...
    def nvmlDeviceGetMigMode(self, handle: Any) -> Sequence[int]: ...
    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any) -> int: ...
    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: int) -> Any: ...


class NvidiaProbe:
    """Reads every NVIDIA card.

    NVML is opened and closed at each read, so that a driver that is installed, updated or lost
    while the daemon runs is seen.
    """

    name = _VENDOR

    def __init__(self, root: Path = Path("/"), nvml: Nvml = pynvml) -> None:
        """Take the root under which `proc` is found, and the NVML module."""
        self._root = root
        self._nvml = nvml

    def read(self) -> tuple[MemoryPool, ...]:
        """Return the pools of all cards; a card that fails is left out, the others are read."""
        nvml = self._nvml
        try:
            nvml.nvmlInit()
        except nvml.NVMLError:
            return ()
        try:
            return self._pools()
        finally:
            with suppress(nvml.NVMLError):
                nvml.nvmlShutdown()

    def _pools(self) -> tuple[MemoryPool, ...]:
        try:
            count = self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError:
            return ()
        pools: list[MemoryPool] = []
        for index in range(count):
            with suppress(self._nvml.NVMLError):
                pools.extend(self._card(index))
        # Cards without memory of their own all share the one RAM: it is one pool, not several.
        unified = [pool for pool in pools if pool.unified]
        return tuple(pool for pool in pools if pool not in unified[1:])

    def _card(self, index: int) -> tuple[MemoryPool, ...]:
        """Return a card's pools: one, or one per MIG instance; raises NVMLError."""
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        label = f"{_VENDOR}:{index}"
        if self._split(handle):
            return self._instances(label, handle)
        name = f"{label} {nvml.nvmlDeviceGetName(handle)}"
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError_NotSupported:
            return self._shared(name, handle)
        # Some drivers for parts without memory of their own answer zero instead of refusing.
        return (self._pool(name, handle, memory),) if memory.total else self._shared(name, handle)

    def _split(self, handle: Any) -> bool:
        """Return whether MIG is on now; cards and drivers without MIG refuse the question."""
        try:
            return bool(self._nvml.nvmlDeviceGetMigMode(handle)[0])
        except self._nvml.NVMLError:
            return False

    def _instances(self, label: str, card: Any) -> tuple[MemoryPool, ...]:
        """Return one pool per MIG instance; places that hold none, or may not be seen, are not."""
        nvml = self._nvml
        pools: list[MemoryPool] = []
        for place in range(nvml.nvmlDeviceGetMaxMigDeviceCount(card)):
            with suppress(nvml.NVMLError):
                handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(card, place)
                name = f"{label}.{place} {nvml.nvmlDeviceGetName(handle)}"
                memory = nvml.nvmlDeviceGetMemoryInfo(handle)
                pools.append(self._pool(name, handle, memory))
        return tuple(pools)

    def _pool(self, name: str, handle: Any, memory: Any) -> MemoryPool:
        # Not `memory.used`: what the driver keeps for itself is not free either, and whether
        # `used` counts it differs between versions of the call.
        return MemoryPool(
            name=name,
            vendor=_VENDOR,
            total_bytes=int(memory.total),
            used_bytes=max(0, int(memory.total) - int(memory.free)),
            processes=self._processes(handle),
        )

    def _shared(self, name: str, handle: Any) -> tuple[MemoryPool, ...]:
        """Return the system's RAM as the pool of a part that has no memory of its own."""
        memory = system_memory(self._root)
        if memory is None:
            return ()
        total, available = memory
        pool = MemoryPool(
            name=name,
            vendor=_VENDOR,
            total_bytes=total,
            used_bytes=total - available,
            unified=True,
            processes=self._processes(handle),
        )
        return (pool,)

    def _processes(self, handle: Any) -> tuple[tuple[int, int], ...]:
        """Return (pid, bytes) of those processes whose share the driver knows."""
        nvml = self._nvml
        shares: dict[int, int] = {}
        for ask in (
            nvml.nvmlDeviceGetComputeRunningProcesses,
            nvml.nvmlDeviceGetGraphicsRunningProcesses,
        ):
            with suppress(nvml.NVMLError):
                for process in ask(handle):
                    if process.usedGpuMemory is not None:
                        # A process with both kinds of context is in both lists with one figure.
                        pid, share = int(process.pid), int(process.usedGpuMemory)
                        shares[pid] = max(share, shares.get(pid, 0))
        return tuple(sorted(shares.items()))
