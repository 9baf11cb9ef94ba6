"""The daemon of this checkout as a process of its own, and its policy edited while it runs."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.clients import free_port
from tests.support.daemon import QUIET

from .processes import running

ADMIN_KEY, CHAT_KEY = "the-admin-key", "the-key-of-open-webui"
Policy = dict[str, Any]


@dataclass(slots=True)
class Router:
    """`root` is its address without /v1."""

    root: str
    policy_file: Path
    log: Path
    http: aiohttp.ClientSession

    async def ask(self, method: str, path: str, **fields: Any) -> Any:
        """The JSON of an admin endpoint."""
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        async with self.http.request(method, self.root + path, headers=headers, **fields) as answer:
            data = await answer.json()
            assert answer.status == 200, data
            return data

    async def obey(self, policy: Policy) -> None:
        """Have it obey another policy, as an owner who saves the file, and wait until it knows
        the models of every backend."""
        self.policy_file.write_text(json.dumps(policy))
        await self.ask("POST", "/admin/reload")
        wanted = {backend["name"] for backend in policy["backends"]}
        async with asyncio.timeout(20):
            while True:
                models = (await self.ask("GET", "/admin/models"))["models"]
                if {row["backend"] for row in models} == wanted:
                    return
                await asyncio.sleep(0.1)

    async def decisions(self, since: float, chat: str = "") -> list[dict[str, Any]]:
        """What was decided since a Unix time, in one chat of Open WebUI or in all, the oldest
        first, with everything that made it."""
        rows = (await self.ask("GET", "/admin/decisions"))["decisions"]
        ids = [row["id"] for row in rows if row["at"] >= since]
        found = [await self.ask("GET", f"/admin/decisions/{id_}") for id_ in reversed(ids)]
        return [row for row in found if chat in ("", row["record"]["signals"]["session"])]

    async def answers(self, since: float, chat: str = "") -> list[dict[str, Any]]:
        """Those of them that were no background tasks."""
        found = await self.decisions(since, chat)
        return [row for row in found if not row["record"]["signals"]["task"]]

    async def tasks(self, since: float, chat: str = "") -> list[dict[str, Any]]:
        """Those of them that were background tasks."""
        found = await self.decisions(since, chat)
        return [row for row in found if row["record"]["signals"]["task"]]

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's events of one name."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]
        return [line for line in lines if line["event"] == name]


def policy_of(port: int, **parts: Any) -> Policy:
    """A policy of this run: the port, the keys, no background work, signs of life at once."""
    return {
        **QUIET,
        "server": {"port": port},
        "auth": {
            "admin_key": ADMIN_KEY,
            "clients": [{"name": "open-webui", "key": CHAT_KEY, **parts.pop("client", {})}],
        },
        "queue": {"sign_seconds": 0.2},
        # A random model of 0.004 B parameters will do for tasks, which it would never stop.
        "tasks": {"min_size_b": 0, "max_tokens": 40},
        "logging": {"format": "json"},
        **parts,
    }


@asynccontextmanager
async def open_router(folder: Path) -> AsyncIterator[Router]:
    """The daemon, without backends yet."""
    port = free_port()
    file, log = folder / "router.yaml", folder / "router.log"
    file.write_text(json.dumps(policy_of(port, backends=[])))
    command = [sys.executable, "-m", "llmrouterd", "serve", "--policy", str(file)]
    env = {**os.environ, "ROUTER_STATE_DIR": str(folder / "state"), "ROUTER_ENV_FILE": os.devnull}
    root = f"http://127.0.0.1:{port}"
    async with (
        running(command, env, log, f"{root}/health", 60),
        aiohttp.ClientSession() as http,
    ):
        yield Router(root=root, policy_file=file, log=log, http=http)
