"""LMArena's text board: ratings by human votes, with style control, for each category.

Plain ratings differ from style-controlled ones by 39 points on average, with a spread of 34; the
two are never mixed, so a file that does not say which of them it holds is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from llmrouterd.benchmarks.providers import tables
from llmrouterd.benchmarks.providers.base import (
    About,
    Bounds,
    Fetched,
    Parsed,
    ProviderError,
    Resource,
    missing,
)
from llmrouterd.benchmarks.rows import BenchmarkRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_NAME = "lmarena"
_KEY = "text_style_control"
_MARKED = "text_marked"
_CATEGORIES = {
    "full": "overall",
    "hard_6": "hard_prompts",
    "hard_english_6": "hard_prompts_english",
    "if": "instruction_following",
    "multiturn": "multi_turn",
    "long_user": "longer_query",
}
# The same votes as `overall` less some of them; no board of their own.
_FILTERS = ("no_", "exclude_")
_LONG = {
    "model": ("model_name", "model"),
    "rating": ("rating",),
}
_LONG_OPTIONAL = {
    "low": ("rating_lower", "lower"),
    "high": ("rating_upper", "upper"),
    "votes": ("vote_count", "votes"),
    "date": ("leaderboard_publish_date",),
    "style": ("style_control",),
}
_CATEGORY = {"category": ("category",)}
_WIDE_DETAIL = ("model", "full_ci")


class LmArena:
    """LMArena's text board, as a Provider."""

    about = About(
        name=_NAME,
        title="LMArena, text, with style control",
        licence="CC-BY-4.0",
        attribution="LMArena (lmarena.ai), leaderboard-dataset, text_style_control",
        home="https://huggingface.co/datasets/lmarena-ai/leaderboard-dataset",
        bounds=Bounds(low=600.0, high=2000.0),
        required=(f"{_NAME}/overall",),
    )
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {
        _KEY: ("lmarena*style_control*", "text_style_control*"),
        _MARKED: ("lmarena_text*_long.csv*",),
    }

    def resources(self, fetched: Sequence[Fetched]) -> tuple[Resource, ...]:
        base = "https://huggingface.co"
        rows = Resource(
            key=_KEY,
            url="https://datasets-server.huggingface.co/rows"
            f"?dataset=lmarena-ai%2Fleaderboard-dataset&config={_KEY}&split=latest",
            kind="rows",
            auth="huggingface",
        )
        repository = Resource(
            key=_KEY,
            url=f"{base}/datasets/lmarena-ai/leaderboard-dataset/resolve/main/{_KEY}"
            "/latest-00000-of-00001.parquet",
            kind="parquet",
            auth="huggingface",
        )
        parquet = Resource(
            key=_KEY,
            url=f"{base}/api/datasets/lmarena-ai/leaderboard-dataset/parquet/{_KEY}"
            "/latest/0.parquet",
            kind="parquet",
            auth="huggingface",
            alternatives=(repository, rows),
        )
        return missing((parquet,), fetched)

    def parse(self, fetched: Sequence[Fetched]) -> Parsed:
        newest: dict[tuple[str, str], BenchmarkRow] = {}
        dropped = 0
        for one in fetched:
            table = tables.read(one)
            rows = _wide(table, one) if "full" in table[0] else _long(table, one)
            for row in rows:
                if row is None:
                    dropped += 1
                    continue
                key = (row.model, row.board)
                if key not in newest or _order(row) > _order(newest[key]):
                    newest[key] = row
        return Parsed(
            rows=tuple(newest.values()),
            published=max((row.date for row in newest.values()), default=""),
            dropped=dropped,
        )


def _order(row: BenchmarkRow) -> tuple[str, bool]:
    return row.date, row.low is not None


def _board(category: str) -> str | None:
    slug = category.strip().lower().replace(" ", "_").replace("-", "_")
    slug = _CATEGORIES.get(slug, slug)
    return None if slug.startswith(_FILTERS) or not slug else f"{_NAME}/{slug}"


def _long(table: tables.Table, one: Fetched) -> Iterator[BenchmarkRow | None]:
    # Only a file that is named after the one category it holds can do without the column.
    category = {} if "overall" in one.name else _CATEGORY
    names = tables.columns(table, one.name, {**_LONG, **category}, {**_LONG_OPTIONAL, **_CATEGORY})
    if one.key == _MARKED and "style" not in names:
        raise ProviderError(f"{one.name}: the column 'style_control' is missing")
    published = tables.date(one.name) or one.modified
    for row in table:
        model = tables.text(row, names["model"])
        board = _board(tables.text(row, names["category"]) if "category" in names else "overall")
        rating = tables.number(row, names["rating"], model)
        plain = "style" in names and not tables.flag(row, names["style"])
        if plain or board is None or rating is None or not model:
            yield None
            continue
        yield BenchmarkRow(
            model=model,
            board=board,
            value=rating,
            low=tables.number(row, names.get("low"), model),
            high=tables.number(row, names.get("high"), model),
            votes=tables.count(row, names.get("votes"), model),
            date=tables.date(tables.text(row, names.get("date"))) or published,
        )


def _wide(table: tables.Table, one: Fetched) -> Iterator[BenchmarkRow | None]:
    names = tables.columns(table, one.name, {"model": ("model",), "full": ("full",)})
    published = tables.date(one.name) or one.modified
    for row in table:
        model = tables.text(row, names["model"])
        for column in row:
            board = None if column in _WIDE_DETAIL else _board(column)
            value = tables.number(row, column, model) if board is not None else None
            if board is None or value is None:
                continue
            half = tables.number(row, "full_ci", model) if column == "full" else None
            yield BenchmarkRow(
                model=model,
                board=board,
                value=value,
                low=None if half is None else value - half,
                high=None if half is None else value + half,
                date=published,
            )
