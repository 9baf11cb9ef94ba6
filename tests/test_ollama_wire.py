"""Between OpenAI's wire and Ollama's: requests, embeddings, errors."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse

from llmrouterd.backends.ollama_wire import (
    Untranslatable,
    chat_request,
    embed_request,
    embed_response,
    error_message,
    generate_request,
)

HI = [{"role": "user", "content": "hi"}]
TOOLS = [
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},
]
PIXEL = "iVBORw0KGgo="
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
json_values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def chat(**body: Any) -> dict[str, Any]:
    body = {"model": "virtual", "messages": HI, **body}
    return chat_request(body, model="qwen3:14b", keep_alive=None, num_ctx=None)


def one(message: dict[str, Any]) -> dict[str, Any]:
    return dict(chat(messages=[message])["messages"][0])


def test_the_plainest_chat() -> None:
    assert chat() == {"model": "qwen3:14b", "messages": HI, "stream": True}
    assert chat(stream=False, stream_options={"include_usage": True}, n=1, seed=None) == chat()


SAMPLING = ["temperature", "top_p", "top_k", "min_p", "seed", "repeat_penalty"]
SAMPLING += ["presence_penalty", "frequency_penalty", "typical_p", "num_keep"]


@pytest.mark.parametrize("field", SAMPLING)
def test_sampling_goes_into_options(field: str) -> None:
    request = chat(**{field: 0})
    assert request["options"] == {field: 0}
    assert field not in request


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"max_tokens": 9}, {"num_predict": 9}),
        ({"max_completion_tokens": 8}, {"num_predict": 8}),
        ({"max_tokens": 9, "max_completion_tokens": 8}, {"num_predict": 8}),
        ({"stop": "x"}, {"stop": ["x"]}),
        ({"stop": ["x", "y"]}, {"stop": ["x", "y"]}),
        ({"repetition_penalty": 1.1}, {"repeat_penalty": 1.1}),
        ({"options": {"num_keep": 3, "stop": "x"}}, {"num_keep": 3, "stop": ["x"]}),
        ({"options": {"top_k": 1, "seed": 2}, "seed": 3}, {"top_k": 1, "seed": 3}),
    ],
)
def test_options(body: dict[str, Any], options: dict[str, Any]) -> None:
    assert chat(**body)["options"] == options


def test_our_residency_settings_win() -> None:
    inside = {"num_ctx": 99, "seed": 1}
    body = {"messages": HI, "options": inside, "num_ctx": 98, "keep_alive": "1h"}
    ours = chat_request(body, model="m", keep_alive=-1, num_ctx=8192)
    assert ours["options"] == {"num_ctx": 8192, "seed": 1}
    assert ours["keep_alive"] == -1
    theirs = chat_request(body, model="m", keep_alive=None, num_ctx=None)
    assert theirs["options"] == {"seed": 1}
    assert theirs["keep_alive"] == "1h"
    assert chat_request({"messages": HI}, model="m", keep_alive=0, num_ctx=None)["keep_alive"] == 0


LOADING: dict[str, Any] = {"num_ctx": 99, "num_batch": 256, "num_gpu": 10, "main_gpu": 1}
LOADING |= {"num_thread": 2, "use_mmap": False, "use_mlock": True, "draft_num_predict": 4}


@pytest.mark.parametrize("body", [LOADING, {"options": LOADING}, {"shift": False}])
def test_no_client_decides_how_a_model_is_loaded(body: dict[str, Any]) -> None:
    held: dict[str, Any] = {"model": "m", "keep_alive": -1, "num_ctx": 8192}
    for build, asked in (
        (chat_request, {"messages": HI}),
        (generate_request, {"prompt": "a"}),
        (embed_request, {"input": "a"}),
    ):
        assert build({**asked, **body}, **held) == build(asked, **held)


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"response_format": {"type": "json_object"}}, "format", "json"),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, "format", SCHEMA),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
            "format",
            SCHEMA,
        ),
        ({"response_format": {"type": "json_schema"}}, "format", "json"),
        ({"response_format": {"type": "text"}}, "format", None),
        ({"format": "json"}, "format", "json"),
        ({"reasoning_effort": "low"}, "think", "low"),
        ({"reasoning_effort": "high"}, "think", "high"),
        ({"reasoning_effort": "none"}, "think", False),
        ({"reasoning_effort": "minimal"}, "think", "low"),
        ({"reasoning": {"effort": "medium"}}, "think", "medium"),
        ({"think": True}, "think", True),
        ({"think": False, "reasoning_effort": "high"}, "think", False),
        ({"logprobs": True, "top_logprobs": 3}, "top_logprobs", 3),
        ({"logprobs": True}, "logprobs", True),
        ({"x_extra": {"deep": [1]}}, "x_extra", {"deep": [1]}),
        ({"truncate": False}, "truncate", False),
        ({"tools": TOOLS}, "tools", TOOLS),
        ({"tools": TOOLS, "tool_choice": "auto"}, "tools", TOOLS),
        ({"tools": TOOLS, "tool_choice": "required"}, "tools", TOOLS),
        ({"tools": TOOLS, "tool_choice": "none"}, "tools", None),
        ({"tools": TOOLS, "tool_choice": {"function": {"name": "add"}}}, "tools", TOOLS[1:]),
        (
            {
                "tools": TOOLS,
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": TOOLS[:1]},
                },
            },
            "tools",
            TOOLS[:1],
        ),
        ({"functions": [TOOLS[0]["function"]]}, "tools", TOOLS[:1]),
        (
            {"functions": [t["function"] for t in TOOLS], "function_call": {"name": "add"}},
            "tools",
            TOOLS[1:],
        ),
        ({"tools": TOOLS, "tool_choice": "auto"}, "tool_choice", None),
    ],
)
def test_top_level_fields(body: dict[str, Any], field: str, value: Any) -> None:
    assert chat(**body).get(field) == value


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "developer", "content": "x"}, {"role": "system", "content": "x"}),
        ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
        (
            {"role": "user", "content": "x", "name": "ann"},
            {"role": "user", "content": "x", "name": "ann"},
        ),
        (
            {"role": "assistant", "content": "x", "reasoning_content": "hm", "refusal": None},
            {"role": "assistant", "content": "x", "thinking": "hm"},
        ),
        ({"role": "assistant", "refusal": "no"}, {"role": "assistant", "content": "no"}),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                    {"type": "image_url", "image_url": f"DATA:image/png;BASE64,{PIXEL}"},
                    {"type": "text", "text": "is it"},
                ],
            },
            {"role": "user", "content": "what\nis it", "images": [PIXEL, PIXEL]},
        ),
        (
            {"role": "user", "content": "x", "images": [PIXEL], "new_field": 1},
            {"role": "user", "content": "x", "images": [PIXEL], "new_field": 1},
        ),
    ],
)
def test_messages(message: dict[str, Any], expected: dict[str, Any]) -> None:
    assert one(message) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ("", {}),
        (None, {}),
        ('{"a": ', {"_raw": '{"a": '}),
        ("[1]", {"_raw": "[1]"}),
    ],
)
def test_call_arguments_become_objects(arguments: Any, expected: dict[str, Any]) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": arguments}}
    translated = one({"role": "assistant", "content": None, "tool_calls": [call]})
    function = {"index": 0, "name": "add", "arguments": expected}
    assert translated["tool_calls"] == [{"id": "c1", "function": function}]


def test_tool_results_name_their_tool() -> None:
    calls = [
        {"id": "c1", "function": {"name": "now", "arguments": "{}"}},
        {"id": "c2", "function": {"name": "add", "arguments": "{}"}},
    ]
    legacy = {"role": "assistant", "function_call": {"name": "old", "arguments": '{"b": 2}'}}
    messages = [
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "3"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
        {"role": "tool", "tool_call_id": "c9", "content": "lost"},
        legacy,
        {"role": "function", "name": "old", "content": "4"},
    ]
    translated = chat(messages=messages)["messages"]
    assert translated[1:4] == [
        {"role": "tool", "content": "3", "tool_name": "add", "tool_call_id": "c2"},
        {"role": "tool", "content": "noon", "tool_name": "now", "tool_call_id": "c1"},
        {"role": "tool", "content": "lost", "tool_call_id": "c9"},
    ]
    assert translated[4]["tool_calls"][0]["function"]["arguments"] == {"b": 2}
    assert translated[5] == {"role": "tool", "content": "4", "tool_name": "old"}


def parts(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


@pytest.mark.parametrize(
    ("body", "field", "remedy"),
    [
        (
            parts({"type": "image_url", "image_url": {"url": "https://x/y.png"}}),
            "messages[0].content[0].image_url.url",
            "data:image",
        ),
        (
            parts({"type": "image_url", "image_url": {"url": "data:image/png,abc"}}),
            "messages[0].content[0].image_url.url",
            "base64",
        ),
        (
            parts({"type": "text", "text": "x"}, {"type": "input_audio"}),
            "messages[0].content[1].type",
            "text and images only",
        ),
        ({"messages": "hi"}, "messages", "list"),
        ({"messages": [1]}, "messages[0]", "object"),
        ({"messages": [{"content": 1}]}, "messages[0].content", "string or a list"),
        ({"n": 2}, "n", "ask for 1"),
        ({"options": []}, "options", "object"),
        ({"tools": {}}, "tools", "list"),
        ({"tools": TOOLS, "tool_choice": {"function": {"name": "x"}}}, "tool_choice", "not among"),
        ({"response_format": {"type": "grammar"}}, "response_format.type", "json_schema"),
        ({"response_format": "json"}, "response_format", "object"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "minimal"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"type": "custom"}]}]},
            "messages[0].tool_calls[0].function",
            "functions only",
        ),
    ],
)
def test_untranslatable(body: dict[str, Any], field: str, remedy: str) -> None:
    with pytest.raises(Untranslatable, match=remedy) as caught:
        chat(**body)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


FIELDS = ["messages", "tools", "tool_choice", "response_format", "options", "stop", "reasoning"]
FIELDS += ["functions", "function_call", "reasoning_effort", "n", "prompt", "input"]
ROLES = st.sampled_from(["user", "assistant", "tool", "developer"]) | json_values
message_fields = ["content", "tool_calls", "tool_call_id", "images", "name", "function_call"]
odd_messages = st.lists(
    st.dictionaries(st.sampled_from(message_fields), json_values).flatmap(
        lambda m: ROLES.map(lambda role: {**m, "role": role})
    ),
    max_size=3,
)
odd_bodies = st.dictionaries(st.sampled_from(FIELDS), json_values).flatmap(
    lambda body: odd_messages.map(lambda m: {"messages": m, **body})
)


@given(odd_bodies)
def test_odd_requests_are_translated_or_refused(body: dict[str, Any]) -> None:
    for translate in (chat_request, generate_request):
        try:
            request = translate(body, model="m", keep_alive=-1, num_ctx=4096)
        except Untranslatable:
            continue
        assert request["model"] == "m"
        assert request["stream"] is True
        assert request["keep_alive"] == -1
        assert request["options"]["num_ctx"] == 4096


def test_generate_request() -> None:
    body = {
        "model": "virtual",
        "prompt": ["def f("],
        "suffix": "return x",
        "max_tokens": 5,
        "logprobs": 2,
        "echo": False,
        "best_of": 1,
        "raw": True,
    }
    assert generate_request(body, model="m", keep_alive="5m", num_ctx=1024) == {
        "model": "m",
        "prompt": "def f(",
        "suffix": "return x",
        "stream": True,
        "raw": True,
        "logprobs": True,
        "top_logprobs": 2,
        "options": {"num_predict": 5, "num_ctx": 1024},
        "keep_alive": "5m",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [("prompt", [1, 2]), ("prompt", ["a", "b"]), ("echo", True), ("n", 2), ("best_of", 3)],
)
def test_generate_refuses(field: str, value: Any) -> None:
    with pytest.raises(Untranslatable) as caught:
        generate_request({"prompt": "x", field: value}, model="m", keep_alive=None, num_ctx=None)
    assert caught.value.field == field


@pytest.mark.parametrize("text", ["a", ["a", "b"]])
def test_embed_request(text: Any) -> None:
    body = {"model": "v", "input": text, "dimensions": 8, "encoding_format": "base64", "user": "u"}
    assert embed_request(body, model="m", keep_alive=-1, num_ctx=2048) == {
        "model": "m",
        "input": text,
        "dimensions": 8,
        "keep_alive": -1,
        "options": {"num_ctx": 2048},
    }
    plain = embed_request(body, model="m", keep_alive=None, num_ctx=None)
    assert plain == {"model": "m", "input": text, "dimensions": 8}


@pytest.mark.parametrize("text", [None, [], [1, 2], [[1], [2]], 3])
def test_embed_refuses_tokens(text: Any) -> None:
    with pytest.raises(Untranslatable, match=r"^input: "):
        embed_request({"input": text}, model="m", keep_alive=None, num_ctx=None)


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False), min_size=1), max_size=3))
def test_embeddings(vectors: list[list[float]]) -> None:
    answer = {"model": "x", "embeddings": vectors, "prompt_eval_count": 4}
    plain = embed_response(answer, "m")
    CreateEmbeddingResponse.model_validate(plain)
    assert [item["embedding"] for item in plain["data"]] == vectors
    assert [item["index"] for item in plain["data"]] == list(range(len(vectors)))
    assert plain["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    packed = embed_response(answer, "m", "base64")
    for item, vector in zip(packed["data"], vectors, strict=True):
        raw = base64.b64decode(item["embedding"])
        assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == vector


@pytest.mark.parametrize("answer", [{}, {"embeddings": None}, {"embeddings": [1]}])
def test_an_answer_without_embeddings(answer: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="holds no"):
        embed_response(answer, "m")


def test_an_answer_of_no_floats() -> None:
    with pytest.raises(ValueError, match="embedding of no floats"):
        embed_response({"embeddings": [["a"]]}, "m", "base64")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":"model \'x\' not found"}', "model 'x' not found"),
        (b'{"error":{"message":"bad"}}', "bad"),
        (b'{"error":""}', None),
        (b'{"error":1}', None),
        (b"{}", None),
        (b"[]", None),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_error_message(body: bytes, message: str | None) -> None:
    assert error_message(body) == message
