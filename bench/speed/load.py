"""The load generator: a closed loop of chat requests over kept-alive connections.

    python -m bench.speed.load '{"port": 8000, "connections": 32, "seconds": 3, ...}'

One process, raw asyncio protocol, no HTTP library, so that it can drive tens of thousands of
requests per second. Every answer is checked: status 200, every token there, and `[DONE]` at the end
of a stream or a closing brace otherwise. Prints one JSON object, see `Tally.result`.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from time import perf_counter
from typing import cast

from bench.speed import wire
from bench.speed.backend import run

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
_CHUNKED_BODY = -1
_UNTIL_CLOSE = -2
_TURNS_PER_CONVERSATION = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One cell of the benchmark; times in seconds. `total` > 0 ends after so many requests."""

    port: int
    connections: int
    seconds: float
    path: str = "/v1/chat/completions"
    model: str = wire.MODELS[0]
    headers: dict[str, str] = field(default_factory=dict)
    warm: float = 0.2
    total: int = 0
    stream: bool = False
    events: int = 0
    interval_ms: int = 0
    tools: bool = False
    drain: float = 30.0

    @property
    def plan(self) -> wire.Plan | None:
        """The pace of the answers, None for the short one."""
        return wire.Plan(events=self.events, interval_ms=self.interval_ms) if self.events else None


@lru_cache(maxsize=4096)
def _framing(head: bytes) -> tuple[int, int]:
    """Status and body length in bytes, or one of the two negative marks, of a response head."""
    status = int(head[9:12])
    length = _LENGTH.search(head)
    if length is not None:
        return status, int(length[1])
    return status, _CHUNKED_BODY if _CHUNKED.search(head) else _UNTIL_CLOSE


class Tally:
    """Counts of one job, and the requests still to send."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.expected = job.events or wire.SHORT_EVENTS
        self.errors: Counter[str] = Counter()
        self.completed = self.reconnects = 0
        self.token_counts: list[tuple[float, int]] = []
        self.answers: list[tuple[float, float, float]] = []
        self.gaps: list[float] = []
        self.idle = asyncio.Event()
        self.connecting: set[asyncio.Future[None]] = set()
        self.open = 0
        self.sent = 0
        self._numbers = count(1)
        self._bodies = wire.chat_bodies(
            model=job.model, stream=job.stream, plan=job.plan, tools=job.tools
        )
        extra = "".join(f"{name}: {value}\r\n" for name, value in job.headers.items())
        self._head = (
            f"POST {job.path} HTTP/1.1\r\nHost: 127.0.0.1:{job.port}\r\n"
            f"Content-Type: application/json\r\nAccept: */*\r\n{extra}Content-Length: "
        ).encode()
        self.begin = perf_counter()
        self.from_ = self.begin + job.warm
        self.until = self.from_ + job.seconds

    def next_request(self, now: float) -> bytes | None:
        """The next request to send at time `now`, or None if the job is over."""
        if now >= self.until or 0 < self.job.total <= self.sent:
            return None
        self.sent += 1
        number = next(self._numbers)
        before, between, after = self._bodies[number % len(self._bodies)]
        conversation = number // _TURNS_PER_CONVERSATION
        body = b"%b%08d%b%08d%b" % (before, conversation, between, number, after)
        return b"%b%d\r\n\r\n%b" % (self._head, len(body), body)

    def finished(self, start: float, now: float, first: float) -> None:
        """An answer came whole; `first` is when its first token came, 0 if that was not watched."""
        self.completed += 1
        self.answers.append((start, now, first))

    def failed(self, reason: str) -> None:
        """An answer was wrong or did not come."""
        self.errors[reason] += 1

    def left(self) -> None:
        """A connection has nothing more to do."""
        self.open -= 1
        if self.open == 0:
            self.idle.set()

    def result(self) -> dict[str, object]:
        """Rates per second within the window; times in milliseconds; errors by reason.

        `late`: not one request was both sent and answered in the window, so it is taken to reach
        from the beginning to the last answer.
        """
        now = perf_counter()
        begin, end = self.from_, min(now, self.until)
        late = not any(begin <= sent and answered <= end for sent, answered, _ in self.answers)
        if late:
            begin, end = self.begin, now
        seconds = max(end - begin, 1e-9)
        answered = sum(1 for answer in self.answers if begin <= answer[1] <= end)
        tokens = sum(number for at, number in self.token_counts if begin <= at <= end)
        window = [answer for answer in self.answers if begin <= answer[0] < end]
        latencies = [done - sent for sent, done, _ in window]
        first_tokens = [first - sent for sent, _, first in window if first]
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "completed": self.completed,
            "requests_per_s": answered / seconds,
            "tokens_per_s": tokens / seconds,
            "latency_p50_ms": _percentile(latencies, 0.50),
            "latency_p99_ms": _percentile(latencies, 0.99),
            "first_token_p50_ms": _percentile(first_tokens, 0.50),
            "first_token_p99_ms": _percentile(first_tokens, 0.99),
            "gap_p99_ms": _percentile(self.gaps, 0.99),
            "samples": len(window),
            "late": late,
            "seconds": now - self.begin,
            "generator_cpu_s": used.ru_utime + used.ru_stime,
            "reconnects": self.reconnects,
            "errors": dict(self.errors),
        }


def _percentile(values: list[float], share: float) -> float | None:
    """The nearest-rank percentile of seconds, in milliseconds; None if there are no values."""
    if not values:
        return None
    ordered = sorted(values)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Connection(asyncio.Protocol):
    """One connection: sends a request, reads and checks its answer, sends the next."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._watch = tally.job.stream
        self._transport: asyncio.Transport | None = None
        self._busy = False
        self._reset()

    def _reset(self) -> None:
        self._buffer = b""
        self._in_head = True
        self._length = self._left = self._skip = self._tokens = self._status = 0
        self._first = self._last = 0.0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # not a subclass on uvloop
        self._send(perf_counter())

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._busy:
            if self._length == _UNTIL_CLOSE and not self._in_head and exc is None:
                self._finish(perf_counter())
            else:
                self._tally.failed(f"connection lost: {exc}")
                self._busy = False
        tally = self._tally
        if tally.idle.is_set() or perf_counter() >= tally.until:
            tally.left()
        else:
            tally.reconnects += 1
            task = asyncio.ensure_future(_connect(tally, 0.0))
            tally.connecting.add(task)
            task.add_done_callback(tally.connecting.discard)

    def _send(self, now: float) -> None:
        request = self._tally.next_request(now)
        assert self._transport is not None
        if request is None:
            self._transport.abort()
            return
        self._start = now
        self._busy = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        now = perf_counter()
        if self._in_head:
            if self._buffer:
                data = self._buffer + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = data
                return
            self._buffer = b""
            self._in_head = False
            self._status, self._length = _framing(data[: end + 2])
            self._left = max(self._length, 0)
            data = data[end + 4 :]
        if self._length >= 0:
            self._left -= len(data)
            self._read(data, now)
            if self._left <= 0:
                self._finish(now)
        elif self._length == _CHUNKED_BODY:
            self._dechunk(data, now)
        else:
            self._read(data, now)

    def _dechunk(self, data: bytes, now: float) -> None:
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        parts = []
        at = 0
        ended = False
        while True:
            if self._left:
                part = data[at : at + self._left]
                at += len(part)
                self._left -= len(part)
                parts.append(part)
                if self._left:
                    break
                self._skip = 2
            line_end = data.find(b"\r\n", at + self._skip)
            if line_end < 0:
                self._buffer = data[at:]
                break
            size = int(data[at + self._skip : line_end].partition(b";")[0], 16)
            if size == 0:
                ended = len(data) >= line_end + 4
                self._buffer = b"" if ended else data[at:]
                break
            at, self._left = line_end + 2, size
        self._read(b"".join(parts), now)
        if ended:
            self._finish(now)

    def _read(self, body: bytes, now: float) -> None:
        """Count the tokens in the next piece of the body; a token may be cut by its edge."""
        whole = self._tail + body
        found = whole.count(wire.TOKEN) - self._tail.count(wire.TOKEN)
        self._tail = whole[-64:]
        if not found:
            return
        self._tokens += found
        if self._watch:
            self._tally.token_counts.append((now, found))
            if not self._first:
                self._first = now
            elif self._tally.job.interval_ms:
                self._tally.gaps.append(now - self._last)
            self._last = now

    def _finish(self, now: float) -> None:
        self._busy = False
        tail = self._tail.rstrip()
        whole = tail.endswith(b"[DONE]") if self._watch else tail.endswith(b"}")
        if self._status != 200:
            self._tally.failed(f"status {self._status}: {tail.decode(errors='replace')}")
        elif self._tokens != self._tally.expected or not whole:
            self._tally.failed(f"{self._tokens} tokens, end {'seen' if whole else 'missing'}")
        else:
            self._tally.finished(self._start, now, self._first)
        if self._transport is not None:
            self._reset()
            self._send(now)


async def _connect(tally: Tally, delay: float) -> None:
    await asyncio.sleep(delay)
    try:
        await asyncio.get_running_loop().create_connection(
            lambda: Connection(tally), "127.0.0.1", tally.job.port
        )
    except OSError as error:
        tally.failed(f"cannot connect: {error.strerror}")
        tally.left()


async def work(job: Job) -> None:
    """Run the job, print its result. Paced streams start spread over one stream's length."""
    tally = Tally(job)
    tally.open = job.connections
    ramp = job.events * job.interval_ms / 1000
    tally.from_ += ramp
    tally.until += ramp
    starts = [_connect(tally, ramp * index / job.connections) for index in range(job.connections)]
    await asyncio.gather(*starts)
    limit = max(tally.until - perf_counter(), 0) + job.drain + ramp
    try:
        await asyncio.wait_for(tally.idle.wait(), limit)
    except TimeoutError:
        tally.errors["unfinished"] += tally.open
    print(json.dumps(tally.result()))


if __name__ == "__main__":
    run(work(Job(**json.loads(sys.argv[1]))))
