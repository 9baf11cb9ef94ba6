"""Chats over real llama.cpp servers."""

from __future__ import annotations

import asyncio
import time

import aiohttp

from e2e.openwebui.conftest import Site
from e2e.openwebui.page import STOP, Talk

SMOLLM2, TINY = "box/smollm2-135m", "small/tiny-random"


async def test_one_model_is_in_the_list(site: Site, talk: Talk) -> None:
    await site.obey(site.box_backend())
    await talk.begin()
    await talk.page.click('button[aria-label^="Selected model"]')
    await talk.page.wait_for_selector('[role="option"]')
    listed = await talk.page.locator('[role="option"]').all_inner_texts()
    assert [text.strip() for text in listed] == ["hubrouter/main"]


async def test_an_answer_is_streamed(site: Site, talk: Talk) -> None:
    since = await site.obey(site.box_backend(), only=SMOLLM2)
    await talk.ask("Hi")  # loads the model
    await talk.begin()
    await talk.say("Hello, who are you?")
    await talk.page.wait_for_selector(STOP)
    seen = [""]
    while await talk.page.locator(STOP).count():
        text = await talk.answer()
        if text != seen[-1]:
            seen.append(text)
        await asyncio.sleep(0.02)
    whole = await talk.answer()
    growing = [text for text in seen if text and whole.startswith(text)]
    assert len(growing) >= 5, seen
    stored = (await talk.webui.messages(talk.chat))[-1]
    assert stored["content"].split() == whole.split()
    (answer,) = await site.router.answers(since, talk.chat)
    assert (answer["model"], answer["outcome"]) == (SMOLLM2, "ok")
    assert answer["request"] == stored["id"]
    await talk.picture("openwebui-chat")


async def test_a_second_turn_stays_on_its_model(site: Site, talk: Talk) -> None:
    """By then the other is preferred, by less than staying is worth: a new chat goes to it."""
    since = await site.obey(site.box_backend(), only=SMOLLM2)
    await talk.ask("Hello, who are you?")
    first = talk.chat
    prefer = {SMOLLM2: 1000, TINY: 1008}
    await site.obey(site.box_backend(), rules=[{"name": "default", "prefer": prefer}])
    await talk.ask("And what do you like?")
    await talk.begin()
    await talk.ask("Hello, who are you?")
    models = [
        [row["model"] for row in await site.router.answers(since, chat)]
        for chat in (first, talk.chat)
    ]
    assert models == [[SMOLLM2, SMOLLM2], [TINY]]


async def test_stop_frees_the_backend_within_a_second(site: Site, talk: Talk) -> None:
    since = await site.obey(site.box_backend(), only=SMOLLM2)
    await talk.webui.set_params(max_tokens=2000)
    try:
        await talk.begin()
        await talk.say("Write a very long story about a lighthouse and its keeper.")
        while len(await talk.answer()) < 40:
            await asyncio.sleep(0.05)
        assert await _busy_slots(site.box) == 1
        await talk.page.click(STOP)
        clicked = time.monotonic()
        while await _busy_slots(site.box):
            assert time.monotonic() - clicked < 1.0
        print(f"freed {time.monotonic() - clicked:.2f} s after the click")
    finally:
        await talk.webui.set_params(max_tokens=24)
    await talk.ended()
    (answer,) = await site.router.answers(since, talk.chat)
    assert answer["outcome"] == "client_gone"
    assert len((await talk.webui.messages(talk.chat))[-1]["content"]) >= 40


async def _busy_slots(box: str) -> int:
    asked = {"model": "smollm2-135m"}
    async with aiohttp.ClientSession() as http, http.get(f"{box}/slots", params=asked) as answer:
        return sum(slot["is_processing"] for slot in await answer.json())
