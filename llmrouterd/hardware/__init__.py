"""What memory the box's accelerators have: one probe per vendor, none of which must find anything.

A missing driver, card or permission is normal and gives no pools; no probe raises for it. The
probes block (driver calls, small files, short commands), so they are called off the event loop.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmrouterd.hardware.amd import AmdProbe
from llmrouterd.hardware.apple import AppleProbe
from llmrouterd.hardware.intel import IntelProbe
from llmrouterd.hardware.nvidia import NvidiaProbe
from llmrouterd.hardware.pool import MemoryPool, Probe

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AmdProbe",
    "AppleProbe",
    "IntelProbe",
    "MemoryPool",
    "NvidiaProbe",
    "Probe",
    "own_memory",
    "probes",
    "read_pools",
    "used_bytes",
]


def own_memory(pools: Iterable[MemoryPool]) -> tuple[MemoryPool, ...]:
    """Return the pools of cards with memory of their own."""
    return tuple(pool for pool in pools if not pool.unified)


def used_bytes(pools: Iterable[MemoryPool]) -> int | None:
    """Return what is in use on all cards with memory of their own; None where one does not tell,
    or there is none."""
    used = [pool.used_bytes for pool in own_memory(pools)]
    return None if not used or None in used else sum(one or 0 for one in used)


def probes(root: Path = Path("/")) -> tuple[Probe, ...]:
    """Return one probe per vendor; `root` is where `sys` and `proc` are looked for."""
    return NvidiaProbe(root), AmdProbe(root), IntelProbe(root), AppleProbe()


def read_pools(found: Iterable[Probe]) -> tuple[MemoryPool, ...]:
    """Read every probe once and return their pools in the probes' order."""
    return tuple(pool for probe in found for pool in probe.read())
