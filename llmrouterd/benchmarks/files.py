"""Benchmark figures from CSV files that the owner names in `benchmarks.files`."""

from __future__ import annotations

import csv
import io
import math

from llmrouterd.benchmarks.rows import BenchmarkRow

_COLUMNS = ("model", "board", "value")


def parse_csv(text: str) -> tuple[BenchmarkRow, ...]:
    """Rows of a CSV with the columns model, board, value and, as far as known, category, low,
    high, date. A category is added to the board's name. Raises ValueError with the line."""
    reader = csv.DictReader(io.StringIO(text))
    try:
        return _rows(reader)
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None


def _rows(reader: csv.DictReader[str]) -> tuple[BenchmarkRow, ...]:
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f"line 1: the columns {', '.join(missing)} are missing")
    rows: dict[tuple[str, str], BenchmarkRow] = {}
    for entry in reader:
        line = reader.line_num
        model, board = (entry["model"] or "").strip(), (entry["board"] or "").strip()
        category = (entry.get("category") or "").strip()
        if not model or not board:
            raise ValueError(f"line {line}: a model and a board are needed")
        board = f"{board}/{category}" if category else board
        rows[(model, board)] = BenchmarkRow(
            model=model,
            board=board,
            value=_required(entry, "value", line),
            low=_number(entry, "low", line),
            high=_number(entry, "high", line),
            date=(entry.get("date") or "").strip(),
        )
    return tuple(rows.values())


def _required(entry: dict[str, str | None], name: str, line: int) -> float:
    value = _number(entry, name, line)
    if value is None:
        raise ValueError(f"line {line}: {name} is empty")
    return value


def _number(entry: dict[str, str | None], name: str, line: int) -> float | None:
    text = (entry.get(name) or "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"line {line}: {name} {text!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"line {line}: {name} must be finite")
    return value
