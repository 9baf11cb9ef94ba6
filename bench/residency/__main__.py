"""What does it bring to know the memory?   python -m bench.residency [--hours 14] [--seeds 16]

Simulates boxes at home under several ways to choose and hold models, all through the same
conversations, and prints a table for each box. README.md says what is simulated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from statistics import fmean, quantiles
from typing import Any

from bench.residency.simulate import SYSTEMS, Box, Result, Simulation
from bench.residency.trace import Crowd, make_trace
from bench.residency.world import CARD_12, CARD_24
from llmrouterd.residency.ticket import TASK

SMALL = ("qwen3:4b", "llama3.1:8b", "qwen2.5-coder:7b", "qwen3:8b", "gemma3:12b")
LARGE = ("qwen3:4b", "qwen3:8b", "qwen3:14b", "gemma3:27b", "qwen2.5-coder:32b", "qwen3:32b")
SCENES = {
    "12 GB, one person": (
        Box(card=CARD_12, models=SMALL, most=1),
        Crowd(people=1, conversations=40),
    ),
    "24 GB, a family of four": (
        Box(card=CARD_24, models=LARGE, most=1),
        Crowd(people=4, conversations=25),
    ),
    "24 GB, two people and two coding agents": (
        Box(card=CARD_24, models=LARGE, most=1),
        Crowd(people=2, conversations=25, agents=2, jobs=30),
    ),
}
HEAD = (
    "| | wait p50 | wait p95 | end p50 | end p95 | tasks p95 | loads/h | quality | refused "
    "| tasks left out |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.residency")
    parser.add_argument("--hours", type=float, default=14.0)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for scene, (box, crowd) in SCENES.items():
        runs: dict[str, list[Result]] = {system.name: [] for system in SYSTEMS}
        for seed in range(options.seeds):
            trace = make_trace(crowd, options.hours, seed)
            for system in SYSTEMS:
                runs[system.name].append(Simulation(box, system).run(trace))
        found[scene] = {name: figures(results) for name, results in runs.items()}
        if not options.json:
            print(f"\n### {scene}\n\n{HEAD}")
            for name, row in found[scene].items():
                print(f"| {name} | {_line(row)} |", flush=True)
    if options.json:
        print(json.dumps(found, indent=1))
    return 0


def figures(results: Sequence[Result]) -> dict[str, Any]:
    """Means over the seeds, with the lowest and the highest."""
    return {
        "wait_p50": _over(results, lambda r: _at(_chats(r, "waited"), 50)),
        "wait_p95": _over(results, lambda r: _at(_chats(r, "waited"), 95)),
        "end_p50": _over(results, lambda r: _at(_chats(r, "seconds"), 50)),
        "end_p95": _over(results, lambda r: _at(_chats(r, "seconds"), 95)),
        "tasks_p95": _over(
            results, lambda r: _at([s.seconds for s in r.served if s.priority == TASK], 95)
        ),
        "loads_an_hour": _over(results, lambda r: r.loads / r.hours),
        "quality": _over(results, lambda r: 100 * fmean(_chats(r, "quality"))),
        "refused": _over(results, lambda r: float(r.refused)),
        "left_out": _over(results, lambda r: float(r.left_out)),
    }


def _chats(result: Result, name: str) -> list[float]:
    return [getattr(served, name) for served in result.served if served.priority < TASK]


def _over(results: Sequence[Result], read: Callable[[Result], float]) -> list[float]:
    values = [read(result) for result in results]
    return [round(value, 2) for value in (fmean(values), min(values), max(values))]


def _at(values: list[float], percent: int) -> float:
    if len(values) < 2:
        return values[0] if values else 0.0
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _line(row: dict[str, Any]) -> str:
    parts = []
    for name, (mean, low, high) in row.items():
        spread = f" ({low:g}-{high:g})" if name in ("wait_p95", "loads_an_hour", "quality") else ""
        parts.append(f"{mean:.1f}{spread}")
    return " | ".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())
