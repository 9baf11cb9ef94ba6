"""Ollama's streams as OpenAI's chunks."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from llmrouterd.aggregate import ChatAggregate, CompletionAggregate
from llmrouterd.backends.ollama_stream import ChatStream, CompletionStream, OllamaStreamError

ids = {"completion_id": "chatcmpl-7", "created": 7, "model": "qwen3:14b"}

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
json_values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


DURATIONS = {
    "total_duration": 3_000_000_000,
    "load_duration": 1_500_000_000,
    "prompt_eval_count": 20,
    "prompt_eval_duration": 500_000_000,
    "eval_count": 10,
    "eval_duration": 1_000_000_000,
}


def said(**message: Any) -> dict[str, Any]:
    return {
        "model": "m",
        "created_at": "x",
        "message": {"role": "assistant", **message},
        "done": False,
    }


def done(reason: str = "stop", **measured: Any) -> dict[str, Any]:
    return {
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": reason,
        **measured,
    }


def stream(lines: list[dict[str, Any]], usage: bool = True) -> list[dict[str, Any]]:
    translator = ChatStream(**ids, include_usage=usage)
    return [chunk for line in lines for chunk in translator.feed(line)]


def test_a_chat_stream() -> None:
    chunks = stream([said(content="Hel"), said(content="lo"), done(**DURATIONS)])
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
        assert (chunk["id"], chunk["created"], chunk["model"]) == ("chatcmpl-7", 7, "qwen3:14b")
    assert [c["choices"][0]["delta"] for c in chunks[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]] == [None, None, None, "stop"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    assert chunks[-1]["timings"] == {
        "prompt_n": 20,
        "prompt_ms": 500.0,
        "prompt_per_token_ms": 25.0,
        "prompt_per_second": 40.0,
        "predicted_n": 10,
        "predicted_ms": 1000.0,
        "predicted_per_token_ms": 100.0,
        "predicted_per_second": 10.0,
        "load_ms": 1500.0,
    }


def test_without_usage_the_finish_carries_the_timings() -> None:
    chunks = stream([said(content="x"), done(**DURATIONS)], usage=False)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["timings"]["predicted_n"] == 10
    assert not any("usage" in chunk for chunk in chunks)


def test_absent_counts_mean_zero() -> None:
    last = stream([done(eval_count=3, eval_duration=0, load_duration=1_000_000)])[-1]
    assert last["usage"] == {"prompt_tokens": 0, "completion_tokens": 3, "total_tokens": 3}
    assert last["timings"] == {
        "prompt_n": 0,
        "prompt_ms": 0.0,
        "predicted_n": 3,
        "predicted_ms": 0.0,
        "predicted_per_token_ms": 0.0,
        "load_ms": 1.0,
    }
    assert "timings" not in stream([done()])[-1]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([done("stop")], "stop"),
        ([done("length")], "length"),
        ([done("load")], "stop"),
        ([{"done": True}], "stop"),
        ([said(tool_calls=[{"function": {"name": "f"}}]), done("stop")], "tool_calls"),
    ],
)
def test_finish_reasons(lines: list[dict[str, Any]], reason: str) -> None:
    assert stream(lines, usage=False)[-1]["choices"][0]["finish_reason"] == reason


def test_calls_and_thinking_survive_aggregation() -> None:
    lines = [
        said(thinking="let me "),
        said(thinking="see", content=""),
        said(tool_calls=[{"function": {"name": "now", "arguments": {}}}]),
        said(
            tool_calls=[
                {"id": "own", "function": {"index": 0, "name": "add", "arguments": {"a": [1]}}},
                {"function": {"name": "raw", "arguments": '{"b":2}'}},
            ]
        ),
        done(**DURATIONS),
    ]
    assert stream(lines) == stream(lines)
    whole = ChatAggregate()
    for chunk in stream(lines):
        whole.add(chunk)
    assert whole.finished
    result = whole.result()
    ChatCompletion.model_validate(result, strict=True)
    message = result["choices"][0]["message"]
    assert message["content"] is None
    assert message["reasoning_content"] == "let me see"
    assert [
        (c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message["tool_calls"]
    ] == [
        ("call_chatcmpl-7_0", "now", "{}"),
        ("own", "add", '{"a":[1]}'),
        ("call_chatcmpl-7_2", "raw", '{"b":2}'),
    ]
    assert result["choices"][0]["finish_reason"] == "tool_calls"
    assert result["usage"]["total_tokens"] == 30


def test_logprobs() -> None:
    entry = {"token": "Hi", "logprob": -0.5, "top_logprobs": [{"token": "Ho", "logprob": -1.0}]}
    chunk = stream([said(content="Hi") | {"logprobs": [entry]}])[-1]
    assert chunk["choices"][0]["logprobs"]["content"] == [
        {
            "token": "Hi",
            "logprob": -0.5,
            "bytes": None,
            "top_logprobs": [{"token": "Ho", "logprob": -1.0, "bytes": None}],
        }
    ]
    ChatCompletionChunk.model_validate(chunk, strict=True)


def test_unknown_fields_are_kept() -> None:
    chunks = stream([said(content="x", images=["abc"]) | {"remote_host": "h"}, done()])
    assert chunks[1]["remote_host"] == "h"
    assert chunks[1]["choices"][0]["delta"] == {"content": "x", "images": ["abc"]}


def test_only_the_last_line_finishes_a_stream() -> None:
    translator = ChatStream(**ids)
    translator.feed(said(content="x"))
    assert not translator.finished
    translator.feed(done())
    assert translator.finished
    assert translator.feed(said(content="late")) == []


@pytest.mark.parametrize("error", ["out of memory", {"message": "out of memory"}])
def test_error_lines_raise(error: Any) -> None:
    translator = ChatStream(**ids)
    translator.feed(said(content="x"))
    with pytest.raises(OllamaStreamError, match=r"^out of memory$"):
        translator.feed({"error": error})
    assert not translator.finished


line_fields = ["message", "response", "done", "done_reason", "logprobs", "eval_count", "thinking"]
message_values = st.dictionaries(
    st.sampled_from(["role", "content", "thinking", "tool_calls"]), json_values
)


@given(
    st.lists(st.dictionaries(st.sampled_from([*line_fields, "eval_duration"]), json_values)),
    st.lists(message_values),
)
def test_odd_lines_are_tolerated(lines: list[dict[str, Any]], said: list[dict[str, Any]]) -> None:
    given = [*lines, *({"message": message} for message in said)]
    for translator in (ChatStream(**ids), CompletionStream(**ids)):
        for line in given:
            for chunk in translator.feed(line):
                assert chunk["id"] == "chatcmpl-7"
                assert len(chunk["choices"]) <= 1


def test_a_completion_stream() -> None:
    translator = CompletionStream(**ids)
    entry = {"token": "Hel", "logprob": -1.0, "top_logprobs": [{"token": "Ho", "logprob": -2.0}]}
    lines = [
        {"response": "Hel", "done": False, "logprobs": [entry]},
        {"response": "lo", "done": False, "logprobs": [{"token": "lo", "logprob": -1.5}]},
        {"response": "", "done": True, "done_reason": "length", "context": [1, 2], **DURATIONS},
    ]
    whole = CompletionAggregate()
    for line in lines:
        for chunk in translator.feed(line):
            whole.add(chunk)
    assert translator.finished
    assert whole.finished
    result = whole.result()
    assert Completion.model_validate(result, strict=True).choices[0].text == "Hello"
    assert result["choices"][0]["finish_reason"] == "length"
    assert result["choices"][0]["logprobs"] == {
        "tokens": ["Hel", "lo"],
        "token_logprobs": [-1.0, -1.5],
        "top_logprobs": [{"Ho": -2.0}, {}],
        "text_offset": [0, 3],
    }
    assert result["usage"]["completion_tokens"] == 10


@given(json_values)
def test_streams_of_any_text_aggregate_to_it(value: Any) -> None:
    text = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode() if _fits(value) else "x"
    whole = ChatAggregate()
    for chunk in stream([*(said(content=character) for character in text), done()]):
        whole.add(chunk)
    assert whole.result()["choices"][0]["message"]["content"] == text


def _fits(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return False
    return True
