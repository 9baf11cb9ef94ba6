"""File event -> load -> prepare -> swap, or report. A reload never exits and never half-applies."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from watchfiles import awatch

from llmrouterd.config import load_policy
from llmrouterd.config.files import fingerprint, rules_folder
from llmrouterd.errors import ConfigError
from llmrouterd.policy_tests import Result, count_results, problems_of, run_tests

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from watchfiles import Change

    from llmrouterd.discovery import Discovery
    from llmrouterd.metrics import Metrics
    from llmrouterd.policy import Policy
    from llmrouterd.problems import Problem
    from llmrouterd.settings import Settings
    from llmrouterd.snapshot import Current

_SETTLE = 0.05
_SETTLE_EMPTY = 0.5
_LOOK_AGAIN_MS = 2000
NEEDS_RESTART = (("server", "host"), ("server", "port"), ("storage", "database"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An edit that was refused. `fingerprint` is of the files' bytes."""

    fingerprint: str
    at: float
    problems: tuple[Problem, ...]


class Edit(NamedTuple):
    """An edit that was applied. reason: of the reload. changed: the parts of the policy."""

    before: Policy
    after: Policy
    reason: str
    changed: list[str]


class Reloader:
    """Applies edits. `on_applied(policy)` runs right after the swap, without an await between;
    `on_edit` is told of it afterwards. `seen`: the fingerprint that the files had before they were
    read, for what is written while the daemon starts is an edit, too; "" makes it look anew."""

    def __init__(
        self,
        settings: Settings,
        current: Current,
        discovery: Discovery,
        metrics: Metrics,
        on_event: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self.settings = settings
        self.rejected: Rejected | None = None
        self.tested: tuple[Result, ...] = ()
        self.loaded_at = time.time()
        self.on_applied: list[Callable[[Policy], None]] = []
        self.on_edit: Callable[[Edit], None] = lambda edit: None
        self._current = current
        self._discovery = discovery
        self._metrics = metrics
        self._on_event = on_event
        self._lock = asyncio.Lock()
        self.seen = ""

    async def watch(self) -> None:
        """Follow the files for ever."""
        while True:
            folders = await asyncio.to_thread(_folders, self.settings)
            async for _ in awatch(
                *folders,
                watch_filter=_concerns(self.settings),
                recursive=False,
                step=20,
                debounce=400,
                rust_timeout=_LOOK_AGAIN_MS,
                yield_on_timeout=True,
            ):
                await self._look()
                if await asyncio.to_thread(_folders, self.settings) != folders:
                    break

    async def _look(self) -> None:
        """Reload if the files' bytes are others than those last seen, once they hold still."""
        found = await asyncio.to_thread(fingerprint, self.settings)
        if found == self.seen:
            return
        while True:
            # An editor may truncate and then write: an empty file is a policy, but hardly meant.
            empty = await asyncio.to_thread(_is_empty, self.settings.policy)
            await asyncio.sleep(_SETTLE_EMPTY if empty else _SETTLE)
            again = await asyncio.to_thread(fingerprint, self.settings)
            if again == found:
                break
            found = again
        await self.reload("file")

    async def reload(self, reason: str) -> tuple[bool, tuple[Problem, ...]]:
        """Load and apply; (applied or unchanged, problems)."""
        async with self._lock:
            seen = await asyncio.to_thread(fingerprint, self.settings)
            self.seen = seen
            try:
                policy = await asyncio.to_thread(load_policy, self.settings)
            except ConfigError as error:
                return self._reject(seen, reason, error.problems)
            results = await self._run_tests(policy)
            failures = problems_of(results)
            other = policy.digest != self._current.snapshot.policy.digest
            if failures and policy.tests.refuse and other:
                return self._reject(seen, reason, failures)
            self.rejected = None
            self._metrics.policy_valid.set(1)
            self._apply(policy, reason)
            self._note(results, reason)
            return True, ()

    async def test(self, reason: str) -> None:
        """Run the active policy's own tests. A failure is said, and stops nothing."""
        async with self._lock:
            self._note(await self._run_tests(self._current.snapshot.policy), reason)

    async def _run_tests(self, policy: Policy) -> tuple[Result, ...]:
        """By the models that are known now, none of them busy; many cases take a while."""
        if not policy.tests.cases:
            return ()
        return await asyncio.to_thread(run_tests, policy, self._current.snapshot.catalog)

    def _note(self, results: tuple[Result, ...], reason: str) -> None:
        self.tested = results
        failures = [str(problem) for problem in problems_of(results)]
        if failures:
            fields = {"reason": reason, **count_results(results), "failures": failures}
            self._on_event("tests.failed", fields)

    def _reject(
        self, seen: str, reason: str, problems: tuple[Problem, ...]
    ) -> tuple[bool, tuple[Problem, ...]]:
        self.rejected = Rejected(fingerprint=seen, at=time.time(), problems=problems)
        self._metrics.inc(self._metrics.reloads, "rejected")
        self._metrics.policy_valid.set(0)
        self._on_event(
            "config.rejected",
            {
                "reason": reason,
                "problems": [str(problem) for problem in problems],
                "serving": self._current.snapshot.policy.digest,
            },
        )
        return False, problems

    def _apply(self, policy: Policy, reason: str) -> None:
        before = self._current.snapshot.policy
        if policy.digest == before.digest:
            self._metrics.inc(self._metrics.reloads, "unchanged")
            self._on_event("config.unchanged", {"reason": reason, "digest": policy.digest})
            return
        self._current.swap(policy=policy)
        self._discovery.follow(policy)
        for applied in self.on_applied:
            applied(policy)
        self.loaded_at = time.time()
        self._metrics.inc(self._metrics.reloads, "applied")
        self._metrics.policy.clear()
        self._metrics.policy.labels(policy.digest).set(1)
        changed = changed_parts(before, policy)
        self._on_event(
            "config.reloaded", {"reason": reason, "digest": policy.digest, "changed": changed}
        )
        self.on_edit(Edit(before, policy, reason, changed))
        waiting = [
            f"{part}.{key}" for part, key in NEEDS_RESTART if _differs(before, policy, part, key)
        ]
        if waiting:
            self._on_event("config.restart_needed", {"settings": waiting})


def changed_parts(before: Policy, after: Policy) -> list[str]:
    """The top-level parts that differ; none after an edit of a comment."""
    parts = [
        item.name
        for item in fields(after)
        if item.compare
        and item.name != "digest"
        and getattr(before, item.name) != getattr(after, item.name)
    ]
    parts += ["lexicons"] * (before.lexicons.lexicons != after.lexicons.lexicons)
    return parts + ["figures"] * (before.figures is not after.figures)


def _differs(before: Policy, after: Policy, part: str, key: str) -> bool:
    return bool(getattr(getattr(before, part), key) != getattr(getattr(after, part), key))


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        return True


def _concerns(settings: Settings) -> Callable[[Change, str], bool]:
    """Whether a changed name may matter: other files beside the policy, such as the database,
    change all the time. Links count by the names that Kubernetes gives them."""
    names = {settings.policy.name, settings.policy.resolve().name}

    def concerns(change: Change, path: str) -> bool:
        name = path.rpartition("/")[2]
        return name in names or name.endswith((".yaml", ".yml", ".json")) or name.startswith("..")

    return concerns


def _folders(settings: Settings) -> set[Path]:
    """The folders to watch: of the file as named, of what it points to, and the lexicons'."""
    folders = {
        settings.policy.parent,
        settings.policy.resolve().parent,
        rules_folder(settings).resolve(),
    }
    return {folder for folder in folders if folder.is_dir()}
