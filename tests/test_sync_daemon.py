"""Published figures in the running daemon: asked for, planned, switched off, and made by another
process."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llmrouterd.app import secrets_of
from llmrouterd.benchmarks.figures import Figures
from llmrouterd.benchmarks.rows import BenchmarkRow
from llmrouterd.benchmarks.status import Status
from llmrouterd.errors import ConfigError
from llmrouterd.store import Store
from tests.conftest import Opener
from tests.support import boards
from tests.support.boards import OLLB
from tests.support.daemon import Running, read_policy
from tests.support.policies import policy
from tests.support.site import Reply, Site

ON = (OLLB, "lmarena", "bigcodebench", "livebench", "bfcl", "openevals", "models_dev")


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    async with Site() as made:
        yield made


def section(site: Site, **fields: Any) -> dict[str, Any]:
    """A policy without backends whose sources are all at the site."""
    providers = {name: {"url": site.url} for name in ON}
    given = {"seed": False, "every_hours": 24, "providers": providers, **fields}
    return {"backends": [], "benchmarks": given}


async def source(daemon: Running, name: str) -> dict[str, Any]:
    answer = await daemon.get("/admin/benchmarks")
    return next(one for one in answer.data["sources"] if one["source"] == name)


async def test_asked_for_over_the_api(open_daemon: Opener, site: Site) -> None:
    boards.serve_bigcodebench(site)
    daemon = await open_daemon(section(site))
    before = await source(daemon, "bigcodebench")
    assert (before["status"], before["rows"], before["synced_at"]) == ("never", 0, "")
    assert before["licence"] == "Apache-2.0"
    assert site.seen == []  # nothing by itself in the first minutes
    answer = await daemon.post("/admin/sync", {"sources": ["bigcodebench"]})
    assert answer.status == 202
    assert answer.data == {"status": "accepted", "sources": ["bigcodebench"]}
    library = daemon.state.discovery
    await daemon.events.until(lambda: bool(daemon.events.of("benchmarks.synced")))
    after = await source(daemon, "bigcodebench")
    assert (after["status"], after["http_status"], after["matched"]) == ("ok", 200, 0)
    assert after["attribution"].startswith("BigCodeBench")
    assert after["next_at"] > after["synced_at"]
    while not library.knowledge.library.rows:
        await daemon.get("/admin/benchmarks")
    assert len(library.knowledge.library.rows) == after["rows"]
    assert (await daemon.get("/admin/benchmarks")).data["syncing"] == []


async def test_all_that_are_on_when_none_is_named(open_daemon: Opener, site: Site) -> None:
    boards.serve_livebench(site)
    boards.serve_ollb(site, 120)
    daemon = await open_daemon(section(site))
    answer = await daemon.request("POST", "/admin/sync")
    assert answer.status == 202
    assert answer.data["sources"] == sorted(ON)
    ended = ("benchmarks.synced", "benchmarks.failed")
    await daemon.events.until(
        lambda: sum(event in ended for event, _ in daemon.events.seen) == len(ON), 30.0
    )
    found = (await daemon.get("/admin/benchmarks")).data["sources"]
    states = {one["source"]: one["status"] for one in found}
    assert states.pop("artificial_analysis") == "off"
    assert states.pop(OLLB) == states.pop("livebench") == "ok"
    assert set(states.values()) == {"failed"}
    assert {one["http_status"] for one in found if one["status"] == "failed"} == {404}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"sources": ["nobody"]}, "There is no source 'nobody'"),
        ({"sources": ["artificial_analysis"]}, "it is off"),
        ({"sources": "lmarena"}, "sources must be a list of names."),
        ({"sources": [1]}, "sources must be a list of names."),
        ({"source": []}, "source is not known here."),
        ([], "The body must be a JSON object."),
    ],
)
async def test_what_cannot_be_asked_for(
    open_daemon: Opener, site: Site, body: Any, message: str
) -> None:
    daemon = await open_daemon(section(site))
    answer = await daemon.post("/admin/sync", body)
    assert answer.status == 400
    assert message in answer.error["message"]
    assert (await daemon.request("POST", "/admin/sync", data=b"{")).status == 400
    assert site.seen == []


async def test_a_source_that_is_switched_off_counts_no_more(
    open_daemon: Opener, site: Site
) -> None:
    boards.serve_bigcodebench(site)
    policy = section(site)
    daemon = await open_daemon(policy)
    discovery = daemon.state.discovery
    await daemon.post("/admin/sync", {"sources": ["bigcodebench"]})
    await daemon.events.until(lambda: bool(daemon.events.of("benchmarks.synced")))
    while not discovery.knowledge.library.rows:
        await daemon.get("/health")
    policy["benchmarks"]["providers"]["bigcodebench"] = {"enabled": False}
    daemon.policy_file.write_text(json.dumps({"profiling": {"enabled": False}, **policy}))
    assert (await daemon.post("/admin/reload", {})).data["status"] == "ok"
    while discovery.knowledge.library.rows:
        await daemon.get("/health")
    off = await source(daemon, "bigcodebench")
    assert (off["status"], off["next_at"]) == ("off", None)
    assert off["detail"].startswith("it is off")
    answer = await daemon.post("/admin/sync", {"sources": ["bigcodebench"]})
    assert answer.status == 400


async def test_when_sources_are_due(open_daemon: Opener, site: Site) -> None:
    daemon = await open_daemon(section(site))
    worker, now = daemon.state.benchmarks, time.time()
    assert worker.due(now) == []
    assert worker.due(now + 700) == list(ON)
    later = Status(source="lmarena", status="ok", next_at=now + 5000)
    await worker.figures.note(later)
    assert "lmarena" not in worker.due(now + 700)
    assert "lmarena" in worker.due(now + 5001)
    # Never by itself, but when asked.
    quiet = await open_daemon(section(site, every_hours=0))
    other = quiet.state.benchmarks
    assert other.due(now + 1e9) == []
    assert (await source(quiet, "lmarena"))["next_at"] is None
    none = await open_daemon({"backends": [], "benchmarks": {"enabled": False}})
    assert none.state.benchmarks.due(now + 1e9) == []
    answer = await none.post("/admin/sync", {"sources": ["lmarena"]})
    assert "benchmarks.enabled is false" in answer.error["message"]


async def test_a_plan_outlives_a_restart(tmp_path: Path, open_daemon: Opener, site: Site) -> None:
    given = section(site)
    given["storage"] = {"database": str(tmp_path / "kept.db")}
    boards.serve_bigcodebench(site)
    first = await open_daemon(given)
    await first.post("/admin/sync", {"sources": ["bigcodebench"]})
    await first.events.until(lambda: bool(first.events.of("benchmarks.synced")))
    planned = (await source(first, "bigcodebench"))["next_at"]
    second = await open_daemon(given)
    again = await source(second, "bigcodebench")
    assert (again["status"], again["next_at"]) == ("ok", planned)
    assert second.state.discovery.knowledge.library.rows
    assert "bigcodebench" not in second.state.benchmarks.due(time.time() + 700)


async def test_what_another_process_stored_is_taken_up(
    tmp_path: Path, open_daemon: Opener, site: Site
) -> None:
    given = section(site)
    given["storage"] = {"database": str(tmp_path / "kept.db")}
    daemon = await open_daemon(given)
    other = Store(tmp_path / "kept.db", most=10, on_error=print)
    row = BenchmarkRow(model="m", board="bfcl/overall", value=60.0, date="2026-01-01")
    await Figures(other).put(Status(source="bfcl", status="ok", rows=1), [row])
    other.close()
    assert (await daemon.post("/admin/sync", {"sources": []})).data["sources"] == []
    while daemon.state.discovery.knowledge.library.rows != (row,):
        await daemon.get("/health")
    assert (await source(daemon, "bfcl"))["status"] == "ok"
    assert site.seen == []


async def test_the_seed_at_the_first_start(open_daemon: Opener, site: Site) -> None:
    daemon = await open_daemon(section(site, seed=True))
    library = daemon.state.discovery.knowledge.library
    assert {"lmarena", OLLB} <= {row.source for row in library.rows}
    assert library.facts
    found = await source(daemon, "lmarena")
    assert (found["status"], found["rows"] > 1000) == ("never", True)
    assert found["detail"] == "the figures that the package carries"
    # A failing first sync makes them stale, and they stay.
    site.on("/rows?offset=0", Reply(403))
    await daemon.post("/admin/sync", {"sources": ["lmarena"]})
    await daemon.events.until(lambda: bool(daemon.events.of("benchmarks.failed")))
    stale = await source(daemon, "lmarena")
    assert (stale["status"], stale["rows"]) == ("stale", found["rows"])


def test_keys_are_secrets(tmp_path: Path) -> None:
    text = (
        "benchmarks:\n  hf_token: ${HF_TOKEN:-}\n"
        "  providers: {artificial_analysis: {api_key: 'aa-key '}}\n"
    )
    found = policy(text, HF_TOKEN="hf_secret")
    assert {"hf_secret", "aa-key"} <= set(secrets_of(found))
    assert "hf_secret" not in repr(found.benchmarks)
    assert "aa-key" not in repr(found.benchmarks)
    assert (
        policy("{}", HF_TOKEN="from-the-environment").benchmarks.hf_token == "from-the-environment"
    )
    with pytest.raises(ConfigError) as caught:
        read_policy({"benchmarks": {"providers": {"lmarenna": {}}}}, tmp_path)
    assert "use one of open_llm_leaderboard, lmarena" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        read_policy({"benchmarks": {"hf_token": "a\nb"}}, tmp_path)
    assert "line break" in str(caught.value)
    assert "a\nb" not in str(caught.value)
