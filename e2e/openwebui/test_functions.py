"""The functions of integrations/openwebui, installed by Open WebUI's API and used in its page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from e2e.openwebui.conftest import ROOT, Site
from e2e.openwebui.page import Talk
from e2e.openwebui.router import CHAT_KEY

SMOLLM2 = "box/smollm2-135m"
FUNCTIONS = ROOT / "integrations" / "openwebui"
WHY = 'button[aria-label="Why this model?"]'


async def install(site: Site, name: str, title: str) -> None:
    """As the administrator does: add the function, switch it on, for all models, set its valves."""
    made: dict[str, Any] = {
        "id": name,
        "name": title,
        "content": (FUNCTIONS / f"{name}.py").read_text(),
        "meta": {"description": title},
    }
    ask = site.webui.ask
    added = await ask("POST", "/api/v1/functions/create", made)
    base = f"/api/v1/functions/id/{name}"
    if not added["is_active"]:
        await ask("POST", f"{base}/toggle")
    if added["type"] != "event":
        await ask("POST", f"{base}/toggle/global")
    valves = {"router_url": f"{site.router.root}/v1", "router_key": CHAT_KEY}
    await ask("POST", f"{base}/valves/update", valves)


@pytest.fixture
async def why(site: Site) -> AsyncIterator[None]:
    await install(site, "why_this_model", "Why this model?")
    yield
    await site.webui.ask("DELETE", "/api/v1/functions/id/why_this_model/delete")


@pytest.fixture
async def thumbs(site: Site) -> AsyncIterator[None]:
    await install(site, "thumbs", "Thumbs for llmrouterd")
    yield
    await site.webui.ask("DELETE", "/api/v1/functions/id/thumbs/delete")


async def test_why_this_model_is_shown_under_an_answer(site: Site, talk: Talk, why: None) -> None:
    since = await site.obey(site.box_backend(), only=SMOLLM2)
    await talk.begin()
    await talk.ask("What is a lighthouse?")
    (decision,) = await site.router.answers(since, talk.chat)
    page = talk.page
    await page.click(WHY)
    sources = page.locator('button[aria-label="Toggle 1 source"]')
    await sources.wait_for()
    await page.click(WHY)  # once more changes nothing
    await sources.click()
    await talk.sees(f"{SMOLLM2}: {decision['category']}, rule chats")
    await talk.picture("openwebui-why")
    await page.get_by_text(f"{SMOLLM2}: ").last.click()
    for line in decision["words"].splitlines():
        await talk.sees(line.strip()[:40])
    await talk.picture("openwebui-why-words")
    await page.reload()  # it is kept with the chat
    await sources.wait_for()


async def test_an_answer_that_the_router_does_not_know(site: Site, talk: Talk, why: None) -> None:
    await site.obey(site.box_backend(), only=SMOLLM2)
    await talk.begin()
    await talk.ask("Hello")
    wrong = {"router_url": f"{site.router.root}/v1", "router_key": "no-such-key"}
    await site.webui.ask("POST", "/api/v1/functions/id/why_this_model/valves/update", wrong)
    await talk.page.click(WHY)
    await talk.sees("The router does not tell: The key is not valid")


async def test_thumbs_reach_the_router(site: Site, talk: Talk, thumbs: None) -> None:
    since = await site.obey(site.box_backend(), only=SMOLLM2)
    await talk.begin()
    await talk.ask("What is a lighthouse?")
    (decision,) = await site.router.answers(since, talk.chat)
    for label, value in (("Good Response", 1.0), ("Bad Response", -1.0)):
        await talk.page.click(f'button[aria-label="{label}"]')
        async with asyncio.timeout(15):
            while {"decision": decision["id"], "value": value} not in _given(site):
                await asyncio.sleep(0.1)


def _given(site: Site) -> list[dict[str, Any]]:
    events = site.router.events("feedback.given")
    return [{"decision": event["decision"], "value": event["value"]} for event in events]
