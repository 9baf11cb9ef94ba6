"""Chunks put together again: any stream of an answer gives that answer back."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion
from openai.types.chat import ChatCompletion

from llmrouterd.aggregate import ChatAggregate, CompletionAggregate

HEAD = {"id": "c-1", "object": "chat.completion.chunk", "created": 7, "model": "m"}


def delta(index: int = 0, finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": index, "delta": said, "finish_reason": finish}]}


def whole(*chunks: dict[str, Any]) -> dict[str, Any]:
    aggregate = ChatAggregate()
    for chunk in chunks:
        aggregate.add(chunk)
    return aggregate.result()


def message(*chunks: dict[str, Any]) -> dict[str, Any]:
    return dict(whole(*chunks)["choices"][0]["message"])


def call(
    index: int | None = None, name: str | None = None, arguments: str | None = None, **more: Any
) -> Any:
    function = {"name": name, "arguments": arguments}
    fragment = {"function": {k: v for k, v in function.items() if v is not None}, **more}
    return fragment if index is None else {"index": index, **fragment}


def test_the_whole_object() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    result = whole(
        delta(role="assistant", content=None) | {"system_fingerprint": "fp", "usage": None},
        delta(content="Hel") | {"service_tier": "default"},
        delta(content="lo"),
        delta(finish="stop"),
        {**HEAD, "choices": [], "usage": usage, "timings": {"predicted_n": 2}},
    )
    assert result == {
        "id": "c-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "system_fingerprint": "fp",
        "service_tier": "default",
        "usage": usage,
        "timings": {"predicted_n": 2},
    }
    ChatCompletion.model_validate(result, strict=True)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([delta(content="a"), delta(content=None), delta(content="b")], {"content": "ab"}),
        ([delta(content="")], {"content": ""}),
        ([delta(finish="stop")], {"content": ""}),
        ([delta(reasoning_content="x"), delta(reasoning_content="y")], {"reasoning_content": "xy"}),
        ([delta(reasoning="x"), delta(reasoning="y"), delta(content="z")], {"reasoning": "xy"}),
        ([delta(thinking="x"), delta(thinking="y")], {"thinking": "xy"}),
        ([delta(refusal="I "), delta(refusal="won't")], {"refusal": "I won't", "content": None}),
        ([delta(content="", refusal=None)], {"refusal": None, "content": ""}),
        ([delta(new="x"), delta(new="y")], {"new": "xy"}),
        ([delta(new=1), delta(new=2), delta(new=None)], {"new": 2}),
        ([delta(new={"a": 1}), delta(new={"b": 2})], {"new": {"a": 1, "b": 2}}),
        ([delta(annotations=[1]), delta(annotations=[2])], {"annotations": [1, 2]}),
        (
            [
                delta(function_call={"name": "f", "arguments": "{"}),
                delta(function_call={"arguments": "}"}),
            ],
            {"function_call": {"name": "f", "arguments": "{}"}, "content": None},
        ),
        (
            [delta(content=[{"type": "thinking"}]), delta(content="a"), delta(content="b")],
            {"content": [{"type": "thinking"}, {"type": "text", "text": "ab"}]},
        ),
        (
            [delta(content="a"), delta(content=[{"type": "x"}])],
            {"content": [{"type": "text", "text": "a"}, {"type": "x"}]},
        ),
        (
            [{**HEAD, "choices": [{"message": {"content": "all at once"}}]}],
            {"content": "all at once"},
        ),
        ([delta(role="assistant"), delta(role="assistant")], {"role": "assistant"}),
    ],
)
def test_messages(chunks: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    made = message(*chunks)
    assert {name: made[name] for name in expected} == expected


def test_audio_is_joined() -> None:
    pieces = [b"\x01", b"\x02\x03", b"\x04\x05\x06"]
    audio = [{"data": base64.b64encode(piece).decode()} for piece in pieces]
    made = message(
        delta(audio={"id": "a", "transcript": "He"}),
        *(delta(audio=piece) for piece in audio),
        delta(audio={"transcript": "llo", "expires_at": 9}),
    )
    assert base64.b64decode(made["audio"].pop("data"), validate=True) == b"".join(pieces)
    assert made["audio"] == {"id": "a", "transcript": "Hello", "expires_at": 9}
    assert made["content"] is None
    odd = message(delta(audio={"data": "?="}), delta(audio={"data": "AAA="}))
    assert odd["audio"]["data"] == "?=AAA="
    assert message(delta(audio=[]), delta(audio={"id": "a"}))["audio"] == {"id": "a"}


def test_choices_by_index() -> None:
    result = whole(
        delta(1, content="b"),
        delta(0, content="a"),
        delta(1, content="B", finish="length"),
        delta(0, finish="stop"),
    )
    assert [
        (c["index"], c["message"]["content"], c["finish_reason"]) for c in result["choices"]
    ] == [
        (0, "a", "stop"),
        (1, "bB", "length"),
    ]


def test_logprobs_are_concatenated() -> None:
    chunks = [delta(content=t) for t in "ab"]
    for chunk, lists in zip(
        chunks, [{"content": [1], "refusal": None}, {"content": [2]}], strict=True
    ):
        chunk["choices"][0]["logprobs"] = lists
    assert whole(*chunks)["choices"][0]["logprobs"] == {"content": [1, 2], "refusal": None}
    assert chunks[0]["choices"][0]["logprobs"] == {"content": [1], "refusal": None}


def test_fields_of_azure_and_others() -> None:
    safe = {"hate": {"filtered": False}}
    opening = {"id": "", "created": 0, "model": "", "object": "", "choices": []}
    first, last = delta(content="a"), delta(finish="stop")
    first["choices"][0] |= {"content_filter_results": safe, "token_ids": [1]}
    last["choices"][0] |= {"content_filter_results": {}, "token_ids": [2], "stop_reason": None}
    result = whole(
        {**opening, "prompt_filter_results": [{"prompt_index": 0}]},
        {**first, "obfuscation": "xx", "x_router": 1},
        {**last, "obfuscation": "yy", "x_router": 2},
    )
    choice = result["choices"][0]
    assert (result["id"], result["created"], result["model"]) == ("c-1", 7, "m")
    assert result["prompt_filter_results"] == [{"prompt_index": 0}]
    assert result["x_router"] == 2
    assert "obfuscation" not in result
    assert choice["content_filter_results"] == safe
    assert choice["token_ids"] == [1, 2]
    assert choice["stop_reason"] is None


@pytest.mark.parametrize(
    ("chunks", "finished"),
    [
        ([], False),
        ([{**HEAD, "choices": []}], False),
        ([delta(content="a")], False),
        ([delta(content="a"), delta(finish="stop")], True),
        ([delta(content="a", finish="stop")], True),
        ([delta(0, finish="stop"), delta(1, content="a")], False),
        ([delta(0, finish="stop"), delta(1, finish="length")], True),
        ([delta(finish="stop"), {**HEAD, "choices": None, "usage": {}}], True),
    ],
)
def test_finished(chunks: list[dict[str, Any]], finished: bool) -> None:
    aggregate = ChatAggregate()
    for chunk in chunks:
        aggregate.add(chunk)
    assert aggregate.finished is finished


words = st.text(max_size=20)
made_calls = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.uuids().map(str),
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {
                    "name": st.sampled_from(["f", "g"]),
                    "arguments": st.dictionaries(words, words).map(
                        lambda v: orjson.dumps(v).decode()
                    ),
                }
            ),
        }
    ),
    max_size=3,
)
answers = st.lists(
    st.fixed_dictionaries(
        {
            "content": words,
            "reasoning_content": words,
            "tool_calls": made_calls,
            "finish": st.sampled_from(["stop", "length"]),
        }
    ),
    min_size=1,
    max_size=3,
)


@given(answers, st.integers(1, 7))
def test_a_streamed_answer_comes_back(answer: list[dict[str, Any]], size: int) -> None:
    aggregate = ChatAggregate()
    for index, choice in enumerate(answer):
        aggregate.add(delta(index, role="assistant", content=None))
        for field in ("reasoning_content", "content"):
            for n in range(0, len(choice[field]), size):
                aggregate.add(delta(index, **{field: choice[field][n : n + size]}))
        for number, tool in enumerate(choice["tool_calls"]):
            arguments = tool["function"]["arguments"]
            opening = {**tool, "index": number, "function": {**tool["function"], "arguments": ""}}
            aggregate.add(delta(index, tool_calls=[opening]))
            for n in range(0, len(arguments), size):
                aggregate.add(
                    delta(index, tool_calls=[call(number, None, arguments[n : n + size])])
                )
    assert not aggregate.finished
    for index, choice in enumerate(answer):
        aggregate.add(delta(index, finish=choice["finish"]))
    assert aggregate.finished
    result = aggregate.result()
    assert result == aggregate.result()
    ChatCompletion.model_validate(result, strict=True)
    for choice, made in zip(answer, result["choices"], strict=True):
        assert (made["message"]["content"] or "") == choice["content"]
        assert made["message"].get("reasoning_content", "") == choice["reasoning_content"]
        assert made["message"].get("tool_calls", []) == choice["tool_calls"]
        assert made["finish_reason"] == choice["finish"]


NAMES = ["index", "delta", "content", "tool_calls", "function", "arguments", "name", "id", "data"]
NAMES += ["logprobs", "finish_reason", "audio", "role", "text", "custom", "refusal"]
json_values = st.recursive(
    st.none() | st.integers(-1, 2) | st.sampled_from(["", "a", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=8,
)
odd_choices = st.lists(
    st.dictionaries(st.sampled_from(["index", "delta", "message", "logprobs", "text"]), json_values)
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["id", "choices", "usage"]), json_values)),
    st.lists(odd_choices),
)
def test_odd_chunks_are_tolerated(chunks: list[dict[str, Any]], odd: list[Any]) -> None:
    for kind, name in (
        (ChatAggregate, "chat.completion"),
        (CompletionAggregate, "text_completion"),
    ):
        aggregate = kind()
        for chunk in [*chunks, *({"choices": choices} for choices in odd)]:
            aggregate.add(chunk)
        result = aggregate.result()
        assert result["object"] == name
        indexes = [choice["index"] for choice in result["choices"]]
        assert indexes == sorted(set(indexes))


def test_completions() -> None:
    aggregate = CompletionAggregate()
    lists = [
        {
            "tokens": ["a"],
            "token_logprobs": [-1.0],
            "top_logprobs": [{"a": -1.0}],
            "text_offset": [0],
        },
        {"tokens": ["b"], "token_logprobs": [-2.0], "top_logprobs": None, "text_offset": [1]},
    ]
    for text, logprobs in zip("ab", lists, strict=True):
        choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": None}
        aggregate.add({**HEAD, "object": "text_completion", "choices": [choice]})
    assert not aggregate.finished
    aggregate.add(
        {**HEAD, "choices": [{"index": 0, "text": "", "finish_reason": "stop", "logprobs": None}]}
    )
    aggregate.add({**HEAD, "choices": [{"index": 1, "text": "other", "finish_reason": "length"}]})
    aggregate.add(
        {
            **HEAD,
            "choices": [],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        }
    )
    assert aggregate.finished
    result = aggregate.result()
    Completion.model_validate(result, strict=True)
    assert result["object"] == "text_completion"
    assert [choice["text"] for choice in result["choices"]] == ["ab", "other"]
    assert result["choices"][0]["logprobs"] == {
        "tokens": ["a", "b"],
        "token_logprobs": [-1.0, -2.0],
        "top_logprobs": [{"a": -1.0}],
        "text_offset": [0, 1],
    }
    assert result["usage"]["total_tokens"] == 3
