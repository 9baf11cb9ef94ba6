"""Signatures: what is added is removed again, and nothing else; never inside an open fence."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from llmrouterd.signature import (
    MARK,
    FenceTracker,
    StreamSigner,
    render,
    sign_message,
    strip_history,
)

SIGNATURE = render("— {model} · {category}", {"model": "qwen3:14b", "category": "coding"})
ASSISTANT = {"role": "assistant"}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("— {model} · {category}", "— qwen3:14b · coding"),
        ("{backend}/{model}", "box/qwen3:14b"),
        ("*{rule}* #{decision}", "*code* #"),
        ("{{literal}}", "{literal}"),
        ("plain", "plain"),
        ("two\n\nlines {model}", "two\n\nlines qwen3:14b"),
        ("\n\n— {model}", "— qwen3:14b"),
    ],
)
def test_render(template: str, text: str) -> None:
    values = {"model": "qwen3:14b", "category": "coding", "backend": "box", "rule": "code"}
    assert render(template, values) == f"\n\n{MARK}{text}{MARK}"


@pytest.mark.parametrize(
    "template", ["{modle}", "{}", "{0}", "{model.x}", "{model!r}", "{model:>9}"]
)
def test_render_names_the_allowed_placeholders(template: str) -> None:
    with pytest.raises(ValueError, match=r"allowed: \{model\}, \{backend\}, \{category\}"):
        render(template, {"model": "x"})


@pytest.mark.parametrize("template", ["{model", "model}", f"a{MARK}b"])
def test_render_refuses_broken_templates(template: str) -> None:
    with pytest.raises(ValueError, match=r"[Ee]xpected|Single|U\+2063"):
        render(template, {})


def test_a_value_cannot_forge_a_mark() -> None:
    signature = render("{model}", {"model": f"a{MARK}\n\n{MARK}b"})
    assert signature.count(MARK) == 2
    assert strip_history([{**ASSISTANT, "content": "hi" + signature}])[0]["content"] == "hi"


texts = st.text(st.sampled_from("ab \n\u2063`~—·") | st.characters(codec="utf-8"))
roles = st.sampled_from(["user", "system", "developer", "tool", "assistant"])
parts = st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": texts})
    | st.fixed_dictionaries({"type": st.just("image_url"), "image_url": st.just({"url": "x"})})
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": roles, "content": texts | parts | st.none()},
        optional={"tool_calls": st.just([{"id": "call_1"}])},
    )
)


@given(texts, st.sampled_from([SIGNATURE, render("", {}), render("a\n\nb", {})]))
def test_what_is_added_is_removed_exactly(text: str, signature: str) -> None:
    history = [{"role": "user", "content": text}, {**ASSISTANT, "content": text + signature}]
    stripped = strip_history(history)
    assert stripped == [{"role": "user", "content": text}, {**ASSISTANT, "content": text}]
    assert history[1]["content"] == text + signature


@given(messages)
def test_unsigned_histories_come_back_as_the_same_list(history: list[dict[str, Any]]) -> None:
    before = copy.deepcopy(history)
    signed = any(f"\n\n{MARK}" in str(message["content"]) for message in history)
    result = strip_history(history)
    assert history == before
    assert signed or result is history


@pytest.mark.parametrize(
    ("message", "stripped"),
    [
        ({**ASSISTANT, "content": SIGNATURE}, ""),
        ({**ASSISTANT, "content": "a" + SIGNATURE + SIGNATURE}, "a" + SIGNATURE),
        ({**ASSISTANT, "content": "a" + SIGNATURE + " and on"}, None),
        ({**ASSISTANT, "content": "a\n\n— qwen3:14b · coding"}, None),
        ({**ASSISTANT, "content": f"a {MARK}x{MARK}"}, None),
        ({**ASSISTANT, "content": MARK}, None),
        ({**ASSISTANT, "content": f"\n\n{MARK}"}, None),
        ({**ASSISTANT, "content": f"a\n\n{MARK}x\u2063y{MARK}"}, None),
        ({"role": "user", "content": "a" + SIGNATURE}, None),
        ({"role": "tool", "content": "a" + SIGNATURE}, None),
        ({"content": "a" + SIGNATURE}, None),
        (
            {
                **ASSISTANT,
                "content": [
                    {"type": "text", "text": "a" + SIGNATURE},
                    {"type": "text", "text": "b" + SIGNATURE},
                    {"type": "image_url", "image_url": {"url": "x"}},
                ],
            },
            [
                {"type": "text", "text": "a" + SIGNATURE},
                {"type": "text", "text": "b"},
                {"type": "image_url", "image_url": {"url": "x"}},
            ],
        ),
        (
            {
                **ASSISTANT,
                "content": [
                    {"type": "text", "text": "a" + SIGNATURE},
                    {"type": "text", "text": "b"},
                ],
            },
            None,
        ),
    ],
)
def test_strip_history(message: dict[str, Any], stripped: Any) -> None:
    history = [message, {"role": "user", "content": "next"}]
    result = strip_history(history)
    if stripped is None:
        assert result is history
    else:
        assert result == [{**message, "content": stripped}, {"role": "user", "content": "next"}]


def test_a_task_quotes_no_signature() -> None:
    told = "### Task:\nUSER: hi\nASSISTANT: a{0}\nUSER: {1} is a mark\nASSISTANT: b{0}"
    text, bare = told.format(SIGNATURE, MARK), told.format("", MARK)
    history = [{"role": "user", "content": text}]
    assert strip_history(history) is history
    assert strip_history(history, quoted=True) == [{"role": "user", "content": bare}]
    assert history[0]["content"] == text


FENCES = [
    ("```", True),
    ("```python\ncode", True),
    ("```\ncode\n```", False),
    ("```\ncode\n```\n", False),
    ("```\ncode\n````  \n", False),
    ("````\ncode\n```\n", True),
    ("```\ncode\n~~~\n", True),
    ("~~~ a`b\ncode", True),
    ("~~~\ncode\n~~~", False),
    ("``` a`b\ntext", False),
    ("`` not a fence", False),
    ("text ``` inline", False),
    ("   ```\ncode", True),
    ("    ```\nindented code", False),
    ("```\ncode\n    ```\n", True),
    ("```\ncode\n``` x\n", True),
    ("```\r\ncode\r\n```\r\n", False),
    ("```\n> ```\n", True),
    ("> ```\n> code\n\ntext", False),
    ("> ```\n> code\n> ```\n", False),
    ("- item\n  ```\n  code", True),
    ("- item\n  ```\n  code\n  ```\n", False),
    ("1. a\n   - b\n\n     ```sh\n     ls\n     ```\n", False),
    ("1. a\n   - b\n\n     ```sh\n     ls\n", True),
    ("- a\n  ```\n  code\n\ntext", False),
    ("- ```\n  code", True),
    ("", False),
]


@pytest.mark.parametrize(("text", "is_open"), FENCES)
def test_fences(text: str, is_open: bool) -> None:
    whole, dripped = FenceTracker(), FenceTracker()
    whole.feed(text)
    for character in text:
        dripped.feed(character)
    assert whole.open is is_open
    assert dripped.open is is_open


def swallowed(text: str) -> bool:
    """Whether a reference CommonMark reader takes what follows `text` for fenced code."""
    tokens = MarkdownIt("commonmark").parse(text + "\n\nSIGNATURE")
    return any(token.type == "fence" and "SIGNATURE" in token.content for token in tokens)


lines = st.lists(
    st.sampled_from(
        ["```", "````", "~~~", "~~~~ x", "```py", "``` a`b", " ```", "   ~~~", "    ```", "", "x"]
    )
)
quoted = st.lists(
    st.sampled_from(["```", "> ```", "> x", "- a", "- ```", "  ```", "   - b", "     ~~~", "", "x"])
)


@given(lines)
def test_fences_agree_with_a_commonmark_reader(text: list[str]) -> None:
    tracker = FenceTracker()
    tracker.feed("\n".join(text))
    assert tracker.open is swallowed("\n".join(text))


@given(quoted)
def test_no_signature_is_ever_swallowed(text: list[str]) -> None:
    tracker = FenceTracker()
    tracker.feed("\n".join(text))
    assert tracker.open or not swallowed("\n".join(text))


def chunk(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "qwen3:14b",
        "system_fingerprint": "fp",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
    }


def signatures(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    signer = StreamSigner(SIGNATURE)
    return [extra for item in chunks for extra in signer.chunks_before(item)]


def test_the_signature_goes_before_the_finish() -> None:
    signer = StreamSigner(SIGNATURE)
    opening = [chunk(role="assistant", content=None), chunk(content="Hel"), chunk(content="lo")]
    assert [signer.chunks_before(item) for item in opening] == [[], [], []]
    assert signer.chunks_before(chunk(finish="stop")) == [
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 7,
            "model": "qwen3:14b",
            "choices": [{"index": 0, "delta": {"content": SIGNATURE}, "finish_reason": None}],
        }
    ]
    assert signer.chunks_before(chunk(finish="stop")) == []
    assert signer.chunks_before({"choices": [], "usage": {"total_tokens": 3}}) == []


@pytest.mark.parametrize(
    ("chunks", "count"),
    [
        ([chunk(content="hi"), chunk(finish="length")], 1),
        ([chunk(content="hi"), chunk(finish="content_filter")], 0),
        ([chunk(content="hi"), chunk(finish="tool_calls")], 0),
        ([chunk(content="hi"), chunk(tool_calls=[{"index": 0}]), chunk(finish="stop")], 0),
        ([chunk(content="hi"), chunk(function_call={"name": "f"}), chunk(finish="stop")], 0),
        ([chunk(refusal="no"), chunk(finish="stop")], 0),
        ([chunk(content="hi", tool_calls=None, refusal=None), chunk(finish="stop")], 1),
        ([chunk(finish="stop")], 0),
        ([chunk(content=" \n"), chunk(finish="stop")], 0),
        ([chunk(reasoning_content="hm"), chunk(finish="stop")], 0),
        ([chunk(content="`"), chunk(content="``\nx"), chunk(finish="length")], 0),
        (
            [
                chunk(content="``"),
                chunk(content="`\nx\n``"),
                chunk(content="`"),
                chunk(finish="stop"),
            ],
            1,
        ),
        ([chunk(content="hi", finish="stop")], 0),
        ([chunk(content="hi")], 0),
        ([{}, {"choices": None}, {"choices": [None, {"delta": None}]}], 0),
    ],
)
def test_which_streams_are_signed(chunks: list[dict[str, Any]], count: int) -> None:
    assert len(signatures(chunks)) == count


def test_each_choice_is_signed_on_its_own() -> None:
    chunks = [
        chunk(0, content="```"),
        chunk(1, content="hi"),
        chunk(1, finish="stop"),
        chunk(0, content="\n```"),
        chunk(0, finish="stop"),
    ]
    assert [extra["choices"][0]["index"] for extra in signatures(chunks)] == [1, 0]


def test_text_in_the_finishing_chunk_goes_out_before_the_signature() -> None:
    signer = StreamSigner(SIGNATURE)
    assert signer.instead_of(chunk(content="Hel")) == []
    sent = signer.instead_of(chunk(content="lo", finish="stop"))
    assert [item["choices"][0]["delta"]["content"] for item in sent] == ["lo", SIGNATURE, ""]
    assert [item["choices"][0]["finish_reason"] for item in sent] == [None, None, "stop"]
    assert sent[-1]["system_fingerprint"] == "fp"


def test_instead_of_keeps_a_textless_finish_as_it_came() -> None:
    signer = StreamSigner(SIGNATURE)
    finish = chunk(finish="stop")
    assert signer.instead_of(chunk(content="Hello")) == []
    signature, last = signer.instead_of(finish)
    assert signature["choices"][0]["delta"] == {"content": SIGNATURE}
    assert last == finish


@pytest.mark.parametrize(
    ("message", "signed"),
    [
        ({"content": "hi"}, True),
        ({"content": "```\nx\n```"}, True),
        ({"content": "hi", "tool_calls": None, "refusal": None}, True),
        ({"content": "```\nx"}, False),
        ({"content": "hi", "tool_calls": [{"id": "1"}]}, False),
        ({"content": "hi", "function_call": {"name": "f"}}, False),
        ({"content": None, "refusal": "no"}, False),
        ({"content": ""}, False),
        ({"content": None}, False),
        ({}, False),
    ],
)
def test_sign_message(message: dict[str, Any], signed: bool) -> None:
    before = dict(message)
    result = sign_message(message, SIGNATURE)
    assert message == before
    if signed:
        assert result == {**message, "content": message["content"] + SIGNATURE}
        assert strip_history([{**ASSISTANT, **result}]) == [{**ASSISTANT, **message}]
    else:
        assert result is message
