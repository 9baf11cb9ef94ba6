"""The figures that travel with the package, as gzipped CSV: for a first start without a network.

`rows` hold figures (board, model, value, low, high, votes, date), `facts` what is known of models
(source, model, context, input, output, capabilities, size_b, active_b, released). The same content
always gives the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import io
from typing import TYPE_CHECKING, Any

from llmrouterd.benchmarks.providers import tables
from llmrouterd.benchmarks.providers.base import Fetched
from llmrouterd.benchmarks.rows import BenchmarkRow, PublishedFacts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROWS, FACTS = "rows.csv.gz", "facts.csv.gz"
_ROW = ("board", "model", "value", "low", "high", "votes", "date")
_FACTS = (
    "source",
    "model",
    "context",
    "input",
    "output",
    "capabilities",
    "size_b",
    "active_b",
    "released",
)


def dump_rows(rows: Iterable[BenchmarkRow]) -> bytes:
    """The figures as a file, by board and model."""
    ordered = sorted(rows, key=lambda row: (row.board, row.model))
    return _dump(_ROW, ([getattr(row, name) for name in _ROW] for row in ordered))


def read_rows(content: bytes) -> tuple[BenchmarkRow, ...]:
    """The figures of a file. Raises ProviderError."""
    found: list[BenchmarkRow] = []
    for row in _read(content, ROWS, _ROW):
        model = tables.text(row, "model")
        found.append(
            BenchmarkRow(
                model=model,
                board=tables.text(row, "board"),
                value=tables.number(row, "value", model) or 0.0,
                low=tables.number(row, "low", model),
                high=tables.number(row, "high", model),
                votes=tables.count(row, "votes", model),
                date=tables.text(row, "date"),
            )
        )
    return tuple(found)


def dump_facts(facts: Iterable[PublishedFacts]) -> bytes:
    """The facts as a file, by source and model."""
    ordered = sorted(facts, key=lambda one: (one.source, one.model))
    return _dump(_FACTS, (_fact_cells(one) for one in ordered))


def _fact_cells(one: PublishedFacts) -> list[Any]:
    return [
        one.source,
        one.model,
        one.context,
        *(one.price or (None, None)),
        "+".join(sorted(one.capabilities or ())),
        one.size_b,
        one.active_b,
        one.released,
    ]


def read_facts(content: bytes) -> tuple[PublishedFacts, ...]:
    """The facts of a file. Raises ProviderError."""
    found: list[PublishedFacts] = []
    for row in _read(content, FACTS, _FACTS):
        model = tables.text(row, "model")
        capabilities = tables.text(row, "capabilities")
        input_, output = (tables.number(row, side, model) for side in ("input", "output"))
        found.append(
            PublishedFacts(
                source=tables.text(row, "source"),
                model=model,
                context=tables.count(row, "context", model),
                price=None if input_ is None or output is None else (input_, output),
                capabilities=frozenset(capabilities.split("+")) if capabilities else None,
                size_b=tables.number(row, "size_b", model),
                active_b=tables.number(row, "active_b", model),
                released=tables.text(row, "released"),
            )
        )
    return tuple(found)


def _dump(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> bytes:
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(cell) for cell in line] for line in lines)
    return gzip.compress(written.getvalue().encode(), compresslevel=9, mtime=0)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    # Ten digits give back every figure as published, without the noise of sums of floats.
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _read(content: bytes, name: str, header: Sequence[str]) -> tables.Table:
    table = tables.read(Fetched(key="seed", kind="csv", name=name, parts=(content,)))
    tables.columns(table, name, {column: (column,) for column in header})
    return table
