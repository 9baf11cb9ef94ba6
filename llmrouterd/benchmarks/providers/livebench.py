"""LiveBench: tasks without contamination, one table for each release.

Releases are not comparable with each other, so the figures are those of one release, the newest.
A new release therefore replaces the former one only when it has half as many models (the gate).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from llmrouterd.benchmarks.providers import tables
from llmrouterd.benchmarks.providers.base import (
    About,
    Fetched,
    Kind,
    Parsed,
    ProviderError,
    Resource,
    missing,
)
from llmrouterd.benchmarks.rows import BenchmarkRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAME = "livebench"
_LISTING = "https://api.github.com/repos/LiveBench/livebench.github.io/contents/public"
_PLACES = (
    "https://raw.githubusercontent.com/LiveBench/livebench.github.io/main/public",
    "https://livebench.ai",
)
_TABLE = re.compile(r"table_(\d{4}_\d\d_\d\d)\.csv")
_BOARDS = {
    "coding": "coding",
    "agentic_coding": "agentic_coding",
    "mathematics": "mathematics",
    "reasoning": "reasoning",
    "language": "language",
    "if": "instruction_following",
    "data_analysis": "data_analysis",
}


class LiveBench:
    """LiveBench, as a Provider."""

    about = About(
        name=_NAME,
        title="LiveBench",
        licence="none stated",
        attribution="LiveBench (livebench.ai)",
        home="https://livebench.ai",
        required=(f"{_NAME}/global_average", f"{_NAME}/coding", f"{_NAME}/reasoning"),
    )
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "table": ("*table_20[0-9][0-9]_[0-9][0-9]_[0-9][0-9].csv*",),
        "categories": ("*categories_20[0-9][0-9]_[0-9][0-9]_[0-9][0-9].json*",),
    }

    def resources(self, fetched: Sequence[Fetched]) -> tuple[Resource, ...]:
        listing = next((one for one in fetched if one.key == "listing"), None)
        if listing is None:
            return (Resource(key="listing", url=_LISTING, kind="json"),)
        release = _newest(listing)
        both = (
            _resource("table", f"table_{release}.csv", "csv"),
            _resource("categories", f"categories_{release}.json", "json"),
        )
        return missing(both, fetched)

    def parse(self, fetched: Sequence[Fetched]) -> Parsed:
        found = {
            (one.key, tables.date(one.name)): one
            for one in fetched
            if one.key in {"table", "categories"}
        }
        release = max((day for key, day in found if key == "table"), default="")
        table, listed = found.get(("table", release)), found.get(("categories", release))
        if table is None or not release:
            raise ProviderError("no table_YYYY_MM_DD.csv")
        if listed is None:
            raise ProviderError(f"{table.name}: no categories of the same release")
        entries = tables.read(table, ragged=True)
        whole = [entry for entry in entries if entry]
        if not whole:
            raise ProviderError(f"{table.name}: there are no whole rows")
        rows = _rows(whole, table.name, _categories(listed), release)
        dropped = len(entries) - len(whole)
        detail = f"release {release}"
        return Parsed(rows=rows, published=release, dropped=dropped, detail=detail)


def _newest(listing: Fetched) -> str:
    entries = tables.document(listing)
    names = [
        str(entry.get("name", ""))
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict)
    ]
    releases = [found[1] for name in names if (found := _TABLE.fullmatch(name))]
    if not releases:
        raise ProviderError(f"{listing.name}: no table_YYYY_MM_DD.csv is listed")
    newest = max(releases)
    if f"categories_{newest}.json" not in names:
        raise ProviderError(f"{listing.name}: categories_{newest}.json is not listed")
    return newest


def _resource(key: str, name: str, kind: Kind) -> Resource:
    first, second = (Resource(key=key, url=f"{place}/{name}", kind=kind) for place in _PLACES)
    return Resource(key=key, url=first.url, kind=kind, alternatives=(second,))


def _categories(listed: Fetched) -> dict[str, list[str]]:
    found = tables.document(listed)
    if not isinstance(found, dict) or not found:
        raise ProviderError(f"{listed.name}: no object of categories")
    categories: dict[str, list[str]] = {}
    for title, tasks in found.items():
        if not isinstance(tasks, list) or not tasks or not all(isinstance(t, str) for t in tasks):
            raise ProviderError(f"{listed.name}: the tasks of {title!r} are no list of names")
        slug = title.strip().lower().replace(" ", "_")
        categories[_BOARDS.get(slug, slug)] = tasks
    return categories


def _rows(
    table: tables.Table, place: str, categories: Mapping[str, list[str]], release: str
) -> tuple[BenchmarkRow, ...]:
    needed = ["model", *(task for tasks in categories.values() for task in tasks)]
    tables.columns(table, place, {name: (name,) for name in needed})
    rows: list[BenchmarkRow] = []
    for row in table:
        model = tables.text(row, "model")
        averages = {
            board: average
            for board, tasks in categories.items()
            if (average := _average(row, tasks, model)) is not None
        }
        if len(averages) == len(categories):
            averages["global_average"] = sum(averages.values()) / len(averages)
        rows += (
            BenchmarkRow(
                model=model, board=f"{_NAME}/{board}", value=round(average, 2), date=release
            )
            for board, average in averages.items()
        )
    return tuple(rows)


def _average(row: Mapping[str, Any], tasks: Sequence[str], model: str) -> float | None:
    """The mean of the tasks; None where one is missing, as the mean of the rest is another test."""
    values = [tables.number(row, task, model) for task in tasks]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
