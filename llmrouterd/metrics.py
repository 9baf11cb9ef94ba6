"""Prometheus metrics. Every name, label and meaning is in docs/metrics.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """One registry for one daemon. Labelled children are looked up once and kept."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()

        def counter(name: str, text: str, labels: Iterable[str] = ()) -> Counter:
            return Counter(f"llmrouterd_{name}", text, tuple(labels), registry=registry)

        def gauge(name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
            return Gauge(f"llmrouterd_{name}", text, tuple(labels), registry=registry)

        def histogram(name: str, text: str, labels: Iterable[str] = ()) -> Histogram:
            return Histogram(
                f"llmrouterd_{name}", text, tuple(labels), registry=registry, buckets=_SECONDS
            )

        self.requests = counter("requests_total", "Requests answered.", ("endpoint", "status"))
        self.duration = histogram(
            "request_duration_seconds", "From a request to the end of its answer.", ("endpoint",)
        )
        self.ttft = histogram(
            "time_to_first_token_seconds", "From a request to its first token.", ("model",)
        )
        self.tokens = counter("tokens_total", "Tokens by kind.", ("model", "kind"))
        self.spent = counter("spent_dollars_total", "What answers have cost.", ("model",))
        self.budget_left = gauge("budget_left_dollars", "Left of a budget.", ("backend", "period"))
        self.decisions = counter(
            "decisions_total", "Answers by what chose their model.", ("model", "category", "rule")
        )
        self.failovers = counter(
            "failovers_total", "Candidates that failed before the first byte.", ("model",)
        )
        self.interrupted = counter(
            "interrupted_total", "Answers that broke off after the first byte.", ("model",)
        )
        self.client_gone = counter("client_gone_total", "Clients that left before the end.")
        self.in_flight = gauge("in_flight_requests", "Generations running or waiting.")
        self.backend_up = gauge("backend_up", "1 where the backend answers.", ("backend",))
        self.backend_models = gauge("backend_models", "Models it serves.", ("backend",))
        self.load_seconds = histogram("model_load_seconds", "Loads into memory.", ("model",))
        self.evictions = counter(
            "evictions_total", "Models put out of memory.", ("model", "reason")
        )
        self.queue_wait = histogram(
            "queue_wait_seconds", "From a request to its place, loads included.", ("priority",)
        )
        self.queue_length = gauge("queue_length", "Requests waiting.", ("host", "priority"))
        self.refusals = counter("queue_refusals_total", "Requests not let in.", ("priority",))
        self.memory = gauge("memory_bytes", "What a loaded model takes.", ("host", "model"))
        self.reloads = counter("policy_reloads_total", "Edits of the policy.", ("result",))
        self.policy = gauge("policy_info", "1 for the active digest.", ("digest",))
        self.policy_valid = gauge("policy_valid", "0 while an edit is refused.")
        self.dropped = gauge("store_dropped_records", "Records that could not be written.")
        self._children: dict[tuple[object, ...], Counter | Histogram] = {}

    def inc(self, counter: Counter, *labels: str, by: float = 1.0) -> None:
        """Increment a counter's child, found by identity of the counter and its labels."""
        key = (id(counter), *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = counter.labels(*labels) if labels else counter
        assert isinstance(child, Counter)
        child.inc(by)

    def observe(self, histogram: Histogram, value: float, *labels: str) -> None:
        """Observe a value in a histogram's child."""
        key = (id(histogram), *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = histogram.labels(*labels) if labels else histogram
        assert isinstance(child, Histogram)
        child.observe(value)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
