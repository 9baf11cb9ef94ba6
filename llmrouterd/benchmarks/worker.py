"""Reads the benchmark files when they change; a broken file keeps its last good figures."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrouterd import store
from llmrouterd.assemble import group_rows
from llmrouterd.benchmarks.files import parse_csv
from llmrouterd.evidence import BenchmarkRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.discovery import Discovery
    from llmrouterd.snapshot import Current
    from llmrouterd.store import Store

_LOOK_SECONDS = 30.0


class BenchmarkWorker:
    """`sources` is the status of each file, as GET /admin/benchmarks shows it."""

    def __init__(
        self,
        current: Current,
        discovery: Discovery,
        store_: Store,
        on_event: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._current = current
        self._discovery = discovery
        self._store = store_
        self._on_event = on_event
        self._rows: dict[str, tuple[BenchmarkRow, ...]] = {}
        self._stamps: dict[str, tuple[int, int]] = {}
        self.sources: dict[str, dict[str, Any]] = {}

    def restore(self, rows: list[dict[str, Any]], sources: list[dict[str, Any]]) -> None:
        """Take over what the store has kept."""
        kept: dict[str, list[BenchmarkRow]] = {}
        for row in rows:
            fields = {name: row[name] for name in BenchmarkRow.__dataclass_fields__}
            kept.setdefault(row["source"], []).append(BenchmarkRow(**fields))
        self._rows = {source: tuple(found) for source, found in kept.items()}
        self.sources = {row["source"]: row for row in sources}

    async def work(self) -> None:
        """Look at the files for ever."""
        while True:
            await self.sync()
            await asyncio.sleep(_LOOK_SECONDS)

    async def sync(self) -> None:
        """Read the files that changed since they were read last."""
        settings = self._current.snapshot.policy.benchmarks
        files = settings.files if settings.enabled else ()
        for source in files:
            await self._read(source)
        for gone in self._rows.keys() - set(files):
            del self._rows[gone]
        self.publish()

    def publish(self) -> None:
        """Hand all rows to the catalog."""
        knowledge = self._discovery.knowledge
        rows = group_rows(row for found in self._rows.values() for row in found)
        if rows != knowledge.rows:
            self._discovery.knowledge = type(knowledge)(
                prior=knowledge.prior, profiles=knowledge.profiles, rows=rows
            )
            self._discovery.rebuild()

    async def _read(self, source: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        kept = len(self._rows.get(source, ()))
        try:
            stamp = await asyncio.to_thread(_stamp, Path(source))
            if self._stamps.get(source) == stamp:
                return
            self._stamps[source] = stamp
            text = await asyncio.to_thread(Path(source).read_text, "utf-8-sig")
            rows = parse_csv(text)
        except (OSError, ValueError) as error:
            self.sources[source] = {
                "source": source,
                "status": "stale" if kept else "failed",
                "checked_at": now,
                "rows": kept,
                "detail": str(error),
            }
            self._on_event("benchmarks.failed", {"source": source, "detail": str(error)})
            return
        status = {"status": "ok", "checked_at": now, "rows": len(rows), "detail": ""}
        self._rows[source] = rows
        self.sources[source] = {"source": source, **status}
        self._store.run(store.replace_benchmarks(source, [asdict(row) for row in rows], status))
        self._on_event("benchmarks.read", {"source": source, "rows": len(rows)})


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
