"""The daemon over Ollama's native API: translated both ways, its memory treated with care."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.conftest import Opener
from tests.support.clients import stream_text
from tests.support.daemon import Running
from tests.support.fake_ollama import FakeModel, FakeOllama
from tests.support.openai_answers import answer_text

MODELS = (
    FakeModel(name="llama3.1:8b", capabilities=("completion", "tools")),
    FakeModel(name="seer:12b", capabilities=("completion", "vision", "thinking")),
    FakeModel(name="nomic:latest", capabilities=("embedding",), parameter_count=137_000_000),
)
TEXT = answer_text(5)
PNG = "iVBORw0KGgo="
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture
async def ollama() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(MODELS) as fake:
        yield fake
        assert fake.violations == []  # nothing was said that Ollama would silently lose


@pytest.fixture
async def daemon(ollama: FakeOllama, open_daemon: Opener) -> Running:
    entry = {
        "name": "o",
        "type": "ollama",
        "url": ollama.url,
        "timeouts": {"first_token": 5, "idle": 0.3},
    }
    rules = [{"name": "default", "prefer": {"o/llama*": 500}}]
    return await open_daemon({"backends": [entry], "rules": rules})


def _sent(ollama: FakeOllama, path: str = "/api/chat") -> Any:
    return [seen for seen in ollama.requests if seen.path == path][-1].body


async def test_facts_come_from_the_metadata(daemon: Running) -> None:
    rows = {row["id"]: row for row in (await daemon.get("/admin/models")).data["models"]}
    assert set(rows) == {"o/llama3.1:8b", "o/seer:12b", "o/nomic:latest"}
    llama = rows["o/llama3.1:8b"]
    assert set(llama["capabilities"]) == {"chat", "json", "tools"}
    assert llama["size_b"] == pytest.approx(8.03, abs=0.01)
    assert llama["quantization"] == "Q4_K_M"
    assert set(rows["o/seer:12b"]["capabilities"]) == {"chat", "json", "vision", "thinking"}
    assert set(rows["o/nomic:latest"]["capabilities"]) == {"embedding"}


async def test_discovery_loads_nothing(daemon: Running, ollama: FakeOllama) -> None:
    daemon.state.discovery.wake()
    await asyncio.sleep(0.1)
    assert ollama.loads == []
    assert {seen.path for seen in ollama.requests} == {"/api/tags", "/api/ps", "/api/show"}
    shows = [seen for seen in ollama.requests if seen.path == "/api/show"]
    assert len(shows) == len(MODELS)  # once for each digest, not with every poll


async def test_an_answer_both_ways(daemon: Running) -> None:
    whole = await daemon.chat("Hello")
    assert (whole.text, whole.data["choices"][0]["finish_reason"]) == (TEXT, "stop")
    assert whole.data["usage"]["completion_tokens"] == 5
    assert whole.data["model"] == "llama3.1:8b"
    events = await daemon.stream("Hello", stream_options={"include_usage": True})
    assert stream_text(events) == TEXT
    assert events[-1].done
    assert events[-2].json()["usage"]["completion_tokens"] == 5
    plain = await daemon.stream("Hello")
    assert not any(event.json().get("usage") for event in plain if not event.done)


async def test_parameters_become_options(daemon: Running, ollama: FakeOllama) -> None:
    fields = {
        "temperature": 0.3,
        "top_p": 0.9,
        "seed": 7,
        "max_tokens": 3,
        "stop": ["END"],
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
    }
    answer = await daemon.chat("Hello", **fields)
    assert (answer.text, answer.data["choices"][0]["finish_reason"]) == (answer_text(3), "length")
    options = _sent(ollama)["options"]
    assert options["num_predict"] == 3
    wanted = {key: value for key, value in fields.items() if key != "max_tokens"}
    assert {key: options[key] for key in wanted} == wanted


async def test_the_context_is_one_constant_so_nothing_reloads(
    daemon: Running, ollama: FakeOllama
) -> None:
    await daemon.chat("Hello")
    await daemon.chat("word " * 3000)
    await daemon.stream("Hello", max_tokens=4000)
    await daemon.post("/v1/completions", {"model": "llama3.1:8b", "prompt": "Once"})
    assert ollama.loads == ["llama3.1:8b"]
    assert ollama.reloads == 0
    assert _sent(ollama)["options"]["num_ctx"] == 8192
    assert _sent(ollama)["keep_alive"] == "2h"
    assert _sent(ollama, "/api/generate")["options"]["num_ctx"] == 8192


async def test_no_client_makes_ollama_load_a_model_again(
    daemon: Running, ollama: FakeOllama
) -> None:
    for more in ({}, {"num_gpu": 10}, {"options": {"num_batch": 256}}, {"shift": False}):
        await daemon.chat("Hello", **more)
    asked = {"model": "nomic", "input": "a"}
    await daemon.post("/v1/embeddings", asked)
    await daemon.post("/v1/embeddings", {**asked, "num_thread": 2, "options": {"num_ctx": 512}})
    assert ollama.loads == ["llama3.1:8b", "nomic:latest"]
    assert ollama.reloads == 0
    assert _sent(ollama, "/api/embed")["options"] == {"num_ctx": 8192}


async def test_pinned_models_stay(ollama: FakeOllama, open_daemon: Opener) -> None:
    daemon = await open_daemon(
        {
            "backends": [{"name": "o", "type": "ollama", "url": ollama.url}],
            "pins": ["o/llama*"],
            "models": [{"match": "o/seer*", "num_ctx": 4096, "keep_alive": "1h"}],
        }
    )
    await daemon.chat("Hello", model="o/llama3.1:8b")
    assert _sent(ollama)["keep_alive"] == -1
    await daemon.chat("Hello", model="o/seer:12b")
    assert _sent(ollama)["keep_alive"] == "1h"
    assert _sent(ollama)["options"]["num_ctx"] == 4096


async def test_tools_both_ways(daemon: Running, ollama: FakeOllama) -> None:
    answer = await daemon.chat("Please use tool", tools=[TOOL])
    choice = answer.data["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "wörd"}
    history = [
        {"role": "user", "content": "Please use tool"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "sunny"},
    ]
    after = await daemon.chat(history, tools=[TOOL])
    assert after.text.startswith("The tool said: sunny.")
    sent = _sent(ollama)["messages"]
    assert sent[1]["tool_calls"][0]["function"]["arguments"] == {"city": "wörd"}
    assert sent[2]["tool_name"] == "get_weather"


async def test_images_go_to_a_model_that_sees(daemon: Running, ollama: FakeOllama) -> None:
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
    answer = await daemon.chat([{"role": "user", "content": content}])
    assert answer.headers["x-router-model"] == "seer:12b"
    assert answer.text.startswith("I see 1 images.")
    assert _sent(ollama)["messages"][0] == {
        "role": "user",
        "content": "What is this?",
        "images": [PNG],
    }


async def test_an_image_at_an_address_is_refused_clearly(daemon: Running) -> None:
    """Ollama takes bytes only, and the daemon fetches nothing for a client."""
    image = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}}
    answer = await daemon.chat([{"role": "user", "content": [image]}])
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"


async def test_thinking_becomes_reasoning(daemon: Running) -> None:
    answer = await daemon.chat("Hello", model="seer:12b")
    message = answer.data["choices"][0]["message"]
    assert message["content"] == TEXT
    thought = message.get("reasoning_content") or message.get("reasoning")
    assert thought == "Let me think about it"


async def test_json_schema_becomes_format(daemon: Running, ollama: FakeOllama) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = await daemon.chat("Hello", response_format=wanted)
    assert json.loads(answer.text) == {"n": 3}
    assert _sent(ollama)["format"] == schema
    plain = await daemon.chat("Hello", response_format={"type": "json_object"})
    assert isinstance(json.loads(plain.text), dict)
    assert _sent(ollama)["format"] == "json"


async def test_embeddings(daemon: Running, ollama: FakeOllama) -> None:
    async with openai.AsyncOpenAI(base_url=f"{daemon.url}/v1", api_key="x") as client:
        answer = await client.embeddings.create(model="hubrouter/main", input=["a", "b"])
        floats = await client.embeddings.create(model="nomic", input="a", encoding_format="float")
    assert [len(item.embedding) for item in answer.data] == [8, 8]
    assert answer.data[0].embedding == pytest.approx(floats.data[0].embedding)
    assert answer.usage.prompt_tokens > 0
    assert _sent(ollama, "/api/embed")["input"] == "a"


async def test_names_without_a_tag(daemon: Running) -> None:
    answer = await daemon.post("/v1/embeddings", {"model": "nomic", "input": "a"})
    assert answer.headers["x-router-model"] == "nomic:latest"
    assert (await daemon.chat("Hello", model="llama3.1")).status == 404


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("drop-mid-stream", "upstream_interrupted"),
        ("ends-early", "upstream_interrupted"),
        ("hang-mid-stream", "upstream_timeout"),
    ],
)
async def test_a_broken_answer(fault: str, code: str, daemon: Running, ollama: FakeOllama) -> None:
    ollama.delay = 0.02
    ollama.set_fault("llama3.1:8b", fault, 1)
    events = await daemon.stream("Hello", model="llama3.1:8b")
    assert stream_text(events[:-1]) == answer_text(2)
    assert events[-1].json()["error"]["code"] == code
    ollama.set_fault("llama3.1:8b", fault, 1)
    answer = await daemon.chat("Hello")  # not streamed: the next candidate makes it good
    assert answer.status == 200
    assert answer.headers["x-router-model"] == "seer:12b"


async def test_an_error_line_is_passed_on(daemon: Running, ollama: FakeOllama) -> None:
    ollama.delay = 0.02
    ollama.set_fault("llama3.1:8b", "error-mid-stream", 1)
    events = await daemon.stream("Hello", model="llama3.1:8b")
    assert "llama runner process has terminated" in events[-1].json()["error"]["message"]


@pytest.mark.parametrize("fault", ["500", "load-error", "503", "404"])
async def test_failover_within_ollama(fault: str, daemon: Running, ollama: FakeOllama) -> None:
    ollama.set_fault("llama3.1:8b", fault, 1)
    answer = await daemon.chat("Hello")
    assert (answer.status, answer.headers["x-router-model"]) == (200, "seer:12b")
    named = await daemon.chat("Hello", model="llama3.1:8b")
    assert named.status == 200


async def test_tasks_use_what_is_loaded(daemon: Running, ollama: FakeOllama) -> None:
    title = "### Task:\nGenerate a concise title summarizing the chat history."
    await daemon.chat("Hello")
    assert (await daemon.chat(title)).headers["x-router-model"] == "llama3.1:8b"
    assert ollama.loads == ["llama3.1:8b"]


async def test_a_model_that_was_pulled_or_removed(daemon: Running, ollama: FakeOllama) -> None:
    ollama.scheduler.models["new:1b"] = FakeModel(name="new:1b")
    daemon.state.discovery.wake()
    await daemon.wait_models("o/llama3.1:8b", "o/seer:12b", "o/nomic:latest", "o/new:1b")
    assert (await daemon.chat("Hello", model="new:1b")).status == 200
    del ollama.scheduler.models["new:1b"]
    daemon.state.discovery.wake()
    await daemon.wait_models("o/llama3.1:8b", "o/seer:12b", "o/nomic:latest")
    assert (await daemon.chat("Hello", model="new:1b")).status == 404


async def test_the_compatible_address_works_too(ollama: FakeOllama, open_daemon: Opener) -> None:
    """People write what Ollama's own pages say: with /v1 or /api at the end."""
    for suffix in ("/v1", "/api", "/"):
        entry = {"name": "o", "type": "ollama", "url": ollama.url + suffix}
        daemon = await open_daemon({"backends": [entry]})
        assert (await daemon.chat("Hello")).text == TEXT
