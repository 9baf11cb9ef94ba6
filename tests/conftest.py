"""Fixtures that many tests share: a daemon under a policy of their own, and real llama.cpp."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from llmrouterd.config import load_policy
from llmrouterd.config.weights import category_model
from llmrouterd.policy import Policy
from llmrouterd.settings import Settings
from tests.support import tokens
from tests.support.daemon import Running, open_running, openai_backend, preferring
from tests.support.faults import FaultServer
from tests.support.llama import cache_directory, model_paths, real_llama
from tests.support.openwebui import shared_directory
from tests.support.policies import ROOT

settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

# These replay recordings that are not part of the project; without them they are left out, aloud.
NEED_RECORDINGS = (
    "test_openwebui_replay.py",
    "test_recorded_exchanges.py",
    "test_request_validation.py",
    "test_support_recordings.py",
    "test_sync.py",
    "test_sync_cli.py",
    "test_sync_daemon.py",
    "test_words.py",
)
collect_ignore = [] if shared_directory().is_dir() else list(NEED_RECORDINGS)

Opener = Callable[..., Awaitable[Running]]
Scripted = Callable[..., Awaitable[tuple[Running, FaultServer]]]


def pytest_report_header() -> str:
    """Say it where the recordings are missing."""
    if not collect_ignore:
        return f"recordings: {shared_directory()}"
    return (
        f"recordings: none at {shared_directory()} (set LLMROUTERD_SHARED); left out: "
        + ", ".join(collect_ignore)
    )


@pytest.fixture(scope="session", autouse=True)
def _token_ranks() -> Iterator[None]:
    """tiktoken's ranks from an installed package: no test goes to the network for them."""
    folder = cache_directory() / "tiktoken"
    tokens.seed(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        yield


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """The shipped policy with the shipped lexicons and classifier."""
    state = tmp_path_factory.mktemp("state")
    made = load_policy(
        Settings(policy=ROOT / "config" / "router.yaml", rules=None, state=state, environ={})
    )
    return replace(made, model=category_model())  # what everybody has, without the extra


@pytest.fixture
async def open_daemon(tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens daemons: `await open_daemon({policy})`. All are closed at the end."""
    async with AsyncExitStack() as stack:
        count = 0

        async def opener(policy: Mapping[str, Any]) -> Running:
            nonlocal count
            count += 1
            return await stack.enter_async_context(
                open_running(policy, tmp_path / f"daemon-{count}")
            )

        yield opener


@pytest.fixture
async def scripted(open_daemon: Opener) -> AsyncIterator[Scripted]:
    """Opens a daemon over one scripted backend `s`, whose models it prefers in the given order.

    `await scripted("500", "ok")` -> (daemon, backend). Keywords: `faults`, the arguments of the
    FaultServer; `backend`, fields of the backend's entry; all others are keys of the policy.
    """
    async with AsyncExitStack() as stack:

        async def opener(
            *models: str | dict[str, Any],
            faults: Mapping[str, Any] | None = None,
            backend: Mapping[str, Any] | None = None,
            **policy: Any,
        ) -> tuple[Running, FaultServer]:
            server = FaultServer(models or ("ok",), **(faults or {}))
            await stack.enter_async_context(server)
            names = [row if isinstance(row, str) else row["id"] for row in server.models]
            entry = openai_backend("s", server.url, **(backend or {}))
            rules = preferring(*(f"s/{name}" for name in names))
            return await open_daemon({"backends": [entry], "rules": rules, **policy}), server

        yield opener


@dataclass(frozen=True, slots=True, kw_only=True)
class Llamas:
    """Root addresses (no /v1) of genuine llama.cpp servers: random weights, a small real model,
    and one that embeds."""

    tiny: str
    smollm2: str
    embedding: str


@pytest.fixture(scope="session")
def llamas() -> Iterator[Llamas]:
    """Real llama.cpp servers for the whole run, each in a process of its own with one thread."""
    paths = model_paths()

    async def start(stack: AsyncExitStack) -> Llamas:
        tiny, smollm2, embedding = await asyncio.gather(
            stack.enter_async_context(real_llama(paths["tiny-random"])),
            stack.enter_async_context(
                real_llama(paths["smollm2-135m"], alias="smollm2-135m", n_ctx=8192)
            ),
            stack.enter_async_context(
                real_llama(paths["tiny-random"], alias="tiny-embed", embeddings=True)
            ),
        )
        return Llamas(tiny=tiny, smollm2=smollm2, embedding=embedding)

    # A loop in a thread of its own: the tests' loops come and go while the servers run.
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="llamas", daemon=True)
    thread.start()
    stack = AsyncExitStack()
    try:
        yield asyncio.run_coroutine_threadsafe(start(stack), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
