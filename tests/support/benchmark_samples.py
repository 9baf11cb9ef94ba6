"""What each source of figures serves, in its own shape, small: for tests and for fake servers.

`SAMPLES[name]` are the bodies of one complete fetch. The figures are the sources' own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from llmrouterd.benchmarks.providers import PROVIDERS
from llmrouterd.benchmarks.providers.base import Fetched, Kind, Resource, local_file
from tests.support.openwebui import shared_directory

SNAPSHOTS = shared_directory() / "data" / "benchmarks"
needs_snapshots = pytest.mark.skipif(
    not SNAPSHOTS.is_dir(), reason=f"no snapshots at {SNAPSHOTS} (set LLMROUTERD_SHARED)"
)


def fetched(key: str, kind: Kind, name: str, *parts: Any) -> Fetched:
    """A resource as it came; whatever is not bytes is served as JSON."""
    bodies = tuple(part if isinstance(part, bytes) else json.dumps(part).encode() for part in parts)
    return Fetched(key=key, kind=kind, name=name, parts=bodies)


def page(rows: list[dict[str, Any]], total: int | None = None, start: int = 0) -> dict[str, Any]:
    """A page of datasets-server's /rows."""
    return {
        "features": [],
        "rows": [
            {"row_idx": start + index, "row": row, "truncated_cells": []}
            for index, row in enumerate(rows)
        ],
        "num_rows_total": len(rows) if total is None else total,
        "num_rows_per_page": 100,
        "partial": False,
    }


def leaderboard_row(name: str, precision: str = "bfloat16", **changed: Any) -> dict[str, Any]:
    """A row of the Open LLM Leaderboard, with the figures of Qwen2.5-Coder-7B-Instruct."""
    return {
        "eval_name": f"{name}_{precision}",
        "Precision": precision,
        "fullname": name,
        "Average ⬆️": 28.052321182705,
        "#Params (B)": 7.616,
        "Flagged": False,
        "IFEval": 61.0147741326347,
        "BBH": 28.9385040453791,
        "MATH Lvl 5": 37.1601208459215,
        "GPQA": 5.59284116331097,
        "MUSR": 9.47552083333333,
        "MMLU-PRO": 26.1321660756501,
        "Upload To Hub Date": "2024-09-17",
        "Submission Date": "2024-11-07",
    } | changed


def arena_row(model: str, category: str, rating: float, **changed: Any) -> dict[str, Any]:
    """A row of LMArena's dataset."""
    return {
        "model_name": model,
        "organization": "",
        "license": "",
        "rating": rating,
        "rating_lower": rating - 4,
        "rating_upper": rating + 4,
        "variance": None,
        "vote_count": 5200.0,
        "rank": 1,
        "category": category,
        "leaderboard_publish_date": "2026-10-02",
    } | changed


LEADERBOARD = [
    leaderboard_row("Qwen/Qwen2.5-Coder-7B-Instruct", "float16", **{"MATH Lvl 5": 3.09667673716}),
    leaderboard_row("Qwen/Qwen2.5-Coder-7B-Instruct"),
    leaderboard_row("Qwen/Qwen2.5-Coder-7B-Instruct", "4bit", **{"Submission Date": "2025-01-01"}),
    leaderboard_row("someone/contaminated", Flagged=True),
]
ARENA = [
    arena_row("gemma-3-27b-it", "overall", 1364.8),
    arena_row("gemma-3-27b-it", "coding", 1358.9),
    arena_row("gemma-3-27b-it", "exclude_ties", 1370.0),
    arena_row("llama-3.1-8b-instruct", "overall", 1212.4, vote_count=None),
]
CODE = {
    "Qwen2.5-Coder-7B-Instruct": {
        "link": "https://huggingface.co/Qwen/Qwen2.5-Coder-7B-Instruct",
        "open-data": "None",
        "pass@1": {"instruct": 40.4, "complete": 48.8},
        "prompted": True,
        "moe": False,
        "size": 7.6,
        "act_param": 7.6,
        "date": "2024-09-18",
    },
    "GPT-4o-2024-05-13": {
        "link": "https://openai.com/index/hello-gpt-4o/",
        "pass@1": {"instruct": 51.1, "complete": None},
        "size": None,
        "act_param": None,
        "date": "2024-05-13",
    },
}
CODE_HARD = {
    name: entry | {"pass@1": {"instruct": 20.3, "complete": 20.9}} for name, entry in CODE.items()
}
LISTING = [
    {"name": name, "type": "file"}
    for name in (
        "App.js",
        "categories_2025_11_25.json",
        "categories_2026_01_08.json",
        "table_2025_11_25.csv",
        "table_2026_01_08.csv",
    )
]
LIVE_CATEGORIES = {"Reasoning": ["spatial", "zebra_puzzle"], "Coding": ["python"], "IF": ["typos"]}
LIVE_TABLE = b"""model,python,spatial,typos,zebra_puzzle
qwen3-32b,65.0,46.0,40.25,62.0
phi-4,50.0,,30.0,20.0
moved,50.0,30.0
"""
CALLS = b"""Rank,Overall Acc,Model,Model Link,Non-Live AST Acc,Live Acc,Multi Turn Acc,Memory Acc
1,40.00%,Qwen3-8B (Prompt),https://huggingface.co/Qwen/Qwen3-8B,88.0%,77.0%,N/A,1%
2,42.57%,Qwen3-8B (FC),https://huggingface.co/Qwen/Qwen3-8B,88.8%,78.0%,41.8%,N/A
3,41.00%,Mistral-Medium-2505,https://mistral.ai/news/,85.0%,70.0%,33.0%,10%
"""
OPEN_EVALS = [
    {
        "model_id": "openai/gpt-oss-20b",
        "model_name": "gpt-oss-20b",
        "provider": "openai",
        "parameters_billions": 20.9,
        "aggregate_score": 61.0,
        "coverage_count": 2,
        "gpqa_score": 71.5,
        "mmluPro_score": 74.8,
        "sweVerified_score": 60.7,
        "aime2026_score": None,
    }
]
ANALYSIS = {
    "status": 200,
    "intelligence_index_version": 4.3,
    "data": [
        {
            "id": "2dad8957",
            "name": "Qwen3 8B (Reasoning)",
            "slug": "qwen3-8b-instruct-reasoning",
            "release_date": "2025-04-28",
            "model_creator": {"name": "Alibaba"},
            "evaluations": {
                "artificial_analysis_intelligence_index": 13.2,
                "artificial_analysis_coding_index": 9.1,
                "mmlu_pro": 0.743,
                "hle": None,
            },
            "pricing": {"price_1m_input_tokens": 0.18, "price_1m_output_tokens": 2.1},
        }
    ],
}
MODELS = {
    "openai/gpt-4o-mini": {
        "id": "openai/gpt-4o-mini",
        "name": "GPT-4o mini",
        "attachment": True,
        "reasoning": False,
        "tool_call": True,
        "structured_output": True,
        "release_date": "2024-07-18",
        "modalities": {"input": ["text", "image", "pdf"], "output": ["text"]},
        "limit": {"context": 128000, "output": 16384},
    }
}
OFFERS = {
    "openai": {
        "id": "openai",
        "models": {
            "gpt-4o-mini": MODELS["openai/gpt-4o-mini"] | {"cost": {"input": 0.15, "output": 0.6}},
            "gpt-image-1": {
                "limit": {"context": 0, "output": 0},
                "modalities": {"input": ["text"], "output": ["image"]},
            },
            "text-embedding-3-small": {
                "release_date": "2024-01-25",
                "modalities": {"input": ["text"], "output": ["text"]},
                "limit": {"context": 8191, "output": 1536},
                "cost": {"input": 0.02, "output": 0},
            },
        },
    }
}

SAMPLES: dict[str, tuple[Fetched, ...]] = {
    "open_llm_leaderboard": (
        fetched("rows", "rows", "rows", page(LEADERBOARD[:2], 4), page(LEADERBOARD[2:], 4, 2)),
    ),
    "lmarena": (fetched("text_style_control", "rows", "rows", page(ARENA)),),
    "bigcodebench": (
        fetched("results", "json", "results.json", CODE),
        fetched("results_hard", "json", "results-hard.json", CODE_HARD),
    ),
    "livebench": (
        fetched("listing", "json", "public", LISTING),
        fetched("table", "csv", "table_2026_01_08.csv", LIVE_TABLE),
        fetched("categories", "json", "categories_2026_01_08.json", LIVE_CATEGORIES),
    ),
    "bfcl": (fetched("rows", "csv", "data_overall.csv", CALLS),),
    "openevals": (fetched("rows", "rows", "rows", page(OPEN_EVALS)),),
    "artificial_analysis": (fetched("models", "json", "models", ANALYSIS),),
    "models_dev": (
        fetched("models", "json", "models.json", MODELS),
        fetched("providers", "json", "api.json", OFFERS),
    ),
}


def with_bodies(sample: Sequence[Fetched], old: bytes, new: bytes) -> tuple[Fetched, ...]:
    return tuple(
        replace(one, parts=tuple(part.replace(old, new) for part in one.parts)) for one in sample
    )


def snapshot_files(name: str) -> list[Fetched]:
    found = (
        local_file(PROVIDERS[name], path.name, path.read_bytes())
        for path in sorted(SNAPSHOTS.iterdir())
    )
    return [one for one in found if one is not None]


def places(resource: Resource) -> list[Resource]:
    return [resource, *resource.alternatives]
