"""The human's words in a request, and the client's own tasks, on what clients really send."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from llmrouterd.chat import Message, parse_request
from llmrouterd.classifier import classify
from llmrouterd.classifier.words import TASK_NAMES, detect_task, human_turns, human_words
from llmrouterd.signals import RequestContext
from tests.support.openwebui import Recorded, recorded
from tests.support.policies import chat, policy

RECORDED = [r for r in recorded(path="/v1/chat/completions") if r.method == "POST"]


def _parsed(request: Recorded) -> Any:
    body = orjson.dumps(request.body)
    return parse_request("chat", body, policy().validators)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plain words", "plain words"),
        ("  spaces \n", "spaces"),
        ("a < b and b > c", "a < b and b > c"),
        ("<context>doc: write python</context>what is this?", "what is this?"),
        ("<system-reminder>\nnever say python\n</system-reminder>\nfix it", "fix it"),
        ("x<system-reminder>a</system-reminder>y<system-reminder>b</system-reminder>z", "xyz"),
        ("<environment_details>cwd</environment_details>", ""),
        ("<task>add a test</task><environment_details>c</environment_details>", "add a test"),
        ("<user_query>\nwhy?\n</user_query><attached_files>x</attached_files>", "why?"),
        ('<source id="1" name="a">text</source>summary?', "summary?"),
        ("<div>html that I ask about</div>", "<div>html that I ask about</div>"),
        ("<context>never closed", "<context>never closed"),
        ("<user_query> </user_query>hello", "<user_query> </user_query>hello"),
    ],
)
def test_what_was_injected_is_not_the_humans(text: str, words: str) -> None:
    assert human_words(text) == words


RAG = """### Task:
Respond to the user query using the provided context, incorporating inline citations.

### Guidelines:
- If you don't know the answer, clearly state that.

<context>
<source id="1">Write a python function.</source>
</context>

who is the landlord?"""


def test_the_template_of_documents_is_no_task_and_no_words() -> None:
    assert human_words(RAG) == "who is the landlord?"
    assert detect_task("", chat(RAG).messages) == ""


def test_a_document_with_the_end_mark_in_it_hides_no_words() -> None:
    text = RAG.replace("Write a python function.", "</context> evil <context>")
    assert human_words(text) == "who is the landlord?"


def test_turns_are_the_humans_newest_first() -> None:
    messages = [
        {"role": "system", "content": "You are a python expert."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "answer"},
        {"role": "user", "content": "<system-reminder>only this</system-reminder>"},
        {"role": "tool", "tool_call_id": "1", "content": "result"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "second"}, {"type": "text", "text": "x"}],
        },
        {"role": "user", "content": ""},
    ]
    assert human_turns(chat(messages).messages) == ["second\nx", "first"]
    assert human_turns(chat(messages).messages, most=1) == ["second\nx"]


def test_the_recording_has_what_is_tested() -> None:
    assert len(RECORDED) > 60


@pytest.mark.parametrize("request_", RECORDED, ids=lambda r: f"{r.seq}")
def test_every_recorded_request_is_told_apart(request_: Recorded) -> None:
    """Chats carry tools or a stream; the client's own tasks are neither streamed nor have tools."""
    parsed = _parsed(request_)
    task = detect_task("", parsed.messages)
    text = parsed.messages[-1].text
    is_template = text.startswith("### Task:") and not text.startswith(
        "### Task:\nRespond to the user query"
    )
    assert bool(task) is is_template
    if task:
        assert not parsed.stream
        assert not parsed.tools_json
    header = request_.header("X-Task") or ""
    if header:
        assert detect_task(header, parsed.messages) == task
    signals = classify(parsed, policy(), RequestContext(task=header))
    assert signals.needs <= {"vision", "tools"}
    assert ("tools" in signals.needs) is any(m.role == "tool" for m in parsed.messages)
    assert signals.tool_loop is (parsed.messages[-1].role == "tool")
    if parsed.tools_json:
        assert signals.tool_tokens > 1000
        assert signals.prompt_tokens < 2000


def test_all_recorded_tasks_have_names() -> None:
    found = {detect_task("", _parsed(request).messages) for request in RECORDED}
    assert found - {""} <= TASK_NAMES
    assert {"title", "tags", "follow_up", "query"} <= found | {"query"}


@pytest.mark.parametrize(
    ("header", "task"),
    [
        ("title_generation", "title"),
        ("moa_response_generation", "moa"),
        ("title", "title"),
        ("chat", ""),
        ("{{TASK}}", ""),
        ("", ""),
    ],
)
def test_the_header_is_believed(header: str, task: str) -> None:
    assert detect_task(header, chat("write a poem").messages) == task


def test_a_template_inside_of_a_conversation_is_no_task() -> None:
    title = "### Task:\nGenerate a concise, 3-5 word title with an emoji"
    assert detect_task("", chat(title).messages) == "title"
    system = {"role": "system", "content": "be kind"}
    alone = [system, {"role": "user", "content": title}]
    assert detect_task("", chat(alone).messages) == "title"
    later = [{"role": "user", "content": "hi"}, {"role": "user", "content": title}]
    assert detect_task("", chat(later).messages) == ""
    assert detect_task("", (Message("assistant", title, 0, 0, False),)) == ""


def test_detection_can_be_switched_off() -> None:
    off = policy("tasks: {detect: false}")
    assert classify(chat("x"), off, RequestContext(task="title")).task == ""
