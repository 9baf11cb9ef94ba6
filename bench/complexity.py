"""What complexity is worth: python -m bench.complexity [--write]

Reads LLMROUTERD_SHARED (default ../shared); --write puts the tables into docs/complexity.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

from bench.routing.rules import default_policy
from bench.routing.tables import Floats, english_prompts
from llmrouterd.classifier.complexity import complexity
from llmrouterd.classifier.form import form_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "complexity.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
WEAK, STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"
BENCHMARKS = ("mmlu", "gsm8k", "mt_bench")
DECILES = 10
Rule = Callable[[str], float]


def rules() -> dict[str, Rule]:
    """The prompt's length in characters, and ours with the default weights."""
    weights = default_policy().complexity
    return {
        "prompt length": lambda text: float(len(text)),
        "ours": lambda text: complexity(text, "", form_of(text), weights),
    }


def apgr(scores: Sequence[float], weak: Floats, strong: Floats) -> float:
    """Average share of the gap between two models that is won back when the prompts with the
    highest scores go to the strong one, over all shares of prompts from 0 to 1 (RouteLLM)."""
    order = np.argsort(-np.array(scores), kind="stable")
    won = np.concatenate([[0.0], np.cumsum((strong - weak)[order])])
    gap = float((strong - weak).sum())
    return float(np.trapezoid(won / gap, np.linspace(0.0, 1.0, len(won))))


def routellm(folder: Path) -> list[str]:
    """APGR on RouteLLM's answers, without contaminated prompts."""
    columns: dict[str, list[Any]] = pq.read_table(folder / "routellm2.parquet").to_pydict()
    weak, strong = (np.array(columns[name], float) for name in (WEAK, STRONG))
    clean = np.array([str(value) != "True" for value in columns["contaminated"]])
    texts = [
        first if name == "mt_bench" else prompt
        for first, name, prompt in zip(
            columns["first_turn"], columns["benchmark"], columns["prompt"], strict=True
        )
    ]
    lines = ["| APGR | MMLU | GSM8K | MT-Bench |", "|---|---|---|---|"]
    for name, rule in rules().items():
        cells = []
        for benchmark in BENCHMARKS:
            at = np.flatnonzero(clean & (np.array(columns["benchmark"]) == benchmark))
            found = apgr([rule(str(texts[number])) for number in at], weak[at], strong[at])
            cells.append(f"{found:.3f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def labelled(folder: Path) -> list[str]:
    """Spearman's rank correlation with labelled difficulty."""
    with gzip.open(folder / "complexity_prompts.jsonl.gz", "rt", encoding="utf-8") as lines_in:
        rows = [json.loads(line) for line in lines_in]
    sources = {
        "WizardLM": "wizardlm",
        "FLASK": "flask",
        "MATH": "agieval:math",
        "GSM8K": "gsm8k",
    }
    lines = ["| Spearman | WizardLM | FLASK | MATH | GSM8K | mean |", "|---|---|---|---|---|---|"]
    for name, rule in rules().items():
        found = []
        for start in sources.values():
            chosen = [row for row in rows if row["source"].startswith(start)]
            scores = [rule(row["prompt"]) for row in chosen]
            found.append(float(spearmanr(scores, [row["difficulty"] for row in chosen])[0]))
        cells = " | ".join(f"{value:.2f}" for value in [*found, float(np.mean(found))])
        lines.append(f"| {name} | {cells} |")
    return lines


def calibration(folder: Path, file: str) -> tuple[float, list[str]]:
    """(logits by which a model's chance falls from the easiest to the middling prompt, within
    datasets; the chance of a right answer by tenths of complexity, as fitted and as it is)."""
    columns: dict[str, list[Any]] = pq.read_table(folder / file).to_pydict()
    models, at = english_prompts(columns)
    scores = np.array([columns[model] for model in models], float).T[at]
    rule = rules()["ours"]
    hard = np.array([2.0 * rule(columns["prompt"][number]) - 1.0 for number in at])
    names = sorted(set(columns["dataset"]))
    dataset = np.array([names.index(columns["dataset"][number]) for number in at])
    # One intercept for each model on each dataset, one slope for all.
    pairs = len(names) * len(models)
    design = np.zeros((scores.size, pairs + 1), dtype=np.float32)
    each = np.arange(scores.size)
    design[each, (dataset[:, None] * len(models) + np.arange(len(models))).ravel()] = 1.0
    design[:, -1] = np.repeat(hard, len(models))
    share = scores.ravel()
    model = LogisticRegression(C=100.0, fit_intercept=False, max_iter=300)
    model.fit(
        np.vstack([design, design]),
        np.repeat([1, 0], scores.size),
        sample_weight=np.concatenate([share, 1.0 - share]),
    )
    told = model.predict_proba(design)[:, 1].reshape(scores.shape).mean(axis=1)
    edges = np.quantile(hard, np.linspace(0.0, 1.0, DECILES + 1))
    place = np.clip(np.searchsorted(edges, hard, side="right") - 1, 0, DECILES - 1)
    lines = []
    for tenth in range(DECILES):
        inside = place == tenth
        mean = (float(hard[inside].mean()) + 1.0) / 2.0
        lines.append(f"| {mean:.2f} | {told[inside].mean():.3f} | {scores[inside].mean():.3f} |")
    return -float(model.coef_[0][-1]), lines


def calibrations(folder: Path) -> list[str]:
    """The slopes, and a table for each set of answers."""
    lines = []
    for name in ("llmrouter9", "routerdc7"):
        slope, table = calibration(folder, f"{name}.parquet")
        lines += [
            f"{name}: {slope:.2f} logits.",
            "",
            "| mean complexity of a tenth | chance told | answers right |",
            "|---|---|---|",
            *table,
            "",
        ]
    return lines[:-1]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.complexity", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.name}")
    options = parser.parse_args()
    shared = Path(os.environ.get("LLMROUTERD_SHARED") or ROOT.parent / "shared")
    folder = shared / "data" / "routing"
    parts = [
        ("A strong model for the hard prompts", routellm(folder)),
        ("Labelled difficulty", labelled(folder)),
        ("Against ability", calibrations(folder)),
    ]
    text = "\n\n".join("\n".join([f"### {title}", "", *lines]) for title, lines in parts)
    print(text)
    if options.write:
        head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        tail = rest.partition(END)[2]
        PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
