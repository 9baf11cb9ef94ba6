"""Prometheus metrics. Every name, label and meaning is in docs/metrics.md."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from llmrouterd import __version__
from llmrouterd.health import CAUSES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

OUTCOMES = ("ok", "client_gone", "refused", "interrupted", "failed")
_TO_FIRST_TOKEN = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
_TO_THE_END = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
_LOADING = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
_WAITING = (0.01, 0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)


class Metrics:
    """One registry for one daemon. Labelled children of counters and histograms are looked up
    once and kept; gauges are set when somebody asks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._labels: dict[Counter | Histogram, tuple[str, ...]] = {}
        self._children: dict[tuple[Counter | Histogram, tuple[str, ...]], Counter | Histogram] = {}
        self._totals: dict[Counter, int] = {}
        self._unnamed: set[tuple[str, str]] = set()
        ProcessCollector(registry=self.registry)
        self._add_requests()
        self._add_memory()
        self._add_the_rest()
        # What can only have few values is there from the start: a rate needs a zero to begin at.
        for outcome in OUTCOMES:
            self.inc(self.answers, outcome, by=0)
        for result in ("applied", "unchanged", "rejected"):
            self.inc(self.reloads, result, by=0)
        for state, causes in CAUSES.items():
            for cause in causes:
                self.inc(self.transitions, state, cause, by=0)
        self.build.labels(__version__, platform.python_version()).set(1)

    def _add_requests(self) -> None:
        self.requests = self._counter("requests_total", "Requests answered.", "endpoint", "status")
        self.duration = self._histogram(
            "request_duration_seconds",
            "From a request to the end of its answer.",
            _TO_THE_END,
            "endpoint",
        )
        self.answers = self._counter("answers_total", "Routed requests by their end.", "outcome")
        self.decisions = self._counter(
            "decisions_total", "Answers by what chose their model.", "model", "category", "rule"
        )
        self.ttft = self._histogram(
            "time_to_first_token_seconds",
            "From a request to its first token.",
            _TO_FIRST_TOKEN,
            "model",
        )
        self.answer_duration = self._histogram(
            "answer_duration_seconds",
            "From a request to the end of its answer, by who answered.",
            _TO_THE_END,
            "model",
        )
        self.tokens = self._counter("tokens_total", "Tokens by kind.", "model", "kind")
        self.spent = self._counter("spent_dollars_total", "What answers have cost.", "model")
        self.budget_left = self._gauge(
            "budget_left_dollars", "Left of a budget.", "backend", "period"
        )
        self.generation = self._counter(
            "generation_seconds_total",
            "From first tokens to ends, of answers whose tokens were counted.",
            "model",
        )
        self.failovers = self._counter(
            "failovers_total", "Candidates that failed before the first byte.", "model"
        )
        self.interrupted = self._counter(
            "interrupted_total", "Answers that broke off after the first byte.", "model"
        )
        self.in_flight = self._gauge("in_flight_requests", "Generations running or waiting.")

    def _add_memory(self) -> None:
        self.load_seconds = self._histogram(
            "model_load_seconds", "Loads into memory.", _LOADING, "model"
        )
        self.evictions = self._counter(
            "evictions_total", "Models put out of memory.", "model", "reason"
        )
        self.queue_wait = self._histogram(
            "queue_wait_seconds",
            "From a request to its place, loads included.",
            _WAITING,
            "priority",
        )
        self.queue_length = self._gauge("queue_length", "Requests waiting.", "host", "priority")
        self.refusals = self._counter("queue_refusals_total", "Requests not let in.", "priority")
        self.model_memory = self._gauge(
            "model_memory_bytes", "What a loaded model takes.", "host", "model"
        )
        self.memory_budget = self._gauge(
            "host_memory_budget_bytes", "What models and others may take together.", "host"
        )
        self.memory_used = self._gauge(
            "host_memory_used_bytes", "What models and others take.", "host"
        )

    def _add_the_rest(self) -> None:
        self.backend_up = self._gauge("backend_up", "1 where the backend answers.", "backend")
        self.backend_models = self._gauge("backend_models", "Models it serves.", "backend")
        self.health = self._gauge(
            "health_state", "1 for the state that it is in, 0 for the others.", "key", "state"
        )
        self.transitions = self._counter(
            "health_transitions_total", "Changes of state and their causes.", "state", "cause"
        )
        self.reloads = self._counter("policy_reloads_total", "Edits of the policy.", "result")
        self.policy = self._gauge("policy_info", "1 for the active digest.", "digest")
        self.policy_valid = self._gauge("policy_valid", "0 while an edit is refused.")
        self.policy_loaded = self._gauge(
            "policy_loaded_timestamp_seconds", "When the active policy was loaded, Unix time."
        )
        self.benchmarks_synced = self._gauge(
            "benchmarks_synced_timestamp_seconds",
            "When a source's figures last proved good, Unix time.",
            "source",
        )
        self.dropped = self._counter(
            "store_dropped_records_total", "Records that could not be written."
        )
        self.build = self._gauge("build_info", "1 for this version.", "version", "python")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        made = Counter(f"llmrouterd_{name}", text, labels, registry=self.registry)
        self._labels[made] = labels
        return made

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"llmrouterd_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], label: str) -> Histogram:
        made = Histogram(
            f"llmrouterd_{name}", text, (label,), registry=self.registry, buckets=buckets
        )
        self._labels[made] = (label,)
        return made

    def inc(self, counter: Counter, *labels: str, by: float = 1.0) -> None:
        """Increment a counter's child."""
        key = (counter, labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = counter.labels(*labels) if labels else counter
        assert isinstance(child, Counter)
        child.inc(by)

    def count_up_to(self, counter: Counter, total: int) -> None:
        """Bring a counter without labels to a total that is counted elsewhere."""
        self.inc(counter, by=total - self._totals.get(counter, 0))
        self._totals[counter] = total

    def observe(self, histogram: Histogram, value: float, label: str, decision: str = "") -> None:
        """Observe a value in a histogram's child, with the id of the decision that it is of."""
        key = (histogram, (label,))
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = histogram.labels(label)
        assert isinstance(child, Histogram)
        child.observe(value, {"decision_id": decision} if decision else None)

    def keep(self, named: Mapping[str, Collection[str]]) -> None:
        """Forget the children of models, rules and the like that are no more, so that the sets of
        labels stay bounded. named: by label the values that there are now. What is missing in two
        calls in a row is forgotten: a backend that is away for a moment keeps its counts."""
        unnamed: set[tuple[str, str]] = set()
        for metric, values in list(self._children):
            pairs = zip(self._labels[metric], values, strict=True)
            missing = {pair for pair in pairs if pair[0] in named and pair[1] not in named[pair[0]]}
            if missing & self._unnamed:
                metric.remove(*values)
                del self._children[metric, values]
            unnamed |= missing
        self._unnamed = unnamed

    def render(self, *, openmetrics: bool = False) -> bytes:
        """The exposition: Prometheus' text 0.0.4, or OpenMetrics 1.0, which has the exemplars."""
        return (
            generate_openmetrics(self.registry) if openmetrics else generate_latest(self.registry)
        )
