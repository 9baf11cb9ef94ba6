"""GET /metrics of real daemons: both formats, exemplars, and labels that stay bounded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from prometheus_client import openmetrics, parser
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from llmrouterd.api.metrics import names_now, prefers_openmetrics
from llmrouterd.metrics import OUTCOMES, Metrics
from tests.support.fake_ollama import FakeModel, FakeOllama

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

    from tests.conftest import Opener, Scripted
    from tests.support.daemon import Running

OPENMETRICS = "application/openmetrics-text"
# What Prometheus 2 and 3 send.
PROMETHEUS_2 = (
    f"{OPENMETRICS};version=1.0.0,{OPENMETRICS};version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    f"{OPENMETRICS};version=1.0.0;escaping=allow-utf-8;q=0.6,{OPENMETRICS};version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


async def samples(daemon: Running, accept: str = OPENMETRICS) -> list[Sample]:
    """All samples, read by the client library's strict parser of the format."""
    answer = await daemon.get("/metrics", headers={"Accept": accept})
    assert answer.status == 200
    text = answer.body.decode()
    if answer.headers["Content-Type"].startswith(OPENMETRICS):
        families = list(text_string_to_metric_families(text))
    else:
        families = list(parser.text_string_to_metric_families(text))
    return [sample for family in families for sample in family.samples]


async def value(daemon: Running, name: str, **labels: str) -> float | None:
    """A sample's value; labels that are not given are not compared. The sum over all that fit."""
    found = [
        sample.value
        for sample in await samples(daemon)
        if sample.name == f"llmrouterd_{name}" and labels.items() <= sample.labels.items()
    ]
    return sum(found) if found else None


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        (OPENMETRICS, True),
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
        (f"text/plain;version=0.0.4;q=0.5, {OPENMETRICS};version=1.0.0;q=0.6", True),
        (f"text/plain;version=0.0.4;q=0.6, {OPENMETRICS};version=1.0.0;q=0.5", False),
        (f"{OPENMETRICS};q=0", False),
        (f"{OPENMETRICS};version=2.0.0", False),
        (f"{OPENMETRICS};version=abc", False),
        (f"{OPENMETRICS};q=much", False),
        (f"{OPENMETRICS};q=nan", False),
        (f"{OPENMETRICS};;;=;q", True),
        (";,;=,", False),
    ],
)
def test_which_format_is_asked_for(accept: str, wanted: bool) -> None:
    assert prefers_openmetrics(accept) is wanted


async def test_both_formats_have_the_same_samples(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    await daemon.chat("Hello")
    plain = await daemon.get("/metrics")
    assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"decision_id" not in plain.body
    asked = await daemon.get("/metrics", headers={"Accept": PROMETHEUS_3})
    assert asked.headers["Content-Type"] == openmetrics.exposition.CONTENT_TYPE_LATEST
    assert asked.body.endswith(b"# EOF\n")
    texts = {(s.name, *sorted(s.labels.items())) for s in await samples(daemon, "text/plain")}
    assert texts == {(s.name, *sorted(s.labels.items())) for s in await samples(daemon)}


async def test_exemplars_lead_to_decisions(open_daemon: Opener) -> None:
    models = [FakeModel(name="a:1b", load_seconds=0.05)]
    async with FakeOllama(models, tokens=3) as ollama:
        entry = {"name": "o", "type": "ollama", "url": ollama.url}
        daemon = await open_daemon({"backends": [entry]})
        answer = await daemon.chat("Hello", model="a:1b")
        decision = answer.headers["x-router-decision"]
        found = {
            sample.name: sample.exemplar for sample in await samples(daemon) if sample.exemplar
        }
    for name in (
        "request_duration_seconds",
        "time_to_first_token_seconds",
        "answer_duration_seconds",
        "model_load_seconds",
    ):
        exemplar = found.pop(f"llmrouterd_{name}_bucket")
        assert exemplar.labels == {"decision_id": decision}
        assert exemplar.value > 0
    assert not found
    assert (await daemon.get(f"/admin/decisions/{decision}")).status == 200


async def test_a_refused_chat_has_its_exemplar_too(scripted: Scripted) -> None:
    daemon, _ = await scripted("500")
    refused = await daemon.chat("Hello")
    assert refused.status >= 500
    (exemplar,) = [s.exemplar for s in await samples(daemon) if s.exemplar]
    assert exemplar.labels == {"decision_id": refused.headers["x-router-decision"]}


async def test_how_answers_end(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok", "drop-mid-stream", "500", failover={"attempts": 1})
    for outcome in OUTCOMES:  # a rate needs a zero
        assert await value(daemon, "answers_total", outcome=outcome) == 0
    await daemon.chat("Hello", model="s/ok")
    await daemon.stream("Hello", model="s/drop-mid-stream")
    await daemon.chat("Hello", model="s/500")
    assert await value(daemon, "answers_total", outcome="ok") == 1
    assert await value(daemon, "answers_total", outcome="interrupted") == 1
    assert await value(daemon, "answers_total", outcome="failed") == 1
    assert await value(daemon, "interrupted_total", model="s/drop-mid-stream") == 1
    assert await value(daemon, "failovers_total", model="s/500") == 1
    assert await value(daemon, "answer_duration_seconds_count", model="s/ok") == 1
    assert await value(daemon, "answer_duration_seconds_count", model="s/drop-mid-stream") is None
    assert await value(daemon, "tokens_total", model="s/ok", kind="completion") > 0
    assert await value(daemon, "generation_seconds_total", model="s/ok") > 0


async def test_what_is_true_now(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    assert await value(daemon, "backend_up", backend="s") == 1
    assert await value(daemon, "backend_models", backend="s") == 1
    assert await value(daemon, "policy_valid") == 1
    loaded = await value(daemon, "policy_loaded_timestamp_seconds")
    assert loaded == pytest.approx(daemon.state.reloader.loaded_at)
    assert await value(daemon, "build_info") == 1
    assert await value(daemon, "store_dropped_records_total") == 0
    daemon.state.store.state.dropped = 3
    assert await value(daemon, "store_dropped_records_total") == 3
    assert await value(daemon, "store_dropped_records_total") == 3
    names = {sample.name for sample in await samples(daemon)}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total"} <= names


async def test_memory_with_its_budget(open_daemon: Opener) -> None:
    models = [FakeModel(name="a:1b", size=6 * 10**9)]
    async with FakeOllama(models, tokens=3) as ollama:
        entry = {"name": "o", "type": "ollama", "url": ollama.url}
        hosts = [{"name": "local", "vram_gb": 11}]
        daemon = await open_daemon({"backends": [entry], "residency": {"hosts": hosts}})
        await daemon.chat("Hello", model="a:1b")
        seen = {
            (sample.name, sample.labels.get("model")): sample.value
            for sample in await samples(daemon)
            if sample.labels.get("host") == "local"
        }
        taken = seen["llmrouterd_model_memory_bytes", "o/a:1b"]
        assert taken > 10**9
        assert seen["llmrouterd_host_memory_used_bytes", None] == taken
        assert seen["llmrouterd_host_memory_budget_bytes", None] == 11 * 10**9


async def test_nothing_that_a_client_sends_becomes_a_label(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    mark = "zzmarkzz"
    headers = {
        "X-Request-Id": mark,
        "X-OpenWebUI-Task": mark,
        "X-OpenWebUI-Chat-Id": mark,
        "X-Router-Task": mark,
        "User-Agent": mark,
        "X-Router-Decision": mark,
    }
    assert (await daemon.chat(mark, headers=headers, user=mark)).status == 200
    assert (await daemon.chat(mark, headers=headers, model=mark)).status == 404
    assert (await daemon.chat(mark, headers=headers, model=f"hubrouter/{mark}")).status == 404
    for path in (f"/{mark}", f"/v1/{mark}", f"/v1/models/{mark}", f"/admin/decisions/{mark}"):
        assert (await daemon.get(path)).status == 404
    assert (await daemon.request(mark.upper(), "/v1/models")).status in (400, 404, 405)
    for accept in ("text/plain", OPENMETRICS):
        exposed = (await daemon.get("/metrics", headers={"Accept": accept})).body
        assert mark.encode() not in exposed.lower()


async def test_many_clients_make_no_more_series(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    await daemon.chat("Hello", headers={"X-Request-Id": "first"})
    await daemon.get("/nowhere")
    await samples(daemon)
    before = len(await samples(daemon))
    for number in range(20):
        await daemon.chat("Hello", headers={"X-Request-Id": f"id-{number}"}, user=f"u{number}")
        await daemon.get(f"/nowhere/{number}")
    assert len(await samples(daemon)) == before


async def test_what_is_no_more_is_forgotten(scripted: Scripted) -> None:
    daemon, backend = await scripted("ok", "a")
    daemon.state.metrics.keep(names_now(daemon.state))
    await daemon.chat("Hello", model="s/a")
    await daemon.chat("Hello", model="s/ok")
    backend.models = [row for row in backend.models if row == "ok"]
    daemon.state.discovery.wake()
    await daemon.wait_models("s/ok")
    daemon.state.metrics.keep(names_now(daemon.state))
    assert await value(daemon, "decisions_total", model="s/a") == 1  # it may only be away
    daemon.state.metrics.keep(names_now(daemon.state))
    exposed = (await daemon.get("/metrics")).body
    assert b'"s/a"' not in exposed
    assert await value(daemon, "decisions_total", model="s/ok") == 1


def test_keeping() -> None:
    metrics = Metrics()
    metrics.inc(metrics.decisions, "b/a", "coding", "old")
    metrics.inc(metrics.decisions, "b/a", "coding", "new")
    metrics.observe(metrics.ttft, 1.0, "b/a")
    metrics.inc(metrics.requests, "/v1/models", "200")
    named = {"model": {"b/a"}, "category": {"coding"}, "rule": {"new"}}

    def rules() -> set[str]:
        return set(re.findall(r'rule="(\w+)"', metrics.render().decode()))

    metrics.keep(named)
    metrics.keep({**named, "rule": {"old", "new"}})  # it was there again
    metrics.keep(named)
    assert rules() == {"old", "new"}
    metrics.keep(named)
    assert rules() == {"new"}
    metrics.inc(metrics.decisions, "b/a", "coding", "old")  # begins anew
    assert 'rule="old"} 1.0' in metrics.render().decode()
    for _ in range(2):
        metrics.keep({**named, "model": set()})
    assert "b/a" not in metrics.render().decode()
    assert metrics.registry.get_sample_value(
        "llmrouterd_requests_total", {"endpoint": "/v1/models", "status": "200"}
    )


async def test_a_host_without_backends_is_not_shown(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok", backend={"host": "here"})
    assert await value(daemon, "queue_length", host="here") == 0
    there = daemon.policy_file.read_text().replace('"here"', '"there"')
    daemon.policy_file.write_text(there)
    assert (await daemon.post("/admin/reload", {})).status == 200
    assert await value(daemon, "queue_length", host="there") == 0
    assert await value(daemon, "queue_length", host="here") is None


def test_names_by_convention() -> None:
    """Base units, `_total` for counters alone, help that is a sentence, bounded exemplars."""
    for family in Metrics().registry.collect():
        name = family.name
        if name.startswith("process_"):
            continue  # the client library's
        assert name.startswith("llmrouterd_")
        assert family.documentation.endswith(".")
        assert not re.search(r"_(ms|millis|minutes|hours|kb|mb|gb|percent)\b", name)
        assert (family.type == "gauge") or not name.endswith("_info")
        if family.type == "histogram":
            assert name.endswith("_seconds")
        if family.type == "gauge":
            assert not name.endswith("_total")
    assert len("decision_id" + "dec_" + 20 * "0") <= 128
