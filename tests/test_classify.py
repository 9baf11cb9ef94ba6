"""What a request's signals are made of: words, needs, tokens, session."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.chat import parse_request
from llmrouterd.classifier import byte_bound, classify
from llmrouterd.signals import RequestContext, Signals
from tests.support.policies import WORDS, lexicons_only, policy, read

TOOL = {"type": "function", "function": {"name": "python", "parameters": {"type": "object"}}}
PIXEL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(("category", "phrase"), WORDS.items())
def test_each_category_is_found_by_its_words(category: str, phrase: str) -> None:
    found = read(f"please, {phrase} now")
    assert found.category == category
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert set(found.probabilities) == set(WORDS)
    assert found.abstain < 0.5


def test_words_that_say_nothing_abstain() -> None:
    found = read("lorem ipsum")
    assert found.category == "general"
    assert found.abstain > 0.3


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "python python python"}, user("lorem")],
        [user("lorem"), said("here is some python")],
        [user("lorem"), {"role": "tool", "tool_call_id": "1", "content": "python"}],
        [user("<context>python</context>lorem")],
        [user([{"type": "text", "text": "lorem"}, PIXEL])],
    ],
)
def test_only_the_humans_words_count(messages: list[dict[str, Any]]) -> None:
    assert read(messages).category == "general"


def test_offered_tools_are_neither_words_nor_a_need() -> None:
    plain, offered = read("lorem"), read("lorem", tools=[TOOL] * 36)
    assert (offered.category, offered.needs) == ("general", frozenset())
    assert offered.tool_tokens > 500
    assert offered.prompt_tokens == plain.prompt_tokens


CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "x", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "42"}


@pytest.mark.parametrize(
    ("messages", "fields", "needs"),
    [
        ("x", {}, set()),
        ("x", {"tools": [TOOL], "tool_choice": "auto"}, set()),
        ("x", {"tools": [TOOL], "tool_choice": "none"}, set()),
        ("x", {"tools": [TOOL], "tool_choice": "required"}, {"tools"}),
        (
            "x",
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "python"}}},
            {"tools"},
        ),
        ([user("x"), CALL, RESULT], {}, {"tools"}),
        ([user("x"), CALL, RESULT, said("42"), user("y")], {}, {"tools"}),
        ([user([PIXEL])], {}, {"vision"}),
        ([user([PIXEL]), said("a cat"), user("y")], {}, {"vision"}),
        ("x", {"response_format": {"type": "json_object"}}, {"json"}),
        ("x", {"response_format": {"type": "text"}}, set()),
        (
            [user([{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}])],
            {},
            {"audio"},
        ),
    ],
)
def test_needs(messages: Any, fields: dict[str, Any], needs: set[str]) -> None:
    assert read(messages, **fields).needs == needs


def test_a_tool_loop_ends_with_a_result() -> None:
    assert read([user("x"), CALL, RESULT]).tool_loop
    assert not read([user("x"), CALL, RESULT, said("42"), user("thanks")]).tool_loop


def test_a_turn_that_says_nothing_inherits() -> None:
    first = [user("write python"), said("done")]
    assert read([*first, user("and now?")]).category == "coding"
    assert read([*first, user("a poem, please")]).category == "creative"
    assert read([*first, user("and now?"), said("done"), user("ok")]).category == "general"


def test_sessions_come_from_the_header_or_the_beginning() -> None:
    start = [{"role": "system", "content": "s"}, user("first")]
    longer = [*start, said("a"), user("second")]
    assert read(start).session == read(longer).session != ""
    assert (
        read([{"role": "system", "content": "other"}, user("first")]).session != read(start).session
    )
    assert read([user("first")]).session != read([user("firs"), user("t")]).session
    assert read(longer, {"session": "chat-7"}).session == "chat-7"


def test_the_context_is_taken_over() -> None:
    found = read("x", {"client": "kids", "preset": "speed", "task": "title_generation"})
    assert (found.client, found.preset, found.task) == ("kids", "speed", "title")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6, "max_tokens": 5}, 6),
        ({"max_tokens": -1}, None),
    ],
)
def test_max_tokens(fields: dict[str, Any], expected: int | None) -> None:
    assert read("x", **fields).max_tokens == expected


def test_patterns_of_rules_are_searched_in_the_humans_words() -> None:
    rules = policy(
        "rules: [{name: school, when: {text: '\\bhome ?work\\b'}}, {name: other, when: "
        "{text: xyz}}, {name: default}]\n"
    )
    assert read("my HOME WORK please", policy=rules).texts == {r"\bhome ?work\b"}
    system = [{"role": "system", "content": "homework xyz"}, user("lorem")]
    assert read(system, policy=rules).texts == frozenset()


def test_a_pattern_cannot_hang_the_daemon() -> None:
    rules = policy("rules: [{name: evil, when: {text: '(a+)+$|(a|aa)+b'}}, {name: default}]\n")
    assert read("a" * 50_000 + "!", policy=rules).texts == frozenset()


@given(st.text(max_size=200))
def test_the_bound_is_one(text: str) -> None:
    tokens, exact = byte_bound(text)
    assert not exact
    assert tokens >= len(text.encode("utf-8", "surrogatepass")) / 4
    assert byte_bound(text + "x")[0] >= tokens


def test_images_and_messages_cost_tokens() -> None:
    plain, image = read([user("x")]), read([user([{"type": "text", "text": "x"}, PIXEL])])
    assert image.prompt_tokens - plain.prompt_tokens == 800
    assert read([user("x"), said(""), user("")]).prompt_tokens > plain.prompt_tokens


@pytest.mark.parametrize("kind", ["completions", "embeddings"])
def test_the_other_endpoints(kind: str) -> None:
    field = "prompt" if kind == "completions" else "input"
    made_by = lexicons_only()
    for value in ("python", ["python", "x"], [1, 2, 3]):
        body = orjson.dumps({field: value})
        made = classify(parse_request(kind, body, made_by.validators), made_by, RequestContext())
        assert isinstance(made, Signals)
        assert made.kind == kind
        assert made.category == ("coding" if "python" in value else "general")


MESSAGES = st.lists(
    st.builds(
        lambda role, text: {"role": role, "content": text},
        st.sampled_from(["system", "user", "assistant"]),
        st.text(max_size=60),
    ),
    min_size=1,
    max_size=6,
)


@given(MESSAGES)
def test_any_conversation_has_sound_signals(messages: list[dict[str, Any]]) -> None:
    found = read(messages)
    assert 0 <= found.complexity <= 1
    assert 0 <= found.abstain <= 1
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.prompt_tokens > 0
    assert found == read(messages)
