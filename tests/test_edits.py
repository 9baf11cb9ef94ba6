"""The policy's file saved over the API, and what edits say of themselves."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path

from llmrouterd.config import load_policy
from llmrouterd.policy import Policy
from llmrouterd.watcher import Edit
from tests.conftest import Opener, Scripted
from tests.support.daemon import Answer, Running, openai_backend, preferring

EDITABLE = {
    "backends": [openai_backend("s", "http://127.0.0.1:9")],
    "server": {"edit_policy": True},
}


async def digest(daemon: Running) -> str:
    """Of the file as it is now."""
    return str((await daemon.get("/admin/policy/text")).data["digest"])


async def save(daemon: Running, text: str, expected: str) -> Answer:
    headers = {"If-Match": f'"{expected}"'}
    return await daemon.request("PUT", "/admin/policy", data=text, headers=headers)


async def test_of_saves_at_once_one_is_kept_and_the_others_are_told(open_daemon: Opener) -> None:
    daemon = await open_daemon(EDITABLE)
    first = daemon.policy_file.read_text()
    for _ in range(3):
        before = await digest(daemon)
        texts = [f"{first}\n# {number}{'x' * 100_000 * number}\n" for number in range(5)]
        answers = await asyncio.gather(*(save(daemon, text, before) for text in texts))
        assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409]
        (kept,) = (
            text for text, answer in zip(texts, answers, strict=True) if answer.status == 200
        )
        assert daemon.policy_file.read_text() == kept
        assert (await save(daemon, first, await digest(daemon))).status == 200


async def test_a_save_that_was_begun_is_finished_without_its_client(open_daemon: Opener) -> None:
    daemon = await open_daemon(EDITABLE)
    text = daemon.policy_file.read_text() + "\n# one\n"
    before = await digest(daemon)
    asked = asyncio.create_task(save(daemon, text, before))
    while not daemon.state.edits.saving.locked():
        await asyncio.sleep(0)
    asked.cancel()
    await daemon.events.until(lambda: bool(daemon.events.of("config.reloaded")))
    assert daemon.policy_file.read_text() == text
    assert (await daemon.get("/admin/policy")).data["history"][0]["reason"] == "page"


async def test_each_text_is_kept_and_what_is_the_owners_stays(open_daemon: Opener) -> None:
    daemon = await open_daemon(EDITABLE)
    file = daemon.policy_file
    mine = [file.with_name(f"router.yaml.{name}.bak") for name in ("1-mine", "20260101-000000")]
    for path in mine:
        path.write_text("mine")
    future = file.with_name("router.yaml.29990101-000000-00000000.bak")
    future.write_text("of a clock that was wrong")
    texts = [file.read_text()]
    for number in range(12):
        texts.append(f"{texts[0]}# {number}\n")
        saved = await save(daemon, texts[-1], await digest(daemon))
        assert Path(saved.data["backup"]).read_text() == texts[-2]
    kept = set(file.parent.glob("router.yaml.*.bak")) - {*mine, future}
    assert len(kept) == 9
    assert {path.read_text() for path in kept} <= set(texts[:-1])
    assert [path.read_text() for path in mine] == ["mine", "mine"]


async def test_of_edits_in_a_row_each_tells_what_it_changes(scripted: Scripted) -> None:
    daemon, _ = await scripted("a", "b")
    id_ = (await daemon.chat("Hello")).headers["x-router-decision"]
    assert (await daemon.get(f"/admin/decisions/{id_}")).status == 200  # it is written
    settings, before = daemon.state.reloader.settings, daemon.state.current.snapshot.policy
    first = json.loads(daemon.policy_file.read_text())
    moved = json.dumps({**first, "rules": preferring("s/b", "s/a")})
    texts = [moved] + [f"{moved}\n# {number}" for number in range(60)]
    policies = [load_policy(settings, text.encode()) for text in texts]

    def note(policies: list[Policy]) -> None:
        for old, new in pairwise([before, *policies]):
            daemon.state.edits.note(Edit(old, new, "file", []))

    note(policies[:3])
    await daemon.events.until(lambda: len(daemon.events.of("config.compared")) == 3)
    told = [row["summary"] for row in daemon.events.of("config.compared")]
    assert told[0].startswith("this edit moves 100 % of 1 recorded requests from s/a to s/b")
    assert told[1:] == ["this edit changes none of 1 recorded requests"] * 2
    shown = (await daemon.get("/admin/policy")).data["history"]
    assert [row["summary"] for row in shown[:3]] == told[::-1]
    # What is not in the history any more is not compared either.
    note(policies)
    last = policies[-1].digest
    await daemon.events.until(lambda: daemon.events.of("config.compared")[-1]["digest"] == last)
    assert len(daemon.events.of("config.compared")) == 3 + 50
