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
    "probes",
    "read_pools",
]


def probes(root: Path = Path("/")) -> tuple[Probe, ...]:
    """Return one probe per vendor; `root` is where `sys` and `proc` are looked for."""
    return NvidiaProbe(root), AmdProbe(root), IntelProbe(root), AppleProbe()


def read_pools(found: Iterable[Probe]) -> tuple[MemoryPool, ...]:
    """Read every probe once and return their pools in the probes' order."""
    return tuple(pool for probe in found for pool in probe.read())
