"""What a real Open WebUI sent, sent again: answered, and understood for what it was."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.conftest import Llamas, Opener, Scripted
from tests.support.clients import read_sse, stream_text
from tests.support.daemon import VIRTUAL, Running
from tests.support.fake_ollama import FakeModel, FakeOllama
from tests.support.openai_answers import answer_text
from tests.support.openwebui import Recorded, recorded

CHATS = recorded(path="/v1/chat/completions")
TEMPLATES = {
    "Generate a concise title": "title",
    "Predict 3-5 useful messages": "follow_up",
    "Generate 1-3 broad tags": "tags",
    "Analyze the chat history to determine the necessity": "query",
}
# Headers of one connection, which the client of this replay writes for itself.
CONNECTION = {"host", "content-length", "accept-encoding"}


def _task(sent: Recorded) -> str:
    """What a person reads in a recorded request: the name of its task, "" for a human's turn."""
    messages = sent.body["messages"]
    first = messages[0]["content"]
    if len(messages) > 1 or not isinstance(first, str) or not first.startswith("### Task:"):
        return ""
    line = first.split("\n")[1]
    return next((task for head, task in TEMPLATES.items() if line.startswith(head)), "")


def _headers(sent: Recorded) -> dict[str, str]:
    return {name: value for name, value in sent.headers if name.lower() not in CONNECTION}


def _body(sent: Recorded, **changed: Any) -> dict[str, Any]:
    return {**sent.body, "model": VIRTUAL, **changed}


async def _replay(daemon: Running, sent: Recorded, **changed: Any) -> aiohttp.ClientResponse:
    return await daemon.http.post(
        daemon.url + sent.path, json=_body(sent, **changed), headers=_headers(sent)
    )


async def test_every_recorded_chat_is_answered(scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    assert len(CHATS) == 74
    for sent in CHATS:
        async with await _replay(daemon, sent) as response:
            assert (sent.seq, response.status) == (sent.seq, 200)
            if sent.body.get("stream"):
                events = await read_sse(response)
                assert events[-1].done
                assert stream_text(events) == answer_text(5)
            else:
                answer = await response.json()
                assert answer["choices"][0]["message"]["content"] == answer_text(5)
        # But for the model and the stream, the backend gets what Open WebUI sent.
        got = backend.asked[-1].body
        ours = {"model", "stream", "stream_options"}
        # A task that may be of any length gets a limit.
        limit = {"max_tokens": 1000} if _task(sent) else {}
        assert {k: v for k, v in got.items() if k not in ours} == {
            k: v for k, v in (limit | sent.body).items() if k not in ours
        }
        # And nothing of its headers: no key, no name or mail of its user.
        theirs = {name.lower() for name in _headers(sent)} - {"content-type", "user-agent"}
        assert not theirs & {"authorization", "accept"} & set(backend.asked[-1].headers)
        assert not [name for name in backend.asked[-1].headers if name.startswith("x-")]


async def test_tasks_are_told_from_chats(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    found: dict[str, int] = {}
    categories: set[str] = set()
    for sent in CHATS:
        explained = await daemon.post("/admin/explain", _body(sent), headers=_headers(sent))
        signals = explained.data["signals"]
        assert (sent.seq, signals["task"]) == (sent.seq, _task(sent))
        assert explained.data["mode"] == ("task" if _task(sent) else "routed")
        if _task(sent):
            categories.add(signals["category"])
        found[_task(sent)] = found.get(_task(sent), 0) + 1
    assert found == {"": 26, "title": 19, "follow_up": 15, "tags": 13, "query": 1}
    assert categories == {"general"}  # the templates speak of JSON, code and summaries


def _one(label: str, *, task: str = "") -> Recorded:
    """The first recorded request of a label that is this task, or a human's turn."""
    return next(sent for sent in CHATS if label in sent.label and _task(sent) == task)


async def _signals(daemon: Running, sent: Recorded, **changed: Any) -> dict[str, Any]:
    answer = await daemon.post("/admin/explain", _body(sent, **changed), headers=_headers(sent))
    signals: dict[str, Any] = answer.data["signals"]
    return signals


async def test_the_header_counts_before_the_words(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    sent = _one("header templates", task="title")
    assert sent.header("X-Owui-Task") == "title_generation"
    plain = [{"role": "user", "content": "Hello"}]
    assert (await _signals(daemon, sent, messages=plain))["task"] == "title"
    human = _one("header templates")
    assert human.header("X-Owui-Task") == ""
    assert (await _signals(daemon, human))["task"] == ""


async def test_documents_are_no_task_and_not_the_humans_words(scripted: Scripted) -> None:
    """Its template for a chat over documents begins with `### Task:` too."""
    daemon, _ = await scripted("ok", classification={"model": "none"})
    sent = _one("text file upload")
    assert sent.body["messages"][0]["content"].startswith("### Task:")
    signals = await _signals(daemon, sent)
    assert signals["task"] == ""
    assert signals["category"] == "general"  # "Summarise the file." is all that the human wrote
    assert signals["prompt_tokens"] > 500


async def test_thirty_six_tools_are_no_need(scripted: Scripted) -> None:
    rows: list[Any] = [{"id": "plain", "capabilities": ["completion"]}]
    daemon, backend = await scripted(*rows)
    sent = _one("chat 1 turn 1")
    assert len(sent.body["tools"]) == 36
    signals = await _signals(daemon, sent)
    assert signals["needs"] == []
    assert signals["tool_tokens"] > 3000
    assert signals["prompt_tokens"] < 50
    async with await _replay(daemon, sent) as response:
        assert response.status == 200
        await response.read()
    assert "tools" not in backend.asked[-1].body


async def test_a_tools_result_is_a_need(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    sent = next(sent for sent in CHATS if sent.body["messages"][-1]["role"] == "tool")
    signals = await _signals(daemon, sent)
    assert signals["needs"] == ["tools"]
    assert signals["tool_loop"] is True


async def test_an_uploaded_image_needs_vision(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    assert (await _signals(daemon, _one("image upload")))["needs"] == ["vision"]


@pytest.mark.parametrize(
    ("label", "header"),
    [("FORWARD_USER_INFO", "X-OpenWebUI-Chat-Id"), ("header templates", "X-Owui-Chat")],
)
async def test_the_conversation_is_known_by_its_header(
    label: str, header: str, scripted: Scripted
) -> None:
    daemon, _ = await scripted("ok")
    sent = _one(label)
    assert (await _signals(daemon, sent))["session"] == sent.header(header)


async def test_turns_of_one_chat_are_one_conversation(scripted: Scripted) -> None:
    """Without any header too: the second turn begins as the first did."""
    daemon, _ = await scripted("ok")
    first, second = _one("chat 1 turn 1"), _one("chat 1 turn 2")
    other = _one("real smollm2-135m")
    sessions = [(await _signals(daemon, sent))["session"] for sent in (first, second, other)]
    assert sessions[0] == sessions[1] != sessions[2]


async def test_tasks_of_a_chat_leave_its_model_alone(open_daemon: Opener) -> None:
    """A whole recorded chat over an Ollama with a large and a small model, tasks in between."""
    large = FakeModel(name="large:70b", parameter_count=70_000_000_000)
    small = FakeModel(name="small:1b", parameter_count=1_200_000_000)
    async with FakeOllama([large, small]) as ollama:
        daemon = await open_daemon(
            {
                "backends": [{"name": "o", "type": "ollama", "url": ollama.url}],
                "rules": [{"name": "default", "prefer": {"o/large*": 500}}],
            }
        )
        chat = [sent for sent in CHATS if "chat 1 turn" in sent.label]
        chat.sort(key=lambda sent: (bool(_task(sent)), sent.seq))  # the first turn loads its model
        for sent in chat:
            async with await _replay(daemon, sent) as response:
                assert response.status == 200
                assert response.headers["x-router-model"] == "large:70b"
                await response.read()
        assert ollama.loads == ["large:70b"]
        assert ollama.violations == []


async def test_the_models_listing_as_open_webui_asks_for_it(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    for sent in recorded(path="/v1/models"):
        answer = await daemon.get(sent.path, headers=_headers(sent))
        assert answer.status == 200
        assert [entry["id"] for entry in answer.data["data"]] == [VIRTUAL]


@pytest.mark.parametrize("label", ["chat 1 turn 1", "image upload", "user params"])
async def test_real_llama_answers_recorded_chats(
    label: str, open_daemon: Opener, llamas: Llamas
) -> None:
    """36 tools and unknown parameters in front of a genuine server."""
    daemon = await open_daemon(
        {
            "backends": [
                {"name": "tiny", "type": "llamacpp", "url": llamas.tiny},
                {"name": "smol", "type": "openai", "url": f"{llamas.smollm2}/v1"},
            ],
            "rules": [{"name": "default", "prefer": {"tiny/*": 500}}],
        }
    )
    for task in ("", "title", "tags"):
        sent = _one(label, task=task)
        if label == "image upload" and not task:
            continue  # neither of the two can see
        async with await _replay(daemon, sent, max_tokens=3) as response:
            text = await response.text()
            assert (sent.seq, response.status) == (sent.seq, 200), text
        if sent.body.get("stream"):
            assert text.rstrip().endswith("data: [DONE]")
        else:
            assert json.loads(text)["choices"][0]["finish_reason"] in ("stop", "length")
