"""Published figures find their models, and no others: the packaged figures, and made-up ones."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.assemble import Knowledge, with_evidence
from llmrouterd.benchmarks.packaged import read_name_tables, read_packaged
from llmrouterd.benchmarks.rows import BenchmarkRow, PublishedFacts
from llmrouterd.catalog import Model
from llmrouterd.library import Library
from llmrouterd.naming import Identity
from tests.support.policies import policy

BACKENDS = """
backends:
  - {name: box, type: ollama, url: http://box}
  - {name: cloud, type: openai, url: https://api.example.com/v1}
"""


@cache
def packaged() -> Library:
    """What a first start without a network knows."""
    sources = read_packaged().values()
    rows = [row for source in sources for row in source.rows]
    facts = [fact for source in sources for fact in source.facts]
    return Library(rows, facts, read_name_tables())


def local(name: str, library: Library | None = None, **fields: Any) -> Model:
    backend = fields.pop("backend", "box")
    model = Model(id=f"{backend}/{name}", name=name, backend=backend, **fields)
    knowledge = Knowledge(library=library or packaged())
    return with_evidence(model, policy(BACKENDS), knowledge, {})


def sources(model: Model, category: str = "overall") -> str:
    return "; ".join(source.source for source in model.evidence[category].sources)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("llama3.1:8b", 8.0, "meta-llama/Llama-3.1-8B-Instruct"),
        ("qwen2.5-coder:7b", 7.6, "Qwen/Qwen2.5-Coder-7B-Instruct"),
        ("gpt-oss:20b", 20.9, "gpt-oss-20b"),
        ("phi4:14b", 14.7, "microsoft/phi-4"),
        ("Meta-Llama-3.1-70B-Instruct-Q4_K_M.gguf", 70.6, "meta-llama/Llama-3.1-70B-Instruct"),
    ],
)
def test_the_popular_models_are_known_without_a_network(
    name: str, size: float, expected: str
) -> None:
    found = local(name, size_b=size)
    assert expected in sources(found)
    assert (
        found.evidence["overall"].sd
        < local("nobody-knows:7b", size_b=7.0).evidence["overall"].sd / 2
    )


@pytest.mark.parametrize(
    ("name", "size", "foreign"),
    [
        ("gemma:2b", 2.5, "gemma-2-2b"),
        ("phi4-mini", 3.8, "microsoft/phi-4,"),
        ("deepseek-r1:7b", 7.6, "deepseek-r1,"),
        ("deepseek-coder-v2:16b", 15.7, "236"),
        ("qwen2.5vl:7b", 8.3, "Qwen/Qwen2.5-7B-Instruct"),
        ("qwen3:30b-a3b", 30.5, "Qwen/Qwen3-32B,"),
        ("llama3.1-abliterated:8b", 8.0, "meta-llama/Llama-3.1-8B-Instruct,"),
    ],
)
def test_look_alikes_get_no_figures_of_each_other(name: str, size: float, foreign: str) -> None:
    known = [s.source for s in local(name, size_b=size).evidence["overall"].sources]
    assert not any(foreign in source for source in known if not source.startswith("prior"))


def test_ratings_come_out_in_the_right_order() -> None:
    def rating(name: str, size: float) -> float:
        return local(name, size_b=size).evidence["overall"].mean * 400 / math.log(10) + 1300

    order = [("smollm2:135m", 0.135), ("llama3.1:8b", 8.0), ("llama3.3:70b", 70.6)]
    found = [rating(*item) for item in order]
    assert found == sorted(found)
    assert found[1] - found[0] > 100
    assert rating("never-heard-of-it:7b", 7.0) < rating("gemma3:27b", 27.4)


WORDS = st.text("abcdefghij0123456789-.", min_size=3, max_size=20)


@given(WORDS, WORDS)
def test_a_row_of_another_family_never_enters(name: str, other: str) -> None:
    row = BenchmarkRow(model=f"qwen2.5-{other}-instruct", board="lmarena/overall", value=1990.0)
    library = Library([row])
    found = local(f"llama3-{name}", library, size_b=8.0)
    assert "1990" not in sources(found)


def test_the_owners_word_wins() -> None:
    row = BenchmarkRow(model="secret-model", board="lmarena/coding", value=1500.0)
    library = Library([row])
    assert "1500" not in sources(local("mine", library), "coding")
    assert "lmarena/coding 1500" in sources(
        local("mine", library, canonical="secret-model"), "coding"
    )
    named = BenchmarkRow(model="box/mine", board="lmarena/coding", value=1400.0)
    assert "lmarena/coding 1400" in sources(local("mine", Library([named])), "coding")


def test_what_nobody_knows_gets_suggestions_and_no_figures() -> None:
    identity = Identity(name="quen2.5-7b-instrukt", backend="openai")
    assert packaged().identify(identity).matches == ()
    suggested = packaged().suggest(identity)
    assert any("qwen2.5-7b" in model.lower() for _, model, _ in suggested)
    assert local("quen2.5-7b-instrukt", size_b=7.0).evidence["overall"].sources[0].source == (
        "prior: size 7B"
    )


def test_registries_speak_for_apis_and_not_for_servers_at_home() -> None:
    fact = PublishedFacts(
        source="models_dev",
        model="acme/giant-2",
        context=200_000,
        price=(1.0, 4.0),
        capabilities=frozenset({"chat", "tools"}),
        released="2026-03-01",
    )
    library = Library((), [fact])
    remote = local("acme/giant-2", library, backend="cloud", remote=True)
    assert (remote.context, remote.price) == (200_000, (1.0, 4.0))
    assert remote.capabilities == {"chat", "tools"}
    told = local("acme/giant-2", library, backend="cloud", remote=True, context=8192)
    assert told.context == 8192
    home = local("acme/giant-2", library, size_b=9.0)
    assert (home.context, home.price, home.capabilities) == (None, None, None)
    assert "released 2026.2" in sources(home)


def test_another_size_of_the_line_is_a_prior() -> None:
    rows = [
        BenchmarkRow(model=f"qwen2.5-{size}b-instruct", board="lmarena/overall", value=value)
        for size, value in ((7, 1230.0), (72, 1300.0))
    ]
    found = local("qwen2.5:14b", Library(rows, (), read_name_tables()), size_b=14.8)
    assert sources(found).startswith("prior: its line (qwen2.5-")
    other = local("qwen2.5:7b", Library(rows, (), read_name_tables()), size_b=7.6)
    assert "lmarena/overall 1230" in sources(other)
    assert "prior: its line (qwen2.5-72b-instruct)" in sources(other)


def test_a_files_bits_tell_its_quantisation() -> None:
    name, small = "Llama-3.1-8B-Instruct", int(3.18e9)
    model = local(name, size_b=8.03, size_bytes=small)
    assert (model.quantization or "").startswith("Q2_K")
    whole = local(name, size_b=8.03)
    assert model.evidence["overall"].mean < whole.evidence["overall"].mean
    said = local(name, size_b=8.03, size_bytes=small, quantization="Q8_0")
    assert said.quantization == "Q8_0"


def test_the_newest_row_dates_the_others() -> None:
    def sd(*dates: str) -> float:
        rows = [
            BenchmarkRow(
                model=f"qwen2.5-{7 + at}b-instruct",
                board="lmarena/overall",
                value=1200.0,
                date=date,
            )
            for at, date in enumerate(dates)
        ]
        return local("qwen2.5:7b", Library(rows), size_b=7.0).evidence["overall"].sd

    assert sd("2020-01-01", "2026-01-01") > sd("2026-01-01", "2026-01-01")
