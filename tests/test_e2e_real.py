"""End to end with nothing played: the official client, the daemon, real llama.cpp, real models."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from tests.conftest import Llamas, Opener
from tests.support.daemon import VIRTUAL, Running, open_running
from tests.support.faults import FaultServer
from tests.support.owned_llama import marked_name, processes

SMOL, TINY, EMBED = "real/smollm2-135m", "random/tiny-random", "vectors/tiny-embed"
CAPITAL = "What is the capital of France? Answer in one short sentence."
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def _user(words: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": words}]


def _policy(llamas: Llamas, **more: Any) -> dict[str, Any]:
    return {
        "server": {"embedding_model": EMBED, "expose_models": True},
        "backends": [
            {"name": "real", "type": "llamacpp", "url": llamas.smollm2},
            {"name": "random", "type": "openai", "url": f"{llamas.tiny}/v1"},
            {"name": "vectors", "type": "llamacpp", "url": llamas.embedding},
        ],
        "models": [{"match": EMBED, "capabilities": ["embedding"]}],
        "rules": [{"name": "default", "prefer": {SMOL: 1000}}],
        **more,
    }


@asynccontextmanager
async def _client(daemon: Running, key: str = "none") -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{daemon.url}/v1", api_key=key, max_retries=0, timeout=60
    ) as client:
        yield client


@pytest.fixture
async def daemon(open_daemon: Opener, llamas: Llamas) -> Running:
    return await open_daemon(_policy(llamas))


@pytest.fixture
async def client(daemon: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with _client(daemon) as found:
        yield found


async def test_the_client_lists_the_models(client: openai.AsyncOpenAI) -> None:
    ids = [model.id async for model in client.models.list()]
    assert ids == [VIRTUAL, TINY, SMOL, EMBED]
    assert (await client.models.retrieve(VIRTUAL)).created > 0
    assert (await client.models.retrieve(SMOL)).owned_by == "real"


async def test_a_real_model_answers_sensibly(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model=VIRTUAL,
        messages=_user(CAPITAL),
        max_tokens=24,
        temperature=0,
    )
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.completion_tokens in range(1, 25)
    assert answer.usage.prompt_tokens > 10


@pytest.mark.parametrize("model", [SMOL, TINY])
async def test_stream_and_whole_say_the_same(model: str, client: openai.AsyncOpenAI) -> None:
    fields: dict[str, Any] = {
        "model": model,
        "messages": _user("Count to five."),
        "max_tokens": 16,
        "temperature": 0,
        "seed": 7,
    }
    whole = await client.chat.completions.create(**fields)
    stream = await client.chat.completions.create(
        **fields, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    ends = [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert ends == [whole.choices[0].finish_reason]


async def test_headers_reach_the_client(client: openai.AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model=VIRTUAL, messages=_user("Hi"), max_tokens=1
    )
    assert raw.headers["x-router-model"] == "smollm2-135m"
    assert raw.headers["x-router-backend"] == "real"
    assert raw.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("model", [VIRTUAL, TINY])
async def test_tools_are_accepted(model: str, client: openai.AsyncOpenAI, daemon: Running) -> None:
    answer = await client.chat.completions.create(
        model=model, messages=_user("Hello"), tools=[WEATHER], max_tokens=4
    )
    assert answer.choices[0].finish_reason in ("stop", "length", "tool_calls")
    assert answer.choices[0].message.role == "assistant"


async def test_json_schema_is_obeyed(client: openai.AsyncOpenAI) -> None:
    """llama.cpp turns the schema into a grammar, so that even a tiny model must follow it."""
    schema = {
        "type": "object",
        "properties": {"fruit": {"enum": ["apple", "pear"]}},
        "required": ["fruit"],
    }
    answer = await client.chat.completions.create(
        model=VIRTUAL,
        messages=_user("Name a fruit."),
        response_format={"type": "json_schema", "json_schema": {"name": "f", "schema": schema}},
        max_tokens=40,
        temperature=0,
    )
    assert json.loads(answer.choices[0].message.content or "")["fruit"] in ("apple", "pear")


async def test_several_choices_and_logprobs(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model=TINY,
        messages=_user("Hello"),
        max_tokens=3,
        logprobs=True,
        top_logprobs=2,
        extra_body={"ignore_eos": True},
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert len(logprobs.content or ()) == 3


async def test_completions(client: openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(
        model=SMOL, prompt="The capital of France is", max_tokens=4, temperature=0
    )
    assert "Paris" in answer.choices[0].text
    stream = await client.completions.create(
        model=SMOL, prompt="The capital of France is", max_tokens=4, temperature=0, stream=True
    )
    text = "".join([chunk.choices[0].text async for chunk in stream if chunk.choices])
    assert text == answer.choices[0].text


async def test_embeddings(client: openai.AsyncOpenAI) -> None:
    """The client asks for base64 by itself and turns it back."""
    for model in (VIRTUAL, EMBED):
        answer = await client.embeddings.create(model=model, input=["one", "two", "one"])
        first, second, third = (item.embedding for item in answer.data)
        assert len(first) == len(second) == 64
        assert first == pytest.approx(third, abs=1e-3)
        assert first != pytest.approx(second, abs=1e-3)


async def _slots(root: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"{root}/slots") as response:
        return sum(bool(slot["is_processing"]) for slot in await response.json())


async def _until_slots(root: str, busy: int, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while await _slots(root) != busy:
            await asyncio.sleep(0.02)


LONG: dict[str, Any] = {"max_tokens": 3500, "extra_body": {"ignore_eos": True}}


async def test_a_stream_that_is_closed_frees_the_model(
    client: openai.AsyncOpenAI, llamas: Llamas
) -> None:
    stream = await client.chat.completions.create(
        model=TINY, messages=_user("Tell a story"), stream=True, **LONG
    )
    async for _ in stream:
        break
    await _until_slots(llamas.tiny, 1, 5)
    await stream.close()
    await _until_slots(llamas.tiny, 0, 1)


async def test_a_request_that_is_cancelled_frees_the_model(
    client: openai.AsyncOpenAI, llamas: Llamas
) -> None:
    asking = asyncio.create_task(
        client.chat.completions.create(model=TINY, messages=_user("Tell a story"), **LONG)
    )
    await _until_slots(llamas.tiny, 1, 5)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await _until_slots(llamas.tiny, 0, 1)


async def test_a_prompt_that_is_too_long(client: openai.AsyncOpenAI, daemon: Running) -> None:
    """A named model is asked whatever we think of it; its own words come back."""
    with pytest.raises(openai.BadRequestError) as raised:
        await client.chat.completions.create(model=TINY, messages=_user("word " * 6000))
    assert raised.value.type == "exceed_context_size_error"
    explained = await daemon.explain("word " * 6000)
    gates = {row["model"]: row["gate"] for row in explained["rejected"]}
    assert gates[SMOL] == "context"


async def test_errors_have_the_clients_own_classes(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await client.chat.completions.create(model="nope", messages=_user("Hi"))
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        await client.chat.completions.create(model=VIRTUAL, messages=[])
    assert wrong.value.param == "messages"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("nope")


async def test_keys_and_limits_in_the_clients_classes(open_daemon: Opener, llamas: Llamas) -> None:
    clients = [{"name": "a", "key": "sk-a", "rate_limits": {"requests_per_minute": 1}}]
    daemon = await open_daemon(_policy(llamas, auth={"clients": clients}))
    async with _client(daemon, "sk-wrong") as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.chat.completions.create(model=VIRTUAL, messages=_user("Hi"), max_tokens=1)
        assert refused.value.code == "invalid_api_key"
    async with _client(daemon, "sk-a") as client:
        await client.chat.completions.create(model=VIRTUAL, messages=_user("Hi"), max_tokens=1)
        with pytest.raises(openai.RateLimitError) as limited:
            await client.chat.completions.create(model=VIRTUAL, messages=_user("Hi"), max_tokens=1)
        assert limited.value.code == "rate_limit_exceeded"
        assert int(limited.value.response.headers["retry-after"]) >= 1


async def _read_text(stream: openai.AsyncStream[ChatCompletionChunk], into: list[str]) -> None:
    async for chunk in stream:
        into.append(chunk.choices[0].delta.content or "")


async def test_upstream_failures_in_the_clients_classes(open_daemon: Opener) -> None:
    models = ["429", "500", "drop-mid-stream"]
    async with FaultServer(models, delay=0.02) as backend:
        entry = {"name": "s", "type": "openai", "url": backend.url}
        daemon = await open_daemon({"backends": [entry]})
        async with _client(daemon) as client:
            with pytest.raises(openai.RateLimitError):
                await client.chat.completions.create(model="429", messages=_user("Hi"))
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(model="500", messages=_user("Hi"))
            stream = await client.chat.completions.create(
                model="drop-mid-stream", messages=_user("Hi"), stream=True
            )
            seen: list[str] = []
            with pytest.raises(openai.APIError, match="broke the answer off"):
                await _read_text(stream, seen)
            assert "".join(seen).startswith("Hello")


async def test_the_client_does_not_repeat_what_we_have_repeated(open_daemon: Opener) -> None:
    """x-should-retry: our own attempts are spent, so a retry of the client's would multiply."""
    async with FaultServer(["500"]) as backend:
        entry = {"name": "s", "type": "openai", "url": backend.url}
        daemon = await open_daemon({"backends": [entry]})
        async with openai.AsyncOpenAI(base_url=f"{daemon.url}/v1", api_key="x") as client:
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(model="500", messages=_user("Hi"))
        assert len(backend.asked) == 1


async def test_the_embedded_model_serves_a_fresh_box(open_daemon: Opener) -> None:
    """No other backend answers: the daemon starts a small model of its own, and stops it again."""
    managed = {
        "name": "embedded",
        "type": "managed",
        "start": "fallback",
        "models": [{"name": "smollm2-135m", "engine": "xllamacpp", "context": 2048}],
    }
    dead = {"name": "dead", "type": "ollama", "url": "http://127.0.0.1:9"}
    daemon = await open_daemon({"backends": [dead, managed]})
    await daemon.wait_models("embedded/smollm2-135m", timeout=60)
    async with _client(daemon) as client:
        answer = await client.chat.completions.create(
            model=VIRTUAL,
            messages=_user(CAPITAL),
            max_tokens=20,
            temperature=0,
        )
    assert "Paris" in (answer.choices[0].message.content or "")
    processes = (await daemon.get("/admin/backends")).data["backends"]
    assert "ready" in str([row for row in processes if row["name"] == "embedded"])


async def test_a_llama_that_is_killed_while_it_answers(tmp_path: Path) -> None:
    """The owned process dies: the stream ends honestly, and another one is started."""
    with marked_name() as name:
        models = [{"name": name, "engine": "xllamacpp", "context": 4096}]
        entry = {"name": "own", "type": "managed", "models": models}
        async with open_running({"backends": [entry]}, tmp_path) as daemon:
            await daemon.wait_models(f"own/{name}", timeout=60)
            async with daemon.streaming("Tell a very long story.", max_tokens=2000) as response:
                await response.content.readany()
                for pid in processes(name):
                    os.kill(pid, signal.SIGKILL)
                rest = (await response.content.read()).decode()
            assert '"error"' in rest
            assert "[DONE]" not in rest
            ready = daemon.events
            await ready.until(lambda: len(ready.of("managed.ready")) == 2, 60)
            await daemon.wait_models(f"own/{name}")
            assert (await daemon.chat("Hi", max_tokens=2)).status == 200
        assert processes(name) == []
