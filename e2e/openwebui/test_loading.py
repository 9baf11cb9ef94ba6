"""Models that are not loaded yet, and the administrator's buttons that load them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from e2e.openwebui.conftest import Site
from e2e.openwebui.page import STOP, Talk
from e2e.openwebui.router import CHAT_KEY

SMOLLM2 = "box/smollm2-135m"


async def status(site: Site) -> str:
    """What the real server says of SmolLM2."""
    async with aiohttp.ClientSession() as http, http.get(f"{site.box}/models") as answer:
        rows = (await answer.json())["data"]
    return next(str(row["status"]["value"]) for row in rows if row["id"] == "smollm2-135m")


async def until(site: Site, wanted: str) -> None:
    async with asyncio.timeout(20):
        while await status(site) != wanted:
            await asyncio.sleep(0.1)


async def test_the_page_tells_that_a_model_is_loaded(site: Site, talk: Talk) -> None:
    await site.obey(site.box_backend(), only=SMOLLM2)
    await site.router.ask("POST", f"/admin/models/{SMOLLM2}/unload")
    await until(site, "unloaded")
    await talk.begin()
    await talk.say("Hello, who are you?")
    await talk.sees("loading smollm2-135m, about")
    await talk.picture("openwebui-loading")
    await talk.ended()
    assert len(await talk.answer()) > 10
    history = (await talk.webui.messages(talk.chat))[-1]["statusHistory"]
    assert [history[-1]["done"], history[-1]["description"]] == [True, "ready"]
    assert await talk.page.locator(STOP).count() == 0


@pytest.fixture
async def managed(site: Site) -> AsyncIterator[None]:
    """The connection's provider is llama.cpp, and its key may load models."""
    await site.obey(site.box_backend(), only=SMOLLM2, client={"load_models": True})
    await site.webui.connect(f"{site.router.root}/v1", CHAT_KEY, provider="llama.cpp")
    yield
    await site.webui.connect(f"{site.router.root}/v1", CHAT_KEY)


async def open_models(talk: Talk) -> None:
    """The dialog `Manage Models` in the administrator's settings."""
    await talk.page.goto(f"{talk.webui.url}/admin/settings/models")
    await talk.page.get_by_role("button", name="Actions", exact=True).click()
    await talk.page.get_by_role("button", name="Manage", exact=True).click()


async def test_the_buttons_load_and_unload(site: Site, talk: Talk, managed: None) -> None:
    await site.router.ask("POST", f"/admin/models/{SMOLLM2}/unload")
    await until(site, "unloaded")
    page = talk.page
    await open_models(talk)
    await talk.sees(SMOLLM2)
    load, unload = (
        page.locator(f'button[aria-label="{verb} Model"]').first for verb in ("Load", "Unload")
    )
    assert await unload.is_disabled()
    await load.click()
    await talk.sees("Model loaded successfully")
    await until(site, "loaded")
    await talk.picture("openwebui-models")
    assert await load.is_disabled()
    await unload.click()
    await talk.sees("Model unloaded successfully")
    await until(site, "unloaded")


async def test_a_key_that_may_not_load(site: Site, talk: Talk, managed: None) -> None:
    await site.obey(site.box_backend(), only=SMOLLM2)
    await open_models(talk)
    await talk.sees("The key is not valid")


async def test_what_the_buttons_cannot_do_is_told(site: Site, talk: Talk, managed: None) -> None:
    """A server of one model never unloads it, and nothing is deleted or downloaded."""
    await open_models(talk)
    await talk.sees("small/tiny-random")
    await talk.page.locator('button[aria-label="Unload Model"]').last.click()
    await talk.sees("The backend of small/tiny-random neither loads nor unloads it.")
    await talk.page.locator('button[aria-label="Delete Model"]').last.click()
    await talk.page.get_by_role("button", name="Confirm").click()
    await talk.sees("This method is not allowed here")


async def test_the_list_of_models_tells_what_is_loaded(
    site: Site, talk: Talk, managed: None
) -> None:
    """With `expose_models` the real models are in the list; the one that chooses is not loaded."""
    port = int(site.router.root.rpartition(":")[2])
    server = {"port": port, "expose_models": True}
    await site.obey(site.box_backend(), client={"load_models": True}, server=server)
    await site.router.ask("POST", f"/admin/models/{SMOLLM2}/load")
    listed = {row["id"]: row for row in (await site.webui.ask("GET", "/api/models"))["data"]}
    assert listed[SMOLLM2]["loaded"] is True
    assert "loaded" not in listed["hubrouter/main"]
    await talk.begin()
    await talk.page.click('button[aria-label^="Selected model"]')
    option = talk.page.get_by_role("option").filter(has_text=SMOLLM2)
    await option.hover()
    await option.get_by_role("button", name="Eject model").click()
    await talk.sees("Model unloaded successfully")
    await until(site, "unloaded")
