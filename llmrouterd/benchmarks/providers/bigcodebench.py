"""BigCodeBench: pass@1 on programming tasks, whole and hard, for instruct and complete prompts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from llmrouterd.benchmarks.providers import tables
from llmrouterd.benchmarks.providers.base import (
    About,
    Fetched,
    Parsed,
    ProviderError,
    Resource,
    missing,
)
from llmrouterd.benchmarks.rows import BenchmarkRow, PublishedFacts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAME = "bigcodebench"
_PREFIXES = {"results": "", "results_hard": "hard_"}
_MODES = ("instruct", "complete")
_BOARDS = tuple(prefix + mode for prefix in _PREFIXES.values() for mode in _MODES)
_COLUMNS = {"name": ("model",), "link": ("link",), **{board: (board,) for board in _BOARDS}}
_OPTIONAL = {"size": ("params_b",), "active": ("active_b",), "date": ("date",)}


class BigCodeBench:
    """BigCodeBench, as a Provider."""

    about = About(
        name=_NAME,
        title="BigCodeBench",
        licence="Apache-2.0",
        attribution="BigCodeBench (bigcode-bench.github.io)",
        home="https://bigcode-bench.github.io",
        required=(f"{_NAME}/instruct", f"{_NAME}/complete"),
    )
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "results": ("bigcodebench*.csv*", "results.json"),
        "results_hard": ("results-hard.json",),
    }

    def resources(self, fetched: Sequence[Fetched]) -> tuple[Resource, ...]:
        base = "https://bigcode-bench.github.io"
        both = (
            Resource(key="results", url=f"{base}/results.json", kind="json"),
            Resource(key="results_hard", url=f"{base}/results-hard.json", kind="json"),
        )
        return missing(both, fetched)

    def parse(self, fetched: Sequence[Fetched]) -> Parsed:
        entries: dict[str, dict[str, Any]] = {}
        for one in fetched:
            for name, entry in (_table(one) if one.kind == "csv" else _results(one)).items():
                entries.setdefault(name, {}).update(entry)
        models = _models(entries)
        published = max((tables.date(one.name) or one.modified for one in fetched), default="")
        rows: list[BenchmarkRow] = []
        facts: list[PublishedFacts] = []
        for name, entry in entries.items():
            model = models[name]
            for board in _BOARDS:
                value = tables.number(entry, board, name)
                if value is not None:
                    rows.append(
                        BenchmarkRow(
                            model=model, board=f"{_NAME}/{board}", value=value, date=published
                        )
                    )
            size = tables.positive(entry, "size", name)
            released = tables.date(tables.text(entry, "date"))
            if size is not None or released:
                active = tables.positive(entry, "active", name)
                facts.append(
                    PublishedFacts(
                        source=_NAME, model=model, size_b=size, active_b=active, released=released
                    )
                )
        return Parsed(rows=tuple(rows), facts=tuple(facts), published=published)


def _table(one: Fetched) -> dict[str, dict[str, Any]]:
    table = tables.read(one)
    names = tables.columns(table, one.name, _COLUMNS, _OPTIONAL)
    return {
        tables.text(row, names["name"]): {ours: row[column] for ours, column in names.items()}
        for row in table
    }


def _results(one: Fetched) -> dict[str, dict[str, Any]]:
    found = tables.document(one)
    if not isinstance(found, dict) or not found:
        raise ProviderError(f"{one.name}: no object of models")
    entries: dict[str, dict[str, Any]] = {}
    for name, entry in found.items():
        scores = entry.get("pass@1") if isinstance(entry, dict) else None
        if not isinstance(scores, dict) or not set(_MODES) & scores.keys():
            raise ProviderError(
                f"{one.name} {name}: 'pass@1' with 'instruct' or 'complete' missing"
            )
        entries[name] = {_PREFIXES[one.key] + mode: scores.get(mode) for mode in _MODES} | {
            "link": entry.get("link"),
            "size": entry.get("size"),
            "active": entry.get("act_param"),
            "date": entry.get("date"),
        }
    return entries


def _models(entries: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The Hugging Face id behind each name; the name itself without one, or where two share it."""
    ids = {name: tables.hub_id(tables.text(entry, "link")) for name, entry in entries.items()}
    uses = Counter(ids.values())
    return {name: found if found and uses[found] == 1 else name for name, found in ids.items()}
