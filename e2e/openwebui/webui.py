"""Open WebUI as a process of its own, and what an administrator does by its API."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.clients import free_port

from .processes import running

# What docs/openwebui.md says to enter for a connection.
HEADERS = {
    "X-OpenWebUI-Task": "{{TASK}}",
    "X-OpenWebUI-Chat-Id": "{{CHAT_ID}}",
    "X-OpenWebUI-User-Id": "{{USER_ID}}",
    "X-Request-Id": "{{MESSAGE_ID}}",
}
PASSWORD = "a-long-enough-password"


@dataclass(slots=True)
class WebUI:
    """`token` is the administrator's."""

    url: str
    http: aiohttp.ClientSession
    token: str = ""

    async def ask(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        """The JSON of an endpoint of Open WebUI."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        async with self.http.request(method, self.url + path, json=body, headers=headers) as answer:
            data = await answer.json()
            assert answer.status == 200, (path, answer.status, data)
            return data

    async def sign_up(self, name: str) -> None:
        """The first account, which is the administrator's."""
        given = {"name": name, "email": f"{name.lower()}@home.lan", "password": PASSWORD}
        self.token = (await self.ask("POST", "/api/v1/auths/signup", given))["token"]

    async def add_user(self, name: str) -> str:
        """One more person; their token."""
        given = {"name": name, "email": f"{name.lower()}@home.lan", "password": PASSWORD}
        made = await self.ask("POST", "/api/v1/auths/add", {**given, "role": "user"})
        return str(made["token"])

    async def connect(self, url: str, key: str, provider: str = "") -> None:
        """The one connection, to the router at this address with /v1."""
        config = {"enable": True, "headers": HEADERS, "provider": provider}
        given = {
            "ENABLE_OPENAI_API": True,
            "OPENAI_API_BASE_URLS": [url],
            "OPENAI_API_KEYS": [key],
            "OPENAI_API_CONFIGS": {"0": config},
        }
        await self.ask("POST", "/openai/config/update", given)

    async def set_params(self, token: str = "", **params: Any) -> None:
        """What a person's page sends with every chat; the news of the version count as read."""
        version = (await self.ask("GET", "/api/config"))["version"]
        settings = {"ui": {"params": params, "version": version}}
        await self.ask("POST", "/api/v1/users/user/settings/update", settings, token)

    async def messages(self, chat: str, token: str = "") -> list[dict[str, Any]]:
        """A chat's messages as they are stored."""
        found = await self.ask("GET", f"/api/v1/chats/{chat}", token=token)
        return list(found["chat"]["history"]["messages"].values())


@asynccontextmanager
async def open_webui(program: Path, folder: Path, url: str, key: str) -> AsyncIterator[WebUI]:
    """Open WebUI with an empty database, an administrator, and a connection from the environment:
    its address with /v1, and its key."""
    port = free_port()
    root = f"http://127.0.0.1:{port}"
    env = {
        **os.environ,
        "PYTHONPATH": "",  # nothing of this checkout
        "DATA_DIR": str(folder / "data"),
        "WEBUI_SECRET_KEY": "of-this-run",
        "WEBUI_AUTH": "true",
        "HF_HUB_OFFLINE": "1",
        "OFFLINE_MODE": "true",
        "ANONYMIZED_TELEMETRY": "false",
        "ENABLE_OLLAMA_API": "false",
        "ENABLE_OPENAI_API": "true",
        "OPENAI_API_BASE_URL": url,
        "OPENAI_API_KEY": key,
        "OPENAI_API_CONFIGS": json.dumps({"0": {"enable": True, "headers": HEADERS}}),
        "RAG_EMBEDDING_ENGINE": "openai",
        "BYPASS_EMBEDDING_AND_RETRIEVAL": "true",
        "BYPASS_MODEL_ACCESS_CONTROL": "true",
    }
    (folder / "data").mkdir(parents=True)
    command = [str(program), "serve", "--host", "127.0.0.1", "--port", str(port)]
    async with (
        running(command, env, folder / "openwebui.log", f"{root}/health", 240),
        aiohttp.ClientSession() as http,
    ):
        opened = WebUI(url=root, http=http)
        await opened.sign_up("Ada")
        yield opened
