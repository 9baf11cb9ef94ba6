"""Berkeley Function Calling Leaderboard: how well a model forms tool calls."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from llmrouterd.benchmarks.providers import tables
from llmrouterd.benchmarks.providers.base import About, Fetched, Parsed, Resource, missing
from llmrouterd.benchmarks.rows import BenchmarkRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAME = "bfcl"
_REQUIRED = {
    "model": ("Model", "model"),
    "overall": ("Overall Acc", "overall"),
    "non_live_ast": ("Non-Live AST Acc", "non_live_ast"),
    "live": ("Live Acc", "live"),
    "multi_turn": ("Multi Turn Acc", "multi_turn"),
}
_OPTIONAL = {
    "web_search": ("Web Search Acc", "web_search"),
    "memory": ("Memory Acc", "memory"),
    "relevance": ("Relevance Detection", "relevance"),
    "irrelevance": ("Irrelevance Detection", "irrelevance"),
    "link": ("Model Link",),
    "hub": ("hf_id",),
}
_NO_BOARD = frozenset({"model", "link", "hub"})
# How the calls were asked for: `(FC)` with the API's own tools, `(Prompt)` in the prompt.
_MODE = re.compile(r"\s*\((?:FC|Prompt)\b[^)]*\)\s*$")


class Bfcl:
    """Berkeley Function Calling Leaderboard, as a Provider."""

    about = About(
        name=_NAME,
        title="Berkeley Function Calling Leaderboard",
        licence="Apache-2.0",
        attribution="Berkeley Function Calling Leaderboard (gorilla.cs.berkeley.edu)",
        home="https://gorilla.cs.berkeley.edu/leaderboard.html",
        required=(f"{_NAME}/overall",),
    )
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {"rows": ("bfcl*.csv*", "data_overall*.csv*")}

    def resources(self, fetched: Sequence[Fetched]) -> tuple[Resource, ...]:
        site = Resource(
            key="rows", url="https://gorilla.cs.berkeley.edu/data_overall.csv", kind="csv"
        )
        mirror = Resource(
            key="rows",
            url="https://raw.githubusercontent.com/ShishirPatil/gorilla/gh-pages/data_overall.csv",
            kind="csv",
            alternatives=(site,),
        )
        return missing((mirror,), fetched)

    def parse(self, fetched: Sequence[Fetched]) -> Parsed:
        # A model is there once for each mode; the better one says what it can do.
        best: dict[str, tuple[float, list[BenchmarkRow]]] = {}
        dropped = 0
        for one in fetched:
            table = tables.read(one)
            names = tables.columns(table, one.name, _REQUIRED, _OPTIONAL)
            published = tables.date(one.name) or one.modified
            for row in table:
                title = _MODE.sub("", tables.text(row, names["model"]))
                hub = tables.text(row, names.get("hub"))
                model = hub or tables.hub_id(tables.text(row, names.get("link"))) or title
                overall = tables.number(row, names["overall"], title)
                if overall is None or (model in best and best[model][0] >= overall):
                    dropped += 1
                    continue
                dropped += model in best
                rows = [
                    BenchmarkRow(model=model, board=f"{_NAME}/{board}", value=value, date=published)
                    for board, column in names.items()
                    if board not in _NO_BOARD
                    and (value := tables.number(row, column, title)) is not None
                ]
                best[model] = (overall, rows)
        return Parsed(
            rows=tuple(row for _, rows in best.values() for row in rows),
            published=max((tables.date(one.name) or one.modified for one in fetched), default=""),
            dropped=dropped,
        )
