"""
title: Why this model?
description: A button under each answer of llmrouterd that shows which model gave it, and why.
author: llmrouterd
version: 1.0.0
license: MIT
required_open_webui_version: 0.9.0
icon_url: data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIHdpZHRoPSIyNCIgaGVpZ2h0PSIyNCIgZmlsbD0ibm9uZSIgc3Ryb2tlPSIjMDAwIiBzdHJva2Utd2lkdGg9IjEuNSIgc3Ryb2tlLWxpbmVjYXA9InJvdW5kIiBzdHJva2UtbGluZWpvaW49InJvdW5kIj48cGF0aCBkPSJNNCAxMmg2TTEwIDEyYzQgMCAzLTYgOC02aDJNMTAgMTJjNCAwIDMgNiA4IDZoMk0xOCAzbDMgMy0zIDNNMTggMTVsMyAzLTMgMyIvPjwvc3ZnPg==
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Awaitable, Callable
from textwrap import wrap
from typing import Any
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, Field

Emit = Callable[[dict[str, Any]], Awaitable[None]]


class Action:
    """An action function of Open WebUI. The router finds the decision by the message's id, which
    the connection has to send: the header `X-Request-Id` with `{{MESSAGE_ID}}`."""

    class Valves(BaseModel):
        """What the administrator sets."""

        router_url: str = Field(
            default="http://127.0.0.1:11436/v1",
            description="The address of the connection to the router, with /v1.",
        )
        router_key: str = Field(default="", description="The key of that connection.")

    def __init__(self) -> None:
        self.valves = self.Valves()

    async def action(self, body: dict[str, Any], __event_emitter__: Emit) -> None:
        """Put the decision under the answer, as a source."""
        try:
            found = await self._decision(str(body.get("id", "")))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return await _warn(__event_emitter__, f"The router cannot be asked: {error}")
        if "id" not in found:
            why = (found.get("error") or {}).get("message", "it says nothing")
            return await _warn(__event_emitter__, f"The router does not tell: {why}")
        name = f"{found['model'] or 'no model'}: {found['category']}, rule {found['rule']}"
        if name in _names(body):
            return None
        lines = [
            part
            for line in found["words"].splitlines()
            for part in wrap(line, 92, subsequent_indent="     ", drop_whitespace=False)
        ]
        source = {
            "source": {"name": name},
            "document": ["```text\n" + "\n".join(lines) + "\n```"],
            "metadata": [{"source": found["id"], "name": name}],
        }
        await __event_emitter__({"type": "source", "data": source})
        return None

    async def _decision(self, id_: str) -> dict[str, Any]:
        url = f"{self.valves.router_url.rstrip('/')}/decisions/{quote(id_, safe='')}"
        headers = {"Authorization": f"Bearer {self.valves.router_key}"}
        patience = aiohttp.ClientTimeout(total=10)
        async with (
            aiohttp.ClientSession(timeout=patience) as http,
            http.get(url, headers=headers) as answer,
        ):
            found = await answer.json()
        return found if isinstance(found, dict) else {}


def _names(body: dict[str, Any]) -> set[str]:
    """The names of the sources that the answer has already."""
    messages = body.get("messages") or [{}]
    sources = messages[-1].get("sources") or []
    return {(source.get("source") or {}).get("name", "") for source in sources}


async def _warn(emit: Emit, text: str) -> None:
    await emit({"type": "notification", "data": {"type": "warning", "content": text}})
