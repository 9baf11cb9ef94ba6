"""How fast does a full queue say no?   python -m bench.refusals [--requests 300]

A daemon whose only model is busy and whose queue is full, asked again and again over one
connection; beside it the same client on GET /health, which says what the machine and the client
cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from statistics import quantiles

import aiohttp

from tests.support.faults import FaultServer
from tests.support.policies import running

QUEUE = 4


async def _hold(session: aiohttp.ClientSession, url: str, body: object) -> None:
    """Keep a place: the answer never ends."""
    async with session.post(url, json=body) as answer:
        await answer.read()


async def measure(requests: int) -> dict[str, list[float]]:
    """Milliseconds of each refusal and of each GET /health."""
    found: dict[str, list[float]] = {"refusal": [], "health": []}
    with tempfile.TemporaryDirectory(prefix="llmrouterd-bench-") as folder:
        async with FaultServer(["endless"]) as server:
            policy = {
                "backends": [{"name": "s", "type": "openai", "url": server.url, "slots": 1}],
                "queue": {"max": QUEUE},
                "profiling": {"enabled": False},
            }
            async with (
                running(json.dumps(policy), Path(folder)) as daemon,
                aiohttp.ClientSession() as session,
            ):
                url = f"{daemon.url}/v1/chat/completions"
                body = {"messages": [{"role": "user", "content": "Hello"}], "stream": True}
                held = [asyncio.create_task(_hold(session, url, body)) for _ in range(QUEUE + 1)]
                await asyncio.sleep(1.0)
                for _ in range(requests):
                    began = time.perf_counter()
                    async with session.post(url, json=body) as answer:
                        await answer.read()
                        assert answer.status == 503, answer.status
                        assert "retry-after" in answer.headers
                    found["refusal"].append(1000 * (time.perf_counter() - began))
                    began = time.perf_counter()
                    async with session.get(f"{daemon.url}/health") as answer:
                        await answer.read()
                    found["health"].append(1000 * (time.perf_counter() - began))
                for task in held:
                    task.cancel()
                await asyncio.gather(*held, return_exceptions=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.refusals")
    parser.add_argument("--requests", type=int, default=300)
    found = asyncio.run(measure(parser.parse_args().requests))
    print("| | p50 ms | p95 ms | p99 ms |\n|---|---|---|---|")
    for name, values in found.items():
        cuts = quantiles(values, n=100)
        print(f"| {name} | {cuts[49]:.1f} | {cuts[94]:.1f} | {cuts[98]:.1f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
