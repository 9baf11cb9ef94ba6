"""What answers have cost, by backend and day, and whose budget is spent.

Every answer of a model with a price has a bill. Until it is settled, what the answer is expected to
cost is held against the budget, so that many at once do not run past it together.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson

from llmrouterd import tables
from llmrouterd.classifier import byte_bound
from llmrouterd.errors import UpstreamBusy, UpstreamLoading, UpstreamStatus, UpstreamUnreachable
from llmrouterd.scorer import tool_tokens_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from llmrouterd.backends.base import Frame
    from llmrouterd.catalog import Model
    from llmrouterd.errors import UpstreamError
    from llmrouterd.metrics import Metrics
    from llmrouterd.policy import BackendSpec, Policy
    from llmrouterd.signals import Signals
    from llmrouterd.store import Store

# After these a backend has generated nothing.
_UNBILLED = (UpstreamStatus, UpstreamUnreachable, UpstreamLoading, UpstreamBusy)
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal", "text")


class Spending:
    """Sums in memory, kept in the store. A day is one of this machine's time zone; an answer counts
    for the day on which it ends. clock: seconds since 1970."""

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        on_event: Callable[[str, dict[str, Any]], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._on_event = on_event
        self._clock = clock
        self._day = ""
        self._begins = self._ends = 0.0
        self._today: dict[str, float] = {}
        self._month: dict[str, float] = {}
        self._held: dict[str, float] = {}

    def restore(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take over what the store has kept: rows of backend, day, usd."""
        self._turn()
        for row in rows:
            if row["day"] == self._day:
                _add(self._today, row["backend"], row["usd"])
            if row["day"][:7] == self._day[:7]:
                _add(self._month, row["backend"], row["usd"])

    def spent(self, backends: Iterable[BackendSpec]) -> dict[str, str]:
        """Backend -> why its models are left out, for each whose budget is spent."""
        found = {}
        for spec in backends:
            if spec.budget and (reason := self._reason(spec)):
                found[spec.name] = reason
        return found

    def describe(self, spec: BackendSpec) -> dict[str, Any]:
        """What a backend has cost, with plain JSON values."""
        self._turn()
        return {
            "usd_today": round(self._today.get(spec.name, 0.0), 6),
            "usd_this_month": round(self._month.get(spec.name, 0.0), 6),
            "usd_under_way": round(self._held.get(spec.name, 0.0), 6),
            "usd_per_day": spec.budget.usd_per_day or None,
            "usd_per_month": spec.budget.usd_per_month or None,
            "reason": self._reason(spec) if spec.budget else "",
        }

    def left(self, spec: BackendSpec) -> dict[str, float]:
        """Dollars left by period, of those that have a limit."""
        self._turn()
        return {
            period: max(0.0, limit - spent) for period, limit, spent in self._periods(spec) if limit
        }

    def open(
        self, model: Model, spec: BackendSpec, signals: Signals, policy: Policy
    ) -> Bill | None:
        """A bill for an answer that is about to be asked for; None where it costs nothing."""
        if model.price is None or not any(model.price):
            return None
        known = policy.categories.get(signals.category)
        expected = known.output_tokens if known else 400
        output = (
            0 if signals.kind == "embeddings" else min(signals.max_tokens or expected, expected)
        )
        return Bill(
            self, model, spec, (signals.prompt_tokens + tool_tokens_for(model, signals), output)
        )

    def hold(self, spec: BackendSpec, usd: float) -> None:
        """An answer is under way that will cost about so much; negative when it is over."""
        _add(self._held, spec.name, usd)
        if self._held[spec.name] < 1e-9:
            del self._held[spec.name]

    def charge(self, model: Model, spec: BackendSpec, usd: float) -> None:
        """An answer has cost so much."""
        self._turn()
        before = {period: spent for period, _, spent in self._periods(spec)}
        _add(self._today, spec.name, usd)
        _add(self._month, spec.name, usd)
        self._metrics.inc(self._metrics.spent, model.id, by=usd)
        self._store.run(tables.add_spending(spec.name, self._day, usd))
        for period, limit, spent in self._periods(spec):
            if limit and before[period] < limit <= spent:
                fields = {"backend": spec.name, "period": period, "limit": limit}
                self._on_event("budget.spent", {**fields, "spent": round(spent, 6)})

    def _periods(self, spec: BackendSpec) -> tuple[tuple[str, float, float], ...]:
        """(period, limit, spent) of the day and of the month."""
        return (
            ("day", spec.budget.usd_per_day, self._today.get(spec.name, 0.0)),
            ("month", spec.budget.usd_per_month, self._month.get(spec.name, 0.0)),
        )

    def _reason(self, spec: BackendSpec) -> str:
        self._turn()
        held = self._held.get(spec.name, 0.0)
        for period, limit, spent in self._periods(spec):
            if limit and spent + held >= limit:
                more = f", and {_dollars(held)} more are under way" if spent < limit else ""
                word = "today" if period == "day" else "this month"
                return f"spent {_dollars(spent)} of {_dollars(limit)} dollars {word}{more}"
        return ""

    def _turn(self) -> None:
        """A new day begins at nothing, and so does a new month."""
        now = self._clock()
        if self._begins <= now < self._ends:
            return
        year, month, date = time.localtime(now)[:3]
        self._begins = time.mktime((year, month, date, 0, 0, 0, 0, 0, -1))
        self._ends = time.mktime((year, month, date + 1, 0, 0, 0, 0, 0, -1))
        day = f"{year:04}-{month:02}-{date:02}"
        if day[:7] != self._day[:7]:
            self._month = {}
        self._day, self._today = day, {}


class Bill:
    """One answer's. It reads the answer's frames, and where their token counts are missing it goes
    by an upper bound for the prompt and what has come. tokens: of the prompt (an upper bound) and
    those expected of the answer."""

    __slots__ = ("_held", "_model", "_output", "_prompt", "_seen", "_spec", "_spending")

    def __init__(
        self, spending: Spending, model: Model, spec: BackendSpec, tokens: tuple[int, int]
    ) -> None:
        self._spending = spending
        self._model = model
        self._spec = spec
        self._prompt = tokens[0]
        self._output = 0  # as the backend counts
        self._seen = 0  # since it last counted
        self._held = self._cost(*tokens)
        spending.hold(spec, self._held)

    def read(self, frames: Sequence[Frame]) -> None:
        """Take in what the backend has sent."""
        for frame in frames:
            chunk = frame.chunk
            if chunk is None:
                continue
            for choice in chunk.get("choices") or ():
                self._seen += _tokens(choice.get("delta") or choice)
            self.count(chunk.get("usage"))

    def count(self, usage: Any) -> None:
        """Take in the backend's own token counts, where it gives some."""
        if not isinstance(usage, dict):
            return
        prompt, output = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if isinstance(prompt, int) and prompt >= 0:
            self._prompt = prompt
        if isinstance(output, int) and output >= 0:
            self._output, self._seen = output, 0

    def settle(self) -> None:
        """The answer is over, well or not: charge it."""
        self._let_go(self._cost(self._prompt, self._output + self._seen))

    def fail(self, error: UpstreamError | None) -> None:
        """No answer began. What may have been generated unseen, as after a timeout or where the
        client left (None), is charged with its prompt."""
        free = isinstance(error, _UNBILLED)
        self._let_go(0.0 if free else self._cost(self._prompt, 0))

    def _let_go(self, usd: float) -> None:
        self._spending.hold(self._spec, -self._held)
        if usd:
            self._spending.charge(self._model, self._spec, usd)

    def _cost(self, prompt: int, output: int) -> float:
        price = self._model.price or (0.0, 0.0)
        return (prompt * price[0] + output * price[1]) / 1e6


def _tokens(delta: Mapping[str, Any]) -> int:
    """An upper bound for the tokens of a piece of an answer."""
    found = sum(byte_bound(text)[0] for name in _TEXTS if isinstance(text := delta.get(name), str))
    calls = delta.get("tool_calls")
    return found + (byte_bound(orjson.dumps(calls).decode())[0] if calls else 0)


def _add(sums: dict[str, float], key: str, usd: float) -> None:
    sums[key] = sums.get(key, 0.0) + usd


def _dollars(usd: float) -> str:
    return f"{usd:.2f}" if usd >= 0.1 or not usd else f"{usd:.6f}".rstrip("0")
