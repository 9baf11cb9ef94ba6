"""One memory that models compete for, and what finds such memories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPool:
    """One memory that models compete for, at the moment it was read.

    `name` is `vendor:index product`; the index follows the PCI address, so it survives a restart
    as long as no card is added before it. `used_bytes` is what is not free, whoever holds it;
    None where the driver does not say. In a `unified` pool it counts the memory that the system's
    own programs hold, because a model cannot have that either. `processes` are (pid, bytes) in
    ascending order of pid, as the driver sees them: from within a container the pids are the
    host's, and they need not sum up to `used_bytes`.
    """

    name: str
    vendor: str
    total_bytes: int
    used_bytes: int | None
    unified: bool = False
    processes: tuple[tuple[int, int], ...] = ()


class Probe(Protocol):
    """Finds the memory pools of one vendor."""

    @property
    def name(self) -> str:
        """Return the vendor whose hardware this looks for."""
        ...

    def read(self) -> tuple[MemoryPool, ...]:
        """Return the pools as they are now; blocking; () where there is no such hardware."""
        ...
