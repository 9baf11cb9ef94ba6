"""The real daemon inside a test's own event loop: opened by `open_daemon`, on a free port.

    async with open_running({"backends": [...]}, tmp_path) as daemon:
        answer = await daemon.chat("Hello")

Its log is a list of events. A handler that crashed fails the test that made it crash.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from llmrouterd.api.state import State
from llmrouterd.app import open_daemon
from llmrouterd.config import load_policy
from llmrouterd.config.files import fingerprint
from llmrouterd.log import Log
from llmrouterd.policy import Logging, Policy
from llmrouterd.server import build_runner
from llmrouterd.settings import Settings

from .clients import Event, read_sse
from .policies import write_lexicons

VIRTUAL = "hubrouter/main"
QUIET = {"profiling": {"enabled": False}, "benchmarks": {"every_hours": 0, "seed": False}}
Messages = str | list[dict[str, Any]]


class Events(Log):
    """A log that keeps its events in memory and wakes who waits for one."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self._changed = asyncio.Event()

    def configure(self, settings: Logging, secrets: Iterable[str]) -> None:
        """Nothing to configure."""

    def __call__(self, event: str, fields: dict[str, Any]) -> None:
        self.seen.append((event, fields))
        self._changed.set()
        self._changed = asyncio.Event()

    def of(self, name: str) -> list[dict[str, Any]]:
        """The fields of all events of one name."""
        return [fields for event, fields in self.seen if event == name]

    async def until(self, holds: Callable[[], bool], timeout: float = 10.0) -> None:
        """Wait until a condition that events can change holds; raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while not holds():
                await self._changed.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response that was read whole. `data` is its JSON, None where it is none."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    data: Any

    @property
    def text(self) -> str:
        """The content of the first choice's message."""
        return str(self.data["choices"][0]["message"]["content"])

    @property
    def error(self) -> dict[str, Any]:
        """The error object of OpenAI's envelope; all four fields must be there."""
        found: dict[str, Any] = self.data["error"]
        assert {"message", "type", "param", "code"} <= found.keys()
        return found


@dataclass(slots=True)
class Running:
    """A listening daemon. `http` is a client session that the test may use for it."""

    url: str
    state: State
    events: Events
    policy_file: Path
    http: aiohttp.ClientSession

    async def request(self, method: str, path: str, **fields: Any) -> Answer:
        """Send a request; `fields` are aiohttp's."""
        async with self.http.request(method, self.url + path, **fields) as response:
            body = await read_body(response)
            try:
                event, _, told = body.partition(b"\ndata: ")
                data = json.loads(told if event.startswith(b"event: ") else body)
            except ValueError:
                data = None
            return Answer(status=response.status, headers=response.headers, body=body, data=data)

    async def get(self, path: str, **fields: Any) -> Answer:
        """GET."""
        return await self.request("GET", path, **fields)

    async def post(self, path: str, body: Any, **fields: Any) -> Answer:
        """POST JSON."""
        return await self.request("POST", path, json=body, **fields)

    async def chat(
        self, messages: Messages, headers: Mapping[str, str] | None = None, **body: Any
    ) -> Answer:
        """A chat that is not streamed."""
        return await self.post("/v1/chat/completions", chat_body(messages, **body), headers=headers)

    @asynccontextmanager
    async def streaming(
        self, messages: Messages, headers: Mapping[str, str] | None = None, **body: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A streamed chat, open for as long as the block."""
        asked = chat_body(messages, stream=True, **body)
        async with self.http.post(
            self.url + "/v1/chat/completions", json=asked, headers=headers
        ) as response:
            yield response

    async def stream(
        self, messages: Messages, headers: Mapping[str, str] | None = None, **body: Any
    ) -> list[Event]:
        """All events of a streamed chat, which must begin with a 200."""
        async with self.streaming(messages, headers, **body) as response:
            assert response.status == 200, await response.text()
            return await read_sse(response)

    async def explain(
        self, messages: Messages, headers: Mapping[str, str] | None = None, **body: Any
    ) -> dict[str, Any]:
        """What POST /admin/explain says of a chat; nothing is sent to a backend."""
        answer = await self.post("/admin/explain", chat_body(messages, **body), headers=headers)
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.data
        return found

    async def wait_models(self, *ids: str, timeout: float = 10.0) -> None:
        """Wait until the catalog has exactly these models."""
        wanted = set(ids)
        await self.events.until(
            lambda: wanted == set(self.state.current.snapshot.catalog.by_id), timeout
        )


async def read_body(response: aiohttp.ClientResponse) -> bytes:
    """The whole body; of the events of the daemon, which never end, the first."""
    if response.url.path == "/admin/events" and response.status == 200:
        return await response.content.readuntil(b"\n\n")
    return await response.read()


def chat_body(messages: Messages, **body: Any) -> dict[str, Any]:
    """The body of a chat request; a text is one user message, and `model` is the virtual one."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    return {"model": VIRTUAL, "messages": messages, **body}


def preferring(*models: str) -> list[dict[str, Any]]:
    """Rules that rank models in this order whatever else is known of them."""
    points = {model: 1000.0 - 100.0 * place for place, model in enumerate(models)}
    return [{"name": "default", "prefer": points}]


def openai_backend(name: str, url: str, **fields: Any) -> dict[str, Any]:
    """A backend of type openai, with short time limits."""
    timeouts = {"first_token": 5, "idle": 5, **fields.pop("timeouts", {})}
    return {"name": name, "type": "openai", "url": url, "timeouts": timeouts, **fields}


def read_policy(policy: Mapping[str, Any], folder: Path) -> tuple[Policy, Settings]:
    """Write a policy and read it as the daemon would; there is no background work by default,
    and nothing is asked of the internet."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "router.yaml"
    file.write_text(json.dumps({**QUIET, **policy}))  # JSON is YAML
    rules = folder / "small-rules"
    if not rules.is_dir():
        write_lexicons(rules)
    settings = Settings(policy=file, rules=rules, state=folder / "state", environ={})
    return load_policy(settings), settings


@asynccontextmanager
async def open_running(policy: Mapping[str, Any], folder: Path) -> AsyncIterator[Running]:
    """The daemon under this policy, after every backend was asked for its models once."""
    read, settings = read_policy(policy, folder)
    seen = fingerprint(settings)
    events = Events()
    async with AsyncExitStack() as stack:
        daemon = await open_daemon(read, settings, events, stack)
        daemon.state.reloader.seen = seen
        runner = build_runner(daemon.app, read)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        http = await stack.enter_async_context(aiohttp.ClientSession())
        running = Running(
            url=f"http://{host}:{port}",
            state=daemon.state,
            events=events,
            policy_file=settings.policy,
            http=http,
        )
        backends = daemon.state.discovery.backends
        await events.until(lambda: all(health.status != "unknown" for health in backends.values()))
        yield running
    crashed = [
        fields for event, fields in events.seen if event in ("request.crashed", "task.ended")
    ]
    assert crashed == []
