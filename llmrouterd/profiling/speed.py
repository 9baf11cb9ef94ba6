"""Runs one step of the measuring of speed and memory, and gives what it found as plain data."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import asdict
from statistics import fmean
from typing import TYPE_CHECKING

from llmrouterd.errors import UpstreamError
from llmrouterd.hardware import probes, read_pools, used_bytes
from llmrouterd.profiling.prompts import make_body
from llmrouterd.profiling.steps import Step, output_length, prompt_length

if TYPE_CHECKING:
    from llmrouterd.backends.base import Footprint
    from llmrouterd.backends.pool import BackendPool
    from llmrouterd.catalog import Model
    from llmrouterd.discovery import Discovery
    from llmrouterd.policy import BackendSpec, Policy
    from llmrouterd.profiling.generation import Generator, Run
    from llmrouterd.profiling.steps import Result
    from llmrouterd.residency.loaded import Residency
    from llmrouterd.residency.ticket import Ticket

_MEGABYTE = 2**20


class SpeedBench:
    """Measures steps on the real backends. `loaded` holds the models that it has loaded itself;
    whoever sees another use of one takes it out."""

    def __init__(
        self, generator: Generator, pool: BackendPool, discovery: Discovery, residency: Residency
    ) -> None:
        self._generator = generator
        self._pool = pool
        self._discovery = discovery
        self._residency = residency
        self._random = random.Random()
        self._probes = probes()
        self.loaded: set[str] = set()

    async def run(self, step: Step, model: Model, policy: Policy) -> Result:
        """The result of one step. Raises UpstreamError."""
        spec = policy.backend(model.backend)
        if spec is None:
            raise UpstreamError(f"backend {model.backend} is gone")
        if step.kind == "load":
            return await self._load(step, model, spec, policy)
        if step.kind == "reload":
            return await self._reload(step, model, spec, policy)
        async with self._generator.place(model):
            if step.kind == "parallel":
                return await self._parallel(step, model, spec, policy)
            run = await self._generate(step, model, spec, policy)
            return {"point": asdict(run.point)}

    async def _generate(self, step: Step, model: Model, spec: BackendSpec, policy: Policy) -> Run:
        length = output_length(step, policy.profiling)
        body = make_body(prompt_length(step), length, self._random)
        run = await self._generator.generate(spec, model, body)
        self._residency.used(model.id)
        return run

    async def _load(self, step: Step, model: Model, spec: BackendSpec, policy: Policy) -> Result:
        """Load the model if nobody has; a first answer; then what it takes in memory."""
        if model.remote:
            run = await self._generate(step, model, spec, policy)
            return {"point": asdict(run.point), "cold": False}
        health = self._discovery.backends.get(spec.name)
        if health is not None:  # what was polled last may be half a minute old
            await self._discovery.check(health)
        cold = model.id not in self._residency.resident
        before = await self._used_vram()
        if cold:
            self.loaded.add(model.id)
        async with self._generator.place(model) as ticket:
            run = await self._generate(step, model, spec, policy)
            after = await self._used_vram()
            footprint = await self._footprint(spec, model)
        found: Result = {"point": asdict(run.point), "cold": cold and ticket.load_seconds is None}
        load = _load_seconds(footprint, ticket, run if cold else None)
        if load is not None:
            found["load_seconds"] = load
        if footprint is not None:
            found["memory"] = {
                "vram_bytes": footprint.vram_bytes,
                "ram_bytes": footprint.ram_bytes,
                "context": footprint.context,
            }
        if cold and before is not None and after is not None and after - before > _MEGABYTE:
            found["gpu_delta_bytes"] = after - before
        self._discovery.wake()  # it may have pushed another model out of memory
        return found

    async def _parallel(
        self, step: Step, model: Model, spec: BackendSpec, policy: Policy
    ) -> Result:
        """Several answers at once. The rate of all counts from the first token of any to the last
        token of all."""
        tasks = [
            asyncio.create_task(self._generate(step, model, spec, policy), name=f"{step.key}:{at}")
            for at in range(step.amount)
        ]
        try:
            runs = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        points = [run.point for run in runs]
        span = max(run.ended for run in runs) - min(run.began for run in runs)
        each = [p.output_tokens / p.decode_seconds for p in points if p.decode_seconds]
        if span <= 0 or not each:
            return {"skipped": "the answers were too short to measure"}
        total = sum(point.output_tokens for point in points) / span
        return {
            "tokens_per_second": round(min(total, sum(each)), 2),
            "stream_tokens_per_second": round(fmean(each), 2),
        }

    async def _reload(self, step: Step, model: Model, spec: BackendSpec, policy: Policy) -> Result:
        """Unload, load again with the file in the page cache. Only what profiling has loaded, or
        a process of our own: what somebody else has loaded stays."""
        if model.id not in self.loaded and not spec.models:
            return {"skipped": "it was loaded by somebody else"}
        if not await self._generator.unload(model):
            return {"skipped": "the backend does not unload"}
        started = time.monotonic()
        async with self._generator.place(model) as ticket:
            run = await self._generate(step, model, spec, policy)
            footprint = await self._footprint(spec, model)
        self._discovery.wake()
        return {
            "ttft": round(run.began - started, 4),
            "prompt_tokens": run.point.prompt_tokens,
            "load_seconds": _load_seconds(footprint, ticket, run),
        }

    async def _used_vram(self) -> int | None:
        return used_bytes(await asyncio.to_thread(read_pools, self._probes))

    async def _footprint(self, spec: BackendSpec, model: Model) -> Footprint | None:
        entry = self._pool.lease(spec)
        try:
            return await entry.backend.footprint(model.name)
        except UpstreamError:
            return None  # what it takes is good to know, and no reason to fail
        finally:
            self._pool.release(entry)


def _load_seconds(footprint: Footprint | None, ticket: Ticket, run: Run | None) -> float | None:
    """What a load took: as its backend says, else as we have waited for it, else as its answer
    says (`run`: of a model that was not loaded)."""
    own = footprint.load_seconds if footprint else None
    told = (own, ticket.load_seconds, run.load_seconds if run else None)
    return next((round(seconds, 3) for seconds in told if seconds is not None), None)
