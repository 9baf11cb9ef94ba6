"""The figures in memory and in the store, the plan of a source, and the sources' own files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd import __version__, tables
from llmrouterd.benchmarks import status as statuses
from llmrouterd.benchmarks.figures import Figures
from llmrouterd.benchmarks.packaged import read_packaged
from llmrouterd.benchmarks.providers import PROVIDERS
from llmrouterd.benchmarks.providers.base import Parsed
from llmrouterd.benchmarks.rows import BenchmarkRow, PublishedFacts
from llmrouterd.benchmarks.status import Mark, Status, from_row, to_row
from llmrouterd.benchmarks.sync import Sync, is_used, why_not_asked
from llmrouterd.benchmarks.web import day, retry_after
from llmrouterd.policy import ProviderSpec, Secret
from llmrouterd.store import Store
from tests.support.boards import FOLDER, settings

HOUR = 3600.0
ROWS = (
    BenchmarkRow(model="a", board="lmarena/overall", value=1300.0, date="2026-01-01"),
    BenchmarkRow(
        model="b", board="lmarena/coding", value=1200.5, low=1190.0, high=1210.0, votes=77
    ),
)
FACTS = (
    PublishedFacts(
        source="lmarena",
        model="a",
        context=8192,
        price=(0.1, 0.4),
        capabilities=frozenset({"chat", "vision"}),
        size_b=7.6,
    ),
    PublishedFacts(source="lmarena", model="b", released="2025-04"),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    errors: list[str] = []
    made = Store(tmp_path / "x.db", most=10, on_error=errors.append)
    yield made
    made.close()


def seed_of(published: str, value: float) -> dict[str, Parsed]:
    row = BenchmarkRow(model="seed", board="lmarena/overall", value=value)
    return {"lmarena": Parsed(rows=(row,), published=published)}


async def test_figures_come_back_as_they_were(store: Store) -> None:
    figures = Figures(store)
    status = Status(
        source="lmarena",
        status="ok",
        rows=2,
        synced_at="2026-11-23T10:00:00+00:00",
        http_status=200,
        published="2026-01-01",
        next_at=123.5,
        marks={"http://x": Mark(etag='"e"', digest="d")},
    )
    await figures.put(status, ROWS, FACTS)
    other = Figures(store)
    await other.restore({})
    assert other.rows == {"lmarena": ROWS}
    assert other.facts == {"lmarena": FACTS}
    assert other.status == {"lmarena": status}
    await figures.put(replace(status, rows=1), ROWS[:1])
    await other.restore({})
    assert (other.rows["lmarena"], other.facts["lmarena"]) == (ROWS[:1], ())
    await figures.note(replace(status, status="stale", detail="HTTP 500"))
    await other.restore({})
    assert (other.rows["lmarena"], other.status["lmarena"].status) == (ROWS[:1], "stale")


async def test_a_replacement_is_all_or_nothing(store: Store) -> None:
    await Figures(store).put(Status(source="lmarena", status="ok", rows=2), ROWS, FACTS)
    broken: list[dict[str, Any]] = [{"model": "c", "board": "x", "value": 1.0}]
    broken.append({"model": "d", "board": "x", "value": None})
    work = tables.replace_benchmarks("lmarena", broken, to_row(Status(source="lmarena")))
    with pytest.raises(sqlite3.IntegrityError):
        store.run(work).result(10)
    other = Figures(store)
    await other.restore({})
    assert (other.rows["lmarena"], other.facts["lmarena"]) == (ROWS, FACTS)
    assert other.status["lmarena"].status == "ok"


async def test_the_seed_fills_what_is_missing_or_older(store: Store) -> None:
    figures = Figures(store)
    await figures.restore(seed_of("2026-02-01", 1.0))
    assert [row.value for row in figures.rows["lmarena"]] == [1.0]
    found = figures.status_of("lmarena")
    assert (found.status, found.rows, found.published) == ("never", 1, "2026-02-01")
    assert found.detail == "the figures that the package carries"
    # The seed is no sync: it is not stored, and the first sync replaces it.
    kept = store.run(tables.all_rows("benchmarks")).result(10)
    assert kept == []
    marks = {"http://x": Mark(etag="e")}
    synced = replace(found, status="ok", published="2026-03-01", detail="", marks=marks)
    await figures.put(synced, ROWS)
    other = Figures(store)
    await other.restore(seed_of("2026-02-01", 1.0))
    assert other.rows["lmarena"] == ROWS
    # A newer version of the package knows more; what is unchanged since must come anew, too.
    await other.restore(seed_of("2026-04-01", 2.0))
    assert [row.value for row in other.rows["lmarena"]] == [2.0]
    assert (other.status["lmarena"].status, other.status["lmarena"].marks) == ("ok", {})


async def test_a_source_that_failed_is_stale_with_the_seed(store: Store) -> None:
    figures = Figures(store)
    await figures.note(Status(source="lmarena", status="failed", detail="HTTP 500"))
    await figures.restore(seed_of("2026-02-01", 1.0))
    found = figures.status_of("lmarena")
    assert (found.status, found.detail, found.rows) == ("stale", "HTTP 500", 1)


async def test_what_another_process_wrote_is_noticed(store: Store, tmp_path: Path) -> None:
    async def seed() -> dict[str, Parsed]:
        return {}

    figures = Figures(store)
    await figures.restore({})
    await figures.put(Status(source="bfcl", status="ok", rows=1), ROWS[:1])
    assert not await figures.reread(seed)
    second = Store(tmp_path / "x.db", most=10, on_error=print)
    await Figures(second).put(Status(source="lmarena", status="ok", rows=2), ROWS, FACTS)
    second.close()
    changes = figures.changes
    assert await figures.reread(seed)
    assert (figures.rows["lmarena"], figures.rows["bfcl"]) == (ROWS, ROWS[:1])
    assert figures.changes > changes
    assert not await figures.reread(seed)


async def test_the_seed_is_there_without_a_database(tmp_path: Path) -> None:
    errors: list[str] = []
    store = Store(tmp_path, most=10, on_error=errors.append)
    figures = Figures(store)
    with pytest.raises((sqlite3.Error, OSError)):
        await figures.restore(seed_of("2026-02-01", 1.0))
    store.close()
    assert len(figures.rows["lmarena"]) == 1
    assert errors


def test_the_packaged_figures() -> None:
    packaged = read_packaged()
    # Some of it is of sources that are never asked, such as lists of sizes and dates.
    assert packaged.keys() - PROVIDERS.keys() <= {"huggingface"}
    assert {"open_llm_leaderboard", "lmarena", "bfcl"} <= packaged.keys()
    for source, parsed in packaged.items():
        assert parsed.rows or parsed.facts
        assert {row.source for row in parsed.rows} <= {source}
        assert {one.source for one in parsed.facts} <= {source}


@pytest.mark.skipif(not FOLDER.is_dir(), reason="no recorded boards")
@pytest.mark.parametrize("source", PROVIDERS)
async def test_the_recorded_files_of_each_source(store: Store, source: str) -> None:
    figures = Figures(store)
    status = await Sync(figures, lambda *event: None).read_folder(source, FOLDER)
    assert status is not None
    assert (status.status, status.http_status) == ("ok", None), status.detail
    assert status.detail.endswith(f"from {FOLDER}")
    assert status.rows == len(figures.rows[source]) or len(figures.facts[source])
    other = Figures(store)
    await other.restore({})
    assert other.rows[source] == figures.rows[source]


async def test_local_files_pass_the_same_gates(store: Store, tmp_path: Path) -> None:
    figures = Figures(store)
    sync = Sync(figures, lambda *event: None)
    folder = tmp_path / "files"
    folder.mkdir()
    assert await sync.read_folder("bfcl", folder) is None
    text = "model,overall,non_live_ast,live,multi_turn\n" + "".join(
        f"m{at},{50 + at},1,1,1\n" for at in range(10)
    )
    (folder / "bfcl_2026-01-01.csv").write_text(text)
    (folder / "notes.txt").write_text("not a board")
    status = await sync.read_folder("bfcl", folder)
    assert status is not None
    assert (status.status, status.rows, status.next_at) == ("ok", 40, 0.0)
    (folder / "bfcl_2026-01-01.csv").write_text(text.replace("59", "590"))
    status = await sync.read_folder("bfcl", folder)
    assert status is not None
    assert (status.status, status.rows) == ("stale", 40)
    assert "590 is not in 0..100" in status.detail
    assert len(figures.rows["bfcl"]) == 40


def test_marks_of_another_version_do_not_count() -> None:
    status = Status(source="x", marks={"u": Mark(etag="e", digest="d")})
    row = {"source": "x", **to_row(status)}
    assert from_row(row) == status
    other = {**row, "etags": row["etags"].replace(__version__, "0.0.0")}
    assert from_row(other).marks == {}
    assert from_row({**row, "etags": "{}"}).marks == {}


@given(chance=st.floats(0, 1), failures=st.integers(1, 500), asked=st.none() | st.floats(0, 86400))
def test_when_a_source_is_asked_again(chance: float, failures: int, asked: float | None) -> None:
    now = 1_000_000.0
    assert 0.9 * 24 * HOUR <= statuses.next_sync(now, 24.0, False, chance) - now <= 27 * HOUR
    assert statuses.next_sync(now, 24.0, True, chance) - now >= 27 * 24 * HOUR
    assert statuses.next_sync(now, 8760.0, True, chance) - now >= 300 * 24 * HOUR
    pause = statuses.next_retry(now, failures, asked, chance) - now
    assert pause >= (asked or 450.0) - 0.001
    assert pause <= max(asked or 0.0, 9 * HOUR) + 0.001
    assert 60.0 <= statuses.quiet_until(now, chance) - now <= 600.0


def test_failures_make_the_pauses_longer() -> None:
    pauses = [statuses.next_retry(0.0, failures, None, 0.5) for failures in range(1, 9)]
    assert pauses[:3] == [900.0, 1800.0, 3600.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 6 * HOUR


@given(st.text(max_size=60))
def test_any_header_is_a_time_or_nothing(text: str) -> None:
    found = retry_after(text)
    assert found is None or 0.0 <= found <= 86400.0
    assert len(day(text)) in (0, 10)


def test_headers_that_say_a_time() -> None:
    assert retry_after("12") == 12.0
    assert retry_after("-3") == 0.0
    assert retry_after("1e9") == 86400.0
    assert retry_after("Mon, 23 Nov 2020 10:00:00 GMT") == 0.0
    assert retry_after("Sat, 23 Nov 2999 10:00:00 GMT") == 86400.0
    assert retry_after("") is None
    assert retry_after("nan") is None
    assert day("Mon, 23 Nov 2020 10:00:00 GMT") == "2020-11-23"
    assert day("soon") == ""


def test_which_sources_are_used() -> None:
    def said(name: str, **fields: Any) -> tuple[bool, bool]:
        given = settings(providers={name: ProviderSpec(**fields)})
        return is_used(PROVIDERS[name], given), not why_not_asked(PROVIDERS[name], given)

    assert said("lmarena") == (True, True)
    assert said("lmarena", enabled=False) == (False, False)
    assert said("artificial_analysis") == (False, False)
    assert said("artificial_analysis", enabled=True) == (True, False)
    assert said("artificial_analysis", api_key=Secret("k")) == (True, True)
    assert said("artificial_analysis", api_key=Secret("k"), enabled=False) == (False, False)
    assert not is_used(PROVIDERS["lmarena"], settings(enabled=False))
