"""`llmrouterd match` as a process: lines in, lines out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def match(lines: list[str], tmp_path: Path, *options: str) -> tuple[int, list[dict[str, Any]], str]:
    """(exit status, answers, standard error) of the command in an empty state folder."""
    done = subprocess.run(
        [sys.executable, "-m", "llmrouterd", "match", *options],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "ROUTER_STATE_DIR": str(tmp_path)},
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def models(answer: dict[str, Any]) -> dict[str, str]:
    return {one["source"]: one["model"] for one in answer["matches"]}


def test_each_line_is_answered(tmp_path: Path) -> None:
    asked = [
        {"name": "llama3.1:8b", "backend": "ollama", "digest": "sha256:46e0c10c039e"},
        {"name": "mmproj-model-f16.gguf", "backend": "llamacpp"},
        {
            "name": "ggml-model-Q4_K_M.gguf",
            "backend": "llamacpp",
            "details": {
                "quantization_level": "Q4_K_M",
                "model_info": {
                    "general.parameter_count": 14_659_507_200,
                    "general.base_model.0.repo_url": "https://huggingface.co/microsoft/phi-4",
                },
            },
        },
    ]
    status, (first, second, third), errors = match([json.dumps(one) for one in asked], tmp_path)
    assert (status, errors) == (0, "")
    assert [one["name"] for one in (first, second, third)] == [one["name"] for one in asked]
    assert first["key"] == {
        "family": "llama",
        "version": "3.1",
        "size_b": 8.0,
        "active_b": None,
        "variants": ["instruct"],
        "date": "",
        "quant": "Q4_K_M",
        "extra": [],
    }
    assert models(first)["open_llm_leaderboard"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert models(first)["lmarena"] == "llama-3.1-8b-instruct"
    assert {(one["method"], one["grade"]) for one in first["matches"]} == {("digest", 0.95)}
    assert "suggestions" not in first
    assert second["matches"] == []
    assert len(second["suggestions"]) == 3
    assert models(third)["lmarena"] == "phi-4"
    assert {one["method"] for one in third["matches"]} == {"base_model"}


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        "{}",
        '{"name": 3}',
        '{"name": "x", "digest": 5}',
        '{"name": "x", "details": []}',
        '{"name": "x", "details": {"model_info": "y"}}',
    ],
)
def test_a_bad_line_costs_only_itself(line: str, tmp_path: Path) -> None:
    good = '{"name": "phi4", "backend": "ollama"}'
    status, (bad, right), _ = match([line, good], tmp_path, "--names", str(names(tmp_path)))
    assert status == 1
    assert bad["error"]["message"].startswith("line 1: ")
    assert models(right) == {"mine": "microsoft/phi-4"}


def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.tsv"
    path.write_text("mine\tmicrosoft/phi-4\n\nmine\tmicrosoft/Phi-4-mini-instruct\n", "utf-8")
    return path


def test_a_broken_file_of_names(tmp_path: Path) -> None:
    path = tmp_path / "names.tsv"
    path.write_text("no tab\n", "utf-8")
    status, answers, errors = match(["{}"], tmp_path, "--names", str(path))
    assert (status, answers) == (1, [])
    assert "names.tsv:1: a source, a tab and a model are needed" in errors
