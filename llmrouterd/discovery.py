"""Which models do the backends serve now? One loop for each backend; none waits for another."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from llmrouterd.assemble import Knowledge, assemble, identity_of
from llmrouterd.errors import UpstreamError, UpstreamUnreachable
from llmrouterd.tasks import guard

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.backends.base import ModelFacts
    from llmrouterd.backends.pool import BackendPool, Entry
    from llmrouterd.catalog import Model
    from llmrouterd.naming import Identity
    from llmrouterd.policy import BackendSpec, Policy
    from llmrouterd.residency.loaded import Residency
    from llmrouterd.snapshot import Current

_FIRST_RETRY = 2.0
_FAILURES_TO_DROP = 2
_FALLBACK_LINGER = 60.0


@dataclass(slots=True)
class Health:
    """How one backend is doing. `checked_at` is Unix time; `status`: unknown | ok | error;
    `answered`: at least once since the start."""

    spec: BackendSpec
    entry: Entry
    status: str = "unknown"
    error: str = ""
    answered: bool = False
    checked_at: float = 0.0
    failures: int = 0
    facts: tuple[ModelFacts, ...] = ()
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Discovery:
    """Keeps the catalog of the current Snapshot true. `on_event(event, fields)` is the log."""

    def __init__(
        self,
        current: Current,
        pool: BackendPool,
        residency: Residency,
        knowledge: Knowledge,
        on_event: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._current = current
        self._pool = pool
        self._residency = residency
        self._on_event = on_event
        self._others_since = 0.0
        self._made_of: object = None
        self._made_with: Knowledge | None = None
        self.knowledge = knowledge
        self.on_report: Callable[[str, tuple[ModelFacts, ...], float], None] = lambda *told: None
        self.on_listing: Callable[[str, str], None] = lambda *told: None
        self.backends: dict[str, Health] = {}

    def follow(self, policy: Policy) -> None:
        """Poll the backends of this policy: new and changed ones at once, others no longer."""
        wanted = {spec.name: spec for spec in policy.backends}
        before = dict(self.backends)
        for name, health in before.items():
            if wanted.get(name) != health.spec:
                self._drop(name)
        for name, spec in wanted.items():
            if name not in self.backends:
                health = self.backends[name] = Health(spec=spec, entry=self._pool.lease(spec))
                self._carry_over(before.get(name), health)
                if not spec.fallback:
                    health.entry.backend.want(True)
                health.task = asyncio.create_task(
                    guard(f"discovery:{name}", partial(self._poll, health), self._on_event),
                    name=f"discovery:{name}",
                )
        self.rebuild()

    def _carry_over(self, old: Health | None, new: Health) -> None:
        """The same server with other settings serves on while it is asked anew."""
        if old is None or (old.spec.type, old.spec.url) != (new.spec.type, new.spec.url):
            return
        if old.spec.models == new.spec.models:
            new.status, new.error, new.facts = old.status, old.error, old.facts
            new.failures, new.answered = old.failures, old.answered
            self._report(new, float("-inf"))

    def identify(self, model: Model) -> Identity:
        """What a model's names are looked up by."""
        spec = self._current.snapshot.policy.backend(model.backend)
        return identity_of(model, spec.type if spec else "")

    def matched(self) -> Counter[str]:
        """Of how many models each source has figures."""
        library = self.knowledge.library
        return Counter(
            source
            for model in self._current.snapshot.catalog.models
            for source in {
                figure.row.source
                for figure in library.figures(library.matches(self.identify(model), model.id))
            }
        )

    def learn(self, **parts: Any) -> None:
        """Replace parts of the knowledge, and rebuild the catalog with it."""
        self.knowledge = replace(self.knowledge, **parts)
        self.rebuild()

    def wake(self) -> None:
        """Poll every backend now."""
        for health in self.backends.values():
            health.wake.set()

    def rebuild(self) -> None:
        """Assemble the catalog anew and swap it in if it changed."""
        snapshot = self._current.snapshot
        facts = {name: health.facts for name, health in self.backends.items()}
        made_of = (snapshot.policy, facts)
        # Evidence takes a millisecond a model, and most polls bring nothing new.
        if made_of == self._made_of and self.knowledge is self._made_with:
            self._tend_fallbacks()
            return
        self._made_of, self._made_with = made_of, self.knowledge
        catalog = assemble(snapshot.policy, facts, self.knowledge)
        if catalog != snapshot.catalog:
            before = {model.id for model in snapshot.catalog.models}
            after = {model.id for model in catalog.models}
            self._current.swap(catalog=catalog)
            if before != after:
                self._on_event(
                    "catalog.changed",
                    {
                        "models": len(after),
                        "added": sorted(after - before),
                        "gone": sorted(before - after),
                    },
                )
        self._tend_fallbacks()

    def ready(self) -> bool:
        """Whether at least one backend serves a model now."""
        return any(health.status == "ok" and health.facts for health in self.backends.values())

    async def close(self) -> None:
        """Stop polling and give the leases back."""
        tasks = [health.task for health in self.backends.values() if health.task]
        for name in list(self.backends):
            self._drop(name)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drop(self, name: str) -> None:
        health = self.backends.pop(name)
        if health.task is not None:
            health.task.cancel()
        self._residency.forget(name)
        self._pool.release(health.entry)

    async def _poll(self, health: Health) -> None:
        while True:
            health.wake.clear()
            await self.check(health)
            pause = health.spec.poll_seconds
            if health.failures:
                pause = min(pause, _FIRST_RETRY * 2.0 ** (health.failures - 1))
            elif health.spec.models:
                pause = min(pause, 5.0) if not health.facts else pause
            try:
                async with asyncio.timeout(pause * random.uniform(0.9, 1.1)):
                    await health.wake.wait()
            except TimeoutError:
                pass

    async def check(self, health: Health) -> None:
        """Ask one backend once and take in what it says."""
        name, before, asked_at = health.spec.name, health.status, time.monotonic()
        try:
            facts = await health.entry.backend.discover()
        except UpstreamError as error:
            health.failures += 1
            health.status, health.error = "error", error.message
            # One slow answer of a busy backend is not the end of its models.
            if health.failures >= _FAILURES_TO_DROP or not health.facts:
                health.facts = ()
            if health.failures >= _FAILURES_TO_DROP:
                self.on_listing(name, health.error)
                # One that hangs, or fails to list, may hold its models all the same.
                if isinstance(error, UpstreamUnreachable):
                    self._report(health, asked_at)
        else:
            health.failures, health.error, health.answered = 0, "", True
            health.status, health.facts = "ok", facts
            self._report(health, asked_at)
            self.on_listing(name, "")
        health.checked_at = time.time()
        if health.status != before:
            self._on_event(
                "backend." + ("up" if health.status == "ok" else "down"),
                {"backend": name, "models": len(health.facts), "error": health.error},
            )
        if self.backends.get(name) is health:
            self.rebuild()

    def _report(self, health: Health, asked_at: float) -> None:
        name, facts = health.spec.name, health.facts
        self._residency.report(
            name,
            {f"{name}/{fact.name}": fact.loaded for fact in facts},
            {f"{name}/{fact.name}": fact.slots or 1 for fact in facts},
        )
        self.on_report(name, facts, asked_at)

    def _tend_fallbacks(self) -> None:
        """Start fallback backends once all others were asked and serve nothing; stop them when
        another has served for a while."""
        others = [health for health in self.backends.values() if not health.spec.fallback]
        spare = [health for health in self.backends.values() if health.spec.fallback]
        now = time.monotonic()
        if any(health.facts for health in others):
            self._others_since = self._others_since or now
            if now - self._others_since > _FALLBACK_LINGER:
                for health in spare:
                    if not health.entry.running:  # an answer on it is not cut off
                        health.entry.backend.want(False)
            return
        self._others_since = 0.0
        if all(health.status != "unknown" for health in others):
            for health in spare:
                health.entry.backend.want(True)
