"""Policies for tests: small lexicons, a policy from a text, models and signals with defaults, and
the daemon as a process of its own.

Nothing here reads the process environment: every variable is given.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp

from llmrouterd.assemble import Knowledge, with_evidence
from llmrouterd.catalog import Catalog, Model, build_catalog
from llmrouterd.chat import ChatRequest, parse_request
from llmrouterd.classifier import classify
from llmrouterd.config import load_policy
from llmrouterd.policy import Policy
from llmrouterd.settings import Settings
from llmrouterd.signals import RequestContext, Signals

from .clients import free_port

ROOT = Path(__file__).resolve().parents[2]
# One telling phrase a category, so that loading is quick and a test says what it means.
WORDS = {
    "coding": "python",
    "math": "integral",
    "reasoning": "riddle",
    "factual": "capital of",
    "creative": "poem",
    "summarization": "summarize",
    "translation": "translate",
    "rewriting": "rewrite",
    "extraction": "extract",
    "roleplay": "pretend",
    "chat": "hello",
    "advice": "should i",
}


LEXICONS_ONLY = "classification: {model: none}\n"


def write_lexicons(folder: Path) -> Path:
    """A small lexicon for each of the twelve categories; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, phrase in WORDS.items():
        (folder / f"{name}.yaml").write_text(
            f"category: {name}\ndescription: test\n"
            f"groups:\n  - weight: 6\n    phrases: [{phrase!r}]\n"
        )
    return folder


def settings_for(policy: Path, state: Path, **environ: str) -> Settings:
    """Settings of a policy file with the small lexicons, and only these variables."""
    rules = state / "small-rules"
    if not rules.is_dir():
        write_lexicons(rules)
    return Settings(policy=policy, rules=rules, state=state, environ=environ)


@cache
def policy(text: str = "{}", **environ: str) -> Policy:
    """The policy that a YAML text says, with the small lexicons. Raises ConfigError."""
    with tempfile.TemporaryDirectory(prefix="llmrouterd-policy-") as folder:
        file = Path(folder) / "router.yaml"
        file.write_text(text)
        return load_policy(settings_for(file, Path(folder), **environ))


def model(id_: str, **fields: Any) -> Model:
    """A model that chats, named backend/name, with the evidence of the prior and of `quality`."""
    backend, _, name = id_.partition("/")
    quality = fields.pop("quality", {})
    made = Model(
        **{
            "id": id_,
            "name": name,
            "backend": backend,
            "capabilities": frozenset({"chat"}),
            "context": 8192,
            "size_b": 7.0,
            **fields,
        }
    )
    if made.evidence:
        return made
    return with_evidence(made, policy(), Knowledge(), quality)


def catalog(*models: Model) -> Catalog:
    """A catalog of these models."""
    return build_catalog(models)


def signals(**fields: Any) -> Signals:
    """Signals of a plain short question of no particular kind."""
    given = {
        "category": "general",
        "probabilities": {},
        "abstain": 1.0,
        "complexity": 0.5,
        "prompt_tokens": 20,
        "exact_tokens": True,
        **fields,
    }
    return Signals(**given)


def chat(words: str | list[dict[str, Any]], **fields: Any) -> ChatRequest:
    """A parsed chat request: one user message, or these messages."""
    messages = [{"role": "user", "content": words}] if isinstance(words, str) else words
    body = json.dumps({"messages": messages, **fields}).encode()
    return parse_request("chat", body, policy().validators)


def read(
    words: str | list[dict[str, Any]],
    context: Mapping[str, str] | None = None,
    policy: Policy | None = None,
    **fields: Any,
) -> Signals:
    """What the small lexicons alone read from a chat, under the default policy or another.
    `fields` are further fields of the request."""
    made = policy or lexicons_only()
    return classify(chat(words, **fields), made, RequestContext(**(context or {})))


def lexicons_only() -> Policy:
    """The default policy with the small lexicons and without the trained classifier."""
    return policy(LEXICONS_ONLY)


@dataclass(slots=True)
class Running:
    """A daemon in a process of its own. `log` is its standard error, line by line as JSON."""

    process: asyncio.subprocess.Process
    url: str
    policy: Path
    log_file: Path

    def log(self) -> list[dict[str, Any]]:
        """The events that were logged so far."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of one name."""
        return [entry for entry in self.log() if entry["event"] == name]

    async def wait_event(self, name: str, count: int = 1, timeout: float = 20.0) -> dict[str, Any]:
        """Wait until an event was logged so many times; returns the newest."""
        async with asyncio.timeout(timeout):
            while len(self.events(name)) < count:
                await asyncio.sleep(0.02)
        return self.events(name)[-1]

    async def get(self, path: str) -> Any:
        """A GET's JSON."""
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return await answer.json(content_type=None)

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(40):
            return await self.process.wait()


def plain_environment(state: Path, **environ: str) -> dict[str, str]:
    """The process environment without settings of ours, and these; no .env file is read."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ROUTER_")}
    rules = state / "small-rules"
    if not rules.is_dir():
        write_lexicons(rules)
    ours = {"ROUTER_STATE_DIR": str(state), "ROUTER_RULES": str(rules), "ROUTER_SYNC_HOURS": "0"}
    ours["NO_PROXY"] = ours["no_proxy"] = "127.0.0.1,localhost"
    return {**kept, "ROUTER_ENV_FILE": os.devnull, **ours, **environ}


@asynccontextmanager
async def running(
    text: str, folder: Path, *, ready: bool = True, **environ: str
) -> AsyncIterator[Running]:
    """`llmrouterd serve` on a free port with this policy; killed at the end if it still runs.

    `ready`: wait until a backend serves a model, else until it answers at all. The text is
    written to folder/router.yaml.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "router.yaml"
    file.write_text(text)
    port, log_file = free_port(), folder / "daemon.log"
    environ = plain_environment(folder / "state", ROUTER_PORT=str(port), **environ)
    with log_file.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "llmrouterd", "serve", "--policy", str(file)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=output,
            env=environ,
        )
    daemon = Running(process, f"http://127.0.0.1:{port}", file, log_file)
    try:
        await _answers(daemon, "/ready" if ready else "/health")
        yield daemon
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _answers(daemon: Running, path: str) -> None:
    """Wait for a 200; raises RuntimeError with the log when the process ends first."""
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while daemon.process.returncode is None:
            try:
                async with session.get(daemon.url + path) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass  # not listening yet
            await asyncio.sleep(0.03)
    raise RuntimeError(f"the daemon ended: {daemon.log_file.read_text()[-2000:]}")
