"""The schema, the defaults and the shipped policy belong together; loading gives a Policy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from llmrouterd import data
from llmrouterd.classifier.category import read_category
from llmrouterd.config import load_policy, policy_schema
from llmrouterd.config.environment import names_in
from llmrouterd.config.files import rules_folder
from llmrouterd.config.schema import fill
from llmrouterd.errors import ConfigError
from llmrouterd.policy import Policy
from llmrouterd.settings import NAMES, Settings
from tests.support.policies import ROOT, policy, settings_for, write_lexicons

SHIPPED = ROOT / "config" / "router.yaml"
SECRET = "sk-very-secret-0815"


def _keys(schema: dict[str, Any], path: str = "$") -> Iterator[tuple[str, dict[str, Any], bool]]:
    """(path, schema, whether it is a key of its parent) of all keys, items and free values."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child, True
        yield from _keys(child, f"{path}.{name}")
    for word, suffix in (("items", "[]"), ("additionalProperties", ".*")):
        child = schema.get(word)
        if isinstance(child, dict):
            yield path + suffix, child, False
            yield from _keys(child, path + suffix)


KEYS = list(_keys(policy_schema()))


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(policy_schema())
    assert len(KEYS) > 150


@pytest.mark.parametrize(("path", "schema", "own"), KEYS, ids=[path for path, _, _ in KEYS])
def test_every_key_is_described(path: str, schema: dict[str, Any], own: bool) -> None:
    if not own:
        return  # items and free values are described where they are declared
    assert len(schema["description"]) >= 5
    assert schema["description"].endswith(".")
    assert "default" in schema
    assert schema["examples"]
    for example in schema["examples"]:
        if not (isinstance(example, str) and "${" in example):
            Draft202012Validator(schema).validate(example)
    if schema.get("type") == "object" and "properties" in schema:
        assert schema["additionalProperties"] is False


def test_examples_are_policies_too() -> None:
    """Each top-level example makes a whole policy that passes the schema."""
    validator = Draft202012Validator(policy_schema())
    for name, child in policy_schema()["properties"].items():
        for example in child["examples"]:
            validator.validate({name: example})


def test_defaults_make_an_empty_file_a_policy() -> None:
    filled = fill({}, policy_schema(), {})
    Draft202012Validator(policy_schema()).validate(_pruned(filled))
    made = policy("# only a comment")
    assert made == replace(policy("{}"), digest=made.digest)


def _pruned(value: Any) -> Any:
    """Without nulls, which mean 'not said'."""
    if isinstance(value, dict):
        return {key: _pruned(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_pruned(item) for item in value]
    return value


def test_the_shipped_policy_says_what_the_defaults_say(tmp_path: Path) -> None:
    shipped = load_policy(settings_for(SHIPPED, tmp_path))
    default = policy("{}")
    for name in Policy.__dataclass_fields__:
        if name not in ("digest", "lexicons", "validators"):
            assert getattr(shipped, name) == getattr(default, name), name


def test_the_shipped_policy_with_the_shipped_lexicons(tmp_path: Path) -> None:
    shipped = load_policy(Settings(policy=SHIPPED, rules=None, state=tmp_path, environ={}))
    assert set(shipped.categories) == {*shipped.lexicons.categories}
    assert len(shipped.categories) == 12
    assert (
        read_category(["write a python function that sorts a list"], shipped).category == "coding"
    )
    first = SHIPPED.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=schema.json"


def test_the_packaged_files_are_the_shipped_ones() -> None:
    assert data.DEFAULT_POLICY.read_bytes() == SHIPPED.read_bytes()
    assert {path.name for path in data.RULES.glob("*.yaml")} >= {
        f"{name}.yaml" for name in policy().categories
    }


def _documented() -> dict[str, str]:
    """NAME -> value of ENV_DEFAULT, commented-out settings included."""
    found = re.findall(r"(?m)^#? ?(ROUTER_[A-Z_]+)=(.*)$", (ROOT / "ENV_DEFAULT").read_text())
    return dict(found)


def test_every_variable_is_documented_and_read() -> None:
    read = {name for name in names_in(json.dumps(policy_schema())) if name.startswith("ROUTER_")}
    assert set(_documented()) == read | NAMES
    named = {name for name in names_in(SHIPPED.read_text()) if name.startswith("ROUTER_")}
    assert named <= read


def test_the_documented_values_are_the_defaults() -> None:
    given = {name: text for name, text in _documented().items() if name not in NAMES}
    assert policy("{}", **given) == policy("{}")


# Variable, value, and where it arrives.
EFFECTS = [
    ("ROUTER_HOST", "127.0.0.2", lambda p: p.server.host, "127.0.0.2"),
    ("ROUTER_PORT", "12345", lambda p: p.server.port, 12345),
    ("ROUTER_EXTERNAL_MODEL_NAME", "home/ai", lambda p: p.server.model_name, "home/ai"),
    ("ROUTER_EXPOSE_MODELS", "true", lambda p: p.server.expose_models, True),
    ("ROUTER_SIGNATURE", "by {model}", lambda p: p.server.signature, "by {model}"),
    (
        "ROUTER_GENERATION_TIMEOUT",
        "33",
        lambda p: {spec.timeouts.first_token for spec in p.backends},
        {33},
    ),
    ("ROUTER_DATABASE", "/srv/x.db", lambda p: p.storage.database, "/srv/x.db"),
    ("ROUTER_SYNC_HOURS", "0", lambda p: p.benchmarks.every_hours, 0),
    ("ROUTER_LOG_LEVEL", "debug", lambda p: p.logging.level, "debug"),
    ("ROUTER_LOG_FORMAT", "console", lambda p: p.logging.format, "console"),
    (
        "ROUTER_OLLAMA_URL",
        "http://gpu:11434/",
        lambda p: p.backend("ollama").url,
        "http://gpu:11434",
    ),
    ("ROUTER_LLAMA_CPP_URL", "http://gpu:1/", lambda p: p.backend("llamacpp").url, "http://gpu:1"),
    (
        "ROUTER_OPENAI_BASE_URL",
        "https://api.example.com/v1",
        lambda p: p.backend("openai") and p.backend("openai").url,
        "https://api.example.com/v1",
    ),
    (
        "ROUTER_PROVIDER",
        "llama.cpp",
        lambda p: [s.name for s in p.backends],
        ["llamacpp", "embedded"],
    ),
    ("ROUTER_ADMIN_API_KEY", SECRET, lambda p: p.auth.admin_digest is not None, True),
    (
        "ROUTER_OPENAI_API_KEY",
        SECRET,
        lambda p: p.backend("openai") is None,  # without a url the key alone does nothing
        True,
    ),
]


@pytest.mark.parametrize(("name", "text", "look", "expected"), EFFECTS, ids=[e[0] for e in EFFECTS])
def test_every_variable_works(name: str, text: str, look: Any, expected: Any) -> None:
    assert look(policy("{}")) != expected or name == "ROUTER_OPENAI_API_KEY"
    assert look(policy("{}", **{name: text})) == expected
    assert {row[0] for row in EFFECTS} | NAMES == set(_documented())


def test_the_key_of_the_api_reaches_its_backend_and_no_dump() -> None:
    url = {"ROUTER_OPENAI_BASE_URL": "https://api.example.com/v1"}
    made = policy("{}", **url, ROUTER_OPENAI_API_KEY=SECRET, ROUTER_ADMIN_API_KEY=SECRET)
    spec = made.backend("openai")
    assert spec is not None
    assert str(spec.api_key) == SECRET
    assert spec.remote
    assert SECRET not in repr(made)


def test_an_empty_value_means_the_default() -> None:
    assert policy("{}", ROUTER_PORT="", ROUTER_LOG_LEVEL="").server.port == 11436


def _digest(folder: Path, text: str, **environ: str) -> str:
    file = folder / "router.yaml"
    file.write_text(text)
    return load_policy(settings_for(file, folder, **environ)).digest


def test_the_digest_follows_what_counts(tmp_path: Path) -> None:
    text = "server: {port: 11436}\n"
    first = _digest(tmp_path, text)
    assert _digest(tmp_path, text) == first
    assert _digest(tmp_path, text, ROUTER_HOST="127.0.0.2") != first
    assert _digest(tmp_path, text, HOME="/elsewhere") == first
    assert _digest(tmp_path, text + "pins: [a/b]\n") != first
    lexicon = tmp_path / "small-rules" / "math.yaml"
    lexicon.write_text(lexicon.read_text().replace("integral", "matrix"))
    assert _digest(tmp_path, text) != first


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for file, reason in (
        (tmp_path / "none.yaml", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_policy(settings_for(file, tmp_path))
        assert str(caught.value) == f"{file}:1:1: $: cannot be read: {reason}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"server: \xff\xfe\n", "the file is not UTF-8 (byte 8); save it as UTF-8"),
        ("server: {}".encode("utf-16"), "the file is not UTF-8 (byte 0); save it as UTF-8"),
        (b"#" * 5_000_000, "the file has 5000000 bytes; at most 4194304 are allowed"),
    ],
)
def test_bytes_that_are_no_text(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "router.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_policy(settings_for(file, tmp_path))
    assert str(caught.value) == f"{file}:1:1: $: {message}"


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    assert _digest(tmp_path, "\ufeffpins: [a/b]\n")


def test_where_lexicons_are_looked_for(tmp_path: Path) -> None:
    file = tmp_path / "config" / "router.yaml"
    file.parent.mkdir()
    file.write_text("{}")
    settings = Settings(policy=file, rules=None, state=tmp_path, environ={})
    assert rules_folder(settings) == data.RULES
    above = write_lexicons(tmp_path / "rules")
    assert rules_folder(settings) == above
    beside = write_lexicons(tmp_path / "config" / "rules")
    assert rules_folder(settings) == beside
    assert load_policy(settings).lexicons.categories == tuple(load_policy(settings).categories)


def test_a_lexicon_of_ones_own_stands_beside_the_packaged_ones(tmp_path: Path) -> None:
    """A folder with one lexicon is enough: the others are the packaged ones."""
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "coding.yaml").write_text(
        "category: coding\ndescription: ours\ngroups: [{weight: 9, phrases: [frobnicate]}]\n"
    )
    file = tmp_path / "router.yaml"
    file.write_text("{}")
    made = load_policy(Settings(policy=file, rules=None, state=tmp_path, environ={}))
    assert read_category(["frobnicate"], made).category == "coding"
    assert read_category(["summarize this article for me"], made).category == "summarization"


def test_an_unreadable_lexicon_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    rules = write_lexicons(tmp_path / "rules")
    (rules / "math.yaml").unlink()
    (rules / "math.yaml").symlink_to("/proc/self/mem")  # a file that opens and cannot be read
    file = tmp_path / "router.yaml"
    file.write_text("{}")
    with pytest.raises(ConfigError) as caught:
        load_policy(Settings(policy=file, rules=rules, state=tmp_path, environ={}))
    (problem,) = caught.value.problems
    assert problem.path == "$.categories.math.lexicon"
    assert "cannot be read" in problem.message


def test_the_shipped_yaml_is_plain() -> None:
    assert set(yaml.safe_load(SHIPPED.read_text())) <= set(policy_schema()["properties"])
