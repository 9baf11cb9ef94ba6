"""`llmrouterd sync` as a process: from files, from a site, and by the running daemon."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import boards
from tests.support.boards import FOLDER
from tests.support.clients import free_port
from tests.support.policies import plain_environment, running
from tests.support.site import Reply, Site

BFCL = "model,overall,non_live_ast,live,multi_turn\n" + "".join(
    f"m{at},{50 + at},1,1,1\n" for at in range(10)
)


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    errors: str

    def source(self, name: str) -> dict[str, Any]:
        return next(one for one in json.loads(self.out) if one["source"] == name)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as made:
        yield made


def policy_text(url: str = "", **fields: Any) -> str:
    names = ("lmarena", "bigcodebench", "livebench", "bfcl")
    given = {"seed": False, "providers": {name: {"url": url} for name in names}, **fields}
    rules = [{"name": "default"}]
    return json.dumps({"backends": [], "rules": rules, "benchmarks": given})


async def sync(folder: Path, *arguments: str, port: int = 0, text: str = "") -> Ran:
    """Run `sync` with its state in the folder."""
    file = folder / "router.yaml"
    if text or not file.exists():
        file.write_text(text or policy_text())
    environ = plain_environment(folder / "state", ROUTER_PORT=str(port or free_port()))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llmrouterd", "sync", "--policy", str(file), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
    )
    async with asyncio.timeout(60):
        out, errors = await process.communicate()
    return Ran(process.returncode or 0, out.decode(), errors.decode())


def stored(folder: Path) -> dict[str, int]:
    """Rows in the database by source."""
    with sqlite3.connect(folder / "state" / "llmrouterd.db") as database:
        found = database.execute("SELECT source, count(*) FROM benchmarks GROUP BY source")
        counts = dict(found.fetchall())
    database.close()
    return counts


async def test_from_the_recorded_files(tmp_path: Path) -> None:
    ran = await sync(tmp_path, "--from", str(FOLDER))
    assert (ran.status, ran.errors) == (0, "")
    head, *lines = ran.out.splitlines()
    assert head.split() == ["SOURCE", "STATUS", "ROWS", "FACTS", "PUBLISHED", "HTTP", "DETAIL"]
    assert {line.split()[0]: line.split()[1] for line in lines} == dict.fromkeys(
        (boards.OLLB, "lmarena", "bigcodebench", "livebench", "bfcl", "openevals", "models_dev"),
        "ok",
    )
    counts = stored(tmp_path)
    assert counts[boards.OLLB] > 30_000
    assert counts["lmarena"] > 5_000
    again = await sync(tmp_path, "--from", str(FOLDER), "--source", "livebench", "--json")
    assert again.status == 0
    assert again.source("livebench")["published"] == "2026-01-08"
    assert len(json.loads(again.out)) == 1


async def test_a_broken_file_keeps_what_is_stored(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "bfcl_2026-01-01.csv").write_text(BFCL)
    first = await sync(tmp_path, "--from", str(folder))
    assert (first.status, stored(tmp_path)) == (0, {"bfcl": 40})
    (folder / "bfcl_2026-01-01.csv").write_text(BFCL.replace("overall", "elo"))
    second = await sync(tmp_path, "--from", str(folder), "--json")
    assert second.status == 1
    found = second.source("bfcl")
    assert (found["status"], found["rows"]) == ("stale", 40)
    assert "'Overall Acc' or 'overall' is missing" in found["detail"]
    assert stored(tmp_path) == {"bfcl": 40}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "EMPTY"), "there is no file of open_llm_leaderboard, lmarena"),
        (("--from", "NOWHERE"), "NOWHERE is not a folder"),
        (("--source", "nobody"), "there is no source 'nobody'"),
        (("--source", "artificial_analysis"), "cannot be fetched: it is off"),
        (("--from", "EMPTY", "--source", "artificial_analysis"), "it is off"),
    ],
)
async def test_what_cannot_be_synced(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"EMPTY": str(tmp_path / "empty")}
    ran = await sync(tmp_path, *(places.get(one, one) for one in arguments))
    assert (ran.status, ran.out) == (1, "")
    assert message in ran.errors


async def test_without_a_daemon_it_fetches_into_the_database(tmp_path: Path, site: Site) -> None:
    boards.serve_bigcodebench(site)
    text = policy_text(site.url)
    ran = await sync(tmp_path, "--source", "bigcodebench", "--json", text=text)
    assert (ran.status, ran.errors) == (0, "")
    found = ran.source("bigcodebench")
    assert (found["status"], found["http_status"]) == ("ok", 200)
    assert stored(tmp_path) == {"bigcodebench": found["rows"]}
    site.on("/results.json", Reply(404))
    failing = await sync(tmp_path, "--source", "bigcodebench")
    assert failing.status == 1
    assert "stale" in failing.out
    assert "/results.json: HTTP 404" in failing.out
    assert stored(tmp_path) == {"bigcodebench": found["rows"]}
    off = await sync(tmp_path, text=policy_text(enabled=False))
    assert (off.status, off.errors) == (1, "the policy has every source switched off\n")


async def test_a_database_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "bfcl_2026-01-01.csv").write_text(BFCL)
    (tmp_path / "state" / "llmrouterd.db").mkdir(parents=True)
    ran = await sync(tmp_path, "--from", str(folder))
    assert (ran.status, ran.out) == (1, "")
    assert "llmrouterd.db" in ran.errors


async def test_a_running_daemon_does_it_itself(tmp_path: Path, site: Site) -> None:
    boards.serve_bigcodebench(site)
    async with running(policy_text(site.url), tmp_path, ready=False) as daemon:
        port = int(daemon.url.rpartition(":")[2])
        ran = await sync(tmp_path, "--source", "bigcodebench", "--json", port=port)
        assert (ran.status, ran.source("bigcodebench")["status"]) == (0, "ok")
        assert "synced by the daemon" in ran.errors
        await daemon.wait_event("benchmarks.synced")
        # Files are read by the command; the daemon takes up what is in the database then.
        folder = tmp_path / "files"
        folder.mkdir()
        (folder / "bfcl_2026-01-01.csv").write_text(BFCL)
        ran = await sync(tmp_path, "--from", str(folder), port=port)
        assert ran.status == 0, ran.errors
        async with asyncio.timeout(60):
            while True:
                sources = (await daemon.get("/admin/benchmarks"))["sources"]
                rows = {one["source"]: one["rows"] for one in sources}
                if rows["bfcl"] == 40:
                    break
                await asyncio.sleep(0.05)
        assert len(daemon.events("benchmarks.synced")) == 1
