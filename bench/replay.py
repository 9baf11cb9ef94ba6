"""How fast recorded decisions are decided again: python -m bench.replay [--decisions 10000]

Fills a database with decisions over thirty models whose speeds change with every tenth answer, as
they do on a box in use, and replays them twice: by the policy that made them (nothing may change),
and by one that prefers speed. Beside it, in the same run, the same number of plain `decide()`
calls; the ratio is what reading and comparing cost. One core, one thread.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.residency.world import MODELS, library
from llmrouterd.assemble import Knowledge, assemble, assemble_seen
from llmrouterd.catalog import Catalog, ModelFacts, Profile
from llmrouterd.config import load_policy
from llmrouterd.decision import Decision, decide
from llmrouterd.journal import Outcome, RecordEncoder
from llmrouterd.policy import Policy
from llmrouterd.replay.comparison import compare, summary
from llmrouterd.replay.reading import read_decisions
from llmrouterd.replay.recorded import Replayer
from llmrouterd.scorer import Load, Standing
from llmrouterd.settings import Settings
from llmrouterd.signals import Signals
from llmrouterd.store import Store

HOSTS = ("a", "b", "c")
CATEGORIES = ("coding", "math", "factual", "chat", "creative", "translation")
EDIT = "rules: [{name: default, weights: {time: 3, quality: 0.7}}]\n"


def policy(text: str = "") -> Policy:
    """A policy with the three backends."""
    entries = ", ".join(f"{{name: {h}, type: ollama, url: 'http://127.0.0.1:9'}}" for h in HOSTS)
    with tempfile.TemporaryDirectory(prefix="llmrouterd-bench-") as folder:
        file = Path(folder) / "router.yaml"
        file.write_text(f"backends: [{entries}]\n{text}")
        return load_policy(Settings(policy=file, rules=None, state=Path(folder), environ={}))


def worlds(active: Policy, rng: random.Random) -> Iterator[Catalog]:
    """A catalog after each tenth answer: the model that answered has a slightly other speed."""
    facts = [
        ModelFacts(name=name, capabilities=frozenset({"chat"}), context=8192, size_b=size)
        for name, (size, _, _) in MODELS.items()
    ]
    catalog = assemble(active, dict.fromkeys(HOSTS, facts), Knowledge(library=library()))
    while True:
        yield catalog
        seen = list(catalog.seen)
        at = rng.randrange(len(seen))
        pace = Profile(decode_tokens_per_second=round(rng.uniform(10, 90), 2), live_samples=1)
        seen[at] = replace(seen[at], profile=pace)
        catalog = assemble_seen(active, seen)


def make(active: Policy, number: int) -> Iterator[Decision]:
    """Decisions as a family makes them."""
    rng = random.Random(7)
    changing = worlds(active, rng)
    catalog = next(changing)
    for at in range(number):
        if at % 10 == 9:
            catalog = next(changing)
        ids = [model.id for model in catalog.models]
        held = rng.sample(ids, 2)
        category = rng.choice(CATEGORIES)
        signals = Signals(
            category=category,
            probabilities={name: 0.9 if name == category else 0.02 for name in CATEGORIES},
            abstain=0.0,
            complexity=rng.random(),
            prompt_tokens=rng.randrange(20, 6000),
            session=f"s{at // 4}",
        )
        load = Load(
            resident=frozenset(held),
            slots=dict.fromkeys(ids, 1),
            sticky=rng.choice(["", held[0]]),
            standing={id_: Standing("ready" if id_ in held else "absent", 0.5) for id_ in ids},
        )
        yield decide(signals, active, catalog, load)


def fill(path: Path, made: list[Decision]) -> None:
    """Write the decisions as the daemon does."""
    store = Store(path, most=len(made) + 1, encode=RecordEncoder().encode, on_error=print)
    for number, decision in enumerate(made):
        store.record(
            {
                "id": f"dec_{number}",
                "at": float(number),
                "mode": decision.mode,
                "rule": decision.rule,
                "category": decision.signals.category,
                "model": decision.ranked[0].model,
                "outcome": "ok",
                "policy": decision.policy_digest,
                "record": (decision, Outcome(id=f"dec_{number}")),
            }
        )
    store.close(600)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.replay")
    parser.add_argument("--decisions", type=int, default=10_000)
    options = parser.parse_args()
    active, edited = policy(), policy(EDIT)
    made = list(make(active, options.decisions))
    started = time.process_time()
    for one in made:
        decide(one.signals, active, one.catalog, one.load)
    plain = time.process_time() - started
    with tempfile.TemporaryDirectory(prefix="llmrouterd-bench-") as folder:
        path = Path(folder) / "bench.db"
        fill(path, made)
        size = path.stat().st_size / 1e6
        print(f"{len(made)} decisions of 30 models, {size:.0f} MB; decide() alone {plain:.1f} s")
        for name, other in (("the same policy", active), ("another policy", edited)):
            started = time.process_time()
            compared = compare(read_decisions(path, 0.0, len(made)), Replayer(other))
            took = time.process_time() - started
            print(f"{name}: {took:.1f} s of one core, {took / plain:.1f} x decide() alone")
            print(f"  {summary(compared)}")
            if other is active and (compared.changed or compared.skipped):
                print("  which must not be")
                return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
