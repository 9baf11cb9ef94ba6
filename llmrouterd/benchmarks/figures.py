"""The raw figures of every source, in memory and in the store; whose they are is not asked here."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import orjson

from llmrouterd import tables
from llmrouterd.benchmarks.providers import gates
from llmrouterd.benchmarks.rows import BenchmarkRow, PublishedFacts
from llmrouterd.benchmarks.status import FAILED, STALE, Status, from_row, to_row

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from sqlite_utils import Database

    from llmrouterd.benchmarks.providers.base import Parsed
    from llmrouterd.store import Store

_FROM_PACKAGE = "the figures that the package carries"


class Figures:
    """`changes` counts what was taken in; `packaged` are the sources of the seed. A store that
    cannot be used costs permanence only."""

    def __init__(self, store_: Store) -> None:
        self._store = store_
        self._version: int | None = None
        self._lock = asyncio.Lock()  # memory and store change together
        self.changes = 0
        self.packaged: tuple[str, ...] = ()
        self.rows: dict[str, tuple[BenchmarkRow, ...]] = {}
        self.facts: dict[str, tuple[PublishedFacts, ...]] = {}
        self.status: dict[str, Status] = {}

    def status_of(self, source: str) -> Status:
        """Its status; that of a source never tried where there is none."""
        return self.status.get(source) or Status(source=source)

    async def restore(self, seed: Mapping[str, Parsed]) -> None:
        """Take over what the store has kept, and of the seed what is newer or missing there.
        Raises sqlite3.Error, OSError or ValueError when the store cannot be read; the seed is
        there then all the same."""
        async with self._lock:
            try:
                await self._read_back()
            finally:
                self._take_seed(seed)
                self.changes += 1

    async def reread(self, seed: Callable[[], Awaitable[Mapping[str, Parsed]]]) -> bool:
        """Restore again if another process has written to the store; whether it has."""
        version = await self._run(tables.data_version)
        if version == self._version:
            return False
        await self.restore(await seed())
        return True

    async def put(
        self,
        status: Status,
        rows: Iterable[BenchmarkRow],
        facts: Iterable[PublishedFacts] = (),
    ) -> None:
        """Replace all figures of a source and its status."""
        source = status.source
        async with self._lock:
            self.rows[source], self.facts[source] = tuple(rows), tuple(facts)
            self.status[source] = status
            self.changes += 1
            work = tables.replace_benchmarks(
                source,
                [asdict(row) for row in self.rows[source]],
                to_row(status),
                [(item.model, _encode(item)) for item in self.facts[source]],
            )
            await self._try(work)

    async def note(self, status: Status) -> None:
        """Replace the status of a source; its figures stay."""
        async with self._lock:
            self.status[status.source] = status
            await self._try(tables.save_source_status(status.source, to_row(status)))

    async def _try(self, work: Callable[[Database], None]) -> None:
        try:
            await self._run(work)
        except (sqlite3.Error, OSError):
            pass  # the store has said so itself

    async def _run(self, work: Callable[[Database], Any]) -> Any:
        return await asyncio.wrap_future(self._store.run(work))

    async def _read_back(self) -> None:
        self._version, kept, said, statuses = await self._run(_read_all)
        rows: dict[str, list[BenchmarkRow]] = defaultdict(list)
        for row in kept:
            rows[row.pop("source")].append(BenchmarkRow(**row))
        facts: dict[str, list[PublishedFacts]] = defaultdict(list)
        for row in said:
            facts[row["source"]].append(_decode(row["record"]))
        for row in statuses:
            status = from_row(row)
            self.status[status.source] = status
            self.rows[status.source] = tuple(rows[status.source])
            self.facts[status.source] = tuple(facts[status.source])

    def _take_seed(self, seed: Mapping[str, Parsed]) -> None:
        self.packaged = tuple(seed)
        for source, parsed in seed.items():
            status = self.status_of(source)
            there = self.rows.get(source) or self.facts.get(source)
            if there and parsed.published <= status.published:
                continue
            self.rows[source], self.facts[source] = parsed.rows, parsed.facts
            self.status[source] = replace(
                status,
                status=STALE if status.status == FAILED else status.status,
                rows=gates.figures(parsed),
                published=parsed.published,
                detail=status.detail if status.status in (FAILED, STALE) else _FROM_PACKAGE,
                marks={},
            )


def _read_all(database: Database) -> tuple[Any, ...]:
    """The state of the database, and its rows, facts and statuses."""
    names = ("benchmarks", "model_facts", "benchmark_sources")
    return tables.data_version(database), *(tables.all_rows(name)(database) for name in names)


def _encode(facts: PublishedFacts) -> str:
    return orjson.dumps(asdict(facts), default=sorted).decode()


def _decode(record: str) -> PublishedFacts:
    fields = orjson.loads(record)
    price, capabilities = fields["price"], fields["capabilities"]
    fields["price"] = None if price is None else tuple(price)
    fields["capabilities"] = None if capabilities is None else frozenset(capabilities)
    return PublishedFacts(**fields)
