"""What the owner has corrected: prompts with their right category, kept in the store and handed
to the classifier as the snapshot's examples; and the words of the last decisions, in memory
only, so that a decision can be corrected by its id."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from llmrouterd import tables
from llmrouterd.classifier.examples import MOST_CHARACTERS, MOST_EXAMPLES, Examples

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.snapshot import Current
    from llmrouterd.store import Store

MOST_REMEMBERED = 200


class Lessons:
    """`rows`: id, at, text, category, decision and client of every example, the newest first."""

    def __init__(
        self,
        current: Current,
        store: Store,
        on_event: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self._current = current
        self._store = store
        self._on_event = on_event
        self._words: dict[str, str] = {}
        self._lock = asyncio.Lock()

    def remember(self, decision: str, words: str) -> None:
        """Keep a decision's words for a while; the oldest of 200 make room."""
        if not words:
            return
        self._words[decision] = words[:MOST_CHARACTERS]
        if len(self._words) > MOST_REMEMBERED:
            del self._words[next(iter(self._words))]

    def words_of(self, decision: str) -> str | None:
        """The human's words behind a recent decision, None for any other."""
        return self._words.get(decision)

    async def restore(self, rows: list[dict[str, Any]]) -> None:
        """Take over what the store has kept."""
        self.rows = rows
        # Half a thousand examples take longer to index than a request should wait.
        examples = await asyncio.to_thread(Examples.of, rows)
        self._current.swap(examples=examples)

    async def learn(
        self, text: str, category: str, decision: str = "", client: str = ""
    ) -> dict[str, Any]:
        """Keep an example, in place of one with the same words; beyond 500 the oldest goes.
        Returns its row. Raises sqlite3.Error."""
        row = {
            "at": time.time(),
            "text": text.strip()[:MOST_CHARACTERS],
            "category": category,
            "decision": decision,
            "client": client,
        }
        async with self._lock:
            work = self._store.run(tables.save_example(row, MOST_EXAMPLES))
            await self.restore(await asyncio.wrap_future(work))
        learnt = self.rows[0]
        self._on_event("example.learnt", {name: learnt[name] for name in _SHOWN})
        return learnt

    async def forget(self, id_: int) -> bool:
        """Delete an example; whether there was one. Raises sqlite3.Error."""
        async with self._lock:
            number = len(self.rows)
            work = self._store.run(tables.forget_example(id_))
            await self.restore(await asyncio.wrap_future(work))
            gone = len(self.rows) < number
        if gone:
            self._on_event("example.forgotten", {"id": id_})
        return gone


_SHOWN = ("id", "category", "decision", "client")
