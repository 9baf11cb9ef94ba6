"""Figures from CSV files, and what happens when a file changes or breaks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.assemble import Knowledge
from llmrouterd.backends.base import Hooks
from llmrouterd.backends.pool import BackendPool
from llmrouterd.benchmarks.files import parse_csv
from llmrouterd.benchmarks.rows import BenchmarkRow
from llmrouterd.benchmarks.worker import BenchmarkWorker
from llmrouterd.discovery import Discovery
from llmrouterd.residency.loaded import Residency
from llmrouterd.snapshot import Current
from llmrouterd.store import Store
from tests.support.policies import policy

HEAD = "model,board,category,value,low,high,date\n"


def test_a_whole_file() -> None:
    rows = parse_csv(
        HEAD
        + "qwen3-8b,lmarena,coding,1320,1310,1330,2026-01-01\n"
        + '"a,b", mmlu ,,71.5,,,\n'
        + "a,x,,1,,,\n"
        + "a,x,,2,,,\n"
    )
    assert rows == (
        BenchmarkRow(
            model="qwen3-8b",
            board="lmarena/coding",
            value=1320.0,
            low=1310.0,
            high=1330.0,
            date="2026-01-01",
        ),
        BenchmarkRow(model="a,b", board="mmlu", value=71.5),
        BenchmarkRow(model="a", board="x", value=2.0),
    )


def test_only_three_columns_are_needed() -> None:
    assert parse_csv("value,model,board\n1,m,b\n") == (
        BenchmarkRow(model="m", board="b", value=1.0),
    )
    assert parse_csv(HEAD) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the columns model, board, value are missing"),
        ("model,value\n", "line 1: the columns board are missing"),
        (HEAD + ",b,,1,,,\n", "line 2: a model and a board are needed"),
        (HEAD + "m,b,,,,,\n", "line 2: value is empty"),
        (HEAD + "m,b,,1,,,\nm,b,,many,,,\n", "line 3: value 'many' is not a number"),
        (HEAD + "m,b,,nan,,,\n", "line 2: value must be finite"),
        (HEAD + "m,b,,1,inf,,\n", "line 2: low must be finite"),
        (HEAD + "m\n", "line 2: a model and a board are needed"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_csv(text)
    assert str(caught.value) == message


@given(st.text(max_size=200))
def test_any_text_is_rows_or_a_value_error(text: str) -> None:
    try:
        rows = parse_csv("model,board,value\n" + text)
    except ValueError:
        rows = ()
    assert all(row.model and row.board and math.isfinite(row.value) for row in rows)


async def test_a_changed_file_is_read_and_a_broken_one_keeps_its_figures(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text(HEAD + "m,lmarena,,1300,,,\n")
    text = f"backends: []\nbenchmarks: {{files: [{file}], seed: false}}\n"
    current = Current(policy(text))
    events: list[tuple[str, dict[str, Any]]] = []
    pool = BackendPool(Hooks())
    log = lambda event, fields: events.append((event, fields))  # noqa: E731
    discovery = Discovery(current, pool, Residency(), Knowledge(), log)
    kept = Store(tmp_path / "x.db", most=10, on_error=print)
    worker = BenchmarkWorker(current, discovery, kept, log)
    await worker.read_files()
    assert figures(discovery) == {"m": 1300.0}
    await worker.read_files()
    assert [event for event, _ in events].count("benchmarks.read") == 1
    file.write_text(HEAD + "m,lmarena,,no number,,,\n")
    await worker.read_files()
    status = worker.figures.status_of(str(file))
    assert (status.status, status.rows) == ("stale", 1)
    assert status.detail == "line 2: value 'no number' is not a number"
    assert figures(discovery) == {"m": 1300.0}
    file.write_bytes(b"\xff\xfe\x00")
    await worker.read_files()
    assert worker.figures.status_of(str(file)).status == "stale"
    file.write_text(HEAD + "m,lmarena,,1400,,,\nn,lmarena,,1200,,,\n")
    await worker.read_files()
    status = worker.figures.status_of(str(file))
    assert (status.status, status.detail) == ("ok", "")
    assert figures(discovery) == {"m": 1400.0, "n": 1200.0}
    file.write_text(HEAD + "m,lmarena,,1400,,,\nn,lmarena,,1200,,,\nn,homemade,x,3,,,\n")
    await worker.read_files()
    assert "no scale for homemade/x" in worker.figures.status_of(str(file)).detail
    file.write_text(HEAD + "m,lmarena,,1400,,,\nn,lmarena,,1200,,,\n")
    await worker.read_files()
    # A restarted daemon has the figures before it has read any file.
    other = BenchmarkWorker(current, discovery, kept, log)
    discovery.knowledge = Knowledge()
    await other.restore()
    assert figures(discovery) == {"m": 1400.0, "n": 1200.0}
    current.swap(policy=policy(text.replace(f"[{file}]", "[]")))
    await worker.read_files()
    assert figures(discovery) == {}
    kept.close()
    await pool.close()


def figures(discovery: Discovery) -> dict[str, float]:
    """What the catalog has, by model."""
    return {row.model: row.value for row in discovery.knowledge.library.rows}
