"""The routing table: python -m bench.routing [--pools 2000] [--resamples 200] [--write]

Reads LLMROUTERD_SHARED (default ../shared). --write puts the tables into docs/routing-quality.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.routing import plot, predicted
from bench.routing.rules import (
    Chooser,
    Pool,
    averages,
    catalogs_from_files,
    catalogs_in_memory,
    default_policy,
    mean_score,
    oracle,
    ours,
    random_pools,
    with_scoring,
)
from bench.routing.tables import Table, load_tables
from llmrouterd.catalog import Catalog
from llmrouterd.policy import Policy

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "routing-quality.md"
PLOT = ROOT / "docs" / "routing-quality.svg"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
MARGINS = (0.0, 1.0, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8, 4.0, 1000.0)
SPREADS = (0.0, 0.07, 0.1, 0.127, 0.15, 0.2)
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3)
BARS = ("llmrouter9", "routerdc7", "table 6")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A table with the pools it is routed over and our catalogs, one a held-out dataset."""

    name: str
    table: Table
    pools: list[Pool] | None
    catalogs: list[Catalog]

    def score(self, choose: Chooser) -> float:
        return mean_score(self.table, choose, self.pools)

    def ours(self, policy: Policy) -> float:
        return self.score(ours(self.table, self.catalogs, policy))


def make_rows(tables: dict[str, Table], policy: Policy, pools: int) -> list[Row]:
    """A row for each table, and one for the random pools of table 6."""
    rows = [
        Row(name=name, table=table, pools=None, catalogs=list(catalogs_from_files(table, policy)))
        for name, table in tables.items()
    ]
    last = rows[-1]
    drawn = random_pools(last.table, pools)
    name = f"table 6, {pools:,} random pools of 5"
    return [*rows, Row(name=name, table=last.table, pools=drawn, catalogs=last.catalogs)]


def main_table(rows: list[Row], policy: Policy) -> list[str]:
    """Every rule on every row."""
    lines = [
        "| | best single | category avg | 50/50 blend | ours | dataset oracle |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        scores = [row.score(averages(row.table, share)) for share in (1.0, 0.0, 0.5)]
        scores += [row.ours(policy), row.score(oracle(row.table))]
        lines.append(f"| {row.name} | " + " | ".join(f"{score:.4f}" for score in scores) + " |")
    return lines


def holds(scores: dict[str, float], single: dict[str, float]) -> bool:
    """Whether one set of weights is nowhere below the best single model, and reaches .5825."""
    return all(scores[name] >= single[name] - 1e-9 for name in BARS) and (
        scores["routerdc7"] >= 0.5825
    )


def sensitivity(rows: list[Row], policy: Policy) -> list[str]:
    """Our row at other settings, one changed at a time."""
    single = {row.name: row.score(averages(row.table, 1.0)) for row in rows}
    lines = [
        "| changed | " + " | ".join(row.name for row in rows) + " | all three |",
        "|---|" + "---|" * (len(rows) + 1),
    ]
    tried = [("margin", value) for value in MARGINS]
    tried += [("spread", value) for value in SPREADS] + [("generalist", value) for value in SHARES]
    for name, value in tried:
        changed = with_scoring(policy, **{name: value})
        scores = {row.name: row.ours(changed) for row in rows}
        cells = [f"{scores[row.name]:.4f}" for row in rows]
        default = " (default)" if getattr(policy.scoring, name) == value else ""
        verdict = "yes" if holds(scores, single) else "no"
        lines.append(f"| {name} {value:g}{default} | " + " | ".join(cells) + f" | {verdict} |")
    return lines


def resampled(rows: list[Row], policy: Policy, count: int) -> list[str]:
    """Our lead over the best single model when the prompts of every dataset are drawn again."""
    lines = ["| | lead | 95 % interval | share of draws below 0 |", "|---|---|---|---|"]
    for row in rows:
        if not row.table.answers:
            continue
        random, leads = np.random.default_rng(0), []
        for _ in range(count):
            drawn = [answers[random.integers(0, len(answers), len(answers))].mean(0)
                     for answers in row.table.answers]  # fmt: skip
            table = row.table.with_scores(np.array(drawn))
            choose = ours(table, catalogs_in_memory(table, row.catalogs), policy)
            leads.append(mean_score(table, choose) - mean_score(table, averages(table, 1.0)))
        low, high = np.percentile(leads, [2.5, 97.5])
        lead = row.ours(policy) - row.score(averages(row.table, 1.0))
        below = float(np.mean(np.array(leads) < -1e-9))
        lines.append(f"| {row.name} | {lead:+.4f} | {low:+.4f} to {high:+.4f} | {below:.2f} |")
    return lines


def left(rows: list[Row], policy: Policy) -> list[str]:
    """Every dataset for which another model than the best single one is chosen, and the gain."""
    lines = ["| | held out | best single | ours | gain on it |", "|---|---|---|---|---|"]
    for row in rows:
        if row.pools:
            continue
        one, other = averages(row.table, 1.0), ours(row.table, row.catalogs, policy)
        everyone = range(len(row.table.models))
        for held, dataset in enumerate(row.table.datasets):
            a, b = one(held, everyone), other(held, everyone)
            if a != b:
                gain = row.table.scores[held, b] - row.table.scores[held, a]
                names = " | ".join(row.table.models[at].rpartition("/")[2] for at in (a, b))
                lines.append(f"| {row.name} | {dataset} | {names} | {gain:+.3f} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.routing", description=__doc__)
    parser.add_argument("--pools", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.name}")
    options = parser.parse_args()
    shared = Path(os.environ.get("LLMROUTERD_SHARED") or ROOT.parent / "shared")
    try:
        tables = load_tables(shared / "data" / "routing")
    except OSError as error:
        print(f"the routing data is not there: {error}", file=sys.stderr)
        return 1
    policy = default_policy()
    rows = make_rows(tables, policy, options.pools)
    answers = predicted.load_answers(shared / "data" / "routing")
    parts = [
        (
            "The whole way, with the predicted category",
            predicted.table(answers),
        ),
        ("Leave one dataset out", main_table(rows, policy)),
        ("Where the generalist is left", left(rows, policy)),
        ("Other settings", sensitivity(rows, policy)),
        (f"Prompts drawn again, {options.resamples} times",
         resampled(rows, policy, options.resamples)),
    ]  # fmt: skip
    text = "\n\n".join("\n".join([f"### {title}", "", *lines]) for title, lines in parts)
    print(text)
    if options.write:
        plot.draw(PLOT, "llmrouter9: quality against size", *plot.points(answers[0], policy))
        head, _, rest = PAGE.read_text().partition(BEGIN)
        tail = rest.partition(END)[2]
        PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
