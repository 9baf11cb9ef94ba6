"""A scripted backend that speaks enough of OpenAI's API and misbehaves on request.

Raw sockets under asyncio, so that it can do what no HTTP library would let it: cut a transfer in
the middle, reset the connection, answer with bytes that are not HTTP. What it does with a request
is chosen by the request's model name (`fault_behaviours` lists them), unless `set_fault` says
otherwise for that model, for a path such as "/v1/models", or for "*".

    async with FaultServer(models=["ok", "drop-mid-stream"]) as server:
        ... ask server.url + "/chat/completions" ...
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from . import openai_answers as answers
from .fault_behaviours import find
from .fault_exchange import Exchange, Ledger, Seen

GET_PATHS = ("/v1/models", "/health")
POST_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")


class _Connection(asyncio.StreamReaderProtocol):
    """A stream protocol that tells, at once, that the peer has closed or reset the connection."""

    def __init__(self, serve: Callable[..., Any]) -> None:
        self.gone = asyncio.Event()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
            return serve(reader, writer, self.gone)

        super().__init__(asyncio.StreamReader(limit=1 << 20), connected)

    def eof_received(self) -> bool | None:
        self.gone.set()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(exc)


@dataclass(slots=True)
class _Override:
    fault: str
    left: int | None


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    parts: list[bytes] = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


async def _read_request(reader: asyncio.StreamReader) -> Seen | None:
    """The next request of a connection, or None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        raw = await _read_body(reader, headers)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    try:
        body = json.loads(raw) if raw else None
    except ValueError:
        body = None
    model = body.get("model") if isinstance(body, dict) else None
    path = path.partition("?")[0]
    return Seen(
        method=method,
        path=path,
        headers=headers,
        raw=raw,
        body=body,
        model=model,
        fault="ok",
    )


class FaultServer(Ledger):
    """The scripted backend. `models` are ids or whole `/v1/models` rows.

    `tokens` is the length of an answer, `delay` the seconds after every event, `api_key` a key
    that every request but /health must bear (401 otherwise). All may be changed while it runs.
    """

    def __init__(
        self,
        models: Iterable[str | dict[str, Any]] = ("ok",),
        *,
        tokens: int = 5,
        delay: float = 0.0,
        api_key: str | None = None,
    ) -> None:
        super().__init__()
        self.models: list[str | dict[str, Any]] = list(models)
        self.tokens = tokens
        self.delay = delay
        self.api_key = api_key
        self.connections = 0
        self.port = 0
        self._overrides: dict[str, _Override] = {}
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def root(self) -> str:
        """http://host:port without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The OpenAI base address, ending in /v1."""
        return f"{self.root}/v1"

    async def __aenter__(self) -> FaultServer:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after a stop, on the same port as before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self._connected),
            "127.0.0.1",
            self.port,
            reuse_address=True,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new connections and cut the open ones, as a killed process does."""
        if self._server is None:
            return
        self._server.close()
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    def set_fault(self, target: str, fault: str | None, times: int | None = None) -> None:
        """Answer `target` (a model, a path, or "*") with `fault` from now on; None takes it back.

        With `times`, only its next `times` requests; then as before. Raises ValueError for a fault
        that does not exist.
        """
        if fault is None:
            self._overrides.pop(target, None)
            return
        if find(fault) is None:
            raise ValueError(f"no such fault: {fault}")
        self._overrides[target] = _Override(fault, times)

    def fail_times(self, target: str, times: int, fault: str = "500") -> None:
        """Fail the next `times` requests of `target`, then be well."""
        self.set_fault(target, fault, times)

    def _fault_of(self, seen: Seen) -> str:
        """The fault for this request: an override of its model, its path or all, else its name."""
        for target in (seen.model, seen.path, "*"):
            override = self._overrides.get(target) if target else None
            if override is None:
                continue
            if override.left is None:
                return override.fault
            if override.left > 0:
                override.left -= 1
                return override.fault
        bearer = seen.headers.get("authorization")
        if self.api_key and seen.path != "/health" and bearer != f"Bearer {self.api_key}":
            return "401"
        known = GET_PATHS if seen.method == "GET" else POST_PATHS
        if seen.path not in known:
            return "404"
        return seen.model if seen.model and find(seen.model) else "ok"

    def _rows(self) -> list[dict[str, Any]]:
        rows = (row if isinstance(row, dict) else {"id": row} for row in self.models)
        base = {"object": "model", "created": answers.CREATED, "owned_by": "scripted"}
        return [{**base, **row} for row in rows]

    async def _connected(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        gone: asyncio.Event,
    ) -> None:
        """Serve one connection until either side is done with it."""
        self.connections += 1
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._serving.add(task)
        mine: list[Seen] = []
        left = False  # whether it was the client that closed
        try:
            while seen := await _read_request(reader):
                mine.append(seen)
                if not await self._answer(seen, writer, gone):
                    break
            else:
                left = True
        except asyncio.CancelledError:
            writer.transport.abort()  # the server stops; the task ends here and now
            for seen in mine:
                seen.finished = seen.finished or time.monotonic()
        finally:
            writer.close()
            self._serving.discard(task)
            if left or (mine and mine[-1].disconnected):
                for seen in mine:
                    seen.closed = seen.closed or time.monotonic()
            self.notify()

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter, gone: asyncio.Event) -> bool:
        """Answer one request, or stop when the client leaves; whether the connection lives on."""
        seen.fault = self._fault_of(seen)
        found = find(seen.fault)
        if found is None:
            raise ValueError(f"no such fault: {seen.fault}")
        behaviour, argument = found
        exchange = Exchange(
            seen=seen,
            argument=argument,
            writer=writer,
            models=self._rows(),
            tokens=self.tokens,
            delay=self.delay,
        )
        self.requests.append(seen)
        self.notify()

        async def answering() -> None:
            await behaviour(exchange)

        answer = asyncio.create_task(answering())
        leaving = asyncio.create_task(gone.wait())
        try:
            await asyncio.wait({answer, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                seen.closed = time.monotonic()
        finally:
            leaving.cancel()
            answer.cancel()
        (outcome,) = await asyncio.gather(answer, return_exceptions=True)
        if isinstance(outcome, (asyncio.CancelledError, ConnectionError)):
            seen.closed, seen.disconnected = seen.closed or time.monotonic(), True
            self.notify()
            return False
        if outcome is not None:
            raise outcome
        seen.finished = time.monotonic()
        self.notify()
        return not exchange.last
