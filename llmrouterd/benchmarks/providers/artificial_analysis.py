"""Artificial Analysis: indices over several benchmarks. Needs a key; attribution is required.

The indices are rescaled with each version, so the version is kept in the remark of the status, and
figures of two versions are never mixed: all are replaced at once.
"""

from __future__ import annotations

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
    from collections.abc import Iterator, Mapping, Sequence

_NAME = "artificial_analysis"
_URL = "https://artificialanalysis.ai/api/v2/data/llms/models"
_PREFIX = "artificial_analysis_"
_FIRST = "models"
_INDEX = f"{_NAME}/intelligence_index"
# More pages than this mean that the count is wrong.
_MOST_PAGES = 50


class ArtificialAnalysis:
    """Artificial Analysis, as a Provider."""

    about = About(
        name=_NAME,
        title="Artificial Analysis",
        licence="terms of artificialanalysis.ai, attribution required",
        attribution="Artificial Analysis (https://artificialanalysis.ai)",
        home="https://artificialanalysis.ai",
        needs_key=True,
        default=False,
        required=(_INDEX,),
    )
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {
        _FIRST: ("artificial_analysis*.json*", "aa_index*.csv*")
    }

    def resources(self, fetched: Sequence[Fetched]) -> tuple[Resource, ...]:
        first = Resource(key=_FIRST, url=_URL, kind="json", auth="x-api-key")
        found = next((one for one in fetched if one.key == _FIRST), None)
        if found is None:
            return (first,)
        rest = tuple(
            Resource(
                key=f"{_FIRST}_{page}", url=f"{_URL}?page={page}", kind="json", auth="x-api-key"
            )
            for page in range(2, _pages(_payload(found), found.name) + 1)
        )
        return missing(rest, fetched)

    def parse(self, fetched: Sequence[Fetched]) -> Parsed:
        rows: dict[tuple[str, str], BenchmarkRow] = {}
        facts: dict[str, PublishedFacts] = {}
        versions: set[str] = set()
        for one in fetched:
            if one.kind == "csv":
                found = _measured(one)
            else:
                payload = _payload(one)
                versions.add(str(payload.get("intelligence_index_version") or "not said"))
                found = _rows(payload, one, facts)
            rows.update({(row.model, row.board): row for row in found})
        if len(versions) > 1:
            raise ProviderError(f"several index versions: {', '.join(sorted(versions))}")
        return Parsed(
            rows=tuple(rows.values()),
            facts=tuple(facts.values()),
            published=max((row.date for row in rows.values()), default=""),
            detail="".join(f"index version {version}" for version in versions),
        )


def _payload(one: Fetched) -> dict[str, Any]:
    payload = tables.document(one)
    if not isinstance(payload, dict) or not isinstance(payload.get("data"), list):
        raise ProviderError(f"{one.name}: 'data' with a list of models is missing")
    return payload


def _pages(payload: Mapping[str, Any], name: str) -> int:
    pagination = payload.get("pagination")
    pages = pagination.get("total_pages") if isinstance(pagination, dict) else None
    if pages is None:
        return 1
    if not isinstance(pages, int) or not 0 <= pages <= _MOST_PAGES:
        raise ProviderError(f"{name}: {pages!r} pages")
    return pages


def _rows(
    payload: Mapping[str, Any], one: Fetched, facts: dict[str, PublishedFacts]
) -> Iterator[BenchmarkRow]:
    published = tables.date(one.name) or one.modified
    for number, entry in enumerate(payload["data"]):
        scores = entry.get("evaluations") if isinstance(entry, dict) else None
        if not isinstance(scores, dict) or not entry.get("name"):
            raise ProviderError(f"{one.name} data[{number}]: 'name' or 'evaluations' is missing")
        model = tables.text(entry, "name")
        released = tables.date(tables.text(entry, "release_date"))
        price = _price(entry, model)
        if released or price is not None:
            facts[model] = PublishedFacts(source=_NAME, model=model, released=released, price=price)
        for score in scores:
            value = tables.number(scores, score, model)
            if value is not None:
                board = f"{_NAME}/{score.removeprefix(_PREFIX)}"
                yield BenchmarkRow(model=model, board=board, value=value, date=published)


def _price(entry: Mapping[str, Any], model: str) -> tuple[float, float] | None:
    pricing = entry.get("pricing")
    if not isinstance(pricing, dict):
        return None
    prices = [
        tables.number(pricing, f"price_1m_{side}_tokens", model) for side in ("input", "output")
    ]
    if prices[0] is None or prices[1] is None:
        return None
    return prices[0], prices[1]


def _measured(one: Fetched) -> Iterator[BenchmarkRow]:
    """A collected table: only what was measured, never what its collector estimated."""
    table = tables.read(one)
    names = tables.columns(
        table, one.name, {"model": ("hf_id",), "index": ("aa_index",), "kind": ("kind",)}
    )
    for row in table:
        model = tables.text(row, names["model"])
        value = tables.number(row, names["index"], model)
        if value is not None and tables.text(row, names["kind"]) == "measured":
            yield BenchmarkRow(
                model=model, board=_INDEX, value=value, date=tables.date(one.name) or one.modified
            )
