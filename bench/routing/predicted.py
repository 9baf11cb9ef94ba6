"""The whole way with the predicted category: what is gained over always the best single model.

Prompts are split at random, five times, 30 % for the test. On the rest it is measured what each
model is worth on prompts that the router reads as one kind (category and form), as its own feedback
and probes would tell it; decide() then chooses for the prompts of the test part. The classifier
behind it is trained without any source of the test prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bench.routing.rules import default_policy
from bench.routing.tables import Floats, english_prompts
from llmrouterd.catalog import Catalog, Evidence, Finding, Model, build_catalog
from llmrouterd.classifier.form import form_of, kind_of
from llmrouterd.classifier.framing import unframed
from llmrouterd.decision import decide
from llmrouterd.evidence import OVERALL
from llmrouterd.policy import Policy
from llmrouterd.scorer import Load
from llmrouterd.signals import Signals
from training.data import CATEGORIES, Row
from training.features import Bags
from training.fitting import LEXICON_WEIGHT, Fitted
from training.train import lexicon_evidence, read_rows, softmax

SPLITS, TEST_SHARE = 5, 0.3
# What is known of a kind starts from its category, and that from the whole, like so many prompts.
PRIOR_PROMPTS = 20.0
# Families of the training rows that hold prompts of the test sets.
APART = frozenset(
    ("grade school mathematics", "code exercises", "knowledge questions", "common sense", "agieval")
)
SMALL = ("qwen2.5-7b", "chatqa-1.5-8b", "mistral-7b", "gemma-2-9b", "codegemma-7b", "llama-3.1-8b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Prompts with the score (0 to 1) of every model, prompts x models, what the data says they
    are and what the router reads: chances are prompts x CATEGORIES."""

    name: str
    models: tuple[str, ...]
    scores: Floats
    datasets: Sequence[str]
    categories: Sequence[str]
    forms: Sequence[str]
    chances: Floats

    def pool(self, name: str, columns: Sequence[int]) -> Answers:
        """The same prompts with some of the models."""
        models = tuple(self.models[at] for at in columns)
        return replace(self, name=name, models=models, scores=self.scores[:, list(columns)])

    def read(self) -> list[str]:
        """The likeliest category of each prompt."""
        return [CATEGORIES[at] for at in self.chances.argmax(axis=1)]


def load_answers(folder: Path) -> list[Answers]:
    """llmrouter9, its six models of at most 9B, and routerdc7."""
    found = []
    for name, file, largest in (
        ("llmrouter9", "llmrouter9.parquet", None),
        ("routerdc7", "routerdc7.parquet", 700),
    ):
        columns: dict[str, list[Any]] = pq.read_table(folder / file).to_pydict()
        models, chosen = english_prompts(columns, largest)
        prompts = [columns["prompt"][at] for at in chosen]
        found.append(
            Answers(
                name=name,
                models=models,
                scores=np.array([columns[model] for model in models], float).T[chosen],
                datasets=[columns["dataset"][at] for at in chosen],
                categories=[columns["category"][at] for at in chosen],
                forms=[form_of(prompt) for prompt in prompts],
                chances=_chances(prompts),
            )
        )
    large = found[0]
    small = [at for at, name in enumerate(large.models) if any(part in name for part in SMALL)]
    return [large, large.pool("six models <= 9B", small), found[1]]


def _chances(prompts: Sequence[str]) -> Floats:
    rows = read_rows()
    new = [Row(unframed(prompt), CATEGORIES[0], "", "", "en", "", False) for prompt in prompts]
    everything = [*rows, *new]
    bags = Bags([row.text for row in everything])
    lexicon = lexicon_evidence(everything)
    known = [at for at, row in enumerate(rows) if row.may_train and row.family not in APART]
    at = np.arange(len(rows), len(everything))
    model = Fitted(everything, bags, lexicon, np.array(known))
    return softmax(model.logits(at) + LEXICON_WEIGHT * lexicon[at])


def measured(scores: Floats, labels: Sequence[Sequence[str]]) -> list[dict[str, Evidence]]:
    """Evidence of each model from its answers. labels: of each prompt, from the general to the
    special; each label starts from the one before."""
    parts = [{OVERALL: scores.mean(axis=0)}]
    numbers = {OVERALL: float(len(scores))}
    parents: dict[str, str] = {}
    for depth in range(len(labels)):
        means: dict[str, Floats] = {}
        for label in sorted(set(labels[depth])):
            inside = np.array([other == label for other in labels[depth]])
            parent = labels[depth - 1][int(np.flatnonzero(inside)[0])] if depth else OVERALL
            parents[label] = parent
            total = scores[inside].sum(axis=0) + PRIOR_PROMPTS * parts[depth][parent]
            means[label] = total / (inside.sum() + PRIOR_PROMPTS)
            numbers[label] = float(inside.sum()) + PRIOR_PROMPTS
        parts.append(means)
    known = {label: means for part in parts for label, means in part.items()}
    return [
        {label: _evidence(float(means[at]), numbers[label]) for label, means in known.items()}
        for at in range(scores.shape[1])
    ]


def kinds_of(answers: Answers, kept: Floats) -> list[list[str]]:
    """The read category of each prompt that is kept, and its kind."""
    paired = list(zip(answers.read(), answers.forms, kept, strict=True))
    return [
        [category for category, _, inside in paired if inside],
        [kind_of(category, form) for category, form, inside in paired if inside],
    ]


def _evidence(mean: float, number: float) -> Evidence:
    chance = min(max(mean, 0.005), 0.995)
    sd = 1.0 / math.sqrt(number * chance * (1.0 - chance))
    logit = math.log(chance / (1.0 - chance))
    return Evidence(mean=logit, sd=sd, sources=(Finding(source="measured", mean=logit, sd=sd),))


def catalog_of(
    models: Sequence[str],
    evidence: Sequence[dict[str, Evidence]],
    sizes: Floats | None = None,
) -> Catalog:
    """Models with this evidence that all have the same size, or these in billions."""
    every = np.full(len(models), 8.0) if sizes is None else sizes
    return build_catalog(
        Model(
            id=f"bench/{name}",
            name=name,
            backend="bench",
            capabilities=frozenset({"chat"}),
            context=32768,
            size_b=float(size),
            evidence=found,
        )
        for name, found, size in zip(models, evidence, every, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Chosen:
    """What decide() chooses for prompts whose kind is known, remembered by kind."""

    policy: Policy
    catalog: Catalog
    models: Sequence[str]
    known: dict[tuple[str, str], int]

    def model(self, category: str, form: str) -> int:
        if (category, form) not in self.known:
            signals = Signals(
                category=category,
                probabilities={category: 1.0},
                form=form,
                abstain=0.0,
                complexity=0.5,
                prompt_tokens=200,
            )
            best = decide(signals, self.policy, self.catalog, Load()).ranked[0].model
            self.known[category, form] = self.models.index(best.removeprefix("bench/"))
        return self.known[category, form]


def routed(
    answers: Answers, policy: Policy, test: Floats, categories: Sequence[str], kinds: bool
) -> float:
    """Mean score on the test part of what decide() chooses."""
    forms = answers.forms if kinds else [""] * len(categories)
    labels = (
        kinds_of(answers, ~test)
        if kinds
        else [[category for category, held in zip(categories, test, strict=True) if not held]]
    )
    evidence = measured(answers.scores[~test], labels)
    chosen = Chosen(policy, catalog_of(answers.models, evidence), answers.models, {})
    return float(
        np.mean(
            [
                answers.scores[at, chosen.model(categories[at], forms[at])]
                for at in np.flatnonzero(test)
            ]
        )
    )


def row_of(answers: Answers, policy: Policy) -> list[float]:
    """Best single, the data's category, predicted category, predicted kind (ours), the best model
    of each dataset, the best model of each prompt."""
    found = []
    datasets = np.array(answers.datasets)
    for split in range(SPLITS):
        test = np.random.RandomState(split).rand(len(datasets)) < TEST_SHARE
        scores = answers.scores
        single = scores[test][:, scores[~test].mean(axis=0).argmax()].mean()
        best = {
            name: scores[~test & (datasets == name)].mean(axis=0).argmax()
            for name in set(answers.datasets)
        }
        dataset = np.mean([scores[at, best[datasets[at]]] for at in np.flatnonzero(test)])
        found.append(
            [
                single,
                routed(answers, policy, test, answers.categories, False),
                routed(answers, policy, test, answers.read(), False),
                routed(answers, policy, test, answers.read(), True),
                dataset,
                scores[test].max(axis=1).mean(),
            ]
        )
    return [float(value) for value in np.mean(found, axis=0)]


def worst_pools(answers: Answers, policy: Policy, size: int = 5) -> str:
    """Our gain over the best single model in every pool of so many models, on the first split."""
    test = np.random.RandomState(0).rand(len(answers.datasets)) < TEST_SHARE
    gains = []
    for columns in combinations(range(len(answers.models)), size):
        pool = answers.pool("", columns)
        single = pool.scores[test][:, pool.scores[~test].mean(axis=0).argmax()].mean()
        gains.append(100 * (routed(pool, policy, test, pool.read(), True) - single))
    below = sum(gain < 0 for gain in gains)
    return (
        f"Over all {len(gains)} pools of {size} of {answers.name}: mean gain "
        f"{np.mean(gains):+.2f} points, worst {min(gains):+.2f}, best {max(gains):+.2f}; "
        f"{below} of them below the best single model."
    )


def table(pools: Sequence[Answers]) -> list[str]:
    """The table as Markdown."""
    policy = default_policy()
    lines = [
        "| pool | best single | the data's category | predicted category "
        "| **ours: predicted kind** | gain | dataset oracle | prompt oracle |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for answers in pools:
        row = row_of(answers, policy)
        cells = [f"{value:.4f}" for value in row]
        cells.insert(4, f"{100 * (row[3] - row[0]):+.2f} points")
        lines.append(f"| {answers.name} | " + " | ".join(cells) + " |")
    return [*lines, "", *[worst_pools(pools[at], policy) for at in (0, 2)]]
