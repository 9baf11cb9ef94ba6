"""The records of all models: kept in memory, written to the store, handed to the catalog."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmrouterd import tables
from llmrouterd.profiling.record import Record, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmrouterd.catalog import Model
    from llmrouterd.discovery import Discovery
    from llmrouterd.store import Store


class Records:
    """`keep` changes a record; `settle` writes and publishes what was changed."""

    def __init__(self, discovery: Discovery, store: Store) -> None:
        self._discovery = discovery
        self._store = store
        self._records: dict[str, tuple[str | None, Record]] = {}
        self._unsaved: set[str] = set()

    def restore(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take over the rows of the table `measurements`."""
        for row in rows:
            self._records[row["model"]] = (row["digest"] or None, decode(row["record"]))
        self._publish()

    def of(self, model: Model) -> Record:
        """The record of these very weights; an empty one where they are new."""
        digest, record = self._records.get(model.id, (None, Record()))
        return record if digest == model.digest else Record()

    def keep(self, model: Model, record: Record) -> None:
        """Replace a model's record."""
        self._records[model.id] = (model.digest, record)
        self._unsaved.add(model.id)

    def settle(self) -> None:
        """Write what was changed since the last time, and hand it to the catalog."""
        if not self._unsaved:
            return
        for name in self._unsaved:
            digest, record = self._records[name]
            self._store.run(
                tables.save_measurements(name, digest or "", time.time(), encode(record))
            )
        self._unsaved.clear()
        self._publish()

    def _publish(self) -> None:
        profiles = {name: (digest, kept.profile) for name, (digest, kept) in self._records.items()}
        self._discovery.knowledge = replace(self._discovery.knowledge, profiles=profiles)
        self._discovery.rebuild()
