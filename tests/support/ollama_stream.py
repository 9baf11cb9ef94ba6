"""How a fake Ollama puts an answer's lines on the wire, or breaks off while it does."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from .fault_exchange import Seen
from .openai_answers import encode

RUNNER_DIED = "llama runner process has terminated: exit status 2"
STREAM_FAULTS = ("error-mid-stream", "drop-mid-stream", "hang-mid-stream", "ends-early")
PIECES_BEFORE_FAULT = 2


async def send_lines(
    request: web.Request, seen: Seen, lines: list[dict[str, Any]], delay: float
) -> web.StreamResponse:
    """Stream NDJSON lines, `delay` seconds after each; a fault of `seen` strikes after two."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    for place, line in enumerate(lines):
        if place == min(PIECES_BEFORE_FAULT, len(lines) - 1) and seen.fault in STREAM_FAULTS:
            await _break(request, response, seen.fault)
            return response
        await response.write(encode(line) + b"\n")
        seen.events += 1
        if delay:
            await asyncio.sleep(delay)
    await response.write_eof()
    return response


async def _break(request: web.Request, response: web.StreamResponse, fault: str) -> None:
    """Do to a started stream what the fault says."""
    if fault == "hang-mid-stream":
        await asyncio.Event().wait()
    if fault == "drop-mid-stream":
        if request.transport is not None:
            request.transport.close()
        return
    if fault == "error-mid-stream":
        await response.write(encode({"error": RUNNER_DIED}) + b"\n")
    await response.write_eof()
