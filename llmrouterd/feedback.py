"""What people thought of answers: kept by decision, and weighed as weak evidence."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from llmrouterd import tables
from llmrouterd.classifier.form import kind_of
from llmrouterd.evidence import OVERALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmrouterd.discovery import Discovery
    from llmrouterd.store import Store

_GATHER_SECONDS = 1.0


class Feedback:
    """Opinions change the catalog a moment later, many at once."""

    def __init__(
        self,
        discovery: Discovery,
        store: Store,
        on_event: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._discovery = discovery
        self._store = store
        self._on_event = on_event
        self._pending: asyncio.TimerHandle | None = None
        self._sums: list[dict[str, Any]] = []

    def restore(self, sums: list[dict[str, Any]]) -> None:
        """Take over what the store has kept: rows of model, category, number, total."""
        self._sums = sums
        self._apply()

    async def give(self, row: dict[str, Any], client: str, value: float) -> None:
        """Keep one client's opinion of a stored decision, instead of its former one. value:
        -1 to 1. Raises sqlite3.Error."""
        given = {
            "decision": row["id"],
            "client": client,
            "at": time.time(),
            "model": row["model"],
            "category": _kind(row),
            "value": value,
        }
        self._sums = await asyncio.wrap_future(self._store.run(tables.save_feedback(given)))
        self._on_event("feedback.given", {name: given[name] for name in _SHOWN})
        if self._pending is None:
            loop = asyncio.get_running_loop()
            self._pending = loop.call_later(_GATHER_SECONDS, self._apply)

    def close(self) -> None:
        """Nothing more is applied."""
        if self._pending is not None:
            self._pending.cancel()

    def _apply(self) -> None:
        self._pending = None
        self._discovery.learn(feedback=by_model(self._sums))


def _kind(row: dict[str, Any]) -> str:
    """A stored decision's kind; decisions of before there were forms have their category."""
    form = row["record"]["signals"].get("form", "")
    return kind_of(row["category"], form) if form else str(row["category"])


_SHOWN = ("decision", "client", "model", "category", "value")


def by_model(sums: Iterable[dict[str, Any]]) -> dict[str, dict[str, tuple[int, float]]]:
    """(number, sum) by model and kind (`category/form`), category, and `overall`."""
    found: dict[str, dict[str, tuple[int, float]]] = {}
    for row in sums:
        categories = found.setdefault(row["model"], {})
        for category in {row["category"], row["category"].partition("/")[0], OVERALL}:
            number, total = categories.get(category, (0, 0.0))
            categories[category] = (number + row["number"], total + row["total"])
    return found
