"""Who answers the prompts of a dataset that nobody has seen: simple rules, and decide()."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson

from bench.routing.catalogs import catalog_file, known_evidence, model_id
from bench.routing.tables import Table
from llmrouterd.catalog import Catalog, Evidence, Model, build_catalog
from llmrouterd.catalog_file import read_catalog
from llmrouterd.config import load_policy
from llmrouterd.decision import decide
from llmrouterd.policy import Policy
from llmrouterd.scorer import Load
from llmrouterd.settings import Settings
from llmrouterd.signals import Signals

Pool = Sequence[int]
# (held-out dataset, pool) -> the model's number.
Chooser = Callable[[int, Pool], int]


def default_policy(text: str = "{}") -> Policy:
    """The policy of a router.yaml with this text; as it is, all defaults."""
    with tempfile.TemporaryDirectory(prefix="routing-") as folder:
        file = Path(folder) / "router.yaml"
        file.write_text(text)
        return load_policy(Settings(policy=file, rules=None, state=Path(folder), environ={}))


def with_scoring(policy: Policy, **changed: float) -> Policy:
    """The policy with other values in its section `scoring`."""
    return replace(policy, scoring=replace(policy.scoring, **changed))


def averages(table: Table, share: float) -> Chooser:
    """Best mean over the category's other datasets, with this share of the mean over all others.

    A share of 1 is the best single model, as far as the other datasets tell.
    """

    def choose(held: int, pool: Pool) -> int:
        overall = table.scores[table.others(held)].mean(0)
        alike = table.alike(held)
        here = table.scores[alike].mean(0) if alike.any() else overall
        return int(pool[np.argmax((share * overall + (1 - share) * here)[list(pool)])])

    return choose


def oracle(table: Table) -> Chooser:
    """The best model of the held-out dataset itself: no router can know it."""
    return lambda held, pool: int(pool[np.argmax(table.scores[held][list(pool)])])


def ours(table: Table, catalogs: Sequence[Catalog], policy: Policy) -> Chooser:
    """What decide() puts first for a prompt of middling difficulty with the dataset's category."""
    numbers = {model_id(table, at): at for at in range(len(table.models))}

    def choose(held: int, pool: Pool) -> int:
        catalog = catalogs[held]
        if len(pool) < len(catalog.models):
            catalog = build_catalog(catalog.by_id[model_id(table, at)] for at in pool)
        signals = Signals(
            category=table.categories[held],
            probabilities={table.categories[held]: 1.0},
            abstain=0.0,
            complexity=0.5,
            prompt_tokens=200,
        )
        return numbers[decide(signals, policy, catalog, Load()).ranked[0].model]

    return choose


def catalogs_from_files(table: Table, policy: Policy) -> Iterator[Catalog]:
    """A catalog for each held-out dataset, written and read as `decide --catalog` reads them."""
    with tempfile.TemporaryDirectory(prefix="routing-") as folder:
        for held in range(len(table.datasets)):
            file = Path(folder) / f"{held}.json"
            file.write_bytes(orjson.dumps(catalog_file(table, held)))
            yield read_catalog(str(file), policy)[0]


def catalogs_in_memory(table: Table, like: Sequence[Catalog]) -> list[Catalog]:
    """The same without files, for many tables with the same models and other means."""
    made = []
    for held, catalog in enumerate(like):
        evidence = known_evidence(table, held)
        numbers = {model_id(table, at): found for at, found in enumerate(evidence)}
        made.append(build_catalog(_with(model, numbers[model.id]) for model in catalog.models))
    return made


def _with(model: Model, evidence: dict[str, Evidence]) -> Model:
    return replace(model, evidence=evidence)


def mean_score(table: Table, choose: Chooser, pools: Iterable[Pool] | None = None) -> float:
    """Mean score over all prompts (over the datasets where only means are known), and pools."""
    shares = table.weights / table.weights.sum()
    found = [
        sum(share * table.scores[held, choose(held, pool)] for held, share in enumerate(shares))
        for pool in pools or [range(len(table.models))]
    ]
    return float(np.mean(found))


def random_pools(table: Table, count: int, size: int = 5) -> list[Pool]:
    """The same pools each time."""
    random = np.random.default_rng(0)
    every = len(table.models)
    return [tuple(random.choice(every, size, replace=False).tolist()) for _ in range(count)]
