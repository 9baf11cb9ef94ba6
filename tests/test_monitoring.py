"""deploy/: the alerts, the dashboard and the scrape configuration against the real metrics, with
Prometheus' own tools where they are installed."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from llmrouterd.metrics import Metrics
from tests.support.clients import free_port
from tests.support.fake_ollama import FakeModel, FakeOllama
from tests.support.pages import bare, section, tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.conftest import Opener
    from tests.support.daemon import Running

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "llmrouterd.json"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool; Debian has it in the package prometheus"
)
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Debian's package prometheus is not installed"
)


def promtool(*words: str | Path, given: bytes = b"") -> str:
    """Run it; fails with what it says."""
    done = subprocess.run(
        ["promtool", *map(str, words)], input=given, capture_output=True, timeout=60, check=False
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if "targets" in panel]


def panel_queries() -> Iterator[tuple[str, str]]:
    """Every query with its panel's title, Grafana's variables filled in."""
    for panel in panels():
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "1m").replace("$model", ".*")
            assert "$" not in text
            yield panel["title"], text


def alerts() -> list[dict[str, Any]]:
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def series() -> dict[str, set[str]]:
    """The names that can be queried, with their labels."""
    found: dict[str, set[str]] = {"up": {"job", "instance"}}
    labels = {
        metric._name: set(metric._labelnames)
        for metric in vars(Metrics()).values()
        if hasattr(metric, "_labelnames")
    }
    for family in Metrics().registry.collect():
        own = labels.get(family.name, set()) | {"job", "instance"}
        name = family.name
        if family.type == "histogram":
            found |= {f"{name}_bucket": own | {"le"}, f"{name}_sum": own, f"{name}_count": own}
        else:
            found[name + ("_total" if family.type == "counter" else "")] = own
    return found


def used(query: str) -> list[tuple[str, set[str]]]:
    """The metrics of a query, each with the labels that it selects or groups by."""
    text = re.sub(r'"[^"]*"', '""', query)
    grouped = {
        label for found in re.findall(r"\bby \(([^)]*)\)", text) for label in found.split(", ")
    }
    found = []
    for name, braces in re.findall(r"\b(up|(?:llmrouterd|process)_\w+)(?:\{([^}]*)\})?", text):
        found.append((name, set(re.findall(r"(\w+)[=!]", braces)) | grouped))
    return found


@pytest.mark.parametrize(
    ("name", "query"),
    [*panel_queries(), *((rule["alert"], rule["expr"]) for rule in alerts())],
)
def test_what_is_queried_exists(name: str, query: str) -> None:
    known, asked = series(), used(query)
    assert asked, name
    for metric, labels in asked:
        assert metric in known, name
        assert labels <= known[metric], (name, metric)


def test_every_metric_is_on_the_dashboard() -> None:
    """What nobody looks at would not have to be counted. Policy's digest is for joins."""
    text = DASHBOARD.read_text()
    names = {f.name for f in Metrics().registry.collect() if f.name.startswith("llmrouterd_")}
    assert {name for name in names if name not in text} == {"llmrouterd_policy_info"}


def test_every_metric_is_documented() -> None:
    rows = [row for table in tables(section("docs/metrics.md", "## Metrics")) for row in table]
    named = {name for row in rows for name in bare(row[0])}
    for family in Metrics().registry.collect():
        assert family.name + ("_total" if family.type == "counter" else "") in named


def test_every_alert_is_documented_and_tested() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names))
    rows = tables(section("docs/monitoring.md", "## Alerts"))[0]
    assert [bare(row[0])[0] for row in rows] == names
    tests = yaml.safe_load((DEPLOY / "prometheus" / "alerts_test.yml").read_text())["tests"]
    fired = {
        case["alertname"]
        for one in tests
        for case in one["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert fired == set(names)


def test_the_dashboard_is_whole() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert [one["name"] for one in board["templating"]["list"]] == ["datasource", "model"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(one["datasource"]["uid"] == "${datasource}" for one in panel["targets"])
    exemplified = {
        name.removesuffix("_bucket")
        for panel in panels()
        for target in panel["targets"]
        if target["exemplar"]
        for name, _ in used(target["expr"])
    }
    assert {
        "llmrouterd_time_to_first_token_seconds",
        "llmrouterd_request_duration_seconds",
        "llmrouterd_model_load_seconds",
    } <= exemplified


@needs_promtool
def test_rules_and_configuration() -> None:
    folder = DEPLOY / "prometheus"
    assert "SUCCESS" in promtool("check", "config", folder / "prometheus.yml")
    assert f"{len(alerts())} rules found" in promtool("check", "rules", "--lint=all", RULES)
    assert "SUCCESS" in promtool("test", "rules", folder / "alerts_test.yml")


@needs_promtool
def test_the_panels_queries_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "panels.yml"
    rules = [
        {"record": f"panel:number{number}", "expr": query}
        for number, (_, query) in enumerate(panel_queries())
    ]
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", file)


@asynccontextmanager
async def served(open_daemon: Opener) -> AsyncIterator[Running]:
    """A daemon that has loaded, evicted, answered and failed, so that every metric has a value."""
    gigabyte = 10**9
    models = [
        FakeModel(name=f"{name}:1b", size=6 * gigabyte, load_seconds=0.02) for name in ("a", "b")
    ]
    async with FakeOllama(models, tokens=3) as ollama:
        daemon = await open_daemon(
            {
                "backends": [{"name": "o", "type": "ollama", "url": ollama.url}],
                "residency": {"hosts": [{"name": "local", "vram_gb": 11}], "minimum_seconds": 0},
            }
        )
        for model in ("a:1b", "b:1b", "a:1b"):
            assert (await daemon.chat("Hello", model=model)).status == 200
        yield daemon


@needs_promtool
async def test_promtool_has_nothing_to_say_of_the_metrics(open_daemon: Opener) -> None:
    async with served(open_daemon) as daemon:
        exposed = (await daemon.get("/metrics")).body
    assert promtool("check", "metrics", given=exposed) == ""


# Nothing fails in this test, nothing has a price, and no figures are fetched.
EMPTY = {
    "Spent",
    "Left of budgets",
    "Failovers and interruptions",
    "Age of the published figures",
    "What is held against models and backends",
}


@needs_prometheus
async def test_a_real_prometheus_answers_every_panel(open_daemon: Opener, tmp_path: Path) -> None:
    """It scrapes a daemon under the sample configuration, finds data for every panel, has the
    exemplars, and no alert is pending."""
    async with served(open_daemon) as daemon, prometheus(daemon, tmp_path) as url:

        async def ask(path: str, **given: str) -> Any:
            async with daemon.http.get(f"{url}/api/v1/{path}", params=given) as answer:
                assert answer.status == 200, await answer.text()
                return (await answer.json())["data"]

        async def until(query: str) -> None:
            async with asyncio.timeout(30):
                while not (await ask("query", query=query))["result"]:
                    await asyncio.sleep(0.1)

        await until("llmrouterd_build_info")
        await daemon.chat("Hello", model="b:1b")  # between two scrapes, so that there are rates
        await until('increase(llmrouterd_model_load_seconds_count{model="o/b:1b"}[1m]) > 0')
        for title, query in panel_queries():
            found = await ask("query", query=query)
            assert found["result"] or title in EMPTY, (title, query)
        metric = "llmrouterd_time_to_first_token_seconds_bucket"
        exemplars = await ask("query_exemplars", query=metric, start="0", end="99999999999")
        ids = {one["labels"]["decision_id"] for row in exemplars for one in row["exemplars"]}
        rows = (await daemon.get("/admin/decisions?limit=10")).data["decisions"]
        assert ids
        assert ids <= {row["id"] for row in rows}
        (group,) = (await ask("rules"))["groups"]
        assert [rule["state"] for rule in group["rules"]] == ["inactive"] * len(alerts())


@asynccontextmanager
async def prometheus(daemon: Running, folder: Path) -> AsyncIterator[str]:
    """A Prometheus that scrapes a daemon every quarter of a second; its address."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "250ms", "evaluation_interval": "250ms"}
    config["rule_files"] = [str(RULES)]
    targets = [daemon.url.removeprefix("http://")]
    config["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--enable-feature=exemplar-storage",
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            while b"Server is ready" not in (line := await process.stderr.readline()):
                assert line, "it ended"
        yield f"http://{address}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()
