"""The owner's edits of the policy: which there were, what each changes about the requests of the
last day, an edit tried before it is saved, and the writing of the file."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import sqlite3
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from llmrouterd import tables
from llmrouterd.config import load_policy
from llmrouterd.errors import ConfigError, Conflict
from llmrouterd.policy_tests import Result, problems_of, run_tests
from llmrouterd.replay.comparison import Comparison, compare, summary
from llmrouterd.replay.reading import read_decisions
from llmrouterd.replay.recorded import Replayer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmrouterd.policy import Policy
    from llmrouterd.problems import Problem
    from llmrouterd.settings import Settings
    from llmrouterd.snapshot import Current
    from llmrouterd.store import Store
    from llmrouterd.watcher import Edit

# An edit is tried on so many of the newest requests of a day, which takes about a second.
DAY_SECONDS, MOST_REPLAYED = 86400.0, 1000
_MOST_EDITS = 50
_MOST_BACKUPS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An edit that was tried. A policy that can be read has a digest, the results of its own tests,
    and what it changes, if the recorded requests could be read. Failed tests are problems where it
    says so."""

    problems: tuple[Problem, ...] = ()
    digest: str = ""
    results: tuple[Result, ...] = ()
    comparison: Comparison | None = None


class Edits:
    """One for the daemon's life. `history` has the applied policies, the newest first: `digest`,
    `at` (Unix time), `reason`, `changed` and `summary`, null until it is known. `saving` is held
    from the check of a text that is saved until it is the active policy: one save at a time."""

    def __init__(
        self,
        settings: Settings,
        current: Current,
        store: Store,
        on_event: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self.history: deque[dict[str, Any]] = deque(maxlen=_MOST_EDITS)
        self.saving = asyncio.Lock()
        self._settings = settings
        self._current = current
        self._store = store
        self._on_event = on_event
        self._news: asyncio.Queue[tuple[dict[str, Any], Edit]] = asyncio.Queue()

    async def restore(self) -> None:
        """Read the history back, and add the policy of this start where it is another one."""
        try:
            rows = await asyncio.wrap_future(self._store.run(tables.policies))
        except (sqlite3.Error, OSError):
            rows = []  # the store has said so itself
        for row in rows:
            changed = orjson.loads(row["changed"])
            self.history.append({**row, "changed": changed, "summary": row["summary"] or None})
        digest = self._current.snapshot.policy.digest
        if not self.history or self.history[0]["digest"] != digest:
            self._add(digest, "start", [])

    def note(self, edit: Edit) -> None:
        """An edit was applied; `work` tells what it changes."""
        self._news.put_nowait((self._add(edit.after.digest, edit.reason, edit.changed), edit))

    async def work(self) -> None:
        """Compare edits for ever, each with the policy before it, while the history has it."""
        while True:
            entry, edit = await self._news.get()
            if entry not in self.history:
                continue
            compared = await self._compare(edit.after, edit.before)
            if compared is not None and compared.decisions:
                entry["summary"] = summary(compared)
                self._save(entry)
                self._on_event(
                    "config.compared",
                    {"digest": edit.after.digest, "summary": entry["summary"]},
                )

    async def attempt(self, text: bytes) -> Attempt:
        """What would come of this text as the policy; nothing is applied."""
        policy, results, problems = await self._read(text)
        if policy is None:
            return Attempt(problems=problems)
        return Attempt(
            problems=problems,
            digest=policy.digest,
            results=results,
            comparison=await self._compare(policy, self._current.snapshot.policy),
        )

    async def problems(self, text: bytes) -> tuple[Problem, ...]:
        """Why this text would be refused as the policy; none if it would not."""
        return (await self._read(text))[2]

    async def _read(
        self, text: bytes
    ) -> tuple[Policy | None, tuple[Result, ...], tuple[Problem, ...]]:
        """The policy, None where there is none, what came of its tests, and its problems."""
        try:
            policy = await asyncio.to_thread(load_policy, self._settings, text)
        except ConfigError as error:
            return None, (), error.problems
        results = await asyncio.to_thread(run_tests, policy, self._current.snapshot.catalog)
        return policy, results, problems_of(results) if policy.tests.refuse else ()

    async def _compare(self, after: Policy, before: Policy) -> Comparison | None:
        """None where the recorded requests cannot be read."""
        since = time.time() - DAY_SECONDS

        def work() -> Comparison:
            records = read_decisions(self._store.path, since, MOST_REPLAYED)
            return compare(records, Replayer(after), Replayer(before))

        try:
            return await asyncio.to_thread(work)
        except (sqlite3.Error, OSError):
            return None  # there is no database yet, or it is broken, which the store says

    def _add(self, digest: str, reason: str, changed: list[str]) -> dict[str, Any]:
        entry = {
            "digest": digest,
            "at": time.time(),
            "reason": reason,
            "changed": changed,
            "summary": None,
        }
        self.history.appendleft(entry)
        self._save(entry)
        return entry

    def _save(self, entry: dict[str, Any]) -> None:
        changed = orjson.dumps(entry["changed"]).decode()
        row = {**entry, "changed": changed, "summary": entry["summary"] or ""}
        self._store.run(tables.save_policy(row, _MOST_EDITS))


def text_digest(text: bytes) -> str:
    """What tells one version of the file from another."""
    return hashlib.sha256(text).hexdigest()[:16]


def write_policy(path: Path, text: bytes, expected: str) -> Path:
    """Replace the file's content at once, whole or not at all, and keep the one before beside it;
    returns where: `<name>.<time>-<digest>.bak`. expected: the digest of the content that was
    edited. Raises Conflict where the file has changed since, and OSError."""
    target = path.resolve()  # a link stays a link
    before = target.read_bytes()
    digest = text_digest(before)
    if digest != expected:
        raise Conflict(f"{path} has changed since it was read; read it again and edit that.")
    # Several texts may be kept within a second, each under its own digest.
    stamp = time.strftime("%Y%m%d-%H%M%S")
    backup = target.with_name(f"{target.name}.{stamp}-{digest[:8]}.bak")
    shutil.copy2(target, backup)
    fresh = target.with_name(f".{target.name}.new")
    try:
        with fresh.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(target, fresh)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    _forget_backups(target, backup)
    return backup


def _forget_backups(target: Path, newest: Path) -> None:
    """Delete all but the newest and the last before it, by the times in their names, which a clock
    that was set may belie. Files of other names are not ours."""
    ours = re.compile(re.escape(target.name) + r"\.\d{8}-\d{6}-[0-9a-f]{8}\.bak")
    found = [path for path in target.parent.iterdir() if ours.fullmatch(path.name)]
    for old in sorted(path for path in found if path != newest)[: 1 - _MOST_BACKUPS]:
        old.unlink(missing_ok=True)
