"""How fast are the models here? Measured when the box is idle, one at a time, and given up at
once when a request comes in."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from llmrouterd import store
from llmrouterd.backends.base import Call
from llmrouterd.catalog import Profile
from llmrouterd.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.backends.base import Stream
    from llmrouterd.backends.pool import BackendPool
    from llmrouterd.catalog import Model
    from llmrouterd.discovery import Discovery
    from llmrouterd.dispatch import Dispatcher
    from llmrouterd.policy import Policy
    from llmrouterd.residency import Residency
    from llmrouterd.snapshot import Current
    from llmrouterd.store import Store

_LOOK_SECONDS = 2.0
_WORDS = "river stone window garden letter market candle bridge silver morning paper engine"


class _Run(NamedTuple):
    """One generation. Rates are None where neither timings nor counts allow them."""

    ttft: float
    prefill: float | None
    decode: float | None


class Profiler:
    """`progress` is what GET /admin/profiles shows of the work in hand."""

    def __init__(
        self,
        current: Current,
        discovery: Discovery,
        pool: BackendPool,
        dispatcher: Dispatcher,
        keep: tuple[Store, Residency],
        on_event: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._current = current
        self._discovery = discovery
        self._pool = pool
        self._dispatcher = dispatcher
        self._store, self._residency = keep
        self._on_event = on_event
        self._failed: dict[tuple[str, str | None], str] = {}
        self._asked = asyncio.Event()
        self.progress: dict[str, Any] = {"state": "idle", "waiting": 0}

    def ask(self) -> int:
        """Measure all models again, as soon as the box is idle; returns how many."""
        self._failed.clear()
        knowledge = self._discovery.knowledge
        self._discovery.knowledge = type(knowledge)(prior=knowledge.prior, rows=knowledge.rows)
        self._discovery.rebuild()
        self._asked.set()
        return len(self._waiting(self._current.snapshot.policy))

    async def work(self) -> None:
        """Measure for ever what was not measured yet."""
        while True:
            policy = self._current.snapshot.policy
            waiting = (
                self._waiting(policy) if policy.profiling.enabled or self._asked.is_set() else []
            )
            self.progress = {"state": "waiting" if waiting else "idle", "waiting": len(waiting)}
            if not waiting:
                self._asked.clear()
            elif self._is_idle(policy):
                await self._measure(waiting[0], policy, len(waiting))
                continue
            await asyncio.sleep(_LOOK_SECONDS)

    def failures(self) -> dict[str, str]:
        """Model id -> why it could not be measured."""
        return {model: reason for (model, _), reason in self._failed.items()}

    def _waiting(self, policy: Policy) -> list[Model]:
        return [
            model
            for model in self._current.snapshot.catalog.models
            if not model.profile.samples
            and (model.id, model.digest) not in self._failed
            and (not model.remote or policy.profiling.remote)
            and model.enabled
            and (model.capabilities is None or "chat" in model.capabilities)
        ]

    def _is_idle(self, policy: Policy) -> bool:
        wait = 0.0 if self._asked.is_set() else policy.profiling.idle_seconds
        quiet = time.monotonic() - self._dispatcher.last_request >= wait
        return quiet and not self._dispatcher.in_flight

    async def _measure(self, model: Model, policy: Policy, waiting: int) -> None:
        self.progress = {"state": "measuring", "model": model.id, "waiting": waiting}
        self._on_event("profile.started", {"model": model.id, "waiting": waiting})
        seen = self._dispatcher.last_request
        work = asyncio.create_task(self._profile(model, policy), name=f"profile:{model.id}")
        deadline = time.monotonic() + policy.profiling.timeout_seconds
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=0.1)
                if self._dispatcher.last_request != seen or self._dispatcher.in_flight:
                    self._on_event("profile.interrupted", {"model": model.id})
                    return
                if time.monotonic() > deadline:
                    reason = f"no result within {policy.profiling.timeout_seconds:g} s"
                    self._fail(model, reason)
                    return
            profile = work.result()
        except UpstreamError as error:
            self._fail(model, error.message)
        else:
            await self._save(model, profile)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    def _fail(self, model: Model, reason: str) -> None:
        self._failed[(model.id, model.digest)] = reason
        self._on_event("profile.failed", {"model": model.id, "reason": reason})

    async def _save(self, model: Model, profile: Profile) -> None:
        knowledge = self._discovery.knowledge
        profiles = {**knowledge.profiles, model.id: (model.digest, profile)}
        self._discovery.knowledge = type(knowledge)(
            prior=knowledge.prior, rows=knowledge.rows, profiles=profiles
        )
        self._discovery.rebuild()
        row = {"model": model.id, "digest": model.digest, "error": None, **asdict(profile)}
        self._store.run(store.save_profile(row))
        self._on_event("profile.measured", {"model": model.id, **asdict(profile)})

    async def _profile(self, model: Model, policy: Policy) -> Profile:
        """A first run that loads, and a second one with another prompt, so that no cache helps."""
        cold = model.id not in self._residency.resident and not model.remote
        tokens = policy.profiling.output_tokens
        first = await self._generate(model, policy, "Tell me a story. " + _WORDS, tokens)
        longer = " ".join(f"{word} {at}" for at, word in enumerate(_WORDS.split() * 12))
        second = await self._generate(model, policy, f"{longer}\nSum this up at length.", tokens)
        return Profile(
            load_seconds=round(max(0.0, first.ttft - second.ttft), 3) if cold else None,
            ttft_seconds=round(min(first.ttft, second.ttft), 4),
            prefill_tokens_per_second=second.prefill,
            decode_tokens_per_second=second.decode or first.decode,
            samples=2,
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    async def _generate(self, model: Model, policy: Policy, prompt: str, tokens: int) -> _Run:
        spec = policy.backend(model.backend)
        if spec is None:
            raise UpstreamError(f"backend {model.backend} is gone")
        entry = self._pool.lease(spec)
        body = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
            "temperature": 0.7,
        }
        call = Call("chat", model.name, body, model.num_ctx, model.keep_alive)
        started = time.monotonic()
        first = last = 0.0
        pieces = 0
        usage: dict[str, Any] = {}
        timings: dict[str, Any] = {}
        stream: Stream | None = None
        try:
            stream = await entry.backend.stream(call)
            while (frames := await stream.next(None)) is not None:
                for frame in frames:
                    chunk = frame.chunk or {}
                    usage = chunk.get("usage") or usage
                    timings = chunk.get("timings") or timings
                    if any(_speaks(choice) for choice in chunk.get("choices") or ()):
                        last = time.monotonic()
                        first = first or last
                        pieces += 1
        finally:
            if stream is not None:
                stream.close()
            self._pool.release(entry)
        if not first:
            raise UpstreamError(f"{model.id} generated nothing")
        written = usage.get("completion_tokens") or pieces
        decode = timings.get("predicted_per_second") if timings.get("predicted_ms", 0) > 1 else None
        if decode is None and written > 1 and last > first:
            decode = (written - 1) / (last - first)
        return _Run(
            ttft=first - started,
            prefill=_rate(timings.get("prompt_per_second")),
            decode=_rate(decode),
        )


def _speaks(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or {}
    return bool(delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"))


def _rate(value: Any) -> float | None:
    return round(float(value), 2) if isinstance(value, (int, float)) and 0 < value < 1e7 else None
