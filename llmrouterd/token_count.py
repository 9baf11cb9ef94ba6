"""Token counts by tiktoken, never at the cost of the event loop.

tiktoken fetches its ranks over the network without a time limit, so that is done once, in a
thread, with one; until then, or for ever offline, an upper bound by bytes stands in.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

import tiktoken

from llmrouterd.classifier import byte_bound

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENCODING = "o200k_base"
_PIECE = 4_000
_EXACT = 40_000
_CACHED_CHARACTERS = 4_000_000
_ENTRY = 200  # what an entry weighs besides its text
_FETCH_SECONDS = 60.0


class TokenCounter:
    """`counter(text)` -> (tokens, exact). Counts of the last few megabytes are remembered, since
    a conversation's history comes again with every turn."""

    def __init__(self) -> None:
        self._encoding: tiktoken.Encoding | None = None
        self._known: OrderedDict[str, int] = OrderedDict()
        self._characters = 0

    def __call__(self, text: str) -> tuple[int, bool]:
        encoding = self._encoding
        if encoding is None:
            return byte_bound(text)
        if not text:
            return 0, True
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
            return known, len(text) <= _EXACT
        count = _count(encoding, text)
        self._remember(text, count)
        return count, len(text) <= _EXACT

    @property
    def ready(self) -> bool:
        return self._encoding is not None

    async def fetch(self, cache: Path, on_event: Callable[[str, dict[str, Any]], None]) -> None:
        """Load the ranks from `cache`, or fetch them into it; gives up after a minute."""
        os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(cache))
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tiktoken.Encoding] = loop.create_future()
        # A thread of its own: the default executor would wait for it when the daemon stops.
        threading.Thread(target=_load, args=(loop, future), name="tokens", daemon=True).start()
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                self._encoding = await future
        except (TimeoutError, OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200] or "no answer in time"
            on_event("tokens.estimated", {"reason": reason})
            return
        on_event("tokens.ready", {"encoding": ENCODING})

    def _remember(self, text: str, count: int) -> None:
        self._known[text] = count
        self._characters += len(text) + _ENTRY
        while self._characters > _CACHED_CHARACTERS:
            oldest, _ = self._known.popitem(last=False)
            self._characters -= len(oldest) + _ENTRY


def _load(loop: asyncio.AbstractEventLoop, future: asyncio.Future[tiktoken.Encoding]) -> None:
    settle: Callable[[], None]
    try:
        settle = partial(future.set_result, tiktoken.get_encoding(ENCODING))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        settle = partial(future.set_exception, error)
    if not loop.is_closed():
        loop.call_soon_threadsafe(_unless_done, future, settle)


def _unless_done(future: asyncio.Future[tiktoken.Encoding], settle: Callable[[], None]) -> None:
    if not future.done():
        settle()


def _count(encoding: tiktoken.Encoding, text: str) -> int:
    """Tokens of a text, in pieces so that no piece is slow; a long text is measured at three
    places and scaled up, with a margin."""
    if len(text) <= _PIECE:
        return len(encoding.encode_ordinary(text))
    if len(text) <= _EXACT:
        pieces = [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
        return sum(len(encoding.encode_ordinary(piece)) for piece in pieces)
    middle = len(text) // 2
    pieces = [text[:_PIECE], text[middle : middle + _PIECE], text[-_PIECE:]]
    measured = sum(len(encoding.encode_ordinary(piece)) for piece in pieces)
    return int(measured / (3 * _PIECE) * len(text) * 1.1)
