"""Tool calls put together again, however a server cuts and numbers them."""

from __future__ import annotations

from typing import Any

import pytest

from llmrouterd.aggregate import ChatAggregate

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


def calls(*fragments: Any) -> list[tuple[str, str, str]]:
    chunks = [delta(tool_calls=[fragment]) for fragment in fragments]
    made = message(*chunks)["tool_calls"]
    return [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in made]


@pytest.mark.parametrize(
    ("fragments", "expected"),
    [
        (
            [
                call(0, "f", "", id="x", type="function"),
                call(0, None, '{"a"'),
                call(0, None, ":1}"),
            ],
            [("x", "f", '{"a":1}')],
        ),
        (
            [call(0, "f", "{}", id="x"), call(1, "g", "{}", id="y")],
            [("x", "f", "{}"), ("y", "g", "{}")],
        ),
        (
            [call(1, "g", "{}", id="y"), call(0, "f", "{}", id="x")],
            [("x", "f", "{}"), ("y", "g", "{}")],
        ),
        # Interleaved fragments find their calls.
        (
            [
                call(0, "f", "{", id="x"),
                call(1, "g", "{", id="y"),
                call(0, None, "}"),
                call(1, None, "}"),
            ],
            [("x", "f", "{}"), ("y", "g", "{}")],
        ),
        # Every call under index 0, with ids of their own, or without any.
        (
            [
                call(0, "f", "{", id="x"),
                call(0, None, "}"),
                call(0, "g", "{", id="y"),
                call(0, None, "}"),
            ],
            [("x", "f", "{}"), ("y", "g", "{}")],
        ),
        (
            [call(0, "f", '{"a":1}'), call(0, "f", '{"a":2}')],
            [("call_c-1_0", "f", '{"a":1}'), ("call_c-1_1", "f", '{"a":2}')],
        ),
        # The id or the name again and again, and another id at each fragment.
        (
            [call(0, "f", "{", id="x"), call(0, "f", "}", id="x")],
            [("x", "f", "{}")],
        ),
        ([call(0, "f", "", id="x"), call(0, "f", "{}")], [("x", "f", "{}")]),
        ([call(0, "f", "{", id="x"), call(0, None, "}", id="z")], [("x", "f", "{}")]),
        # No index at all: whole calls, fragments by id, fragments without anything.
        (
            [call(None, "f", "{}", id="x"), call(None, "g", "{}", id="y")],
            [("x", "f", "{}"), ("y", "g", "{}")],
        ),
        ([call(None, "f", "{", id="x"), call(None, None, "}", id="x")], [("x", "f", "{}")]),
        ([call(None, "f", "{", id="x"), call(None, None, "}")], [("x", "f", "{}")]),
        (
            [call(None, "f", "{}"), call(None, "g", "{}")],
            [("call_c-1_0", "f", "{}"), ("call_c-1_1", "g", "{}")],
        ),
        (
            [{"index": 0, "function": {"name": "f", "arguments": {"a": 1}}}],
            [("call_c-1_0", "f", '{"a":1}')],
        ),
        ([{"index": 0, "id": "x", "function": {"name": "f"}}], [("x", "f", "")]),
        ([{"index": 0, "id": "x"}], [("x", "", "")]),
        ([None, 3, call(0, "f", "{}", id="x")], [("x", "f", "{}")]),
    ],
)
def test_tool_calls(fragments: list[Any], expected: list[tuple[str, str, str]]) -> None:
    assert calls(*fragments) == expected


def test_tool_calls_keep_what_else_they_have() -> None:
    made = message(
        delta(tool_calls=[call(0, "f", "{", id="x", extra_content={"google": 1})], content=""),
        delta(
            tool_calls=[
                call(0, None, "}"),
                {"index": 1, "id": "y", "type": "custom", "custom": {"name": "g"}},
            ]
        ),
        delta(
            tool_calls=[
                {"index": 1, "custom": {"input": "a"}},
                {"index": 1, "custom": {"input": "b"}},
            ]
        ),
    )
    assert made["content"] is None
    assert made["tool_calls"] == [
        {
            "id": "x",
            "type": "function",
            "function": {"name": "f", "arguments": "{}"},
            "extra_content": {"google": 1},
        },
        {"id": "y", "type": "custom", "custom": {"name": "g", "input": "ab"}},
    ]
