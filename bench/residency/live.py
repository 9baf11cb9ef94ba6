"""The same on real servers: two real models, memory for one of them.

    python -m bench.residency.live [--requests 40] [--seconds-between 3]

One trace of chats, in turns over (1) llama-server's own router with --models-max 1, each chat by
the name of the better model for it; (2) llmrouterd over such a router, by the same names; (3)
llmrouterd choosing by itself, with the small difference in quality that the owner declares.
Needs what the tests need (`make test` installs it) and the extra `bench`, and seven minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

import aiohttp

from tests.support.llama import gemma3_f16_path, real_llama_router, smollm2_f16_path
from tests.support.policies import running

# Files of 271 and 543 MB.
FILES = {"smollm2": smollm2_f16_path, "gemma3": gemma3_f16_path}
MODELS = tuple(FILES)
ASKED = {
    "smollm2": "Write a Python function that {}.",
    "gemma3": "Who or what was {}? Answer in one sentence.",
}
TOPICS = {
    "smollm2": ("sorts a list", "reads a CSV file", "adds two numbers", "parses a date"),
    "gemma3": ("the capital of France", "Marie Curie", "the Hanseatic League", "Mount Etna"),
}
TOKENS = 24
# Gigabytes: either has room, both have not.
BUDGET, NEEDS = 0.9, {"smollm2": 0.4, "gemma3": 0.8}
# Declared by the owner: each is a little better at its own.
QUALITY = {
    "smollm2": {"coding": 0.70, "factual": 0.66},
    "gemma3": {"coding": 0.66, "factual": 0.70},
}
_LOOK = 0.05


class Chat(NamedTuple):
    """at: seconds from the start. model: the better one for it."""

    at: float
    model: str
    words: str


class Row(NamedTuple):
    """What came out. Seconds; loads as the server's list shows them."""

    name: str
    waits: list[float]
    ends: list[float]
    loads: int
    wrong: int
    best: int


def make_chats(count: int, between: float, seed: int) -> list[Chat]:
    """Chats at random times; who has asked for code likely goes on with it."""
    rng, at, model, made = random.Random(seed), 0.0, MODELS[0], list[Chat]()
    for _ in range(count):
        at += rng.expovariate(1.0 / between)
        model = model if rng.random() < 0.5 else rng.choice(MODELS)
        made.append(Chat(at, model, ASKED[model].format(rng.choice(TOPICS[model]))))
    return made


async def _count_loads(session: aiohttp.ClientSession, url: str, seen: Counter[str]) -> None:
    """Watch for ever how often each model begins to be there."""
    before = dict.fromkeys(MODELS, "unloaded")
    while True:
        async with session.get(f"{url}/models") as answer:
            listed = (await answer.json())["data"]
        for entry in listed:
            name, state = entry["id"], entry["status"]["value"]
            if state != "unloaded" and before[name] == "unloaded":
                seen[name] += 1
            before[name] = state
        await asyncio.sleep(_LOOK)


async def _ask(session: aiohttp.ClientSession, url: str, chat: Chat, model: str) -> dict[str, Any]:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": chat.words}],
        "max_tokens": TOKENS,
        "temperature": 0,
        "stream": True,
    }
    began, first, text = time.monotonic(), 0.0, ""
    async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
        by = ""  # not by the headers: they are sent before a load that takes long
        async for line in answer.content:
            if line.startswith(b"data: {"):
                chunk = json.loads(line[6:])
                by = chunk.get("model") or by
                for choice in chunk.get("choices", ()):
                    said = choice.get("delta", {}).get("content")
                    first = first or (time.monotonic() if said else 0.0)
                    text += said or ""
    if answer.status != 200 or not text:
        return {"wrong": True}
    return {"wait": first - began, "end": time.monotonic() - began, "by": by}


async def measure(name: str, chats: list[Chat], url: str, backend: str, naming: str) -> Row:
    """Send the chats at their times. backend: the server whose loads count. naming: how a model is
    asked for; {} is its name."""
    limit = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(timeout=limit) as session:
        loads: Counter[str] = Counter()
        watching = asyncio.create_task(_count_loads(session, backend, loads))
        start = time.monotonic()

        async def one(chat: Chat) -> dict[str, Any]:
            await asyncio.sleep(max(0.0, start + chat.at - time.monotonic()))
            return await _ask(session, url, chat, naming.format(chat.model))

        answers = await asyncio.gather(*(one(chat) for chat in chats))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    good = [answer for answer in answers if "wrong" not in answer]
    best = sum(a.get("by") == chat.model for a, chat in zip(answers, chats, strict=True))
    return Row(
        name,
        [answer["wait"] for answer in good],
        [answer["end"] for answer in good],
        loads.total(),
        len(answers) - len(good),
        best,
    )


@asynccontextmanager
async def _daemon(folder: Path, url: str) -> AsyncIterator[str]:
    policy = {
        "backends": [{"name": "r", "type": "llamacpp", "url": url}],
        "residency": {"hosts": [{"name": "local", "vram_gb": BUDGET}], "minimum_seconds": 0},
        "models": [
            {"match": f"r/{name}", "quality": QUALITY[name], "vram_gb": NEEDS[name]}
            for name in MODELS
        ],
        "classification": {"model": "none"},
        "profiling": {"enabled": False},
    }
    lexicons = folder / "rules"
    lexicons.mkdir(parents=True)
    for category, phrase in (("coding", "python"), ("factual", "who or what")):
        (lexicons / f"{category}.yaml").write_text(
            f"category: {category}\ndescription: bench\n"
            f"groups:\n  - weight: 6\n    phrases: [{phrase}]\n"
        )
    async with running(json.dumps(policy), folder, ROUTER_RULES=str(lexicons)) as daemon:
        yield daemon.url


async def compare(chats: list[Chat]) -> list[Row]:
    """One row after the other, each on servers of its own."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="llmrouterd-bench-") as name:
        folder = Path(name)
        models = folder / "models"
        models.mkdir()
        for model in MODELS:
            shutil.copy(FILES[model](), models / f"{model}.gguf")
        async with real_llama_router(models, models_max=1) as url:
            rows.append(await measure("llama-server's router", chats, url, url, "{}"))
        for label, naming in (("the same names", "r/{}"), ("choosing", "hubrouter/main")):
            # It would hold two: that there is only one is the daemon's doing.
            async with (
                real_llama_router(models, models_max=2) as url,
                _daemon(folder / naming.partition("/")[0], url) as ours,
            ):
                rows.append(await measure(f"llmrouterd, {label}", chats, ours, url, naming))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.residency.live")
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--seconds-between", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chats = make_chats(options.requests, options.seconds_between, options.seed)
    rows = asyncio.run(compare(chats))
    print("| | wait p50 | wait p95 | end p95 | loads | by the better model | failed |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        waits, ends = (quantiles(each, n=100) for each in (row.waits, row.ends))
        print(
            f"| {row.name} | {waits[49]:.2f} | {waits[94]:.2f} | {ends[94]:.2f} | {row.loads} | "
            f"{100 * row.best / len(chats):.0f} % | {row.wrong} |"
        )
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
