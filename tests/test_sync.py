"""Synchronising one source with a site that misbehaves: new figures are taken in whole, and after
every failure the old ones are there and the status is right."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from llmrouterd.benchmarks.fetch import Fetcher
from llmrouterd.benchmarks.figures import Figures
from llmrouterd.benchmarks.status import Status
from llmrouterd.benchmarks.sync import Sync
from llmrouterd.benchmarks.web import Pace
from llmrouterd.policy import Benchmarks, ProviderSpec, Secret
from llmrouterd.store import Store
from tests.support import boards
from tests.support.boards import OLLB, OLLB_PARQUET, ROWS, ollb_rows, serve_ollb, settings
from tests.support.site import Reply, Site, as_parquet

QUICK = Pace(attempts=4, first_pause=0.001, longest_pause=0.01, connect=5.0, silence=5.0)
DAY = 86400.0


@dataclass(slots=True)
class Bench:
    """What one test has open."""

    site: Site
    store: Store
    figures: Figures
    sync: Sync
    settings: Benchmarks
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def fetch(self, source: str = OLLB, **changes: Any) -> Status:
        return await self.sync.fetch(source, replace(self.settings, **changes), 60.0)

    async def kept(self, source: str = OLLB) -> set[str]:
        """The models in the store, read back as a restarted daemon would; equal to memory."""
        other = Figures(self.store)
        await other.restore({})
        assert other.rows.get(source, ()) == self.figures.rows.get(source, ())
        assert set(other.facts.get(source, ())) == set(self.figures.facts.get(source, ()))
        return {row.model for row in other.rows.get(source, ())}


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    errors: list[str] = []
    store = Store(tmp_path / "x.db", most=10, on_error=errors.append)
    async with Site() as site:
        figures = Figures(store)
        made = Bench(site, store, figures, Sync(figures, print), settings(site.url))
        fetcher = Fetcher(QUICK, most_bytes=2_000_000, resolver=site.resolver)
        made.sync = Sync(figures, lambda *event: made.events.append(event), fetcher=fetcher)
        yield made
    store.close()
    assert errors == []


async def test_a_parquet_file_becomes_figures(bench: Bench) -> None:
    serve_ollb(bench.site, 120)
    status = await bench.fetch()
    assert (status.status, status.http_status, status.detail) == ("ok", 200, "")
    assert status.rows == len(bench.figures.rows[OLLB]) == 7 * 120
    assert status.checked_at == status.synced_at != ""
    assert await bench.kept() == {f"maker/model-{at}-8B" for at in range(120)}
    assert len(bench.figures.facts[OLLB]) == 120
    (asked,) = bench.site.seen
    assert asked.headers["User-Agent"].startswith("llmrouterd/")
    assert "Authorization" not in asked.headers
    # What does not change any more is asked for monthly only.
    assert 26 * DAY < status.next_at - time.time() < 34 * DAY
    ((event, fields),) = bench.events
    assert event == "benchmarks.synced"
    assert fields == {"source": OLLB, "rows": 840, "published": status.published, "new": True}


async def test_without_parquet_the_rows_are_read_page_by_page(bench: Bench) -> None:
    bench.site.rows(ROWS, ollb_rows(250), {})
    status = await bench.fetch()
    assert (status.status, status.rows) == ("ok", 7 * 250)
    assert [seen.query["offset"] for seen in bench.site.asked(ROWS)] == ["0", "100", "200"]
    assert {seen.query["length"] for seen in bench.site.asked(ROWS)} == {"100"}
    assert len(await bench.kept()) == 250


@pytest.mark.parametrize(
    "hiccup",
    [
        Reply(429, headers={"Retry-After": "0"}),
        Reply(429, headers={"Retry-After": "Mon, 23 Nov 2020 10:00:00 GMT"}),
        Reply(503),
        Reply(body=b"<html>busy</html>"),
        Reply(body=b'{"rows": [', missing=100),
    ],
    ids=["429", "429 until a date", "503", "html", "cut off"],
)
async def test_paging_goes_on_where_it_was_interrupted(bench: Bench, hiccup: Reply) -> None:
    bench.site.rows(ROWS, ollb_rows(250), {100: [hiccup, hiccup]})
    status = await bench.fetch()
    assert (status.status, status.rows) == ("ok", 7 * 250)
    offsets = [seen.query["offset"] for seen in bench.site.asked(ROWS)]
    assert offsets == ["0", "100", "100", "100", "200"]


async def test_a_page_that_stays_broken_fails_the_whole_source(bench: Bench) -> None:
    serve_ollb(bench.site, 120)
    await bench.fetch()
    bench.site.on(OLLB_PARQUET, Reply(404))
    bench.site.rows(ROWS, ollb_rows(300), {200: [Reply(500)] * 50})
    status = await bench.fetch()
    assert (status.status, status.http_status, status.rows) == ("stale", 404, 7 * 120)
    assert "/rows: HTTP 500" in status.detail
    assert len(await bench.kept()) == 120
    assert bench.events[-1][0] == "benchmarks.failed"


async def test_rows_that_change_while_being_read_are_not_taken(bench: Bench) -> None:
    bench.site.rows(ROWS, ollb_rows(150), {})
    other = json.dumps({"rows": [{"row": row} for row in ollb_rows(60)], "num_rows_total": 160})
    bench.site.on(f"{ROWS}?offset=100", Reply(body=other.encode()))
    status = await bench.fetch()
    assert status.status == "failed"
    assert "changed while being read" in status.detail
    assert await bench.kept() == set()


@pytest.mark.parametrize(
    ("reply", "http_status", "detail"),
    [
        (Reply(500), 500, "HTTP 500"),
        (Reply(401), 401, "HTTP 401"),
        (Reply(404), 404, "HTTP 404"),
        (Reply(200, b"<!DOCTYPE html><p>soon"), 200, "not a whole Parquet file"),
        (Reply(200, b""), 200, "not a whole Parquet file"),
        (Reply(200, as_parquet(ollb_rows(120))[:5000]), 200, "not a whole Parquet file"),
        (Reply(200, b"PAR1", missing=9), 200, "enough data"),
        (Reply(200, bytes(2_000_001)), 200, "larger than 2000000 bytes"),
        (Reply(200, as_parquet([{"fullname": "a", "Elo": 1}])), 200, "is missing"),
        (Reply(200, as_parquet(ollb_rows(59))), 200, "413 figures, less than half of the former"),
        (Reply(302, headers={"Location": OLLB_PARQUET}), 302, "redirected too often"),
        (Reply(302, headers={"Location": "ftp://x/y"}), 302, "redirected to no web address"),
        (Reply(302, headers={"Location": "http://[x"}), 302, ""),
        (Reply(302), 302, "redirected too often"),
    ],
)
async def test_whatever_fails_the_old_figures_stay(
    bench: Bench, reply: Reply, http_status: int, detail: str
) -> None:
    serve_ollb(bench.site, 120)
    first = await bench.fetch()
    bench.site.on(OLLB_PARQUET, reply)
    status = await bench.fetch()
    assert status.status == "stale"
    assert (status.rows, status.synced_at) == (first.rows, first.synced_at)
    assert len(await bench.kept()) == 120
    assert 300 < status.next_at - time.time() < 1500
    assert (status.http_status, detail in status.detail) == (http_status, True), status
    again = await bench.fetch()
    assert again.failures == 2
    assert again.next_at > status.next_at - 700
    # Once it is well again, so are we.
    serve_ollb(bench.site, 60)
    assert (await bench.fetch()).status == "ok"
    assert len(await bench.kept()) == 60


async def test_a_source_that_never_worked_has_failed(bench: Bench) -> None:
    status = await bench.fetch("bigcodebench")
    assert (status.status, status.http_status, status.rows) == ("failed", 404, 0)
    assert status.synced_at == ""
    bench.site.on("/results.json", Reply(body=b"<html>hello</html>"))
    bench.site.on("/results-hard.json", Reply(body=b"[1, 2]"))
    status = await bench.fetch("bigcodebench")
    assert (status.status, status.http_status) == ("failed", 200)
    assert "results.json: not whole JSON, line 1 column 1" in status.detail
    for body in (b"[]", b'{"a": 1}', b'{"a": {"pass@1": {"instruct": [1]}}}', b"null"):
        bench.site.on("/results.json", Reply(body=body))
        assert (await bench.fetch("bigcodebench")).status == "failed", body


async def test_a_slow_body_ends_with_the_budget(bench: Bench) -> None:
    bench.site.on(OLLB_PARQUET, Reply(body=b"PAR1", stall=True))
    status = await bench.fetch(budget_seconds=0.3)
    assert (status.status, status.detail) == ("failed", "not done within 0.3 s")
    assert status.http_status == 200


async def test_the_time_of_all_sources_is_limited(bench: Bench) -> None:
    bench.site.on(OLLB_PARQUET, Reply(stall=True))
    bench.site.on("/results.json", Reply(stall=True))
    begun: list[str] = []
    tight = replace(bench.settings, budget_seconds=0.25)
    names = [OLLB, "bigcodebench", "bigcodebench", "bigcodebench", "bigcodebench", "lmarena"]
    found = await bench.sync.fetch_all(names, tight, begun.append)
    assert begun == names
    assert found[-1].detail == "the time of this sync was used up by other sources"
    assert {status.status for status in found} == {"failed"}


async def test_a_long_retry_after_is_obeyed_later(bench: Bench) -> None:
    bench.site.on("/results.json", Reply(429, headers={"Retry-After": "7200"}))
    status = await bench.fetch("bigcodebench")
    assert (status.status, status.http_status) == ("failed", 429)
    assert len(bench.site.seen) == 1
    assert 7190 < status.next_at - time.time() < 7300


async def test_nothing_new_is_not_read_again(bench: Bench) -> None:
    boards.serve_bigcodebench(bench.site)
    first = await bench.fetch("bigcodebench")
    assert first.status == "ok"
    changes = bench.figures.changes
    again = await bench.fetch("bigcodebench")
    assert (again.status, again.http_status, again.rows) == ("ok", 304, first.rows)
    assert bench.figures.changes == changes
    assert bench.events[-1][1]["new"] is False
    # One of two is new: the other one is fetched whole, too.
    hard = bench.site.asked("/results-hard.json")
    assert "If-None-Match" in hard[-1].headers
    body = json.loads(boards.bigcodebench())
    body["another"] = next(iter(body.values()))
    bench.site.on("/results.json", Reply(body=json.dumps(body).encode()))
    more = await bench.fetch("bigcodebench")
    assert more.rows == first.rows + 2
    assert "If-None-Match" not in bench.site.asked("/results-hard.json")[-1].headers
    # A site without ETags that serves the same bytes.
    last = await bench.fetch("bigcodebench")
    assert bench.events[-1][1]["new"] is False
    assert last.rows == more.rows


async def test_marks_outlive_a_restart_and_not_a_failure(bench: Bench) -> None:
    boards.serve_bigcodebench(bench.site)
    await bench.fetch("bigcodebench")
    await bench.figures.restore({})
    assert (await bench.fetch("bigcodebench")).http_status == 304
    bench.site.on("/results.json", Reply(body=b"{}", headers={"ETag": '"broken"'}))
    assert (await bench.fetch("bigcodebench")).status == "stale"
    boards.serve_bigcodebench(bench.site)
    assert (await bench.fetch("bigcodebench")).http_status == 304


async def test_a_release_of_livebench_replaces_the_former_one(bench: Bench) -> None:
    boards.serve_livebench(bench.site)
    status = await bench.fetch("livebench")
    assert (status.status, status.published) == ("ok", "2026-01-08")
    assert status.detail == "release 2026-01-08"
    assert (await bench.fetch("livebench")).http_status == 304
    assert len(bench.site.asked(boards.LISTING)) == 2
    bench.site.on(boards.LISTING, Reply(body=b'[{"name": "index.html"}]'))
    status = await bench.fetch("livebench")
    assert (status.status, status.http_status) == ("stale", 200)
    assert "no table_YYYY_MM_DD.csv is listed" in status.detail
    boards.serve_livebench(bench.site, "2026_06_01")
    status = await bench.fetch("livebench")
    assert (status.status, status.published) == ("ok", "2026-06-01")
    assert {row.date for row in bench.figures.rows["livebench"]} == {"2026-06-01"}
    assert await bench.kept("livebench")


async def test_the_token_goes_to_hugging_face_only(bench: Bench) -> None:
    port = bench.site.port
    hub = ProviderSpec(url=f"http://huggingface.co:{port}")
    given = {"providers": {OLLB: hub}, "hf_token": Secret("hf_secret")}
    whole = Reply(body=as_parquet(ollb_rows(120)))
    target = f"http://cdn.example:{port}/blob?signature=s"
    bench.site.on(OLLB_PARQUET, Reply(302, headers={"Location": target}, token="hf_secret"))
    bench.site.on("/blob", whole)
    without = await bench.fetch(providers={OLLB: hub})
    assert (without.status, without.http_status) == ("failed", 401)
    assert "benchmarks.hf_token" in without.detail
    status = await bench.fetch(**given)
    assert (status.status, status.rows) == ("ok", 840)
    tokens = [
        (seen.host.partition(":")[0], seen.headers.get("Authorization")) for seen in bench.site.seen
    ]
    assert tokens[-2:] == [("huggingface.co", "Bearer hf_secret"), ("cdn.example", None)]
    # A mirror is not Hugging Face, and neither is a name that looks like it.
    for host in ("127.0.0.1", "huggingface.co.example", "nothuggingface.co"):
        mirror = ProviderSpec(url=f"http://{host}:{port}")
        await bench.fetch(**{**given, "providers": {OLLB: mirror}})
        assert "Authorization" not in bench.site.seen[-1].headers


async def test_a_key_of_a_source_stays_with_its_host(bench: Bench) -> None:
    name, path = "artificial_analysis", "/api/v2/data/llms/models"
    refused = await bench.fetch(name)
    assert refused.status == "failed"
    assert refused.detail == f"it is off; benchmarks.providers.{name}.enabled switches it on"
    keyless = await bench.fetch(name, providers={name: ProviderSpec(enabled=True)})
    assert keyless.detail == f"it needs a key, benchmarks.providers.{name}.api_key"
    assert bench.site.seen == []
    given = ProviderSpec(url=bench.site.url, api_key=Secret("aa-key"))
    body = {
        "status": 200,
        "data": [
            {
                "name": "Qwen3 8B",
                "release_date": "2025-04-28",
                "evaluations": {"artificial_analysis_intelligence_index": 21.5},
            }
        ],
    }
    elsewhere = f"http://mirror.example:{bench.site.port}/there"
    bench.site.on(path, Reply(307, headers={"Location": elsewhere}))
    bench.site.on("/there", Reply(body=gzip.compress(json.dumps(body).encode())))
    status = await bench.fetch(name, providers={name: given})
    assert (status.status, status.rows) == ("ok", 1)
    assert [seen.headers.get("x-api-key") for seen in bench.site.seen] == ["aa-key", None]


async def test_a_broken_database_costs_permanence_only(bench: Bench, tmp_path: Path) -> None:
    errors: list[str] = []
    store = Store(tmp_path, most=10, on_error=errors.append)  # a folder is no file
    sync = Sync(Figures(store), lambda *event: None, fetcher=Fetcher(QUICK))
    serve_ollb(bench.site, 120)
    status = await sync.fetch(OLLB, bench.settings, 60.0)
    store.close()
    assert (status.status, status.rows) == ("ok", 840)
    assert errors
