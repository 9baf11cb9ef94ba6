"""The database: nothing that happens to its file costs an answer, and nothing written is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlite_utils import Database

from llmrouterd import tables
from llmrouterd.catalog import Profile
from llmrouterd.store import Store
from llmrouterd.tables import MIGRATIONS, migrate
from tests.support.faults import FaultServer
from tests.support.policies import Running, running


def row(number: int, at: float = 0.0) -> dict[str, Any]:
    return {
        "id": f"d{number}",
        "at": at or float(number),
        "mode": "routed",
        "rule": "default",
        "category": "general",
        "model": "box/m",
        "backend": "box",
        "outcome": "ok",
        "policy": "p",
        "ttft": 0.1,
        "seconds": 0.2,
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "record": {"number": number},
    }


@contextmanager
def opened(path: Path, most: int = 1000) -> Iterator[tuple[Store, list[str]]]:
    said: list[str] = []
    made = Store(path, most=most, on_error=said.append)
    try:
        yield made, said
    finally:
        made.close()


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def ids(made: Store) -> set[str]:
    return {found["id"] for found in made.run(tables.recent_decisions(1000, None)).result(20)}


def test_what_is_recorded_can_be_read_back(tmp_path: Path) -> None:
    with opened(tmp_path / "deep" / "x.db") as (made, said):
        for number in range(1, 8):
            made.record(row(number))
        newest = made.run(tables.recent_decisions(3, None)).result(20)
        assert [found["id"] for found in newest] == ["d7", "d6", "d5"]
        assert "record" not in newest[0]
        assert [r["id"] for r in made.run(tables.recent_decisions(9, 3.0)).result(20)] == [
            "d2",
            "d1",
        ]
        one = made.run(tables.decision("d4")).result(20)
        assert one is not None
        assert one["record"] == {"number": 4}
        assert made.run(tables.decision("'; DROP TABLE decisions")).result(20) is None
    assert said == []


def test_the_file_is_private_and_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with opened(path) as (made, _):
        assert (
            made.run(lambda d: d.execute("PRAGMA journal_mode").fetchone()[0]).result(20) == "wal"
        )
        made.run(tables.forget_decisions(0)).result(20)
        for file in tmp_path.glob("x.db*"):
            assert file.stat().st_mode & 0o777 == 0o600, file


def test_migrations_run_once_and_from_any_version(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    connection = sqlite3.connect(path)
    for _ in range(2):
        migrate(Database(connection))
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
    names = {found[0] for found in connection.execute("SELECT name FROM sqlite_master")}
    expected = {"decisions", "measurements", "benchmarks", "benchmark_sources", "feedback"}
    assert expected <= names
    connection.close()


def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    gate = threading.Event()
    with opened(tmp_path / "x.db", most=5) as (made, _):
        blocked = made.run(lambda _: gate.wait(20))
        until(lambda: blocked.running())
        for number in range(1, 21):
            made.record(row(number))
        assert made.state.dropped == 15
        gate.set()
        assert ids(made) == {f"d{number}" for number in range(1, 6)}


def test_closing_writes_what_is_queued(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with opened(path) as (made, _):
        for number in range(1, 901):
            made.record(row(number))
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM decisions").fetchone()[0] == 900
    connection.close()


def test_a_query_nobody_waits_for_does_not_stop_the_writer(tmp_path: Path) -> None:
    gate = threading.Event()
    with opened(tmp_path / "x.db") as (made, _):
        made.run(lambda _: gate.wait(20))
        given_up = made.run(tables.all_rows("measurements"))
        assert given_up.cancel()
        gate.set()
        made.record(row(1))
        assert ids(made) == {"d1"}


def test_a_query_that_fails_says_so_to_its_caller(tmp_path: Path) -> None:
    with opened(tmp_path / "x.db") as (made, _):
        future = made.run(lambda database: database.execute("SELECT * FROM no_table"))
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            future.result(20)
        made.record(row(1))
        assert ids(made) == {"d1"}


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\x00" + b"\xff" * 8000])
def test_a_file_that_is_no_database_is_moved_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with opened(path) as (made, said):
        made.record(row(1))
        until(lambda: made.state.dropped == 1)
        made.record(row(2))
        until(lambda: ids(made) == {"d2"})
        assert any("no usable database" in message for message in said)
    (aside,) = tmp_path.glob("x.db.corrupt-*")
    assert aside.read_bytes() == content


def test_a_locked_file_costs_records_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with opened(path) as (made, said):
        made.record(row(1))
        assert ids(made) == {"d1"}
        made.run(lambda d: d.execute("PRAGMA busy_timeout = 50")).result(20)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        made.record(row(2))
        until(lambda: made.state.dropped == 1)
        assert "database is locked" in said[0]
        assert made.state.error
        other.execute("ROLLBACK")
        other.close()
        made.record(row(3))
        until(lambda: not made.state.error)
        assert ids(made) == {"d1", "d3"}
    assert len(said) == 1


def test_a_path_that_cannot_be_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with opened(tmp_path / "file" / "x.db") as (made, said):
        for number in range(1, 4):
            made.record(row(number))
            until(lambda n=number: made.state.dropped == n)  # type: ignore[misc]
    assert len(said) == 1
    assert "x.db" in said[0]


@contextmanager
def tiny_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of that size; skips where none can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_records_and_is_survived(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", 512) as disk, opened(disk / "x.db") as (made, said):
        made.record(row(1))
        assert ids(made) == {"d1"}
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as output, contextlib.suppress(OSError):
            while True:
                output.write(b"x" * 4096)
        made.record({**row(2), "record": "x" * 20_000})
        until(lambda: made.state.dropped >= 1)
        assert "full" in said[0] or "disk I/O error" in said[0]
        filler.unlink()
        made.record(row(3))
        until(lambda: not made.state.error)
        assert {"d1", "d3"} <= ids(made)


def test_old_decisions_are_forgotten(tmp_path: Path) -> None:
    with opened(tmp_path / "x.db") as (made, _):
        for number in range(1, 6):
            made.record(row(number))
        assert made.run(tables.forget_decisions(4.0)).result(20) == 3
        assert ids(made) == {"d4", "d5"}


def test_measurements_and_benchmarks(tmp_path: Path) -> None:
    rows = [{"model": "m", "board": "b", "value": 1.0, "low": None, "high": None, "date": ""}]
    status = {"status": "ok", "checked_at": "now", "rows": 1, "detail": ""}
    with opened(tmp_path / "x.db") as (made, _):
        for speed in (1.0, 2.0):
            record = json.dumps({"decode_tokens_per_second": speed})
            made.run(tables.save_measurements("box/m", "x", 1.0, record)).result(20)
        (found,) = made.run(tables.all_rows("measurements")).result(20)
        assert json.loads(found["record"]) == {"decode_tokens_per_second": 2.0}
        for source in ("one", "two", "one"):
            made.run(tables.replace_benchmarks(source, rows, status)).result(20)
        assert len(made.run(tables.all_rows("benchmarks")).result(20)) == 2
        made.run(tables.replace_benchmarks("one", [], {**status, "rows": 0})).result(20)
        assert [r["source"] for r in made.run(tables.all_rows("benchmarks")).result(20)] == ["two"]


WRITER = """
import json, sys
from pathlib import Path
from llmrouterd.catalog import Profile
from llmrouterd.store import Store
from llmrouterd import tables
from tests.test_store import row
made = Store(Path(sys.argv[1]), most=10**6, on_error=print)
number = 0
while True:
    for _ in range(50):
        number += 1
        made.record(row(number))
    made.run(tables.decision(f"d{number}")).result()  # after the rows before it
    print(number, flush=True)
"""


def test_killing_the_writer_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
        )
        assert process.stdout is not None
        for _ in range(6):
            committed = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
        with opened(path) as (made, said):
            count = made.run(lambda d: d.execute("SELECT count(*) FROM decisions").fetchone()[0])
            assert count.result(20) >= committed
            intact = made.run(lambda d: d.execute("PRAGMA integrity_check").fetchone()[0])
            assert intact.result(20) == "ok"
            assert said == []


async def _chat(daemon: Running) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(daemon.url + "/v1/chat/completions", json=body) as answer,
    ):
        assert answer.status == 200


async def test_the_daemon_serves_on_without_its_database(tmp_path: Path) -> None:
    database = tmp_path / "state" / "llmrouterd.db"
    database.parent.mkdir()
    database.write_bytes(b"garbage" * 1000)
    async with FaultServer(["ok"]) as server:
        text = json.dumps({"backends": [{"name": "b", "type": "openai", "url": server.url}]})
        async with running(text, tmp_path) as daemon:
            await _chat(daemon)
            assert daemon.events("store.degraded")
            kept = (await daemon.get("/admin/decisions"))["decisions"]
            assert len(kept) == 1
            # The folder is taken away under the running daemon.
            os.rename(database.parent, tmp_path / "away")
            (tmp_path / "state").write_text("in the way")
            for _ in range(3):
                await _chat(daemon)
            assert (await daemon.get("/health"))["status"] == "ok"
            assert await daemon.end() == 0


def test_profiles_of_the_first_version_become_measurements(tmp_path: Path) -> None:
    database = Database(sqlite3.connect(tmp_path / "old.db"))
    database.conn.executescript(MIGRATIONS[0] + "PRAGMA user_version = 1;")
    figures = ("box/m", "sha", 1.5, 0.2, 300.0, 40.0, 2, "2026-01-02T03:04:05+00:00")
    with database.conn:
        database.execute(
            "INSERT INTO profiles (model, digest, load_seconds, ttft_seconds,"
            " prefill_tokens_per_second, decode_tokens_per_second, samples, measured_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            figures,
        )
    migrate(database)
    (found,) = database["measurements"].rows
    database.conn.close()
    assert (found["model"], found["digest"], found["at"]) == ("box/m", "sha", 1767323045.0)
    assert Profile(**json.loads(found["record"])).decode_tokens_per_second == 40.0
