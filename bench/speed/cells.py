"""The cells of the benchmark: each one kind of load that every subject gets in turn."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One kind of load. `events` 0 asks for the short answer, `interval_ms` 0 is back to back."""

    name: str
    connections: int
    stream: bool = False
    events: int = 0
    interval_ms: int = 0
    tools: bool = False
    only: tuple[str, ...] = ()

    def applies(self, subject: str) -> bool:
        """True if the cell is measured for this subject."""
        return not self.only or subject in self.only


PLAIN = tuple(Cell(name=f"plain-{count}", connections=count) for count in (1, 32))
TOOLS = (Cell(name="tools-32", connections=32, tools=True, only=("direct", "bare", "llmrouterd")),)
PACED = (
    Cell(name="paced-1", connections=1, stream=True, events=8, interval_ms=5),
    Cell(name="paced-32", connections=32, stream=True, events=16, interval_ms=10),
    Cell(name="paced-256", connections=256, stream=True, events=24, interval_ms=50),
)
FLOOD = (
    Cell(name="flood-1", connections=1, stream=True, events=200),
    Cell(name="flood-32", connections=32, stream=True, events=100),
    Cell(name="flood-256", connections=256, stream=True, events=50),
)
CELLS = (*PLAIN, *TOOLS, *PACED, *FLOOD)
