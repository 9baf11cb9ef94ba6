"""What happens as more is asked than a box can do?   python -m bench.residency.overload [--seeds 3]

Four models and room for one or two; four requests in five are for the largest. Requests come at
random, whatever the box does, over four hours of the daemon's own `Host`: a load takes 8 s, an
answer 8 s in the mean, two at once, so that 0.25 requests a second is all that one model can do
without a single load. `max_wait` is 60 s, and 64 may wait.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections.abc import Callable, Sequence
from statistics import quantiles

from llmrouterd.residency.host import Host
from llmrouterd.residency.ticket import Limits, ModelNeeds, Ticket

GB = 10**9
SIZES = {"a": 9 * GB, "b": 8 * GB, "c": 4 * GB, "d": 10 * GB}
MOST_WANTED, SHARE = "d", 0.8
LIMITS = Limits(budget=12 * GB, queue=64, max_wait=60.0, minimum=10.0)
LOAD, UNLOAD, ANSWER, SLOTS = 8.0, 0.3, 8.0, 2
HOURS, TICK = 4.0, 0.25


class Run:
    """One seed at one rate (requests a second). waits: seconds until a request began, of all and
    of those for the `rest` of the models."""

    def __init__(self, rate: float, seed: int) -> None:
        self.rate = rate
        self.waits: list[float] = []
        self.rest: list[float] = []
        self.loads = self.refused = 0
        self._asked, self._takes = random.Random(f"{seed} asked"), random.Random(f"{seed} takes")
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0
        self.host = Host()
        needs = {
            name: ModelNeeds(size=size, slots=SLOTS, load_seconds=LOAD, answer_seconds=ANSWER)
            for name, size in SIZES.items()
        }
        self.host.configure(LIMITS, needs, 0.0)
        self._at(0.0, self._arrive)
        self._at(0.0, self._tick)
        while self._events[0][0] < HOURS * 3600:
            now, _, event = heapq.heappop(self._events)
            event(now)
            self._act(now)

    def _at(self, when: float, event: Callable[[float], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, event))

    def _arrive(self, now: float) -> None:
        rng = self._asked
        model = MOST_WANTED if rng.random() < SHARE else rng.choice("abc")
        self.host.arrive(Ticket(model=model, client=rng.choice("uvwxyz")), now)
        self._at(now + rng.expovariate(self.rate), self._arrive)

    def _tick(self, now: float) -> None:
        self.host.advance(now)
        self._at(now + TICK, self._tick)

    def _act(self, now: float) -> None:
        for kind, ticket, model, *_ in self.host.take():
            if kind == "load":
                self.loads += 1
                self._at(now + LOAD, lambda at, m=model: self.host.set_loaded(m, at))  # type: ignore[misc]
            elif kind == "unload":
                self._at(now + UNLOAD, lambda at, m=model: self.host.set_unloaded(m, at))  # type: ignore[misc]
            elif kind == "refuse":
                self.refused += 1
            elif ticket is not None:
                self.waits.append(now - ticket.since)
                if ticket.model != MOST_WANTED:
                    self.rest.append(now - ticket.since)
                takes = self._takes.expovariate(1 / ANSWER)
                self._at(now + takes, lambda at, t=ticket: self.host.leave(t, at))  # type: ignore[misc]


def line(runs: Sequence[Run]) -> str:
    """A row of the table: over all seeds."""
    waits = [wait for run in runs for wait in run.waits]
    rest = [wait for run in runs for wait in run.rest]
    hours = HOURS * len(runs)
    parts = (
        *(quantiles(waits, n=100)[at] for at in (49, 94)),
        max(waits),
        quantiles(rest, n=100)[94],
        max(rest),
        sum(run.loads for run in runs) / hours,
        len(waits) / hours,
        sum(run.refused for run in runs) / hours,
    )
    return " | ".join(f"{part:.0f}" for part in parts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.residency.overload")
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    print(
        "| requests a second | wait p50 | wait p95 | longest | others' p95 | others' longest "
        "| loads/h | served/h | refused/h |\n|---|---|---|---|---|---|---|---|---|"
    )
    for rate in (0.05, 0.1, 0.15, 0.2, 0.25):
        print(f"| {rate:g} | {line([Run(rate, seed) for seed in seeds])} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
