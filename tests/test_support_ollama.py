"""The fake Ollama keeps to the documented behaviour, seen raw and through the official client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import ollama
import pytest

from tests.support import openai_answers
from tests.support.clients import read_sse, stream_text
from tests.support.fake_ollama import FakeModel, FakeOllama

LLAMA = FakeModel(name="llama3.1:8b")
THINKER = FakeModel(
    name="qwen3", family="qwen3", capabilities=("completion", "tools", "thinking", "vision")
)
EMBEDDER = FakeModel(name="nomic", capabilities=("embedding",), context_length=2048)
PLAIN = FakeModel(name="plain", capabilities=("completion",), size=1_000_000_000)
HI = [{"role": "user", "content": "hi there"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}
TEXT_CALL = {"function": {"name": "f", "arguments": "{}"}}


@pytest.fixture
async def server() -> AsyncIterator[FakeOllama]:
    async with FakeOllama([LLAMA, THINKER, EMBEDDER, PLAIN]) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


class Api:
    """POSTs to one server: the status and the JSON, or the JSON lines of a stream."""

    def __init__(self, server: FakeOllama, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        async with self.session.post(self.server.url + path, json=body) as response:
            return response.status, await response.json(content_type=None)

    async def chat(self, model: str = "llama3.1:8b", **more: Any) -> tuple[int, Any]:
        body = {"model": model, "messages": HI, "stream": False, **more}
        return await self.post("/api/chat", body)

    async def lines(self, path: str, **body: Any) -> list[Any]:
        async with self.session.post(self.server.url + path, json=body) as response:
            assert response.status == 200
            assert response.content_type == "application/x-ndjson"
            return [json.loads(line) async for line in response.content]

    async def ps(self) -> list[Any]:
        async with self.session.get(f"{self.server.url}/api/ps") as response:
            rows: list[Any] = (await response.json())["models"]
            return rows


@pytest.fixture
def api(server: FakeOllama, session: aiohttp.ClientSession) -> Api:
    return Api(server, session)


@pytest.fixture
async def client(server: FakeOllama) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(host=server.url) as opened:
        yield opened


async def test_the_official_client_lists_shows_chats_and_embeds(
    server: FakeOllama, client: ollama.AsyncClient
) -> None:
    listed = (await client.list()).models
    assert {row.model for row in listed} >= {"llama3.1:8b", "qwen3:latest"}
    shown = await client.show("qwen3")
    assert shown.modelinfo is not None
    assert shown.modelinfo["qwen3.context_length"] == 131_072
    assert "vision" in (shown.capabilities or [])
    answer = await client.chat("llama3.1:8b", HI, options={"temperature": 0.5, "num_ctx": 8192})
    assert answer.message.content == openai_answers.answer_text(5)
    assert answer.eval_count == 5
    assert answer.eval_duration == 100_000_000
    parts = [part async for part in await client.chat("qwen3", HI, stream=True, think=True)]
    assert "".join(part.message.thinking or "" for part in parts) == "Let me think about it"
    vectors = await client.embed("nomic", ["a", "b"])
    assert len(vectors.embeddings) == 2
    running = (await client.ps()).models
    assert {row.model: row.context_length for row in running}["llama3.1:8b"] == 8192
    generated = await client.generate("llama3.1:8b", "hello")
    assert generated.response == openai_answers.answer_text(5)
    with pytest.raises(ollama.ResponseError, match="model 'absent' not found"):
        await client.chat("absent", HI)
    assert server.violations == []


async def test_streaming_is_the_default_and_the_last_line_measures(api: Api) -> None:
    lines = await api.lines("/api/chat", model="llama3.1:8b", messages=HI)
    assert [line["done"] for line in lines] == [False] * 5 + [True]
    text = "".join(line["message"]["content"] for line in lines)
    assert text == openai_answers.answer_text(5)
    last = lines[-1]
    assert last["done_reason"] == "stop"
    assert (last["eval_count"], last["prompt_eval_count"]) == (5, 3)
    assert last["load_duration"] > 0
    assert last["total_duration"] > last["eval_duration"] == 100_000_000
    again = (await api.lines("/api/chat", model="llama3.1:8b", messages=HI))[-1]
    assert not {"prompt_eval_count", "prompt_eval_duration", "load_duration"} & again.keys()


async def test_num_predict_ends_with_length(api: Api) -> None:
    _, answer = await api.chat(options={"num_predict": 2})
    assert answer["message"]["content"] == openai_answers.answer_text(2)
    assert (answer["done_reason"], answer["eval_count"]) == ("length", 2)


async def test_tools_are_called_whole_and_answered(api: Api) -> None:
    asked = [{"role": "user", "content": "please use tool now"}]
    body = {"model": "llama3.1:8b", "messages": asked, "tools": [TOOL]}
    lines = await api.lines("/api/chat", **body)
    assert len(lines) == 2
    (call,) = lines[0]["message"]["tool_calls"]
    assert call["function"]["arguments"] == {"city": "wörd", "days": 1}
    turns = [
        *asked,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "get_weather", "content": "sunny"},
    ]
    _, answer = await api.chat(messages=turns, tools=[TOOL])
    assert answer["message"]["content"].startswith("The tool said: sunny.")
    assert "tool_calls" not in answer["message"]
    _, answer = await api.chat(tools=[TOOL])
    assert "tool_calls" not in answer["message"]


async def test_thinking_is_on_for_those_who_can_unless_told_not_to(api: Api) -> None:
    _, thought = await api.chat("qwen3")
    assert thought["message"]["thinking"] == "Let me think about it"
    _, told = await api.chat("qwen3", think=False)
    assert "thinking" not in told["message"]
    status, error = await api.chat("plain", think=True)
    assert (status, error["error"]) == (400, '"plain" does not support thinking')


async def test_formats_and_images(api: Api) -> None:
    _, answer = await api.chat(format="json")
    assert json.loads(answer["message"]["content"]) == {"answer": "wörd", "n": 1}
    colour = {"enum": ["red", "blue"]}
    properties = {"colour": colour, "sizes": {"type": "array", "items": {"type": "integer"}}}
    schema = {"type": "object", "properties": properties, "required": ["colour"]}
    _, answer = await api.chat(format=schema)
    assert json.loads(answer["message"]["content"]) == {"colour": "red", "sizes": [1]}
    seen = [{"role": "user", "content": "what?", "images": ["aGk=", "aGk="]}]
    _, answer = await api.chat("qwen3", messages=seen)
    assert answer["message"]["content"].startswith("I see 2 images. ")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"temperature": 0.5}, "not understood at the top level: temperature"),
        ({"max_tokens": 5}, "not understood at the top level: max_tokens"),
        ({"options": {"max_tokens": 5}}, "invalid option provided: max_tokens"),
        ({"options": {"num_ctx": "4096"}}, 'option "num_ctx" must be of type integer'),
        ({"options": {"stop": "x"}}, 'option "stop" must be of type array'),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "unmarshal array"),
        (
            {"messages": [{"role": "user", "content": "", "images": ["data:image/png;base64,aa"]}]},
            "illegal base64 data at input byte 4",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [TEXT_CALL]}]},
            "unmarshal string into Go struct field ChatRequest.messages.tool_calls",
        ),
        ({"think": "maybe"}, "invalid think value"),
        ({"format": "yaml"}, "invalid format"),
        ({"keep_alive": "10"}, "missing unit in duration"),
    ],
)
async def test_what_ollama_does_not_understand_is_a_violation(
    api: Api, change: dict[str, Any], text: str
) -> None:
    status, error = await api.chat(**change)
    assert status == 400
    assert text in error["error"]
    assert len(api.server.violations) == 1
    assert api.server.loads == []


async def test_errors_have_ollamas_words(api: Api) -> None:
    assert await api.chat("absent") == (404, {"error": "model 'absent' not found"})
    assert await api.post("/api/chat", {"messages": HI}) == (400, {"error": "model is required"})
    status, error = await api.chat("plain", tools=[TOOL])
    assert (status, error["error"]) == (
        400,
        "registry.ollama.ai/library/plain:latest does not support tools",
    )
    status, error = await api.chat("nomic")
    assert (status, error["error"]) == (400, '"nomic" does not support chat')
    async with api.session.post(f"{api.server.url}/api/chat") as response:
        assert await response.json() == {"error": "missing request body"}
    status, error = await api.post("/v1/chat/completions", {"model": "absent", "messages": HI})
    assert (status, error["error"]["type"]) == (404, "not_found_error")
    assert api.server.violations == []


async def test_keep_alive_loads_pins_rearms_expires_and_unloads(api: Api) -> None:
    server = api.server
    load = {"model": "plain", "messages": [], "keep_alive": -1}
    status, answer = await api.post("/api/chat", load)
    assert (status, answer["done_reason"]) == (200, "load")
    (row,) = await api.ps()
    assert row["expires_at"].startswith("2318-")
    server.advance(1e6)
    assert list(server.loaded) == ["plain:latest"]
    await api.chat("plain", keep_alive="10m")
    server.advance(599)
    assert list(server.loaded) == ["plain:latest"]
    server.advance(2)
    assert server.loaded == {}
    await api.chat("plain")
    assert server.loaded["plain:latest"].keep_alive == 300
    _, answer = await api.post("/api/chat", {"model": "plain", "messages": [], "keep_alive": 0})
    assert answer["done_reason"] == "unload"
    assert await api.ps() == []
    await api.chat("plain", keep_alive=0)
    assert server.loaded == {}
    _, answer = await api.post("/api/generate", {"model": "plain", "keep_alive": "1h"})
    assert (answer["done_reason"], answer["response"]) == ("load", "")
    assert len(server.loads) == 4


async def test_another_context_reloads_and_none_is_tolerated(api: Api) -> None:
    server = api.server
    for num_ctx in (4096, 8192, None, 8192):
        await api.chat(options={} if num_ctx is None else {"num_ctx": num_ctx})
    assert server.reloads == 1
    small = server.loaded["llama3.1:8b"].size
    await api.chat(options={"num_ctx": 10_000_000})
    assert server.loaded["llama3.1:8b"].num_ctx == 131_072
    assert server.loaded["llama3.1:8b"].size > small
    await api.chat("qwen3", options={"num_ctx": 100})
    assert server.loaded["qwen3:latest"].num_ctx == 2048
    assert server.reloads == 2


async def test_other_options_of_the_runner_and_another_shift_reload(api: Api) -> None:
    server = api.server
    await api.chat()
    for number, more in enumerate(
        ({"options": {"num_gpu": 10}}, {}, {"options": {"draft_num_predict": 4}}, {"shift": False})
    ):
        await api.chat(**more)
        await api.chat(**more)
        assert server.reloads == number + 1
    await api.chat(shift=True)
    assert server.reloads == 5


async def test_the_shortest_keep_alive_makes_room(api: Api) -> None:
    server = api.server
    server.limits.max_loaded = 2
    await api.chat("plain", keep_alive="1h")
    await api.chat("qwen3", keep_alive="5m")
    await api.chat("llama3.1:8b")
    assert server.scheduler.evicted == ["qwen3:latest"]
    assert set(server.loaded) == {"plain:latest", "llama3.1:8b"}


async def test_memory_that_is_short_evicts_then_spills(api: Api) -> None:
    server = api.server
    server.limits.vram = 5_000_000_000
    await api.chat("plain")
    await api.chat("llama3.1:8b")
    (row,) = await api.ps()
    assert row["name"] == "llama3.1:8b"
    assert row["size_vram"] == 5_000_000_000 < row["size"]


async def test_one_load_at_a_time_and_a_full_queue_is_503(api: Api) -> None:
    server = api.server
    server.limits.max_queue = 1
    server.add(FakeModel(name="slow", load_seconds=0.5))
    first = asyncio.create_task(api.chat("slow"))
    await server.wait_requests(1)
    second = asyncio.create_task(api.chat("plain"))
    await server.wait_requests(2)
    assert server.scheduler.waiting == 1
    status, error = await api.chat("plain")
    assert (status, error["error"]) == (
        503,
        "server busy, please try again.  maximum pending requests exceeded",
    )
    assert [(await first)[0], (await second)[0]] == [200, 200]
    assert server.loads == ["slow:latest", "plain:latest"]
    assert (await first)[1]["load_duration"] >= 499_000_000


async def test_a_busy_model_is_not_evicted(api: Api) -> None:
    server = api.server
    server.limits.max_loaded = 1
    server.delay = 0.03
    streaming = asyncio.create_task(api.lines("/api/chat", model="plain", messages=HI))
    await server.wait_requests(1)
    other = await api.chat("llama3.1:8b")
    assert other[0] == 200
    assert (await streaming)[-1]["done"]
    assert server.scheduler.evicted == ["plain:latest"]
    await server.wait_idle()
    first, second = (seen.finished or 0.0 for seen in server.asked)
    assert 0.0 < first < second


async def test_a_client_that_leaves_frees_the_model(api: Api) -> None:
    server = api.server
    server.set_fault("plain", "hang-mid-stream")
    body = {"model": "plain", "messages": HI, "keep_alive": 0}
    async with api.session.post(f"{server.url}/api/chat", json=body) as response:
        await response.content.readline()
        assert server.loaded["plain:latest"].busy == 1
        response.close()
    (seen,) = await server.wait_closed_by_client(1)
    assert seen.disconnected
    assert server.loaded == {}


async def test_faults_strike_and_pass(api: Api) -> None:
    server = api.server
    server.set_fault("plain", "error-mid-stream", times=1)
    lines = await api.lines("/api/chat", model="plain", messages=HI)
    assert len(lines) == 3
    assert lines[-1] == {"error": "llama runner process has terminated: exit status 2"}
    assert (await api.lines("/api/chat", model="plain", messages=HI))[-1]["done"]
    server.set_fault("plain", "drop-mid-stream")
    with pytest.raises(aiohttp.ClientPayloadError):
        await api.lines("/api/chat", model="plain", messages=HI)
    server.set_fault("plain", "ends-early")
    assert not (await api.lines("/api/chat", model="plain", messages=HI))[-1]["done"]
    server.set_fault("plain", "load-error")
    assert (await api.chat("plain"))[0] == 500
    server.set_fault("plain", None)
    server.set_fault("/api/show", "503")
    assert (await api.post("/api/show", {"model": "plain"}))[0] == 503
    with pytest.raises(ValueError, match="no such fault"):
        server.set_fault("plain", "explode")


async def test_models_come_change_and_go(api: Api) -> None:
    server = api.server

    async def digests() -> dict[str, str]:
        async with api.session.get(f"{server.url}/api/tags") as response:
            return {row["name"]: row["digest"] for row in (await response.json())["models"]}

    before = await digests()
    await api.chat("plain")
    server.add(FakeModel(name="plain", digest="ff" * 32))
    server.remove("nomic")
    after = await digests()
    assert after["plain:latest"] == "ff" * 32 != before["plain:latest"]
    assert before.keys() - after.keys() == {"nomic:latest"}
    await api.chat("plain")
    assert server.loads == ["plain:latest", "plain:latest"]


async def test_a_paused_server_hangs_and_a_stopped_one_refuses(api: Api) -> None:
    server = api.server
    await api.chat("plain")
    server.pause()
    asking = asyncio.create_task(api.ps())
    done, _ = await asyncio.wait([asking], timeout=0.05)
    assert not done
    server.resume()
    assert len(await asking) == 1
    await server.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await api.ps()
    await server.start()
    assert await api.ps() == []


async def test_the_compatible_endpoints(api: Api) -> None:
    async with api.session.head(f"{api.server.url}/") as response:
        assert response.status == 200
    async with api.session.get(f"{api.server.url}/api/version") as response:
        assert (await response.json())["version"] == "0.12.6"
    async with api.session.get(f"{api.server.url}/v1/models") as response:
        ids = [row["id"] for row in (await response.json())["data"]]
    assert "qwen3:latest" in ids
    body = {"model": "plain", "messages": HI, "stream": True, "temperature": 1}
    async with api.session.post(f"{api.server.url}/v1/chat/completions", json=body) as response:
        events = await read_sse(response)
    assert stream_text(events) == openai_answers.answer_text(5)
    assert events[0].json()["system_fingerprint"] == "fp_ollama"
    assert api.server.violations == []
