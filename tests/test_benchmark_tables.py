"""From served bytes to rows and numbers, and the gates that figures pass."""

from __future__ import annotations

import gzip
import io
from dataclasses import replace

import pytest

from llmrouterd.benchmarks.providers import PROVIDERS, gates, parquet, tables
from llmrouterd.benchmarks.providers.base import Parsed, ProviderError, local_file
from llmrouterd.benchmarks.rows import BenchmarkRow, PublishedFacts
from tests.support import benchmark_samples as samples
from tests.support.benchmark_samples import SAMPLES, fetched, page

# The gates


def arena(*rows: BenchmarkRow) -> Parsed:
    return Parsed(rows=rows)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"value": 12.0}, "not in 600..2000"),
        ({"value": float("nan")}, "not in 600..2000"),
        ({"value": float("inf")}, "not in 600..2000"),
        ({"low": 1300.0}, "not in its interval"),
        ({"votes": -1}, "-1 votes"),
        ({"model": " "}, "no model"),
        ({"board": "bfcl/overall"}, "not a board of lmarena"),
        ({"board": "lmarena/coding"}, "lmarena/overall is missing"),
    ],
)
def test_a_row_that_cannot_be(changed: dict[str, object], message: str) -> None:
    row = BenchmarkRow(model="m", board="lmarena/overall", value=1200.0, low=1195.0, high=1205.0)
    gates.check(PROVIDERS["lmarena"], arena(row))
    with pytest.raises(ProviderError, match=message):
        gates.check(PROVIDERS["lmarena"], arena(replace(row, **changed)))


def test_a_figure_twice_and_no_figure() -> None:
    row = BenchmarkRow(model="m", board="lmarena/overall", value=1200.0)
    with pytest.raises(ProviderError, match="twice"):
        gates.check(PROVIDERS["lmarena"], arena(row, row))
    with pytest.raises(ProviderError, match="no figures"):
        gates.check(PROVIDERS["lmarena"], arena())


@pytest.mark.parametrize(
    "changed",
    [{"context": 0}, {"size_b": 0.0}, {"price": (-1.0, 0.0)}, {"source": "bfcl"}, {"model": ""}],
)
def test_facts_that_cannot_be(changed: dict[str, object]) -> None:
    one = PublishedFacts(source="models_dev", model="a/b", context=4096, price=(0.1, 0.2))
    gates.check(PROVIDERS["models_dev"], Parsed(facts=(one,)))
    with pytest.raises(ProviderError):
        gates.check(PROVIDERS["models_dev"], Parsed(facts=(replace(one, **changed),)))


# Tables


def test_the_same_rows_gzipped_and_as_parquet() -> None:
    plain = SAMPLES["bfcl"][0]
    folded = replace(plain, parts=(gzip.compress(plain.parts[0]),))
    assert tables.read(folded) == tables.read(plain)
    with pytest.raises(ProviderError, match="not a whole gzip file"):
        tables.read(replace(plain, parts=(folded.parts[0][:-9],)))


def test_parquet_gives_what_the_pages_give() -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    files = pytest.importorskip("pyarrow.parquet")
    written = io.BytesIO()
    files.write_table(pyarrow.Table.from_pylist(samples.ARENA), written)
    one = fetched("text_style_control", "parquet", "0.parquet", written.getvalue())
    provider = PROVIDERS["lmarena"]
    assert provider.parse([one]) == provider.parse(SAMPLES["lmarena"])
    with pytest.raises(ProviderError, match="not a whole Parquet file"):
        provider.parse([replace(one, parts=(written.getvalue()[:-20],))])


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "AVAILABLE", False)
    with pytest.raises(ProviderError, match=r"llmrouterd\[parquet\]"):
        parquet.read(b"PAR1")


@pytest.mark.parametrize(
    ("cell", "number"),
    [("12.5%", 12.5), (" 7 ", 7.0), ("N/A", None), ("", None), (None, None), (3, 3.0), ("-", None)],
)
def test_cells(cell: object, number: float | None) -> None:
    assert tables.number({"c": cell}, "c", "place") == number


@pytest.mark.parametrize("cell", ["many", "1,5", "nan", float("inf"), True, [1]])
def test_cells_that_are_no_numbers(cell: object) -> None:
    with pytest.raises(ProviderError, match="place: c"):
        tables.number({"c": cell}, "c", "place")


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("table_2026_01_08.csv", "2026-01-08"),
        ("hf_openevals_2026-06.csv", "2026-06"),
        ("2024-05-13T10:00:00Z", "2024-05-13"),
        ("data_overall.csv", ""),
        ("Qwen3-235B-A22B-Instruct-2507", ""),
    ],
)
def test_dates(text: str, date: str) -> None:
    assert tables.date(text) == date


def test_rows_whose_cells_were_truncated_are_refused() -> None:
    served = page(samples.ARENA)
    served["rows"][1]["truncated_cells"] = ["category"]
    with pytest.raises(ProviderError, match="truncated"):
        PROVIDERS["lmarena"].parse([fetched("text_style_control", "rows", "rows", served)])


def test_a_local_file_is_taken_by_its_name() -> None:
    one = local_file(PROVIDERS["bigcodebench"], "results-hard.json", b"{}")
    assert one is not None
    assert (one.key, one.kind, one.parts) == ("results_hard", "json", (b"{}",))
    assert local_file(PROVIDERS["bigcodebench"], "notes.txt", b"") is None
