"""The conditions of models and backends by this machine's clock: what an error means for them, and
every transition in the log and in the metrics. What is decided is decided by `health`."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from llmrouterd.errors import (
    UpstreamBusy,
    UpstreamLeft,
    UpstreamLoading,
    UpstreamStatus,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmrouterd.health import (
    AVOIDED,
    COOLING,
    DEAD,
    ENDLESS,
    RECOVERING,
    SUSPECT,
    Conditions,
    Watch,
    expect,
    worst,
)
from llmrouterd.scorer import tool_tokens_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from llmrouterd.catalog import Catalog, Model
    from llmrouterd.errors import UpstreamError
    from llmrouterd.metrics import Metrics
    from llmrouterd.policy import BackendSpec, Policy
    from llmrouterd.signals import Signals

# A request that is without a time limit lets the next one try for it after so many seconds.
_PATIENCE_SECONDS = 60.0


class Vitals:
    """One for the daemon's life. `changed` is set whenever there may be something to look for;
    `give_way` is called before a request asks for a place."""

    def __init__(
        self, policy: Policy, metrics: Metrics, on_event: Callable[[str, dict[str, Any]], None]
    ) -> None:
        self._metrics = metrics
        self._on_event = on_event
        self._policy = policy
        self._conditions = Conditions(policy.failover, policy.health)
        self._waiting: dict[Watch, tuple[asyncio.Timeout, Callable[[], bool]]] = {}
        self.changed = asyncio.Event()
        self.give_way: Callable[[Model, BackendSpec], None] = lambda model, spec: None

    def follow(self, policy: Policy) -> None:
        """Take another policy over. What was held against a backend is forgotten if it is another
        one now."""
        if policy is self._policy:
            return
        before, self._policy = self._policy, policy
        self._conditions.failover, self._conditions.limits = policy.failover, policy.health
        for spec in before.backends:
            if policy.backend(spec.name) != spec:
                self._conditions.forget(spec.name, time.monotonic())
        self._settle()

    def begin(self, model: Model, spec: BackendSpec) -> Watch:
        """A request is about to be sent to this model. Needs an `end`."""
        self.give_way(model, spec)
        return self.begin_probe(model, spec)

    def begin_probe(self, model: Model, spec: BackendSpec) -> Watch:
        """A probe is about to be sent to this model. Needs an `end_probe`."""
        watch = Watch(
            model=model.id,
            backend=spec.name,
            host="" if model.remote else spec.host,
            patience=spec.timeouts.first_token or _PATIENCE_SECONDS,
        )
        self._conditions.begin(watch, time.monotonic())
        self._settle()
        return watch

    def ask(self, watch: Watch, model: Model, signals: Signals, warm: bool) -> float:
        """The request has its place and is sent now, which is returned in monotonic seconds: from
        here on its silence is judged."""
        tokens = signals.prompt_tokens + tool_tokens_for(model, signals)
        expect(watch, model, tokens, warm, self._policy.scoring.assumed)
        if signals.tool_tokens or "tools" in signals.needs:
            watch.gap *= self._policy.health.held_tokens
        watch.waits_since = now = time.monotonic()
        self.changed.set()
        return now

    @asynccontextmanager
    async def abandoning(self, watch: Watch, other: Callable[[], bool]) -> AsyncIterator[None]:
        """Until its first token a request does not go on waiting for a model that is found not to
        be well, where `other()`, somebody else could serve it. Raises UpstreamLeft, or
        UpstreamTimeout where the model was asked already."""
        try:
            async with asyncio.timeout(None) as limit:
                self._waiting[watch] = limit, other
                try:
                    yield
                finally:
                    del self._waiting[watch]
        except TimeoutError:
            found = worst(*(self._told().get(key) for key in (watch.model, watch.backend)))
            text = f"{watch.model} was waited for: {found[1] if found else 'it was not well'}"
            if watch.waits_since < ENDLESS:
                raise UpstreamTimeout(text) from None
            raise UpstreamLeft(text, retry_after=5) from None

    def _abandon(self, key: str, cause: str) -> None:
        """Who waits for a place is let go; who waits for a token only if a probe had none."""
        for watch, (limit, other) in self._waiting.items():
            concerned = key in (watch.model, watch.backend)
            queued = watch.waits_since == ENDLESS
            if concerned and (queued or cause == "probe") and not limit.expired() and other():
                limit.reschedule(0.0)

    def token(self, watch: Watch) -> None:
        """A first token has come, or one of a model that was not healthy."""
        now = time.monotonic()
        if watch.move(now):
            self._conditions.token(watch, now)
        self._settle()

    def end(self, watch: Watch, error: UpstreamError | None, answered: bool) -> None:
        """A request is over. Without an error its client has left if it is unanswered, or if its
        backend was being waited for, which proves nothing."""
        now, conditions = time.monotonic(), self._conditions
        conditions.end(watch, now)
        if answered and watch.waits_since == ENDLESS:
            conditions.succeed(watch.backend, now)
            conditions.succeed(watch.model, now)
        elif error is not None:
            # One that never began to answer within its time tells of a model that hangs.
            silent = not watch.answering and watch.waits_since < ENDLESS
            silent = silent and isinstance(error, UpstreamTimeout)
            self._failed(watch, error, "silence" if silent else "failures")
        self._settle()

    def end_probe(self, watch: Watch, error: UpstreamError | None, answered: bool) -> None:
        """A probe is over; without an error and unanswered, it was given up."""
        now, conditions = time.monotonic(), self._conditions
        conditions.end(watch, now)
        if answered:
            conditions.succeed(watch.backend, now, "probe")
            conditions.succeed(watch.model, now, "probe")
        elif error is not None and conditions.last_token(watch.model) < watch.began:
            self._failed(watch, error, "probe")
        self._settle()

    def _failed(self, watch: Watch, error: UpstreamError, cause: str) -> None:
        now = time.monotonic()
        if isinstance(error, UpstreamStatus) and error.upstream_status < 500:
            if error.upstream_status == 429 and error.retry_after:
                self._conditions.rest(watch.model, error.message, error.retry_after, now)
        elif not isinstance(error, (UpstreamLoading, UpstreamBusy)):
            key = watch.backend if isinstance(error, UpstreamUnreachable) else watch.model
            self._conditions.fail(key, error.message, watch, now, cause)

    def listed(self, backend: str, error: str) -> None:
        """A backend was asked for its models; error: why it did not say, "" if it did."""
        if error:
            self._conditions.unlisted(backend, error, time.monotonic())
        else:
            self._conditions.listed(backend, time.monotonic())
        self._settle()

    def look(self) -> float:
        """Find what time alone shows; seconds until it is to be looked again."""
        now = time.monotonic()
        again = self._conditions.look(now)
        self._tell()
        return again - now

    def left_alone(self, catalog: Catalog) -> tuple[dict[str, str], dict[str, str]]:
        """Model id -> reason of those that are cooling or the like, and of those that are suspect,
        by themselves or with their backend."""
        told = self._told()
        cooling: dict[str, str] = {}
        suspect: dict[str, str] = {}
        for model in catalog.models if told else ():
            found = worst(told.get(model.id), told.get(model.backend))
            if found is not None:
                (suspect if found[0] == SUSPECT else cooling)[model.id] = found[1]
        self._tell()
        return cooling, suspect

    def untried(self) -> set[str]:
        """The keys that a probe would tell something of."""
        return self._conditions.untried(time.monotonic())

    def is_avoided(self, model: Model) -> bool:
        """Whether others are preferred to a model now, for itself or for its backend."""
        return any(self._conditions.of(key).state in AVOIDED for key in (model.id, model.backend))

    def is_healthy(self, key: str) -> bool:
        """Whether nothing is held against a key."""
        return self._conditions.of(key).state == "healthy"

    def in_flight(self) -> set[str]:
        """The models that requests or probes are sent to now."""
        return self._conditions.in_flight()

    def moved(self, model: str) -> float:
        """When the last answer of a model that is over had its last token, in monotonic seconds."""
        return self._conditions.of(model).moved

    def data(self, key: str) -> dict[str, Any]:
        """A key's state as JSON; `seconds` since it began, `again_in` seconds until it is tried."""
        found, now = self._conditions.of(key), time.monotonic()
        known: dict[str, Any] = {"state": found.state}
        if not self.is_healthy(key):
            known |= {"cause": found.cause, "reason": found.reason}
            known["seconds"] = round(now - found.since, 1)
            known["again_in"] = (
                round(max(0.0, found.until - now), 1)
                if found.state in (COOLING, DEAD) and found.until < ENDLESS
                else None
            )
        return known

    def unwell(self, backend: str) -> dict[str, Any]:
        """Model id -> `data` of a backend's models that are not healthy."""
        keys = self._conditions.not_healthy()
        return {key: self.data(key) for key in sorted(keys) if key.startswith(backend + "/")}

    def _told(self) -> dict[str, tuple[str, str]]:
        return self._conditions.unwell(time.monotonic())

    def _settle(self) -> None:
        self._tell()
        self.changed.set()

    def _tell(self) -> None:
        for key, before, after, cause, reason in self._conditions.take():
            self._metrics.inc(self._metrics.transitions, after, cause)
            self._on_event(
                "backend.suspected"
                if after == SUSPECT
                else "backend.cooled"
                if after == COOLING
                else "backend.recovering"
                if after == RECOVERING
                else "backend.died"
                if after == DEAD
                else "backend.recovered",
                {"name": key, "from": before, "cause": cause, "reason": reason},
            )
            if after in AVOIDED:
                self._abandon(key, cause)
