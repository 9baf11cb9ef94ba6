"""What Ollama says of its models, whatever its version sends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.backends import ollama_facts as facts

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
json_values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_tags() -> None:
    entry = {
        "name": "llama3.2:3b",
        "model": "llama3.2:3b",
        "modified_at": "2026-01-01T00:00:00Z",
        "size": 2019393189,
        "digest": "a80c4f17acd5",
        "details": {
            "format": "gguf",
            "family": "llama",
            "parameter_size": "3.2B",
            "quantization_level": "Q4_K_M",
            "context_length": 131072,
        },
        "capabilities": ["completion", "tools"],
    }
    body = {"models": [entry, {"model": "only"}, {"size": 1}, None]}
    assert facts.parse_tags(body) == (
        facts.TaggedModel(
            name="llama3.2:3b",
            digest="a80c4f17acd5",
            size=2019393189,
            modified_at="2026-01-01T00:00:00Z",
            family="llama",
            parameter_count=3_200_000_000,
            quantization="Q4_K_M",
            context_length=131072,
            capabilities=frozenset({"completion", "tools"}),
        ),
        facts.TaggedModel(name="only"),
    )
    assert facts.parse_tags({}) == facts.parse_tags({"models": None}) == ()


def test_ps() -> None:
    entry = {"name": "a", "size": 8, "size_vram": 6, "context_length": 4096, "expires_at": "x"}
    assert facts.parse_ps({"models": [entry, {"name": "cpu", "size": 8}]}) == (
        facts.RunningModel(name="a", size=8, size_vram=6, context_length=4096, expires_at="x"),
        facts.RunningModel(name="cpu", size=8, size_vram=0),
    )


def shown(parameters: Any = None, **info: Any) -> facts.ShownModel:
    body = {"model_info": {"general.architecture": "llama", **info}, "parameters": parameters}
    return facts.parse_show(body)


def test_show() -> None:
    model = facts.parse_show(
        {
            "parameters": 'num_ctx                 8192\nstop                    "<|eot|>"',
            "details": {
                "family": "qwen3",
                "parameter_size": "14.8B",
                "quantization_level": "Q4_K_M",
            },
            "model_info": {
                "general.architecture": "qwen3",
                "general.parameter_count": 14768307200,
                "qwen3.context_length": 40960,
                "qwen3.embedding_length": 5120,
            },
            "capabilities": ["completion", "tools", "thinking"],
        }
    )
    assert model == facts.ShownModel(
        family="qwen3",
        architecture="qwen3",
        parameter_count=14768307200,
        quantization="Q4_K_M",
        trained_context=40960,
        num_ctx=8192,
        context_length=8192,
        embedding_length=5120,
        capabilities=frozenset({"completion", "tools", "thinking"}),
    )


@pytest.mark.parametrize(
    ("parameters", "trained", "num_ctx", "context"),
    [
        (None, 4096, None, 4096),
        ("num_ctx 2048", 4096, 2048, 2048),
        ("num_ctx 9999", 4096, 9999, 4096),
        ("temperature 1\nnum_ctx 1\nnum_ctx 2048", None, 2048, 2048),
        ("my_num_ctx 7\nstop num_ctx", 4096, None, 4096),
        ("num_ctx 0", 4096, None, 4096),
        (7, 4096.0, None, 4096),
        (None, "4096", None, None),
        (None, True, None, None),
        (None, -1, None, None),
        (None, 10**400, None, 10**400),
    ],
)
def test_context(parameters: Any, trained: Any, num_ctx: int | None, context: int | None) -> None:
    model = shown(parameters, **{"llama.context_length": trained, "clip.context_length": 77})
    assert (model.num_ctx, model.context_length) == (num_ctx, context)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("8.0B", 8_000_000_000),
        ("137M", 137_000_000),
        ("268.10M", 268_100_000),
        ("1.0T", 10**12),
        ("22k", 22_000),
        ("", None),
        ("B", None),
        ("0B", None),
        ("8x7B", None),
        ("1e9B", None),
        (8, None),
        (None, None),
    ],
)
def test_parse_size(text: Any, count: int | None) -> None:
    assert facts.parse_size(text) == count


NAMES = ["models", "name", "model", "size", "digest", "details", "family", "parameter_size"]
NAMES += ["quantization_level", "model_info", "context_length", "embedding_length", "parameters"]
NAMES += ["capabilities", "general.architecture", "general.parameter_count", "llama.context_length"]
known = st.sampled_from([*NAMES, "size_vram", "expires_at"])
near_answers = st.recursive(
    leaves | st.just("llama"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(known, inner, max_size=6),
    max_leaves=20,
)


@given(json_values | near_answers)
def test_any_json_gives_facts_or_a_value_error(body: Any) -> None:
    for parse in (facts.parse_tags, facts.parse_ps, facts.parse_show):
        try:
            found = parse(body)
        except ValueError as problem:
            refused = str(problem)
            found = ()
        else:
            refused = "Ollama's /api/"
        assert refused.startswith("Ollama's /api/")
        for model in found if isinstance(found, tuple) else ():
            assert model.name
            assert model.size is None or model.size >= 0
