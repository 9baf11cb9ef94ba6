"""Background tasks: titles, tags, follow-up questions; and what looks like one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from e2e.openwebui.conftest import Site
from e2e.openwebui.page import Talk

SMOLLM2, TINY = "box/smollm2-135m", "small/tiny-random"


async def test_tasks_go_to_the_small_model_that_is_loaded(site: Site, talk: Talk) -> None:
    since = await site.obey(site.box_backend(), only=SMOLLM2)
    await talk.ask("Hi")
    evictions = len(site.router.events("model.unloaded"))
    await talk.begin()
    await talk.ask("What is a lighthouse?")
    tasks = await site.router.tasks(since, talk.chat)
    assert {row["rule"] for row in tasks} == {"task:title", "task:tags", "task:follow_up"}
    assert {row["model"] for row in tasks} == {TINY}
    (answer,) = await site.router.answers(since, talk.chat)
    assert answer["model"] == SMOLLM2
    place = answer["record"]["place"]  # the chat has waited neither for a turn nor for a load
    assert (place["load_seconds"], place["evicted"]) == (None, [])
    assert place["waited"] < 0.1
    assert len(site.router.events("model.unloaded")) == evictions


async def test_tasks_do_not_evict_the_only_model_that_fits(site: Site, talk: Talk) -> None:
    """One model at a time: a chat's tasks go to its own model, though a smaller one is there."""
    box = site.box_backend(include=["*"])
    small = [{"match": "small/*", "enabled": False}]
    hosts = {"hosts": [{"name": "local", "max_models": 1}]}
    since = await site.obey(box, only=SMOLLM2, models=small, residency=hosts)
    await talk.ask("What is a lighthouse?")
    async with asyncio.timeout(90):  # so small a model may write a title of a thousand tokens
        while len(found := await site.router.decisions(since, talk.chat)) < 4:
            await asyncio.sleep(0.5)
    assert {row["model"] for row in found} == {SMOLLM2}
    assert [row["record"]["place"]["evicted"] for row in found if row["rule"] != "chats"] == [
        []
    ] * 3


async def test_a_chat_with_a_text_file_is_no_task(site: Site, talk: Talk, tmp_path: Path) -> None:
    """Open WebUI puts the file into a template that begins as those of its tasks do."""
    since = await site.obey(site.box_backend(), only=SMOLLM2)
    notes = tmp_path / "lighthouse.txt"
    notes.write_text("The lighthouse of Rubjerg was built in 1900. Its keeper is called Ada.\n")
    await talk.attach(notes)
    await talk.ask("Who is the keeper?")
    (answer,) = await site.router.answers(since, talk.chat)
    assert (answer["model"], answer["rule"], answer["outcome"]) == (SMOLLM2, "chats", "ok")
    signals = answer["record"]["signals"]
    assert signals["prompt_tokens"] > 50, "the file is not in the prompt"
    assert (await talk.webui.messages(talk.chat))[-1]["content"]
