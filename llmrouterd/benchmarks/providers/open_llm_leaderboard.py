"""Open LLM Leaderboard v2: six benchmarks of 4,500 open models. Frozen since March 2025."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from llmrouterd.benchmarks.providers import tables
from llmrouterd.benchmarks.providers.base import About, Fetched, Parsed, Resource, missing
from llmrouterd.benchmarks.rows import BenchmarkRow, PublishedFacts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAME = "open_llm_leaderboard"
_BOARDS = {
    "average": ("Average ⬆️", "average"),
    "ifeval": ("IFEval", "ifeval"),
    "bbh": ("BBH", "bbh"),
    "math_lvl_5": ("MATH Lvl 5", "math_lvl5"),
    "gpqa": ("GPQA", "gpqa"),
    "musr": ("MUSR", "musr"),
    "mmlu_pro": ("MMLU-PRO", "mmlu_pro"),
}
_REQUIRED = {"model": ("fullname",), "precision": ("Precision", "precision"), **_BOARDS}
_OPTIONAL = {
    "flagged": ("Flagged", "flagged"),
    "size": ("#Params (B)", "params_b"),
    "uploaded": ("Upload To Hub Date", "upload_date"),
    "submitted": ("Submission Date", "submission_date"),
}
# A name has one row for each precision it was submitted in; what is quantised counts last.
_PRECISIONS = {"bfloat16": 2, "float16": 1}


class OpenLlmLeaderboard:
    """Open LLM Leaderboard v2, as a Provider."""

    about = About(
        name=_NAME,
        title="Open LLM Leaderboard v2",
        licence="none declared",
        attribution="Hugging Face, Open LLM Leaderboard v2",
        home="https://huggingface.co/datasets/open-llm-leaderboard/contents",
        frozen=True,
        required=tuple(f"{_NAME}/{board}" for board in _BOARDS),
    )
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "rows": ("open_llm_leaderboard*", "open-llm-leaderboard*")
    }

    def resources(self, fetched: Sequence[Fetched]) -> tuple[Resource, ...]:
        rows = Resource(
            key="rows",
            url="https://datasets-server.huggingface.co/rows"
            "?dataset=open-llm-leaderboard%2Fcontents&config=default&split=train",
            kind="rows",
            auth="huggingface",
        )
        parquet = Resource(
            key="rows",
            url="https://huggingface.co/api/datasets/open-llm-leaderboard/contents"
            "/parquet/default/train/0.parquet",
            kind="parquet",
            auth="huggingface",
            alternatives=(rows,),
        )
        return missing((parquet,), fetched)

    def parse(self, fetched: Sequence[Fetched]) -> Parsed:
        best: dict[str, tuple[tuple[int, str], list[BenchmarkRow], PublishedFacts | None]] = {}
        dropped = 0
        for one in fetched:
            table = tables.read(one)
            names = tables.columns(table, one.name, _REQUIRED, _OPTIONAL)
            for row in table:
                model = tables.text(row, names["model"])
                if not model or tables.flag(row, names.get("flagged")):
                    dropped += 1
                    continue
                rank = _rank(row, names)
                if model not in best or rank > best[model][0]:
                    best[model] = (rank, _rows(row, names, model), _facts(row, names, model))
        rows = tuple(row for _, found, _ in best.values() for row in found)
        return Parsed(
            rows=rows,
            facts=tuple(facts for _, _, facts in best.values() if facts is not None),
            published=max((row.date for row in rows), default=""),
            dropped=dropped,
        )


def _rank(row: dict[str, Any], names: dict[str, str]) -> tuple[int, str]:
    precision = tables.text(row, names["precision"]).removeprefix("torch.")
    return _PRECISIONS.get(precision, 0), tables.text(row, names.get("submitted"))


def _rows(row: dict[str, Any], names: dict[str, str], model: str) -> list[BenchmarkRow]:
    submitted = tables.date(tables.text(row, names.get("submitted")))
    found: list[BenchmarkRow] = []
    for board in _BOARDS:
        value = tables.number(row, names[board], model)
        if value is not None:
            found.append(
                BenchmarkRow(model=model, board=f"{_NAME}/{board}", value=value, date=submitted)
            )
    return found


def _facts(row: dict[str, Any], names: dict[str, str], model: str) -> PublishedFacts | None:
    size = tables.positive(row, names.get("size"), model)
    released = tables.date(tables.text(row, names.get("uploaded")))
    if size is None and not released:
        return None
    return PublishedFacts(source=_NAME, model=model, size_b=size, released=released)
