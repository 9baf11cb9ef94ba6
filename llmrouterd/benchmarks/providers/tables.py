"""From bytes to rows with named columns, and from cells to numbers and dates. Pure.

A table is a list of dictionaries that share their keys. Everything that is wrong raises
ProviderError and names the place.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import zlib
from typing import TYPE_CHECKING, Any

from llmrouterd.benchmarks.providers import parquet
from llmrouterd.benchmarks.providers.base import Fetched, ProviderError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Table = list[dict[str, Any]]

_GZIP = b"\x1f\x8b"
# The most that a gzipped file may unfold to, so that a small file cannot fill the memory.
_UNFOLDED_BYTES = 256 * 2**20
_DATE = re.compile(r"(20\d\d)[-_](0[1-9]|1[0-2])(?:[-_](0[1-9]|[12]\d|3[01]))?(?!\d)")
# Rows share their columns; the first may be one that is empty.
_LOOKED_AT = 3
_MISSING = frozenset({"", "-", "n/a", "na", "none", "null"})


def read(fetched: Fetched, *, ragged: bool = False) -> Table:
    """The table in what was fetched, whatever its kind. Raises ProviderError, also when it is
    empty or when pages are missing. ragged: a CSV line with another number of cells than columns
    is an empty row instead of an error, as nobody can tell which cells it lacks."""
    if fetched.kind == "parquet":
        table = parquet.read(_only(fetched))
    elif fetched.kind == "csv":
        table = _csv(_text(_only(fetched), fetched.name), fetched.name, ragged=ragged)
    else:
        table = _pages([_json(part, fetched.name) for part in fetched.parts], fetched.name)
    if not table:
        raise ProviderError(f"{fetched.name}: there are no rows")
    return table


def document(fetched: Fetched) -> Any:
    """The JSON document that was fetched."""
    return _json(_only(fetched), fetched.name)


def _only(fetched: Fetched) -> bytes:
    if len(fetched.parts) != 1:
        raise ProviderError(f"{fetched.name}: one body is expected, not {len(fetched.parts)}")
    return fetched.parts[0]


def _text(content: bytes, name: str) -> str:
    try:
        if content.startswith(_GZIP):
            with gzip.open(io.BytesIO(content)) as unfolded:
                content = unfolded.read(_UNFOLDED_BYTES + 1)
            if len(content) > _UNFOLDED_BYTES:
                raise ProviderError(f"{name}: unfolds to more than {_UNFOLDED_BYTES} bytes")
        return content.decode("utf-8-sig")
    except (EOFError, OSError, zlib.error) as error:
        raise ProviderError(f"{name}: not a whole gzip file: {error}") from None
    except UnicodeDecodeError as error:
        raise ProviderError(f"{name}: not UTF-8 at byte {error.start}") from None


def _json(content: bytes, name: str) -> Any:
    try:
        return json.loads(_text(content, name))
    except json.JSONDecodeError as error:
        raise ProviderError(
            f"{name}: not whole JSON, line {error.lineno} column {error.colno}: {error.msg}"
        ) from None
    except RecursionError:
        raise ProviderError(f"{name}: nested too deeply") from None


def _csv(text: str, name: str, *, ragged: bool) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    table: Table = []
    try:
        header = next(reader, [])
        for cells in reader:
            if not cells:
                continue
            whole = len(cells) == len(header)
            if not whole and not ragged:
                raise ProviderError(
                    f"{name} line {reader.line_num}: {len(cells)} cells under {len(header)} columns"
                )
            table.append(dict(zip(header, cells, strict=True)) if whole else {})
    except csv.Error as error:
        raise ProviderError(f"{name} line {reader.line_num}: {error}") from None
    if table and not table[-1] and not text.endswith("\n"):
        raise ProviderError(f"{name} line {reader.line_num}: the file ends within a line")
    return table


def _pages(pages: list[Any], name: str) -> Table:
    table: Table = []
    total: int | None = None
    for number, page in enumerate(pages):
        rows = page.get("rows") if isinstance(page, dict) else page
        if not isinstance(rows, list):
            raise ProviderError(f"{name} page {number}: no list of rows")
        for entry in rows:
            row = entry.get("row", entry) if isinstance(entry, dict) else None
            if not isinstance(row, dict):
                raise ProviderError(f"{name} page {number}: a row is not an object")
            if isinstance(entry, dict) and entry.get("truncated_cells"):
                raise ProviderError(f"{name} page {number}: the cells of a row are truncated")
            table.append(row)
        if isinstance(page, dict) and isinstance(page.get("num_rows_total"), int):
            total = page["num_rows_total"]
    if total is not None and len(table) < total:
        raise ProviderError(f"{name}: {len(table)} of {total} rows")
    return table


def columns(
    table: Table,
    place: str,
    required: Mapping[str, Sequence[str]],
    optional: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """For each of our names the column that holds it: the first of the spellings that is there.
    Raises ProviderError for those that are required and missing."""
    there: set[str] = set().union(*table[:_LOOKED_AT])
    found: dict[str, str] = {}
    for name, spellings in {**(optional or {}), **required}.items():
        column = next((spelling for spelling in spellings if spelling in there), None)
        if column is not None:
            found[name] = column
        elif name in required:
            wanted = " or ".join(repr(spelling) for spelling in spellings)
            raise ProviderError(f"{place}: the column {wanted} is missing")
    return found


def number(row: Mapping[str, Any], column: str | None, place: str) -> float | None:
    """The number in a cell; a percent sign is dropped; None for an empty cell, N/A or -."""
    cell = row.get(column) if column is not None else None
    if cell is None:
        return None
    if isinstance(cell, str):
        text = cell.strip().removesuffix("%").strip()
        if text.lower() in _MISSING:
            return None
        try:
            value = float(text)
        except ValueError:
            raise ProviderError(f"{place}: {column} {cell!r} is not a number") from None
    elif isinstance(cell, int | float) and not isinstance(cell, bool):
        value = float(cell)
    else:
        raise ProviderError(f"{place}: {column} {cell!r} is not a number")
    if not math.isfinite(value):
        raise ProviderError(f"{place}: {column} is not finite")
    return value


def count(row: Mapping[str, Any], column: str | None, place: str) -> int | None:
    """The whole number in a cell, such as votes or tokens; None when empty or negative."""
    value = number(row, column, place)
    return None if value is None or value < 0 else int(value)


def positive(row: Mapping[str, Any], column: str | None, place: str) -> float | None:
    """The number in a cell, None where it is not above 0: sizes are -1 or 0 when unknown."""
    value = number(row, column, place)
    return None if value is None or value <= 0 else value


def text(row: Mapping[str, Any], column: str | None) -> str:
    """The text in a cell, stripped; "" when there is none."""
    cell = row.get(column) if column is not None else None
    return "" if cell is None else str(cell).strip()


def flag(row: Mapping[str, Any], column: str | None) -> bool:
    """Whether a cell says yes."""
    return text(row, column).lower() in {"1", "1.0", "true", "yes"}


def date(value: str) -> str:
    """The last date in a text such as a file's name, as YYYY-MM-DD or YYYY-MM; "" without one."""
    found = _DATE.findall(value)
    return "-".join(part for part in found[-1] if part) if found else ""


def hub_id(link: str) -> str:
    """OWNER/NAME of a link to a model on Hugging Face, or ""."""
    found = re.fullmatch(
        r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+?)(?:/tree/.*)?/?", link
    )
    return found[1] if found and not found[1].startswith(("datasets/", "spaces/", "blog/")) else ""
