"""Processes of the run: started, waited for until they answer, and ended with what they started."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp


@asynccontextmanager
async def running(
    command: Sequence[str], env: Mapping[str, str], log: Path, health: str, seconds: float
) -> AsyncIterator[None]:
    """A process until the block ends. Raises RuntimeError with its log's end, if its address
    `health` does not answer 200 within `seconds`."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=output, env=dict(env), start_new_session=True
        )
    try:
        if not await _answers(process, health, seconds):
            tail = log.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"{command[0]} does not answer on {health}:\n{tail}")
        yield
    finally:
        await _end(process)


async def _answers(process: asyncio.subprocess.Process, health: str, seconds: float) -> bool:
    deadline = asyncio.get_running_loop().time() + seconds
    async with aiohttp.ClientSession() as http:
        while process.returncode is None and asyncio.get_running_loop().time() < deadline:
            try:
                async with http.get(health) as response:
                    if response.status == 200:
                        return True
            except aiohttp.ClientError:
                pass  # not listening yet
            await asyncio.sleep(0.1)
    return False


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM to its group, and SIGKILL to what does not obey within 10 seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        os.killpg(process.pid, number)
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            continue
