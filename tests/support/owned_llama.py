"""What the tests of owned llama.cpp servers share: recorded states, and a look into /proc."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp

from llmrouterd.backends.llama_process import LlamaProcess, LlamaSpec

Make = Callable[[LlamaSpec], LlamaProcess]


class States:
    """Records what `on_state` says and lets a test wait for a state."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self._changed = asyncio.Event()

    def __call__(self, state: str, detail: str) -> None:
        self.seen.append((state, detail))
        self._changed.set()

    async def reach(self, *states: str) -> str:
        """Wait until ``states`` came in this order, others between; return the last detail."""
        async with asyncio.timeout(60):
            while True:
                rest = iter(self.seen)
                found = [next((d for s, d in rest if s == wanted), None) for wanted in states]
                if found[-1] is not None:
                    return found[-1]
                self._changed.clear()
                await self._changed.wait()

    @property
    def names(self) -> list[str]:
        return [state for state, _ in self.seen]


def processes(mark: str) -> list[int]:
    """Return the living (not zombie) processes with ``mark`` in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and mark.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


async def gone(mark: str) -> bool:
    """Wait for the last process with ``mark`` to end."""
    async with asyncio.timeout(20):
        while processes(mark):
            await asyncio.sleep(0.02)
    return True


@contextlib.contextmanager
def marked_name() -> Iterator[str]:
    """A model name that marks its processes; at the end none may be left."""
    mark = f"llama-{uuid.uuid4().hex}"
    yield mark
    left = processes(mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


@contextlib.asynccontextmanager
async def making(states: States) -> AsyncIterator[Make]:
    """A constructor of processes that report to ``states``; all are stopped at the end."""
    made: list[LlamaProcess] = []

    def build(spec: LlamaSpec) -> LlamaProcess:
        made.append(LlamaProcess(spec, on_state=states))
        return made[-1]

    yield build
    for process in made:
        await process.stop()


async def get(url: str) -> dict[str, object]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        body: dict[str, object] = await answer.json(content_type=None)
        return body
