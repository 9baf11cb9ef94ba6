"""How much memory the graphics cards use, by nvidia-smi; without one there is just less to say."""

from __future__ import annotations

import asyncio
import shutil

_SECONDS = 5.0
_QUERY = ("--query-gpu=memory.used", "--format=csv,noheader,nounits")


async def used_vram(program: str = "nvidia-smi") -> int | None:
    """Bytes in use on all cards; None where the program is missing, fails or hangs."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        process = await asyncio.create_subprocess_exec(
            path,
            *_QUERY,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return parse_used(output.decode("ascii", "replace"))


def parse_used(text: str) -> int | None:
    """The sum of lines of MiB in bytes; None where a line is no number, as on a card that does
    not tell."""
    try:
        return sum(int(line) for line in text.split()) * 2**20 if text.strip() else None
    except ValueError:
        return None
