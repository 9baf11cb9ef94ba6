"""The scripted backend does on the wire what its behaviours' names promise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI

from tests.support import openai_answers
from tests.support.clients import read_sse, stream_text
from tests.support.fault_behaviours import BEHAVIOURS, find
from tests.support.faults import FaultServer


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer(models=["ok", {"id": "ok-3", "owned_by": "me"}]) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def chat(model: str, *, stream: bool = True, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hi there"}]
    return {"json": {"model": model, "messages": messages, "stream": stream, **more}}


async def events_of(
    session: aiohttp.ClientSession, server: FaultServer, model: str, **more: Any
) -> list[Any]:
    url = f"{server.url}/chat/completions"
    async with session.post(url, **chat(model, **more)) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        return await read_sse(response)


@pytest.mark.parametrize(
    "model",
    [
        "ok",
        "crlf",
        "cr",
        "comments",
        "close-after-stream",
        "close-delimited",
        "slow-drip:0",
        "slow-first:0.01",
        "slow-headers:0.01",
        "unknown-model",
    ],
)
async def test_healthy_streams_carry_the_same_answer(
    server: FaultServer, session: aiohttp.ClientSession, model: str
) -> None:
    events = await events_of(session, server, model, stream_options={"include_usage": True})
    assert events[-1].done
    assert events[-2].json()["choices"] == []
    assert events[-2].json()["usage"]["completion_tokens"] == 5
    assert events[-3].json()["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert events[0].json()["choices"][0]["delta"] == {"role": "assistant", "content": None}
    assert stream_text(events) == openai_answers.answer_text(5)
    # Another connection: after some of these the first one is about to be closed.
    async with (
        aiohttp.ClientSession() as fresh,
        fresh.post(f"{server.url}/chat/completions", **chat(model, stream=False)) as response,
    ):
        whole = await response.json()
    assert whole["choices"][0]["message"]["content"] == openai_answers.answer_text(5)
    await server.wait_idle()
    assert [seen.finished is not None for seen in server.asked] == [True, True]


async def test_tokens_limits_choices_and_logprobs(
    server: FaultServer, session: aiohttp.ClientSession
) -> None:
    events = await events_of(session, server, "ok-3", n=2, max_tokens=2, logprobs=True)
    assert stream_text(events, 0) == stream_text(events, 1) == openai_answers.answer_text(2)
    finishes = [event.json()["choices"][0]["finish_reason"] for event in events[:-1]]
    assert finishes[-2:] == ["length", "length"]
    entries = [event.json()["choices"][0].get("logprobs") for event in events[2:6]]
    assert all(entry["content"][0]["logprob"] == -0.25 for entry in entries)


async def test_tool_calls_come_in_fragments_that_add_up(
    server: FaultServer, session: aiohttp.ClientSession
) -> None:
    events = await events_of(session, server, "tool-call")
    deltas = [event.json()["choices"][0]["delta"] for event in events[:-1]]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    joined = "".join(call["function"].get("arguments", "") for call in calls)
    assert json.loads(joined) == {"city": "Paris", "n": 2}
    assert calls[0]["id"] == openai_answers.TOOL_CALL_ID
    assert events[-2].json()["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [
        ("429", 429, "rate_limit_error"),
        ("429:7", 429, "rate_limit_error"),
        ("500", 500, "server_error"),
        ("401", 401, "authentication_error"),
        ("404", 404, "not_found_error"),
        ("503-loading", 503, "unavailable_error"),
        ("400-context", 400, "exceed_context_size_error"),
        ("error-200", 200, "server_error"),
    ],
)
async def test_error_answers(
    server: FaultServer, session: aiohttp.ClientSession, model: str, status: int, kind: str
) -> None:
    async with session.post(f"{server.url}/chat/completions", **chat(model)) as response:
        assert response.status == status
        assert (await response.json())["error"]["type"] == kind
        waits = {"429": "1", "429:7": "7"}
        assert response.headers.get("Retry-After") == waits.get(model)


async def test_answers_that_are_not_the_api(
    server: FaultServer, session: aiohttp.ClientSession
) -> None:
    url = f"{server.url}/chat/completions"
    async with session.post(url, **chat("wrong-content-type")) as response:
        assert (response.status, response.content_type) == (200, "text/html")
    async with session.post(url, **chat("empty-200")) as response:
        assert await response.read() == b""
    async with session.post(url, **chat("500-text")) as response:
        assert await response.text() == "Internal Server Error"
    async with session.post(url, **chat("garbage-json", stream=False)) as response:
        with pytest.raises(json.JSONDecodeError):
            await response.json()
    async with session.post(url, allow_redirects=False, **chat("redirect")) as response:
        assert (response.status, response.headers["Location"]) == (307, "/redirected")
    with pytest.raises(aiohttp.ClientError):
        await session.post(url, **chat("garbage-http"))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await session.post(url, **chat("drop-before-headers"))
    garbage = await events_of(session, server, "garbage-json")
    assert garbage[-1].done
    with pytest.raises(json.JSONDecodeError):
        garbage[-2].json()


@pytest.mark.parametrize("model", ["drop-mid-stream-3", "die-after-3"])
async def test_truncated_transfers_break_the_client(
    server: FaultServer, session: aiohttp.ClientSession, model: str
) -> None:
    url = f"{server.url}/chat/completions"
    async with session.post(url, **chat(model)) as response:
        with pytest.raises(aiohttp.ClientError):
            await read_sse(response)
    (seen,) = server.asked
    assert (seen.events, seen.disconnected, seen.closed) == (4, False, None)
    async with session.post(url, **chat(model, stream=False)) as response:
        with pytest.raises(aiohttp.ClientError):
            await response.read()


@pytest.mark.parametrize(
    ("model", "finish"), [("close-delimited-truncated", None), ("ends-early", None), ("no-done", 1)]
)
async def test_ends_that_http_takes_for_complete(
    server: FaultServer, session: aiohttp.ClientSession, model: str, finish: int | None
) -> None:
    events = await events_of(session, server, model)
    assert not any(event.done for event in events)
    last = events[-1].json()["choices"][0]["finish_reason"]
    assert last == ("stop" if finish else None)
    if not finish:
        assert stream_text(events) == openai_answers.answer_text(2)


async def test_error_event_after_tokens(
    server: FaultServer, session: aiohttp.ClientSession
) -> None:
    events = await events_of(session, server, "error-mid-stream-4")
    assert stream_text(events[:-1]) == openai_answers.answer_text(4)
    assert events[-1].json()["error"]["type"] == "server_error"


async def test_a_huge_event_arrives_whole(
    server: FaultServer, session: aiohttp.ClientSession
) -> None:
    events = await events_of(session, server, "huge-line")
    assert len(stream_text(events)) == 5_000_000
    async with session.post(
        f"{server.url}/chat/completions", **chat("huge-line:70000", stream=False)
    ) as response:
        whole = await response.json()
    assert len(whole["choices"][0]["message"]["content"]) == 70_000


@pytest.mark.parametrize(
    ("model", "heard"),
    [
        ("hang-before-headers", None),
        ("hang-after-headers", 0),
        ("hang-mid-stream", 3),
        ("endless", 20),
        ("slow-first:60", None),
    ],
)
async def test_a_client_that_leaves_is_noticed(server: FaultServer, model: str, heard: Any) -> None:
    async with aiohttp.ClientSession() as leaving:

        async def ask() -> None:
            async with leaving.post(f"{server.url}/chat/completions", **chat(model)) as response:
                await read_sse(response, limit=heard or None)
                if model != "endless":
                    await response.read()

        asking = asyncio.create_task(ask())
        await server.wait_requests(1)
        if model == "endless":
            await asking
        asking.cancel()
        await asyncio.wait([asking])
        (seen,) = await server.wait_closed_by_client(1)
    assert seen.disconnected
    assert seen.finished is None
    assert seen.closed is not None
    assert seen.closed >= seen.opened
    assert server.active == 0


async def test_a_client_that_leaves_after_the_answer_did_not_disconnect(
    server: FaultServer,
) -> None:
    async with aiohttp.ClientSession() as leaving:
        await events_of(leaving, server, "ok")
    with pytest.raises(TimeoutError):
        await server.wait_closed_by_client(1, timeout=0.05)
    assert server.asked[0].closed is not None
    assert not server.asked[0].disconnected


async def test_faults_can_be_set_counted_and_taken_back(
    server: FaultServer, session: aiohttp.ClientSession
) -> None:
    async def status(path: str = "/chat/completions") -> int:
        method = "GET" if path == "/models" else "POST"
        body = {} if method == "GET" else chat("mine", stream=False)
        async with session.request(method, f"{server.url}{path}", **body) as response:
            return response.status

    server.fail_times("mine", 2, "503")
    assert [await status() for _ in range(3)] == [503, 503, 200]
    server.set_fault("/v1/models", "500")
    assert (await status("/models"), await status()) == (500, 200)
    server.set_fault("/v1/models", None)
    server.set_fault("*", "429")
    assert (await status("/models"), await status()) == (429, 429)
    server.set_fault("*", None)
    assert (await status("/models"), await status("/nothing")) == (200, 404)
    with pytest.raises(ValueError, match="no such fault"):
        server.set_fault("mine", "explode")


async def test_connections_are_kept_unless_the_fault_closes_them(
    server: FaultServer,
) -> None:
    async with aiohttp.ClientSession() as pooled:
        for _ in range(3):
            await events_of(pooled, server, "ok")
        assert server.connections == 1
        await events_of(pooled, server, "close-after-stream")
    async with aiohttp.ClientSession() as pooled:
        await events_of(pooled, server, "ok")
        assert server.connections == 2


async def test_models_health_and_key(session: aiohttp.ClientSession) -> None:
    async with FaultServer(models=["a", {"id": "b", "meta": {"n_ctx": 7}}], api_key="k") as server:
        async with session.get(f"{server.root}/health") as response:
            assert await response.json() == {"status": "ok"}
        async with session.get(f"{server.url}/models") as response:
            assert response.status == 401
        key = {"Authorization": "Bearer k"}
        async with session.get(f"{server.url}/models", headers=key) as response:
            rows = (await response.json())["data"]
        assert [row["id"] for row in rows] == ["a", "b"]
        assert rows[1]["meta"] == {"n_ctx": 7}
        server.models.append("c")
        async with session.get(f"{server.url}/models", headers=key) as response:
            assert len((await response.json())["data"]) == 3
        assert server.asked == []


async def test_the_official_client_reads_every_endpoint(server: FaultServer) -> None:
    async with AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        messages: list[Any] = [{"role": "user", "content": "hi"}]
        stream = await client.chat.completions.create(model="ok", messages=messages, stream=True)
        texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(texts) == openai_answers.answer_text(5)
        completion = await client.completions.create(model="ok", prompt="once")
        assert completion.choices[0].text == openai_answers.answer_text(5)
        vectors = await client.embeddings.create(model="ok", input=["a", "b"])
        assert vectors.data[1].embedding == pytest.approx(openai_answers.vector("b"))
        assert [row.id async for row in client.models.list()] == ["ok", "ok-3"]
    assert server.asked[0].headers["authorization"] == "Bearer none"
    assert server.asked[0].body["messages"] == messages


async def test_a_stopped_server_refuses_and_comes_back_on_its_port(
    server: FaultServer, session: aiohttp.ClientSession
) -> None:
    url = f"{server.url}/chat/completions"
    async with session.post(url, **chat("hang-mid-stream")) as response:
        await read_sse(response, limit=3)
        await server.stop()
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    assert (server.active, server.asked[0].disconnected) == (0, False)
    with pytest.raises(aiohttp.ClientConnectorError):
        await session.post(url, **chat("ok"))
    await server.start()
    assert stream_text(await events_of(session, server, "ok")) == openai_answers.answer_text(5)


def test_names_with_arguments() -> None:
    assert find("ok-3") == (BEHAVIOURS["ok"], "3")
    assert find("slow-first:0.5") == (BEHAVIOURS["slow-first"], "0.5")
    assert find("die-after-10") == (BEHAVIOURS["die-after"], "10")
    assert find("503-loading") == (BEHAVIOURS["503-loading"], None)
    assert find("llama-3") is None
