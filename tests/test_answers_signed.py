"""The signature through the daemon: where it belongs, and gone from the history that comes back."""

from __future__ import annotations

from typing import Any

import pytest

from llmrouterd.signature import MARK
from tests.conftest import Scripted
from tests.support.clients import stream_text
from tests.support.daemon import Running
from tests.support.faults import FaultServer
from tests.support.openai_answers import answer_text

SIGNED = {"server": {"signature": "_{model} on {backend}, {category}, {rule}_"}}
SIGNATURE = f"\n\n{MARK}_{{model}} on s, chat, default_{MARK}"
TEXT = answer_text(5)
TASK = "### Task:\nGenerate a concise title summarizing the chat history."


async def _both(daemon: Running, words: str = "Hello", **fields: Any) -> tuple[str, str]:
    """The text of an answer, not streamed and streamed."""
    whole = await daemon.chat(words, **fields)
    assert whole.status == 200
    return whole.text, stream_text(await daemon.stream(words, **fields))


async def test_an_answer_is_signed_both_ways(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok", **SIGNED)
    wanted = TEXT + SIGNATURE.format(model="ok")
    assert await _both(daemon) == (wanted, wanted)
    events = await daemon.stream("Hello")
    assert events[-1].done
    assert events[-2].json()["choices"][0]["finish_reason"] == "stop"
    assert {event.json()["id"] for event in events[:-1]} == {"chatcmpl-0001"}


async def test_every_choice_is_signed(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok", **SIGNED)
    wanted = TEXT + SIGNATURE.format(model="ok")
    answer = await daemon.chat("Hello", n=2)
    assert [choice["message"]["content"] for choice in answer.data["choices"]] == [wanted] * 2
    events = await daemon.stream("Hello", n=2)
    assert [stream_text(events, index) for index in (0, 1)] == [wanted] * 2


async def test_a_cut_answer_is_signed(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok", **SIGNED)
    wanted = answer_text(2) + SIGNATURE.format(model="ok")
    assert await _both(daemon, max_tokens=2) == (wanted, wanted)


async def test_without_a_template_nothing_is_signed(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    assert await _both(daemon) == (TEXT, TEXT)


UNSIGNED: dict[str, dict[str, Any]] = {
    "json": {"response_format": {"type": "json_object"}},
    "schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
}


@pytest.mark.parametrize("case", UNSIGNED)
async def test_json_is_not_signed(case: str, scripted: Scripted) -> None:
    daemon, _ = await scripted("ok", **SIGNED)
    assert await _both(daemon, **UNSIGNED[case]) == (TEXT, TEXT)


async def test_tasks_are_not_signed(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok", **SIGNED)
    assert await _both(daemon, TASK) == (TEXT, TEXT)
    headers = {"X-Task": "title_generation"}
    assert (await daemon.chat("Hello", headers=headers)).text == TEXT


async def test_tool_calls_are_not_signed(scripted: Scripted) -> None:
    daemon, _ = await scripted("tool-call", **SIGNED)
    answer = await daemon.chat("Weather?")
    assert MARK not in answer.body.decode()
    assert not any(MARK in event.data for event in await daemon.stream("Weather?"))


async def test_a_broken_answer_is_not_signed(scripted: Scripted) -> None:
    daemon, _ = await scripted("drop-mid-stream", faults={"delay": 0.02}, **SIGNED)
    assert not any(MARK in event.data for event in await daemon.stream("Hello"))


async def test_completions_are_not_signed(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok", **SIGNED)
    answer = await daemon.post("/v1/completions", {"prompt": "Once"})
    assert answer.data["choices"][0]["text"] == TEXT


def _speaking(backend: FaultServer, monkeypatch: pytest.MonkeyPatch, *pieces: str) -> None:
    """Let the scripted backend say these tokens."""
    monkeypatch.setattr("tests.support.openai_answers.words", lambda count: list(pieces))


@pytest.mark.parametrize(
    ("pieces", "signed"),
    [
        (("```", "python\n", "print()"), False),
        (("```", "python\n", "print()\n", "```"), True),
        (("~~~\n", "code ``` more"), False),
        (("a ", "`tick`"), True),
        ((" ", "\n"), False),
    ],
)
async def test_an_open_code_fence_is_left_alone(
    pieces: tuple[str, ...],
    signed: bool,
    scripted: Scripted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon, backend = await scripted("ok", **SIGNED)
    _speaking(backend, monkeypatch, *pieces)
    wanted = "".join(pieces) + (SIGNATURE.format(model="ok") if signed else "")
    assert await _both(daemon) == (wanted, wanted)


async def test_signatures_leave_the_history_exactly(scripted: Scripted) -> None:
    """What goes to the model on the next turn is what it said, byte for byte, and nothing else."""
    daemon, backend = await scripted("ok", **SIGNED)
    first = await daemon.chat("Hello")
    assert first.text.endswith(MARK)
    tricky = "A user may write --- or _ok on s_ \u2063 or \n\n at the end\n\n"
    messages = [
        {"role": "system", "content": f"Be kind.{SIGNATURE}"},
        {"role": "user", "content": tricky},
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": f"You said {first.text}"},
        {"role": "assistant", "content": [{"type": "text", "text": first.text, "x": 1}]},
        {"role": "assistant", "content": "unsigned\n\n_text_"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": "And now?"},
    ]
    assert (await daemon.chat(messages)).status == 200
    sent = backend.asked[-1].body["messages"]
    assert sent[2] == {"role": "assistant", "content": TEXT}
    assert sent[4] == {"role": "assistant", "content": [{"type": "text", "text": TEXT, "x": 1}]}
    for index in (0, 1, 3, 5, 6, 7):
        assert sent[index] == messages[index]


async def test_signatures_are_stripped_after_they_were_switched_off(scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    old = TEXT + SIGNATURE.format(model="gone")
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": old},
        {"role": "user", "content": "Again"},
    ]
    await daemon.chat(messages)
    assert backend.asked[-1].body["messages"][1]["content"] == TEXT


async def test_text_in_the_finishing_chunk_is_signed_too(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some servers send the last word together with the finish reason, or all in one chunk."""
    daemon, backend = await scripted("ok", **SIGNED)
    chunk = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "ok",
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": "All."},
                "finish_reason": "stop",
            }
        ],
    }
    monkeypatch.setattr(
        "tests.support.openai_answers.chat_chunks", lambda *arguments, **fields: [chunk]
    )
    wanted = "All." + SIGNATURE.format(model="ok")
    assert await _both(daemon) == (wanted, wanted)
    assert len(backend.asked) == 2
