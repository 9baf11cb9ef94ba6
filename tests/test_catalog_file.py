"""Catalog files: what is written is read back as it was; what is wrong is said with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmrouterd.api.admin import model_data
from llmrouterd.catalog import Catalog, Profile
from llmrouterd.catalog_file import CatalogFileError, read_catalog
from llmrouterd.evidence import OVERALL
from llmrouterd.scorer import Load
from tests.support.policies import catalog, model, policy


def written(folder: Path, content: Any) -> tuple[Catalog, Load]:
    file = folder / "catalog.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_catalog(str(file), policy())


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    models = catalog(
        model(
            "box/rich",
            aliases=("a", "b"),
            capabilities=frozenset({"chat", "vision"}),
            price=(1.0, 2.0),
            profile=Profile(samples=2, decode_tokens_per_second=12.5, measured_at="now"),
            quality={"coding": 0.8},
            digest="sha",
            pinned=True,
        ),
        model("box/poor", capabilities=None, context=None, size_b=None),
    )
    content = json.loads(json.dumps({"models": [model_data(m) for m in models.models]}))
    found, load = written(tmp_path, content)
    assert found == models
    assert load == Load()


def test_the_least_that_is_needed(tmp_path: Path) -> None:
    found, _ = written(tmp_path, {"models": [{"id": "box/m"}, {"id": "alone", "size_b": 3}]})
    assert [(m.name, m.backend) for m in found.models] == [("alone", ""), ("m", "box")]
    assert set(found.models[0].evidence) == {OVERALL, *policy().categories}


def test_rows_and_estimates_make_the_evidence(tmp_path: Path) -> None:
    found, load = written(
        tmp_path,
        {
            "models": [
                {"id": "box/m", "canonical": "m-7b", "resident": True, "quality": {"math": 0.7}}
            ],
            "benchmarks": [{"model": "m-7b", "board": "lmarena/coding", "value": 1400}],
        },
    )
    evidence = found.models[0].evidence
    assert evidence["coding"].sources[0].source == "lmarena/coding 1400"
    assert "owner: 0.7" in [source.source for source in evidence["math"].sources]
    assert load.resident == {"box/m"}


def test_the_live_state_to_assume(tmp_path: Path) -> None:
    live = {
        "resident": ["box/m"],
        "busy": {"box/m": 2},
        "cooling": {"box/m": "it failed"},
        "slots": {"box/m": 4},
        "sticky": "box/m",
    }
    _, load = written(tmp_path, {"models": [{"id": "box/m"}], "load": live})
    assert load == Load(**{**live, "resident": frozenset({"box/m"})})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "$: [] is not of type 'object'"),
        ("{}", "$: 'models' is a required property"),
        ('{"models": {}}', "$.models: {} is not of type 'array'"),
        ('{"models": [1]}', "$.models[0]: 1 is not of type 'object'"),
        ('{"models": [{}]}', "$.models[0]: 'id' is a required property"),
        ('{"models": [{"id": ""}]}', "$.models[0].id: '' should be non-empty"),
        ('{"models": [{"id": "a"}, {"id": "b", "sise_b": 1}]}', "$.models[1]: Additional pro"),
        ('{"models": [{"id": "a", "profile": {"speed": 1}}]}', "$.models[0].profile: Additional"),
        (
            '{"models": [{"id": "a", "evidence": {"math": {"mean": 1}}}]}',
            "$.models[0].evidence.math",
        ),
        (
            '{"models": [{"id": "a", "evidence": {"x": {"mean": 1, "sd": 1, "sources": [{}]}}}]}',
            "$.models[0].evidence.x: ",
        ),
        ('{"models": [{"id": "a", "price": 1}]}', "$.models[0].price: 1 is not of type"),
        ('{"models": [{"id": "a", "price": [1]}]}', "$.models[0].price: [1] is too short"),
        ('{"models": [{"id": "a", "size_b": "big"}]}', "$.models[0].size_b: 'big' is not of type"),
        ('{"models": [{"id": "a", "quality": {"math": 1}}]}', "$.models[0].quality.math: 1 is"),
        ('{"models": [{"id": "a", "context": "8k"}]}', "$.models[0].context: '8k' is not"),
        ('{"models": [{"id": "a", "capabilities": "chat"}]}', "$.models[0].capabilities: 'chat'"),
        ('{"models": [{"id": "a", "profile": 3}]}', "$.models[0].profile: 3 is not"),
        ('{"models": [], "benchmarks": [{"model": "m"}]}', "$.benchmarks[0]: 'board' is a requ"),
        ('{"models": [], "benchmarks": [3]}', "$.benchmarks[0]: 3 is not"),
        ('{"models": [], "load": {"busy": 3}}', "$.load.busy: 3 is not"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(CatalogFileError) as caught:
        written(tmp_path, content)
    assert str(caught.value).startswith(str(tmp_path))
    assert message in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogFileError, match="cannot be read: No such file"):
        read_catalog(str(tmp_path / "none"), policy())
