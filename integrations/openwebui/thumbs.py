"""
title: Thumbs for llmrouterd
description: Sends the thumbs under answers of llmrouterd to it, as evidence for its models.
author: llmrouterd
version: 1.0.0
license: MIT
required_open_webui_version: 0.12.0
"""

from __future__ import annotations

import logging
from typing import Any

import aiohttp
from open_webui.models.feedbacks import Feedbacks
from pydantic import BaseModel, Field

log = logging.getLogger(__name__)
_THUMBS = ("feedback.created", "feedback.updated")


class Event:
    """An event function of Open WebUI. The router finds the decision by the message's id, which
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

    async def event(self, event: dict[str, Any]) -> None:
        """Pass a thumb on. The router does not know the answers of others, which is no error."""
        if event.get("event") not in _THUMBS:
            return
        given = await Feedbacks.get_feedback_by_id(str((event.get("subject") or {}).get("id", "")))
        rating = (given.data or {}).get("rating") if given else None
        message = (given.meta or {}).get("message_id") if given else None
        if message and rating in (1, -1):
            await self._send({"decision": message, "rating": rating})

    async def _send(self, opinion: dict[str, Any]) -> None:
        url = f"{self.valves.router_url.rstrip('/')}/feedback"
        headers = {"Authorization": f"Bearer {self.valves.router_key}"}
        patience = aiohttp.ClientTimeout(total=10)
        try:
            async with (
                aiohttp.ClientSession(timeout=patience) as http,
                http.post(url, json=opinion, headers=headers) as answer,
            ):
                if answer.status not in (200, 404):
                    log.warning("llmrouterd refused a thumb: %s", await answer.text())
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("llmrouterd cannot be told of a thumb: %s", error)
