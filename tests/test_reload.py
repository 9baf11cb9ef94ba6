"""Edits of a policy that is in use: seen however they are saved, applied whole or not at all."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmrouterd import watcher
from llmrouterd.assemble import Knowledge
from llmrouterd.backends.base import Hooks
from llmrouterd.backends.pool import BackendPool
from llmrouterd.config import load_policy
from llmrouterd.config.files import fingerprint
from llmrouterd.data import EVIDENCE
from llmrouterd.discovery import Discovery
from llmrouterd.metrics import Metrics
from llmrouterd.residency.loaded import Residency
from llmrouterd.snapshot import Current
from llmrouterd.watcher import Reloader
from tests.support.policies import settings_for

QUIET = 0.7  # longer than the watcher needs to see an edit


def text(name: str) -> str:
    """A policy that is told apart by its first pin; its backend never answers."""
    backend = "{name: box, type: openai, url: 'http://127.0.0.1:9/v1'}"
    return f"pins: [{name}]\nbackends: [{backend}]\n"


@dataclass(slots=True)
class Watched:
    """A policy file under a real watcher."""

    file: Path
    current: Current
    reloader: Reloader
    events: list[tuple[str, dict[str, Any]]]

    @property
    def name(self) -> str:
        return self.current.snapshot.policy.pins.texts[0]

    def count(self, event: str) -> int:
        return sum(name == event for name, _ in self.events)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                await asyncio.sleep(0.02)

    async def becomes(self, name: str) -> None:
        await self.until(lambda: self.name == name)


@asynccontextmanager
async def watching(file: Path, state: Path, meanwhile: str | None = None) -> AsyncIterator[Watched]:
    """meanwhile: written between the reading of the policy and the start of the watch."""
    settings = settings_for(file, state)
    events: list[tuple[str, dict[str, Any]]] = []

    def on_event(event: str, fields: dict[str, Any]) -> None:
        events.append((event, fields))

    seen, current = fingerprint(settings), Current(load_policy(settings))
    if meanwhile is not None:
        file.write_text(meanwhile)
    pool = BackendPool(Hooks())
    discovery = Discovery(current, pool, Residency(), Knowledge(), on_event)
    discovery.follow(current.snapshot.policy)
    reloader = Reloader(settings, current, discovery, Metrics(), on_event)
    reloader.seen = seen
    task = asyncio.create_task(reloader.watch())
    await asyncio.sleep(0.3)  # until the watches are set
    try:
        yield Watched(file, current, reloader, events)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await discovery.close()
        await pool.close()


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    file = tmp_path / "etc" / "router.yaml"
    file.parent.mkdir()
    file.write_text(text("first"))
    async with watching(file, tmp_path / "state") as found:
        yield found


def in_place(file: Path, new: str) -> None:
    file.write_text(new)


def truncate_first(file: Path, new: str) -> None:
    with file.open("w") as output:
        output.flush()
        os.fsync(output.fileno())
        for line in new.splitlines(keepends=True):
            output.write(line)
            output.flush()


def move_over(file: Path, new: str) -> None:
    other = file.with_name("router.yaml.new")
    other.write_text(new)
    subprocess.run(["mv", other, file], check=True)


def sed(file: Path, new: str) -> None:
    assert new == text("second")
    subprocess.run(["sed", "-i", "s/first/second/", file], check=True)


def copy_over(file: Path, new: str) -> None:
    other = file.parent.parent / "elsewhere.yaml"
    other.write_text(new)
    subprocess.run(["cp", other, file], check=True)


def vim(file: Path, new: str) -> None:
    """What vim does: a probe file, the old file renamed to a backup, a new one, no backup."""
    probe = file.with_name("4913")
    probe.touch()
    probe.unlink()
    backup = file.with_name(file.name + "~")
    file.rename(backup)
    with file.open("w") as output:
        output.write(new)
        os.fsync(output.fileno())
    backup.unlink()


def delete_and_recreate(file: Path, new: str) -> None:
    file.unlink()
    file.write_text(new)


EDITS = [in_place, truncate_first, move_over, sed, copy_over, vim, delete_and_recreate]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
async def test_a_saved_edit_is_seen(watched: Watched, edit: Callable[[Path, str], None]) -> None:
    edit(watched.file, text("second"))
    await watched.becomes("second")
    # The watch has survived: the next edit is seen as well.
    in_place(watched.file, text("third"))
    await watched.becomes("third")
    assert watched.count("config.reloaded") == 2
    assert watched.count("config.rejected") == 0


async def test_the_file_behind_a_link_and_the_link_itself(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "one.yaml").write_text(text("first"))
    (real / "two.yaml").write_text(text("second"))
    link = tmp_path / "etc" / "router.yaml"
    link.parent.mkdir()
    link.symlink_to(real / "one.yaml")
    async with watching(link, tmp_path / "state") as watched:
        fresh = link.with_name("fresh")
        fresh.symlink_to(real / "two.yaml")
        fresh.rename(link)
        await watched.becomes("second")
        (real / "two.yaml").write_text(text("third"))
        await watched.becomes("third")


async def test_a_mounted_config_map(tmp_path: Path) -> None:
    """Kubernetes: router.yaml -> ..data/router.yaml, and ..data -> a folder; only that changes."""
    etc = tmp_path / "etc"
    for name in ("one", "two", "three"):
        (etc / f"..{name}").mkdir(parents=True)
        (etc / f"..{name}" / "router.yaml").write_text(text(name))
    (etc / "..data").symlink_to("..one")
    (etc / "router.yaml").symlink_to("..data/router.yaml")
    async with watching(etc / "router.yaml", tmp_path / "state") as watched:
        for name in ("two", "three"):
            (etc / "..new").symlink_to(f"..{name}")
            (etc / "..new").rename(etc / "..data")
            await watched.becomes(name)


async def test_a_lexicon_is_part_of_the_policy(watched: Watched) -> None:
    lexicon = watched.file.parent.parent / "state" / "small-rules" / "math.yaml"
    before = watched.current.snapshot.policy
    lexicon.write_text(lexicon.read_text().replace("integral", "matrix"))
    await watched.until(lambda: watched.count("config.reloaded") == 1)
    after = watched.current.snapshot.policy
    assert watched.events[-1][1]["changed"] == ["lexicons"]
    assert after.lexicons.match("matrix").hits
    assert not before.lexicons.match("matrix").hits
    lexicon.write_text("category: math\n")
    await watched.until(lambda: watched.count("config.rejected") == 1)
    assert watched.current.snapshot.policy is after
    assert str(lexicon) in watched.events[-1][1]["problems"][0]


async def test_the_evidences_numbers_are_part_of_the_policy(watched: Watched) -> None:
    numbers = watched.file.parent / "evidence.json"
    content = json.loads(EVIDENCE.read_bytes())
    numbers.write_text(json.dumps(content))
    in_place(watched.file, text("second") + "evidence: {file: evidence.json}\n")
    await watched.becomes("second")
    content["category_sd"] = 99.0
    numbers.write_text(json.dumps(content))
    await watched.until(lambda: watched.current.snapshot.policy.figures.category_sd == 99.0)
    assert watched.events[-1][1]["changed"] == ["figures"]
    numbers.write_text("{")
    await watched.until(lambda: watched.count("config.rejected") == 1)
    assert watched.current.snapshot.policy.figures.category_sd == 99.0
    (problem,) = watched.events[-1][1]["problems"]
    assert "$.evidence.file" in problem
    assert "evidence.json is not valid JSON" in problem


async def test_an_invalid_edit_is_refused_whole(watched: Watched) -> None:
    serving = watched.current.snapshot
    broken = text("second") + "logging: {level: loud}\nserverr: {}\n"
    in_place(watched.file, broken)
    await watched.until(lambda: watched.reloader.rejected is not None)
    rejected = watched.reloader.rejected
    assert rejected is not None
    assert watched.current.snapshot is serving
    assert [problem.path for problem in rejected.problems] == ["$.logging.level", "$.serverr"]
    assert rejected.fingerprint == fingerprint(watched.reloader.settings)
    event, fields = watched.events[-1]
    assert event == "config.rejected"
    assert fields["serving"] == serving.policy.digest
    assert len(fields["problems"]) == 2
    in_place(watched.file, text("second"))
    await watched.becomes("second")
    assert watched.reloader.rejected is None


@pytest.mark.parametrize("broken", ["a: [", "- a list\n", "only a text\n"])
async def test_taking_a_broken_edit_back_clears_it(watched: Watched, broken: str) -> None:
    serving = watched.current.snapshot
    in_place(watched.file, broken)
    await watched.until(lambda: watched.reloader.rejected is not None)
    in_place(watched.file, text("first"))
    await watched.until(lambda: watched.reloader.rejected is None)
    assert watched.current.snapshot is serving


async def test_the_same_bytes_change_nothing(watched: Watched) -> None:
    serving = watched.current.snapshot
    in_place(watched.file, text("first"))
    watched.file.touch()
    copy_over(watched.file, text("first"))
    (watched.file.parent / "unrelated.yaml").write_text("{")
    await asyncio.sleep(QUIET)
    assert watched.current.snapshot is serving
    assert [event for event, _ in watched.events if event.startswith("config.")] == []
    applied, problems = await watched.reloader.reload("test")
    assert (applied, problems) == (True, ())
    assert watched.current.snapshot is serving
    assert watched.events[-1][0] == "config.unchanged"


async def test_a_comment_is_another_digest_and_no_other_policy(watched: Watched) -> None:
    in_place(watched.file, text("first") + "# a comment\n")
    await watched.until(lambda: watched.count("config.reloaded") == 1)
    assert watched.events[-1][1]["changed"] == []


async def test_a_file_that_is_gone_keeps_the_policy(watched: Watched) -> None:
    serving = watched.current.snapshot
    away = watched.file.with_name("away")
    watched.file.rename(away)
    await watched.until(lambda: watched.count("config.rejected") == 1)
    assert watched.current.snapshot is serving
    assert "cannot be read: No such file" in watched.events[-1][1]["problems"][0]
    away.write_text(text("second"))
    away.rename(watched.file)
    await watched.becomes("second")


async def test_an_edit_while_the_daemon_starts_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "_LOOK_AGAIN_MS", 200)
    file = tmp_path / "router.yaml"
    file.write_text(text("first"))
    async with watching(file, tmp_path / "state", text("second")) as watched:
        await watched.becomes("second")
        assert watched.count("config.reloaded") == 1


async def test_a_folder_that_goes_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "_LOOK_AGAIN_MS", 200)
    file = tmp_path / "etc" / "router.yaml"
    file.parent.mkdir()
    file.write_text(text("first"))
    async with watching(file, tmp_path / "state") as watched:
        await _comes_and_goes(watched)


async def _comes_and_goes(watched: Watched) -> None:
    folder = watched.file.parent
    shutil.move(folder, folder.with_name("moved"))
    await watched.until(lambda: watched.count("config.rejected") == 1)
    folder.mkdir()
    watched.file.write_text(text("second"))
    await watched.becomes("second")
    in_place(watched.file, text("third"))
    await watched.becomes("third")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
async def test_a_file_that_may_not_be_read(watched: Watched) -> None:
    watched.file.chmod(0)
    watched.file.with_name("touch").touch()
    await watched.until(lambda: watched.count("config.rejected") == 1)
    assert "Permission denied" in watched.events[-1][1]["problems"][0]
    assert watched.name == "first"
    watched.file.chmod(0o600)
    watched.file.with_name("touch").unlink()
    await watched.until(lambda: watched.reloader.rejected is None)


async def test_what_needs_a_restart_is_said_and_the_rest_applied(watched: Watched) -> None:
    more = "server: {port: 12345, model_name: other}\nstorage: {database: /tmp/other.db}\n"
    in_place(watched.file, text("second") + more)
    await watched.becomes("second")
    await watched.until(lambda: watched.count("config.restart_needed") == 1)
    assert watched.events[-1][1] == {"settings": ["server.port", "storage.database"]}
    assert watched.current.snapshot.policy.server.model_name == "other"
    assert set(watched.events[-2][1]["changed"]) == {"server", "pins", "storage"}


async def test_many_edits_in_a_row_end_with_the_last(watched: Watched) -> None:
    for number in range(40):
        EDITS[number % 3](watched.file, text(f"n{number}"))
        await asyncio.sleep(0.01)
    await watched.becomes("n39")
    assert watched.count("config.rejected") == 0


async def test_two_reloads_at_once_do_not_cross(watched: Watched) -> None:
    watched.file.write_text(text("second"))
    results = await asyncio.gather(*(watched.reloader.reload(f"r{n}") for n in range(5)))
    assert results == [(True, ())] * 5
    assert watched.name == "second"
    assert watched.count("config.reloaded") == 1
    assert watched.current.snapshot.generation == 1
