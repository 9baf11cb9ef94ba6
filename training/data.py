"""The rows that the category model is trained on and measured with.

Public data is read by path from LLMROUTERD_SHARED (default ../shared), the prompts written for
this project from `training/prompts/`, the check set, which is never trained on, from
`training/check/`.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("LLMROUTERD_SHARED") or HERE.parent.parent / "shared")
PUBLIC = SHARED / "routing" / "category_prompts_full.jsonl.gz"
if not PUBLIC.exists():
    PUBLIC = SHARED / "data" / "routing" / "category_prompts_full.jsonl.gz"
CATEGORIES = (
    "advice",
    "chat",
    "coding",
    "creative",
    "extraction",
    "factual",
    "math",
    "reasoning",
    "rewriting",
    "roleplay",
    "summarization",
    "translation",
)
HAND, CHECK, GENERATED = "written by hand", "check", "generated"
# Sources of one origin are kept apart together, or one would give the other away.
_FAMILIES = {
    "gsm8k": "grade school mathematics",
    "mgsm": "grade school mathematics",
    "humaneval": "code exercises",
    "llmrouter:mbpp": "code exercises",
    "codealpaca": "code exercises",
    "awesome-chatgpt-prompts": "awesome-chatgpt-prompts",
    "awesome-chatgpt-prompts-zh": "awesome-chatgpt-prompts",
    "llmrouter:commonsense_qa": "common sense",
    "llmrouter:agentverse-logicgrid": "common sense",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt. family: the sources that are kept apart together. may_train: whether the
    licence lets weights be trained on it that are given away."""

    text: str
    category: str
    source: str
    family: str
    language: str
    licence: str
    may_train: bool


def family_of(source: str) -> str:
    """The family of a source's name."""
    if source in _FAMILIES:
        return _FAMILIES[source]
    head = source.partition(":")[0]
    if source.startswith("llmrouter:") or source == "mmlu":
        return "knowledge questions"
    return head


def public_rows() -> Iterator[Row]:
    """The public prompts, with those that may only be measured on."""
    with gzip.open(PUBLIC, "rt", encoding="utf-8") as lines:
        for line in lines:
            item = json.loads(line)
            yield Row(
                item["prompt"],
                item["category"],
                item["source"],
                family_of(item["source"]),
                item["lang"],
                item["license"],
                item["license_class"] == "permissive",
            )


def own_rows(folder: Path, source: str) -> Iterator[Row]:
    """The prompts written for this project; of a dialogue, the last thing the human said."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            text = item.get("prompt") or _last_words(item["messages"])
            yield Row(text, item["category"], source, source, item["lang"], "MIT", source != CHECK)


def _last_words(messages: list[dict[str, str]]) -> str:
    return next(item["content"] for item in reversed(messages) if item["role"] == "user")
