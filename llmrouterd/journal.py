"""One line in the log, one row in the store and the figures of the metrics for each answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from llmrouterd.errors import BudgetSpent, NoCapableModel
from llmrouterd.explanation import describe, describe_attempts, describe_load
from llmrouterd.replay.pieces import encode_world
from llmrouterd.store import Encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmrouterd.catalog import Model, Sighting
    from llmrouterd.decision import Decision
    from llmrouterd.explanation import Attempt
    from llmrouterd.metrics import Metrics
    from llmrouterd.replay.pieces import Piece
    from llmrouterd.residency.ticket import Ticket
    from llmrouterd.store import Store

# Requests that the policy or what the models can do rules out: nothing is broken.
_REFUSALS = (NoCapableModel.code, BudgetSpent.code)


@dataclass(slots=True)
class Outcome:
    """How a decision ended. request: its x-request-id. status: ok, client_gone, or the code of an
    error. ttft and seconds from the request's arrival; words only where logging.prompts is on.
    place: what it waited for.

    The rest is what profiles are kept up to date with: `waited` and `generated` are the seconds
    that the answering model took until its first token and from there, `usage` and `timings` its
    backend's figures; warm: it was loaded; alone: no other request ran meanwhile.
    """

    id: str
    request: str = ""
    status: str = "ok"
    model: Model | None = None
    attempts: Sequence[Attempt] = ()
    ttft: float | None = None
    seconds: float = 0.0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tools_dropped: bool = False
    words: str = ""
    place: Ticket | None = None
    waited: float | None = None
    generated: float | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None
    warm: bool = False
    alone: bool = False


class Journal:
    """`record` never waits: the store writes behind."""

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        on_event: Callable[[str, dict[str, Any]], None],
        observe: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        self._observe = observe
        self._store = store
        self._metrics = metrics
        self._on_event = on_event
        self.on_row: Callable[[Mapping[str, Any]], None] = lambda row: None

    def record(self, decision: Decision, outcome: Outcome) -> None:
        model = outcome.model.id if outcome.model else None
        self._measure(decision, outcome, model)
        self._observe(outcome)
        signals = decision.signals
        row: dict[str, Any] = {
            "id": outcome.id,
            "at": time.time(),
            "mode": decision.mode,
            "rule": decision.rule,
            "category": signals.category,
            "model": model,
            "backend": outcome.model.backend if outcome.model else None,
            "outcome": outcome.status,
            "policy": decision.policy_digest,
            "ttft": outcome.ttft,
            "seconds": outcome.seconds,
            "prompt_tokens": outcome.prompt_tokens,
            "completion_tokens": outcome.completion_tokens,
        }
        kept = {"request": outcome.request, "record": (decision, outcome)}
        self._store.record({**row, **kept})
        self.on_row(row)
        fields: dict[str, Any] = {
            "id": outcome.id,
            "model": model,
            "category": signals.category,
            "rule": decision.rule,
            "outcome": outcome.status,
            "seconds": round(outcome.seconds, 3),
            "tokens": outcome.completion_tokens,
        }
        if outcome.attempts:
            fields["failed_before"] = [attempt.model for attempt in outcome.attempts]
        if outcome.words:
            fields["words"] = outcome.words
        self._on_event("request.routed", fields)

    def _measure(self, decision: Decision, outcome: Outcome, model: str | None) -> None:
        metrics = self._metrics
        for attempt in outcome.attempts:
            metrics.inc(metrics.failovers, attempt.model)
        end = _end(outcome)
        metrics.inc(metrics.answers, end)
        if model is None:
            return
        metrics.inc(metrics.decisions, model, decision.signals.category, decision.rule)
        if end == "ok":
            metrics.observe(metrics.answer_duration, outcome.seconds, model, outcome.id)
        if outcome.ttft is not None:
            metrics.observe(metrics.ttft, outcome.ttft, model, outcome.id)
        if end == "interrupted":
            metrics.inc(metrics.interrupted, model)
        if outcome.prompt_tokens:
            metrics.inc(metrics.tokens, model, "prompt", by=outcome.prompt_tokens)
        if outcome.completion_tokens:
            metrics.inc(metrics.tokens, model, "completion", by=outcome.completion_tokens)
            if outcome.generated is not None:
                metrics.inc(metrics.generation, model, by=outcome.generated)


def _end(outcome: Outcome) -> str:
    """The outcome as the metrics have it, one of `metrics.OUTCOMES`."""
    if outcome.status in ("ok", "client_gone"):
        return outcome.status
    if outcome.ttft is not None:
        return "interrupted"
    return "refused" if outcome.status in _REFUSALS else "failed"


class RecordEncoder:
    """The stored form of decisions and their outcomes; runs on the writer's thread."""

    def __init__(self) -> None:
        self._seen: tuple[Sighting, ...] | None = None
        self._world = ""
        self._pieces: dict[str, Piece] = {}

    def encode(self, record: tuple[Decision, Outcome]) -> Encoded:
        """The columns that hold the record, and the pieces of what it was decided from."""
        decision, outcome = record
        data = describe(decision)
        data["load"] = describe_load(decision.load)
        data["attempts"] = describe_attempts(outcome.attempts)
        data["tools_dropped"] = outcome.tools_dropped
        place = outcome.place
        if place is not None and place.started is not None:
            data["place"] = {
                "waited": round(place.started - place.since, 3),
                "load_seconds": place.load_seconds,
                "evicted": list(place.evicted),
            }
        if outcome.words:
            data["words"] = outcome.words
        seen = decision.catalog.seen
        if seen is not self._seen:  # hardly ever: a catalog serves many decisions
            self._world, self._pieces = encode_world(seen)
            self._seen = seen
        columns = {"record": orjson.dumps(data).decode(), "world": self._world}
        return Encoded(columns, self._pieces)
