"""OpenEvals: what makers of open models report on a dozen benchmarks, collected by Hugging Face."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

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

_NAME = "openevals"
_MODEL = {"model": ("model_id", "hf_id", "model_name")}
_OPTIONAL = {"size": ("parameters_billions", "params_b")}
_SUFFIX = "_score"
# `aggregate_score` averages over whichever benchmarks a model has; it compares nothing.
_NO_BOARD = frozenset({"aggregate_score"})
# The collection as a table without the suffix holds these columns beside the model and its size.
_BARE = frozenset(
    {
        "aime2026",
        "evasionBench",
        "gpqa",
        "gsm8k",
        "hle",
        "hmmt2026",
        "mmluPro",
        "olmOcr",
        "swePro",
        "sweVerified",
        "terminalBench",
    }
)


class OpenEvals:
    """OpenEvals, as a Provider."""

    about = About(
        name=_NAME,
        title="OpenEvals leaderboard data",
        licence="none stated",
        attribution="Hugging Face OpenEvals; figures reported by the models' makers",
        home="https://huggingface.co/datasets/OpenEvals/leaderboard-data",
        required=(f"{_NAME}/gpqa", f"{_NAME}/mmlu_pro"),
    )
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {"rows": ("hf_openevals*", "openevals*")}

    def resources(self, fetched: Sequence[Fetched]) -> tuple[Resource, ...]:
        rows = Resource(
            key="rows",
            url="https://datasets-server.huggingface.co/rows"
            "?dataset=OpenEvals%2Fleaderboard-data&config=default&split=train",
            kind="rows",
            auth="huggingface",
        )
        parquet = Resource(
            key="rows",
            url="https://huggingface.co/api/datasets/OpenEvals/leaderboard-data"
            "/parquet/default/train/0.parquet",
            kind="parquet",
            auth="huggingface",
            alternatives=(rows,),
        )
        return missing((parquet,), fetched)

    def parse(self, fetched: Sequence[Fetched]) -> Parsed:
        rows: dict[tuple[str, str], BenchmarkRow] = {}
        facts: dict[str, PublishedFacts] = {}
        newest = ""
        for one in sorted(fetched, key=lambda one: tables.date(one.name) or one.modified):
            table = tables.read(one)
            names = tables.columns(table, one.name, _MODEL, _OPTIONAL)
            boards = {column: _board(column) for column in table[0] if _is_board(column)}
            if not boards:
                raise ProviderError(f"{one.name}: no column ends in '{_SUFFIX}'")
            newest = tables.date(one.name) or one.modified
            for row in table:
                model = tables.text(row, names["model"])
                for column, board in boards.items():
                    value = tables.number(row, column, model)
                    if value is not None:
                        rows[model, board] = BenchmarkRow(
                            model=model, board=board, value=value, date=newest
                        )
                size = tables.positive(row, names.get("size"), model)
                if size is not None:
                    facts[model] = PublishedFacts(source=_NAME, model=model, size_b=size)
        return Parsed(rows=tuple(rows.values()), facts=tuple(facts.values()), published=newest)


def _is_board(column: str) -> bool:
    return (column.endswith(_SUFFIX) and column not in _NO_BOARD) or column in _BARE


def _board(column: str) -> str:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column.removesuffix(_SUFFIX))
    return f"{_NAME}/{snake.lower()}"
