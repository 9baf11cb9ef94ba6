"""bench.routing: what is known when a dataset is held out, and the figures of the real tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest

from bench.routing.catalogs import catalog_file, known_evidence
from bench.routing.rules import (
    averages,
    catalogs_from_files,
    catalogs_in_memory,
    default_policy,
    mean_score,
    oracle,
    ours,
    with_scoring,
)
from bench.routing.tables import Table, load_tables
from llmrouterd.evidence import OVERALL
from tests.support.policies import ROOT, plain_environment

DATA = Path(os.environ.get("LLMROUTERD_SHARED") or ROOT.parent / "shared") / "data" / "routing"
CATEGORIES = ("coding", "coding", "coding", "math", "math", "math")


def table(scores: list[list[float]]) -> Table:
    """Six datasets in two categories; a row of scores for each, a column for each model."""
    return Table(
        name="small",
        models=tuple(f"m{at}" for at in range(len(scores[0]))),
        datasets=tuple(f"d{at}" for at in range(len(scores))),
        categories=CATEGORIES,
        scores=np.array(scores),
        weights=np.ones(len(scores)),
    )


# m0 is good at everything, m1 at coding alone, m2 at nothing.
CLEAR = table([[0.5, 0.8, 0.3]] * 3 + [[0.7, 0.6, 0.3]] * 3)
# m1 leads in one coding dataset by far and trails in the others.
MIXED = table([[0.5, 0.9, 0.4], [0.6, 0.3, 0.2], [0.6, 0.4, 0.1]] + [[0.9, 0.4, 0.3]] * 3)


def test_the_held_out_dataset_is_not_in_the_evidence() -> None:
    before = known_evidence(CLEAR, 0)
    other = CLEAR.scores.copy()
    other[0] = (0.0, 0.1, 1.0)
    assert known_evidence(CLEAR.with_scores(other), 0) == before
    assert [item.source for item in before[0][OVERALL].sources] == ["d1", "d2", "d3", "d4", "d5"]
    assert [item.source for item in before[0]["coding"].sources] == ["d1", "d2"]


def test_a_hard_dataset_counts_as_much_as_an_easy_one() -> None:
    shifted = CLEAR.scores.copy()
    shifted[3:] = 0.1 + (shifted[3:] - 0.3) / 2
    one, other = known_evidence(CLEAR, 0), known_evidence(CLEAR.with_scores(shifted), 0)
    ratio = [b["coding"].mean / a["coding"].mean for a, b in zip(one, other, strict=True)]
    assert ratio == pytest.approx([ratio[0]] * 3)
    order = [found[OVERALL].mean for found in other]
    assert sorted(order, reverse=True) == order or order[1] > order[0]


def test_choices_on_small_tables() -> None:
    policy = default_policy()
    catalogs = list(catalogs_from_files(CLEAR, policy))
    chosen = [ours(CLEAR, catalogs, policy)(held, range(3)) for held in range(6)]
    assert chosen == [1, 1, 1, 0, 0, 0]
    assert [averages(CLEAR, 0.0)(held, range(3)) for held in range(6)] == chosen
    assert [oracle(CLEAR)(held, range(3)) for held in range(6)] == chosen
    assert ours(CLEAR, catalogs, policy)(0, (0, 2)) == 0
    mixed = list(catalogs_from_files(MIXED, policy))
    assert averages(MIXED, 0.0)(2, range(3)) == 1
    assert ours(MIXED, mixed, policy)(2, range(3)) == 0
    assert ours(MIXED, mixed, with_scoring(policy, margin=0.0))(2, range(3)) == 1


def test_files_and_memory_agree() -> None:
    catalogs = list(catalogs_from_files(MIXED, default_policy()))
    again = catalogs_in_memory(MIXED, catalogs)
    assert [catalog.models for catalog in again] == [catalog.models for catalog in catalogs]


def test_the_command_line_chooses_the_same(tmp_path: Path) -> None:
    """`llmrouterd decide --catalog` on the catalog of a held-out dataset."""
    rules, catalog = tmp_path / "router.yaml", tmp_path / "catalog.json"
    rules.write_text("rules: [{name: all, category: coding}]\n")
    for made, expected in ((CLEAR, "bench/m1"), (MIXED, "bench/m0")):
        catalog.write_bytes(orjson.dumps(catalog_file(made, 2)))
        line = json.dumps({"id": "a", "messages": [{"role": "user", "content": "Sort a list."}]})
        done = subprocess.run(
            [sys.executable, "-m", "llmrouterd", "decide"]
            + ["--policy", str(rules), "--catalog", str(catalog)],
            input=line.encode(),
            capture_output=True,
            env=plain_environment(tmp_path),
            check=True,
        )
        assert json.loads(done.stdout)["model"] == expected


@pytest.mark.skipif(not DATA.is_dir(), reason="the routing data is not here")
def test_never_below_the_best_single_model_on_the_real_tables() -> None:
    """One set of default weights, all three tables; the first figures are the published ones."""
    policy = default_policy()
    published = {
        "llmrouter9": (0.620, 0.626, 0.625),
        "routerdc7": (0.556, 0.5825, 0.556),
        "table 6": (0.692, 0.647, 0.692),
    }
    for name, made in load_tables(DATA).items():
        if name not in published:
            continue
        simple = [mean_score(made, averages(made, share)) for share in (1.0, 0.0, 0.5)]
        assert simple == pytest.approx(published[name], abs=0.0006)
        score = mean_score(made, ours(made, list(catalogs_from_files(made, policy)), policy))
        assert score >= simple[0] - 1e-9
        if name == "routerdc7":
            assert score >= 0.5825
