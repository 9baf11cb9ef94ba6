"""Background tasks that do not end unnoticed."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_HEALTHY_SECONDS = 300.0


async def guard(
    name: str,
    work: Callable[[], Awaitable[None]],
    on_event: Callable[[str, dict[str, Any]], None],
) -> None:
    """Run `work` for ever: an end that nobody asked for is reported and followed by a restart,
    with growing pauses."""
    loop = asyncio.get_running_loop()
    pause = _FIRST_PAUSE
    while True:
        started = loop.time()
        try:
            await work()
            detail = "it returned"
        except Exception:  # boundary: a worker must not take the daemon down
            detail = traceback.format_exc()
        if loop.time() - started > _HEALTHY_SECONDS:
            pause = _FIRST_PAUSE
        on_event("task.ended", {"task": name, "detail": detail, "restart_in": pause})
        await asyncio.sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * 2)
