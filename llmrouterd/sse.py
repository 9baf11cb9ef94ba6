"""Server-sent events without I/O: bytes in, whole events with their exact bytes out.

The framer follows the WHATWG rules (LF, CRLF and CR line ends in any mix, a leading byte order
mark, comments, multi-line data), but keeps what a relay needs and a browser does not: the bytes
of each event as they came, so that they can be sent on untouched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

DONE = b"data: [DONE]\n\n"
MAX_EVENT = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
# A CR before an LF never stands alone, or CRLF would count as an empty line.
_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
# The longest proper prefix of an event's end is three bytes (CR LF CR, or LF CR).
_OVERLAP = 3


class FrameTooLong(ValueError):
    """One event is longer than the framer's limit; the stream cannot be followed any further."""


class Event(NamedTuple):
    """One event: `raw`, its exact bytes with the empty line that ends it, and `data`, its joined
    data lines, or None where it has none (comments, pings, other fields, stray empty lines)."""

    raw: bytes
    data: bytes | None


class SSEFramer:
    """Cuts a byte stream into events, whatever the cuts between reads.

    The `raw` of all events put together is the input, byte for byte. An event that ends in CR is
    given out at once; should the LF of a CRLF follow in the next read, it comes as an event of
    its own without data. The work is linear in the input, also when it drips byte by byte.
    """

    __slots__ = ("_buffer", "_carriage", "_first", "_max", "_scanned")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._carriage = False
        self._first = True
        self._max = max_event

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes, in order.

        Raises FrameTooLong at an event above the limit, after the events before it were given.
        """
        if not self._buffer and data[-2:] == b"\n\n":
            events = _plain_events(data, self._max)
            if events is not None:
                self._first = False
                return events
        if not self._carriage and b"\r" in data:
            self._carriage = True
        self._buffer += data
        return self._take()

    def close(self) -> list[Event]:
        """What is left at the end of the stream, as an event whose raw has its end added.

        Only a rest whose data is whole counts: each data line has its line end, or the data is
        `[DONE]` or a JSON value. A cut event or a lone comment gives nothing.
        """
        self._take()  # gives no event, but refuses a rest that is too long
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        data = self._data(rest)
        if data is None:
            return []
        if rest.endswith((b"\n", b"\r")):
            # A CR and an LF would be one line end, not two.
            return [Event(rest + rest[-1:], data)]
        return [Event(rest + b"\n\n", data)] if _is_whole(data) else []

    def _take(self) -> list[Event]:
        buffer = self._buffer
        events: list[Event] = []
        start = 0
        while start < len(buffer):
            end = self._event_end(start)
            if (len(buffer) if end is None else end) - start > self._max:
                if events:
                    break
                raise FrameTooLong(f"a server-sent event is longer than {self._max} bytes")
            if end is None:
                break
            raw = bytes(buffer[start:end])
            events.append(Event(raw, self._data(raw)))
            self._first = False
            start = self._scanned = end
        del buffer[:start]
        self._scanned = max(0, len(buffer) - _OVERLAP)
        return events

    def _event_end(self, start: int) -> int | None:
        """Where the event at `start` ends, or None while its empty line is not there."""
        buffer = self._buffer
        if buffer[start] in b"\r\n":
            blank = _LINE_END.match(buffer, start)
            return blank.end() if blank else None
        begin = max(start, self._scanned)
        if not self._carriage:
            found = buffer.find(b"\n\n", begin)
            return found + 2 if found >= 0 else None
        match = _EVENT_END.search(buffer, begin)
        return match.end() if match else None

    def _data(self, raw: bytes) -> bytes | None:
        if self._first and raw.startswith(_BOM):
            raw = raw[len(_BOM) :]
        values: list[bytes] = []
        for line in raw.splitlines():
            if line.startswith(b"data:"):
                values.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line == b"data":
                values.append(b"")
        return b"\n".join(values) if values else None


def _plain_events(data: bytes, limit: int) -> list[Event] | None:
    """The events of a read that is nothing but `data: ...\\n\\n` blocks, else None."""
    if b"\r" in data or len(data) > limit:
        return None
    events: list[Event] = []
    for block in data[:-2].split(b"\n\n"):
        if not block.startswith(b"data: ") or b"\n" in block:
            return None
        events.append(Event(block + b"\n\n", block[6:]))
    return events


def _is_whole(data: bytes) -> bool:
    if data == b"[DONE]":
        return True
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def encode(payload: Mapping[str, Any] | bytes) -> bytes:
    """One event that carries `payload`: an object as JSON, or bytes as they are.

    Line ends inside given bytes become further data lines, so no payload can end its event.
    """
    body = payload if isinstance(payload, bytes) else orjson.dumps(dict(payload))
    if b"\n" in body or b"\r" in body:
        body = b"\ndata: ".join(_LINE_END.split(body))
    return b"data: " + body + b"\n\n"
