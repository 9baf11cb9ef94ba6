"""Reads recorded decisions from the database's file, beside the daemon that writes it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import orjson
from sqlite_utils import Database

from llmrouterd import tables
from llmrouterd.replay.pieces import read_world
from llmrouterd.replay.recorded import Recorded, read_recorded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from llmrouterd.catalog import Sighting

_MOST_WORLDS = 64


def read_decisions(path: Path, since: float, most: int) -> Iterator[Recorded | None]:
    """The newest decisions since a Unix time, the newest first; None for one that was stored
    without what re-deciding needs. Blocking. Raises OSError or sqlite3.Error."""
    if not path.exists():
        raise FileNotFoundError(2, "no database is there", str(path))
    with closing(sqlite3.connect(path, timeout=5.0)) as connection:
        connection.execute("PRAGMA query_only = ON")
        database = Database(connection)
        worlds = Worlds(database)
        for row in tables.decisions_since(database, since, most):
            yield read_row(row, orjson.loads(row["record"]), worlds)


def read_row(
    row: Mapping[str, Any], described: Mapping[str, Any], worlds: Worlds
) -> Recorded | None:
    """A decision from its row and its record; None where something of it is missing."""
    try:
        return read_recorded(row, described, worlds.find(row["world"]))
    except (KeyError, TypeError, ValueError):
        return None  # of a version that kept less, or something else


class Worlds:
    """The worlds of one open database. Each piece is read once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._worlds: dict[str, Mapping[str, Sighting]] = {}
        self._known: dict[str, Any] = {}

    def find(self, digest: str) -> Mapping[str, Sighting]:
        """Sightings by their digests. Raises KeyError."""
        found = self._worlds.get(digest)
        if found is None:
            if len(self._worlds) >= _MOST_WORLDS:
                self._worlds.clear()
            found = read_world(digest, lambda name: tables.piece(self._database, name), self._known)
            self._worlds[digest] = found
        return found
