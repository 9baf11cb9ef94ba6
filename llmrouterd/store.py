"""One writer thread over the database; the event loop never waits for the disk.

A full disk, a locked or a broken file costs records, never an answer: what could not be written
is counted and said, and a file that is no database is moved aside.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import orjson
from sqlite_utils import Database

from llmrouterd.tables import migrate, put_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmrouterd.replay.pieces import Piece

T = TypeVar("T")
_BATCH = 500
_TOO_LARGE = 2**63
_GATHER_SECONDS = 0.2


@dataclass(slots=True)
class StoreState:
    """What went wrong, for the log, the metrics and /health. dropped counts lost records."""

    dropped: int = 0
    error: str = ""


class Encoded(NamedTuple):
    """A record as the table takes it: its columns, and the pieces that these refer to."""

    columns: dict[str, Any]
    pieces: Mapping[str, Piece]


def encode_plain(record: Any) -> Encoded:
    """A record that was made from nothing else, as JSON text."""
    return Encoded({"record": orjson.dumps(record).decode()}, {})


class Store:
    """`encode` turns a row's `record` into what is stored. `on_error(message)` is called from the
    writer thread when writing begins to fail."""

    def __init__(
        self,
        path: Path,
        *,
        most: int,
        on_error: Callable[[str], None],
        encode: Callable[[Any], Encoded] = encode_plain,
    ) -> None:
        self.path = path
        self.state = StoreState()
        self._on_error = on_error
        self._encode = encode
        self._most = most
        # Appending to a deque needs no lock, so a request pays next to nothing for its record.
        self._rows: deque[dict[str, Any]] = deque()
        self._jobs: deque[tuple[Callable[[Database], Any], Future[Any]]] = deque()
        self._wake = threading.Event()
        self._hurry = threading.Event()  # a query and the end do not wait for further records
        self._stopping = False
        self._database: Database | None = None
        self._pieces: Mapping[str, Piece] | None = None  # those that were put last
        self._thread = threading.Thread(target=self._write, name="store", daemon=True)
        self._thread.start()

    def record(self, row: dict[str, Any]) -> None:
        """Queue a decision; its `record` is encoded by the writer's thread. Never blocks:
        with a full queue the record is dropped and counted."""
        waiting = len(self._rows)
        if waiting >= self._most:
            self.state.dropped += 1
            return
        self._rows.append(row)
        if not waiting:
            self._wake.set()

    def run(self, work: Callable[[Database], T]) -> Future[T]:
        """Run a query on the writer thread, after the records that are queued. The future fails
        with sqlite3.Error."""
        future: Future[T] = Future()
        self._jobs.append((work, future))
        self._hurry.set()
        self._wake.set()
        return future

    def close(self, timeout: float = 10.0) -> None:
        """Write what is queued and stop."""
        self._stopping = True
        self._hurry.set()
        self._wake.set()
        self._thread.join(timeout)

    def _write(self) -> None:
        while True:
            self._wake.wait()
            self._hurry.wait(_GATHER_SECONDS)  # what comes in meanwhile shares one transaction
            self._wake.clear()
            self._hurry.clear()
            stopping = self._stopping
            self._write_queued()
            while self._jobs:
                self._answer(*self._jobs.popleft())
                if self._jobs:
                    self._write_queued()
            if stopping:
                break
        if self._database is not None:
            self._database.conn.close()

    def _write_queued(self) -> None:
        while rows := [self._rows.popleft() for _ in range(min(_BATCH, len(self._rows)))]:
            self._write_rows(rows)

    def _write_rows(self, rows: list[dict[str, Any]]) -> None:
        try:
            database = self._open()
            with database.conn:
                encoded = [found for row in rows if (found := self._encoded(row)) is not None]
                for _, pieces in encoded:
                    if pieces is not self._pieces:
                        put_pieces(database, pieces)
                        self._pieces = pieces
                database.table("decisions").insert_all([row for row, _ in encoded], replace=True)
            if self.state.error:
                self.state.error = ""
        except (sqlite3.Error, OSError) as error:
            self._failed(error, len(rows))

    def _encoded(self, row: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Piece]] | None:
        """A row as the table takes it, and its pieces; None, and counted, where its values have no
        such form."""
        try:
            columns, pieces = self._encode(row["record"])
            encoded = {**row, **columns}
            for value in encoded.values():
                if isinstance(value, str):
                    value.encode()  # a lone surrogate has no UTF-8
                elif isinstance(value, int) and abs(value) >= _TOO_LARGE:
                    raise ValueError(f"{value} is too large a number")
        except (TypeError, ValueError) as error:
            self.state.dropped += 1
            self._on_error(f"{self.path}: a record cannot be written: {error}")
            return None
        return encoded, pieces

    def _answer(self, work: Callable[[Database], Any], future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return  # nobody waits for the answer any longer
        self._pieces = None  # the query may forget pieces
        try:
            future.set_result(work(self._open()))
        except (sqlite3.Error, OSError) as error:
            self._failed(error, 0)
            future.set_exception(error)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # The query is at fault, and must not end the writer.
            future.set_exception(error)

    def _failed(self, error: Exception, lost: int) -> None:
        self.state.dropped += lost
        message = f"{self.path}: {error}"
        if message != self.state.error:
            self.state.error = message
            self._on_error(message)
        if "not a database" in str(error) or "malformed" in str(error):
            self._move_aside()

    def _move_aside(self) -> None:
        if self._database is not None:
            self._database.conn.close()
            self._database = None
        aside = self.path.with_name(f"{self.path.name}.corrupt-{int(time.time())}")
        try:
            self.path.rename(aside)
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        except OSError as error:
            self._on_error(f"{self.path} is no usable database and cannot be moved: {error}")
            return
        self._on_error(f"{self.path} was no usable database; it is now {aside}")

    def _open(self) -> Database:
        if self._database is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():
                self.path.touch(mode=0o600)
            connection = sqlite3.connect(self.path, timeout=5.0, check_same_thread=False)
            try:
                database = Database(connection)
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                migrate(database)
            except sqlite3.Error:
                connection.close()
                raise
            self._database, self._pieces = database, None
        return self._database
