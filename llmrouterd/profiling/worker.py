"""When is measured: one model at a time, step by step, while the box is idle. A request that
comes in interrupts at once; what is finished is kept, and the step in hand is done again later."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llmrouterd.errors import (
    UpstreamBusy,
    UpstreamError,
    UpstreamLoading,
    UpstreamStatus,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmrouterd.policy import Globs
from llmrouterd.profiling.ability import (
    AbilityBench,
    ability_steps,
    find_judge,
    with_abilities,
)
from llmrouterd.profiling.failures import Failures
from llmrouterd.profiling.generation import Generator
from llmrouterd.profiling.live import Live, apply
from llmrouterd.profiling.plan import Job, after, is_measurable, make_job, without
from llmrouterd.profiling.progress import Pace, Progress
from llmrouterd.profiling.record import Record, with_results
from llmrouterd.profiling.records import Records
from llmrouterd.profiling.speed import SpeedBench
from llmrouterd.profiling.steps import SPEED_KINDS, Step, expected_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from llmrouterd.backends.pool import BackendPool
    from llmrouterd.catalog import Model, Profile
    from llmrouterd.discovery import Discovery
    from llmrouterd.dispatch import Dispatcher
    from llmrouterd.journal import Outcome
    from llmrouterd.policy import Policy
    from llmrouterd.profiling.steps import Result
    from llmrouterd.residency.loaded import Residency
    from llmrouterd.residency.places import Places
    from llmrouterd.snapshot import Current
    from llmrouterd.store import Store

_LOOK_SECONDS = 2.0
_SETTLE_SECONDS = 2.0
_PROBE_PAUSE = 5.0
# Statuses that speak of the key, the model or the moment, and not of what was asked.
_NOT_THE_STEP = {401, 402, 403, 404, 408, 409, 425, 429}


class _Interrupted(Exception):
    """A request came in."""


class Profiler:
    """`progress` is what GET /admin/profiles shows of the work in hand."""

    def __init__(
        self,
        current: Current,
        discovery: Discovery,
        backends: tuple[BackendPool, Places],
        dispatcher: Dispatcher,
        keep: tuple[Store, Residency],
        on_event: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._current = current
        self._dispatcher = dispatcher
        self._residency = keep[1]
        self._on_event = on_event
        self._records = Records(discovery, keep[0])
        generator = Generator(current, *backends)
        self._bench = SpeedBench(generator, backends[0], discovery, keep[1])
        self._abilities = AbilityBench(generator)
        self._live = Live()
        self._failures = Failures()
        self._pace = Pace()
        self._asked: dict[str, bool] = {}
        self._wake = asyncio.Event()
        self._model = ""
        self._settled = self._drained = time.monotonic()
        self.progress = Progress()

    def restore(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take over what the store has kept."""
        self._records.restore(rows)

    def observe(self, outcome: Outcome) -> None:
        """Learn from a served request; costs a few microseconds."""
        if outcome.model is not None:
            self._bench.loaded.discard(outcome.model.id)  # somebody uses it now
            settings = self._current.snapshot.policy.profiling.live
            self._live.observe(outcome, settings, time.time())

    def observe_load(self, model: Model, seconds: float) -> None:
        """Learn from a load that a request has waited for."""
        settings = self._current.snapshot.policy.profiling.live
        self._live.observe_load(model, seconds, settings, time.time())

    def ask(self, names: Iterable[str] = ("*",), *, speed_only: bool = False) -> list[str]:
        """Measure these models (globs over ids) again, as soon as nothing else runs; returns
        their ids. Their figures stay until there are new ones."""
        policy, globs = self._current.snapshot.policy, Globs(names)
        found = [
            model
            for model in self._current.snapshot.catalog.models
            if is_measurable(model, policy.profiling)
            and (globs.match(model.id) or globs.match(model.name))
        ]
        for model in found:
            record = self._records.of(model)
            done = without(record.done, speed_only=speed_only)
            self._records.keep(model, Record(profile=record.profile, done=done))
            self._failures.clear(model)
            self._asked[model.id] = speed_only
        self._wake.set()
        return [model.id for model in found]

    def asked(self) -> list[str]:
        """The models that the owner has asked for and that are not finished."""
        return list(self._asked)

    def failures(self) -> dict[str, dict[str, Any]]:
        """Model id -> why it could not be measured, and when it is tried again."""
        return self._failures.data(time.monotonic())

    async def work(self) -> None:
        """Measure for ever what was not measured yet."""
        try:
            while True:
                self._learn(self._current.snapshot.policy)
                if not await self._next():
                    self._wake.clear()
                    try:
                        async with asyncio.timeout(_LOOK_SECONDS):
                            await self._wake.wait()
                    except TimeoutError:
                        pass
        finally:
            self._drain()
            self._records.settle()

    async def _next(self) -> bool:
        """Do the next step, if there is one and its time has come; whether it was tried."""
        policy = self._current.snapshot.policy
        jobs = self._jobs(policy)
        now = time.monotonic()
        ready = [job for job in jobs if not self._failures.rests(job.model, now)]
        if not ready or not self._is_idle(policy, ready[0].asked):
            self.progress = Progress(
                state="waiting" if jobs else "idle",
                waiting=len(jobs),
                eta_seconds=self._left(ready, policy) if ready else None,
            )
            self._records.settle()
            return False
        job, step = ready[0], ready[0].todo[0]
        if job.model.id != self._model:
            self._model = job.model.id
            self._on_event("profile.started", {"model": job.model.id, "waiting": len(jobs)})
        self.progress = Progress(
            state="measuring",
            model=job.model.id,
            step=step.key,
            steps_done=job.total - len(job.todo),
            steps_total=job.total,
            waiting=len(jobs),
            eta_seconds=self._left(ready, policy),
        )
        await self._do(job, step, policy)
        return True

    def _jobs(self, policy: Policy) -> list[Job]:
        """What is not finished: the model in hand, then what the owner has asked for."""
        profiling = policy.profiling
        found = []
        catalog = self._current.snapshot.catalog
        judge = find_judge(profiling, catalog)
        for model in catalog.models:
            asked = model.id in self._asked
            if not (asked or profiling.enabled) or not is_measurable(model, profiling):
                continue
            further = () if self._asked.get(model.id) else ability_steps(model, profiling, judge)
            slots = self._residency.slots.get(model.id, 1)
            job = make_job(model, self._records.of(model), slots, profiling, further)
            if job.todo:
                found.append(replace(job, asked=asked))
            else:
                self._asked.pop(model.id, None)
        for name in self._asked.keys() - catalog.by_id.keys():
            del self._asked[name]
        return sorted(found, key=lambda job: (not job.asked, job.model.id != self._model))

    def _is_idle(self, policy: Policy, asked: bool) -> bool:
        wait = 0.0 if asked else policy.profiling.idle_seconds
        quiet = time.monotonic() - self._dispatcher.last_request >= wait
        return quiet and not self._dispatcher.in_flight

    def _left(self, jobs: list[Job], policy: Policy) -> float:
        """Seconds until all of this is done, about; where the owner waits, what was asked for."""
        jobs = [job for job in jobs if job.asked] or jobs
        return round(
            sum(
                self._pace.correct(step.kind, self._expected(step, job, policy))
                for job in jobs
                for step in job.todo
            ),
            1,
        )

    def _expected(self, step: Step, job: Job, policy: Policy) -> float:
        return expected_seconds(step, job.record.profile, policy.profiling)

    async def _do(self, job: Job, step: Step, policy: Policy) -> None:
        expected = self._expected(step, job, policy)
        started = time.monotonic()
        try:
            result = await self._attempt(job, step, policy)
        except _Interrupted:
            self._on_event("profile.interrupted", {"model": job.model.id, "step": step.key})
            self._records.settle()
            return
        except UpstreamError as error:
            found = self._failed(job.model, step, error, policy)
            if found is None:
                return
            result = found
        else:
            self._pace.learn(step.kind, expected, time.monotonic() - started)
            self._failures.clear(job.model)
        self._take(job, step, result)

    async def _attempt(self, job: Job, step: Step, policy: Policy) -> Result:
        """The step's result. Raises UpstreamError, and _Interrupted when a request came in."""
        limit: float | None = policy.profiling.timeout_seconds
        if step.kind not in SPEED_KINDS:
            limit = None if job.record.profile.decode_tokens_per_second else limit
        profile = job.record.profile
        expected = expected_seconds(step, profile, policy.profiling)
        if limit and step.kind == "prompt" and profile.points and expected > limit:
            return {"skipped": f"it would take about {expected:.0f} s"}
        arrived = self._dispatcher.arrived
        arrived.clear()
        work = asyncio.create_task(self._run(job, step, policy), name=f"profile:{job.model.id}")
        request = asyncio.create_task(arrived.wait(), name="profile:request")
        try:
            await asyncio.wait({work, request}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if request.done():
                raise _Interrupted
            raise UpstreamTimeout(f"no result within {limit:g} s")
        finally:
            for task in (work, request):
                task.cancel()
            await asyncio.gather(work, request, return_exceptions=True)

    async def _run(self, job: Job, step: Step, policy: Policy) -> Result:
        if step.kind in SPEED_KINDS:
            return await self._bench.run(step, job.model, policy)
        world = policy, self._current.snapshot.catalog
        # The profile of the catalog may be a little older than the record's.
        model = replace(job.model, profile=job.record.profile)
        return await self._abilities.run(step, model, job.record.done, world)

    def _failed(
        self, model: Model, step: Step, error: UpstreamError, policy: Policy
    ) -> Result | None:
        """What a failure means: a result that says why there is none, or None for another try."""
        pause, now = policy.profiling.retry_seconds, time.monotonic()
        if step.kind not in SPEED_KINDS:
            pause = min(pause, _PROBE_PAUSE)  # the model works; one answer of it does not
        failure = self._failures.add(model, step.key, error.message, pause, now)
        refused = (
            isinstance(error, UpstreamStatus)
            and 400 <= error.upstream_status < 500
            and error.upstream_status not in _NOT_THE_STEP
        )
        gone = isinstance(error, (UpstreamBusy, UpstreamUnreachable, UpstreamLoading))
        skipped = step.kind != "load" and not gone and (refused or failure.hopeless)
        self._on_event(
            "profile.failed",
            {
                "model": model.id,
                "step": step.key,
                "reason": error.message,
                "attempts": failure.attempts,
                "retry_in": None if skipped else round(failure.retry_at - now, 1),
            },
        )
        if not skipped:
            self._model = ""
            return None
        self._failures.clear(model)
        return {"skipped": error.message}

    def _take(self, job: Job, step: Step, result: Result) -> None:
        """Keep a step's result, and tell what it has changed."""
        model, record = job.model, self._records.of(job.model)
        done = after(step, record.done, result)
        profile = record.profile
        if step.kind in SPEED_KINDS:
            profile = with_results(profile, done, _moment())
            self._live.forget(model.id)
        else:
            profiling = self._current.snapshot.policy.profiling
            profile = with_abilities(profile, model, done, profiling)
        self._records.keep(model, Record(profile=profile, done=done))
        now = time.monotonic()
        last = len(job.todo) == 1
        if last or step.kind in SPEED_KINDS or now - self._settled >= _SETTLE_SECONDS:
            self._settled = now
            self._records.settle()
            said = asdict(self.progress)
            self._on_event(
                "profile.progress", {**said, "steps_done": job.total - len(job.todo) + 1}
            )
        if last:
            self._model = ""
            self._asked.pop(model.id, None)
            self._on_event("profile.measured", {"model": model.id, **_figures(profile)})

    def _learn(self, policy: Policy) -> None:
        now = time.monotonic()
        if now - self._drained >= policy.profiling.live.save_seconds:
            self._drain()
            self._records.settle()

    def _drain(self) -> None:
        """Bring what the served requests have taught into the profiles."""
        self._drained = time.monotonic()
        known = self._current.snapshot.catalog.by_id
        for name, tracked in self._live.drain().items():
            model = known.get(name)
            if model is not None and model.digest == tracked.digest:
                record = self._records.of(model)
                profile = apply(record.profile, tracked, model.remote, _moment())
                self._records.keep(model, replace(record, profile=profile))


def _moment() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _figures(profile: Profile) -> dict[str, Any]:
    """A profile without its long parts, for the log."""
    return {name: value for name, value in asdict(profile).items() if not isinstance(value, tuple)}
