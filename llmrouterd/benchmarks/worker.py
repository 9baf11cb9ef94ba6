"""Keeps the published figures of the running daemon up to date: its sources and the owner's files.

Whatever fails, the last good figures stay, and the status of the source says so.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrouterd.benchmarks import status as statuses
from llmrouterd.benchmarks.figures import Figures
from llmrouterd.benchmarks.files import parse_csv
from llmrouterd.benchmarks.packaged import read_packaged
from llmrouterd.benchmarks.sync import Sync, describe, is_used, why_not_asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from llmrouterd.benchmarks.fetch import Fetcher
    from llmrouterd.benchmarks.providers.base import Parsed
    from llmrouterd.benchmarks.rows import BenchmarkRow
    from llmrouterd.discovery import Discovery
    from llmrouterd.policy import Benchmarks
    from llmrouterd.snapshot import Current
    from llmrouterd.store import Store

_LOOK_SECONDS = 30.0
_MOST_NAMED = 5


class BenchmarkWorker:
    """`count_matches` says of how many local models each source has figures; it is set by whoever
    knows. `on_event(event, fields)` is the log."""

    def __init__(
        self,
        current: Current,
        discovery: Discovery,
        store_: Store,
        on_event: Callable[[str, dict[str, Any]], None],
        fetcher: Fetcher | None = None,
    ) -> None:
        self._current = current
        self._discovery = discovery
        self._on_event = on_event
        self._stamps: dict[str, tuple[int, int]] = {}
        self._asked: set[str] = set()
        self._quiet: dict[str, float] = {}
        self._published: tuple[int, tuple[str, ...]] = (0, ())
        self._changed = asyncio.Event()
        self._wanted = asyncio.Event()
        self._publishing = asyncio.Lock()
        self.figures = Figures(store_)
        self.sync = Sync(self.figures, on_event, fetcher=fetcher)
        self.in_hand = ""
        self.count_matches: Callable[[], Mapping[str, int]] = dict

    async def restore(self) -> None:
        """Take over what the store has kept and the package carries, and publish it."""
        try:
            await self.figures.restore(await self._seed())
        except (sqlite3.Error, OSError, ValueError) as error:
            self._on_event("store.degraded", {"detail": f"no figures could be read back: {error}"})
        await self.publish()

    async def work(self) -> None:
        """Look at the files and at the clock for ever."""
        self.in_hand = ""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look(), name="benchmark files")
            group.create_task(self._follow(), name="benchmark sync")

    def wake(self) -> None:
        """Look at once."""
        self._changed.set()
        self._wanted.set()

    def ask(self, sources: Iterable[str]) -> list[str]:
        """Fetch these, and look at files and store, as soon as may be; returns all that wait or
        are in hand now."""
        self._asked |= set(sources) - {self.in_hand}
        self.wake()
        return self.waiting()

    def due(self, now: float) -> list[str]:
        """The sources whose time has come or that were asked for. now: Unix time."""
        settings = self._settings
        due: list[str] = []
        for name, reason in self.askable().items():
            if reason:
                self._asked.discard(name)
                continue
            quiet = self._quiet.setdefault(name, statuses.quiet_until(now, random.random()))
            planned = max(quiet, self.figures.status_of(name).next_at)
            if name in self._asked or (settings.every_hours > 0 and now >= planned):
                due.append(name)
        return due

    def waiting(self) -> list[str]:
        """The sources that are being fetched or were asked for."""
        return sorted(self._asked | ({self.in_hand} if self.in_hand else set()))

    def askable(self) -> dict[str, str]:
        """By source why it cannot be fetched, "" where it can."""
        settings = self._settings
        return {
            name: why_not_asked(provider, settings)
            for name, provider in self.sync.providers.items()
        }

    def sources(self) -> list[dict[str, Any]]:
        """The status of every source and of every file, as GET /admin/benchmarks shows it."""
        settings, matched = self._settings, self.count_matches()
        found: list[dict[str, Any]] = []
        for name, provider in self.sync.providers.items():
            shown = describe(provider, self.figures, settings)
            planned = max(self.figures.status_of(name).next_at, self._quiet.get(name, 0.0))
            never = settings.every_hours <= 0 or bool(why_not_asked(provider, settings))
            found.append({**shown, "next_at": None if never else statuses.moment(planned)})
        for name in (*self._only_packaged(), *(settings.files if settings.enabled else ())):
            shown = statuses.shown(self.figures.status_of(name))
            facts = len(self.figures.facts.get(name, ()))
            found.append({**shown, "next_at": None, "facts": facts})
        return [{**one, "matched": matched.get(one["source"], 0)} for one in found]

    async def read_files(self) -> None:
        """Read the owner's files that changed since they were read last, and publish."""
        settings = self._settings
        for source in settings.files if settings.enabled else ():
            await self._read_file(source)
        await self.publish()

    async def publish(self) -> None:
        """Hand all figures that count to the catalog, if they are others than before."""
        async with self._publishing:
            used = self._used()
            state = (self.figures.changes, used)
            if state == self._published:
                return
            rows = [row for name in used for row in self.figures.rows.get(name, ())]
            facts = [one for name in used for one in self.figures.facts.get(name, ())]
            learn = self._discovery.knowledge.library.learn
            library = await asyncio.to_thread(learn, rows, facts)
            self._published = state
            self._discovery.knowledge = replace(self._discovery.knowledge, library=library)
            self._discovery.rebuild()

    @property
    def _settings(self) -> Benchmarks:
        return self._current.snapshot.policy.benchmarks

    def _used(self) -> tuple[str, ...]:
        settings = self._settings
        providers = self.sync.providers
        names = [name for name, provider in providers.items() if is_used(provider, settings)]
        return (*names, *self._only_packaged(), *settings.files) if settings.enabled else ()

    def _only_packaged(self) -> list[str]:
        """What the package carries of sources that are never asked."""
        settings = self._settings
        there = self.figures.packaged if settings.enabled and settings.seed else ()
        return [name for name in there if name not in self.sync.providers]

    async def _seed(self) -> Mapping[str, Parsed]:
        settings = self._settings
        if not (settings.enabled and settings.seed):
            return {}
        return await asyncio.to_thread(read_packaged)

    async def _look(self) -> None:
        """The files, and what another process has written to the store."""
        while True:
            if not self.in_hand:
                await self._reread()
            await self.read_files()
            await _pause(self._changed, _LOOK_SECONDS)

    async def _reread(self) -> None:
        try:
            await self.figures.reread(self._seed)
        except (sqlite3.Error, OSError, ValueError):
            pass  # the store has said so itself, and what is known stays

    async def _follow(self) -> None:
        """Fetch what is due or asked for."""
        while True:
            due = self.due(time.time())
            if due:
                await self.sync.fetch_all(due, self._settings, self._begin)
                self.in_hand = ""
                await self.publish()
            await _pause(self._wanted, _LOOK_SECONDS)

    def _begin(self, source: str) -> None:
        self.in_hand = source
        self._asked.discard(source)

    async def _read_file(self, source: str) -> None:
        try:
            stamp = await asyncio.to_thread(_stamp, Path(source))
            if self._stamps.get(source) == stamp:
                return
            self._stamps[source] = stamp
            text = await asyncio.to_thread(Path(source).read_text, "utf-8-sig")
            rows = parse_csv(text)
        except (OSError, ValueError) as error:
            before, now = self.figures.status_of(source), time.time()
            status = statuses.failed(before, now, str(error), http_status=None, next_at=0.0)
            await self.figures.note(status)
            if (status.status, status.detail) != (before.status, before.detail):
                self._on_event("benchmarks.failed", {"source": source, "detail": str(error)})
            return
        before = self.figures.status_of(source)
        unscaled = self._unscaled(rows)
        status = statuses.succeeded(before, time.time(), unscaled, http_status=None, next_at=0.0)
        await self.figures.put(replace(status, rows=len(rows)), rows)
        self._on_event("benchmarks.read", {"source": source, "rows": len(rows)})

    def _unscaled(self, rows: Iterable[BenchmarkRow]) -> str:
        """Which boards count for nothing, since nobody says what their values mean."""
        scale = self._current.snapshot.policy.figures.scale
        boards = sorted({row.board for row in rows if scale(row.board) is None})
        if not boards:
            return ""
        named = ", ".join(boards[:_MOST_NAMED]) + (", ..." if boards[_MOST_NAMED:] else "")
        return f"no scale for {named}: these rows do not count; evidence.file can give one"


async def _pause(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
