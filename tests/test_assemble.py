"""What backends report, what the owner says, what is known: one catalog."""

from __future__ import annotations

from typing import Any

import pytest

from llmrouterd.assemble import Knowledge, assemble
from llmrouterd.benchmarks.rows import BenchmarkRow
from llmrouterd.catalog import Catalog, Model, ModelFacts, Profile
from llmrouterd.library import Library
from tests.support.policies import policy

BASE = """
backends:
  - {name: box, type: ollama, url: http://box, exclude: ["*embed*"]}
  - {name: cloud, type: openai, url: https://api.example.com/v1, include: ["gpt*"]}
  - {name: lan, type: openai, url: http://192.168.1.4:8000/v1}
"""


def built(more: str = "", knowledge: Knowledge | None = None, **facts: Any) -> Catalog:
    known = knowledge or Knowledge()
    return assemble(policy(BASE + more), facts, known)


def one(more: str = "", backend: str = "box", **fields: Any) -> Model:
    (found,) = built(more, **{backend: [ModelFacts(name="gpt-m", **fields)]}).models
    return found


def test_globs_and_backends_that_are_gone() -> None:
    facts = {
        "box": [ModelFacts(name="llama"), ModelFacts(name="nomic-embed-text")],
        "cloud": [ModelFacts(name="gpt-5"), ModelFacts(name="whisper")],
        "gone": [ModelFacts(name="x")],
    }
    assert list(built(**facts).by_id) == ["box/llama", "cloud/gpt-5"]


@pytest.mark.parametrize(("backend", "remote"), [("box", False), ("cloud", True), ("lan", False)])
def test_who_is_remote(backend: str, remote: bool) -> None:
    assert one(backend=backend).remote is remote


@pytest.mark.parametrize(
    ("more", "reported", "num_ctx", "context"),
    [
        ("", 32768, 8192, 8192),
        ("", 4096, 4096, 4096),
        ("", None, 8192, 8192),
        ("residency: {num_ctx: 0}\n", 32768, None, 32768),
        ("models: [{match: 'box/*', num_ctx: 16384}]\n", 32768, 16384, 16384),
        ("models: [{match: 'box/*', num_ctx: 65536}]\n", 32768, 32768, 32768),
        ("models: [{match: 'box/*', context: 2000}]\n", 32768, 8192, 2000),
    ],
)
def test_the_context_is_what_ollama_will_really_load(
    more: str, reported: int | None, num_ctx: int | None, context: int | None
) -> None:
    found = one(more, context=reported)
    assert (found.num_ctx, found.context) == (num_ctx, context)
    other = one("", backend="lan", context=reported)
    assert (other.num_ctx, other.context) == (None, reported)


def test_the_owner_knows_better_and_later_rules_win() -> None:
    more = """
models:
  - {match: "*", aliases: [any], quality: {coding: 0.6}, size_b: 3}
  - {match: "box/*", aliases: [mine], capabilities: [chat, vision], price: {input: 1, output: 2}}
  - {match: "box/gpt-m", size_b: 4, quality: {math: 0.4}, enabled: false, canonical: gpt-m}
  - {match: "box/other", size_b: 99}
"""
    found = one(more, size_b=7.0, capabilities=frozenset({"chat"}), aliases=("own",))
    assert found.aliases == ("own", "any", "mine")
    assert found.size_b == 4
    assert found.capabilities == {"chat", "vision"}
    assert found.price == (1, 2)
    assert not found.enabled
    assert found.canonical == "gpt-m"
    for name, said in (("coding", "owner: 0.6"), ("math", "owner: 0.4")):
        assert said in [source.source for source in found.evidence[name].sources]


@pytest.mark.parametrize(
    ("more", "pinned", "keep_alive"),
    [
        ("", False, "2h"),
        ("pins: ['box/*']\n", True, "-1"),
        ("models: [{match: 'box/*', pinned: true}]\n", True, "-1"),
        ("models: [{match: 'box/*', keep_alive: 1h}]\n", False, "1h"),
        ("residency: {keep_alive: ''}\n", False, None),
    ],
)
def test_pins_and_keep_alive(more: str, pinned: bool, keep_alive: str | None) -> None:
    found = one(more)
    assert (found.pinned, found.keep_alive) == (pinned, keep_alive)


def test_a_profile_belongs_to_the_weights_it_was_taken_of() -> None:
    profile = Profile(samples=2, decode_tokens_per_second=33.0)
    known = Knowledge(profiles={"box/m": ("sha-1", profile)})
    same = built(knowledge=known, box=[ModelFacts(name="m", digest="sha-1")])
    pulled = built(knowledge=known, box=[ModelFacts(name="m", digest="sha-2")])
    assert same.models[0].profile == profile
    assert pulled.models[0].profile == Profile()


def test_rows_reach_their_model() -> None:
    rows = [
        BenchmarkRow(model="box/m", board="lmarena/coding", value=1400.0),
        BenchmarkRow(model="box/m", board="lmarena/math", value=1300.0),
        BenchmarkRow(model="other", board="lmarena/math", value=1.0),
    ]
    known = Knowledge(library=Library(rows))
    (found,) = built(knowledge=known, box=[ModelFacts(name="m")]).models
    sources = [source.source for source in found.evidence["coding"].sources]
    assert sources[0] == "lmarena/coding 1400"
    assert not any("lmarena/math 1" in source for source in sources[1:] if "overall" not in source)


def test_assembling_twice_gives_equal_catalogs() -> None:
    facts = {"box": [ModelFacts(name="a"), ModelFacts(name="b")]}
    assert built(**facts) == built(box=list(reversed(facts["box"])))
