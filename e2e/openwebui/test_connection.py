"""The connection as the administrator enters it, and the people who use it."""

from __future__ import annotations

import json

from e2e.openwebui.conftest import Site
from e2e.openwebui.page import Talk
from e2e.openwebui.router import CHAT_KEY
from e2e.openwebui.webui import HEADERS

SMOLLM2 = "box/smollm2-135m"


async def test_a_connection_is_added_in_the_page(site: Site, talk: Talk) -> None:
    """The steps of docs/openwebui.md."""
    await site.obey(site.box_backend(), only=SMOLLM2)
    page, webui = talk.page, talk.webui
    await page.goto(f"{webui.url}/admin/settings/connections")
    await page.get_by_role("button", name="Add Connection").first.click()
    await page.locator("#url-input").fill(f"{site.router.root}/v1")
    await page.get_by_placeholder("API Key").last.fill(CHAT_KEY)
    await page.get_by_role("button", name="Advanced").click()
    await page.get_by_placeholder("Enter additional headers in JSON format").fill(
        json.dumps(HEADERS, indent=1)
    )
    await page.get_by_role("button", name="Verify Connection").click()
    await talk.sees("Server connection verified")
    await talk.picture("openwebui-connection")
    await page.get_by_role("button", name="Save").last.click()
    await talk.sees("OpenAI API settings updated")
    config = await webui.ask("GET", "/openai/config")
    assert config["OPENAI_API_CONFIGS"]["1"]["headers"] == HEADERS
    assert config["OPENAI_API_KEYS"][1] == CHAT_KEY
    await webui.connect(f"{site.router.root}/v1", CHAT_KEY)


async def test_people_of_one_connection_have_limits_of_their_own(site: Site, talk: Talk) -> None:
    client = {"user_header": "X-OpenWebUI-User-Id", "user_rate_limits": {"requests_per_minute": 9}}
    since = await site.obey(site.box_backend(), only=SMOLLM2, client=client)
    bob = await site.webui.add_user("Bob")
    await site.webui.set_params(bob, max_tokens=8)
    async with Talk.opened(site.browser, site.webui, site.shots, bob) as talks:
        for _ in range(9):
            if await talks.page.get_by_text("requests a minute are allowed").count():
                break
            await talks.say("Hi")
            await talks.page.wait_for_timeout(1500)
        await talks.sees("At most 9 requests a minute are allowed")
        await talks.picture("openwebui-limit")
    await talk.begin()
    assert await talk.ask("Hello, who are you?")
    users = {row["record"]["signals"]["user"] for row in await site.router.decisions(since)}
    assert len(users) == 2
