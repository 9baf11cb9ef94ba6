"""A streamed answer: the upstream's bytes as they come, honest about its end; and its aggregate."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.conftest import Scripted
from tests.support.clients import read_sse, stream_text
from tests.support.daemon import Running, chat_body
from tests.support.faults import FaultServer
from tests.support.openai_answers import (
    REASONING,
    TOOL_ARGUMENTS,
    TOOL_CALL_ID,
    TOOL_NAME,
    answer_text,
)

QUICK = {"timeouts": {"first_token": 0.5, "idle": 0.2}}
APART = {"delay": 0.02}  # each event comes alone
USAGE = {"stream_options": {"include_usage": True}}


async def _raw(daemon: Running, **body: Any) -> bytes:
    async with daemon.streaming("Hello", **body) as response:
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return await response.read()


async def _direct(backend: FaultServer, model: str, **body: Any) -> bytes:
    asked = chat_body("Hello", **{**body, "model": model, "stream": True})
    async with (
        aiohttp.ClientSession() as session,
        session.post(backend.url + "/chat/completions", json=asked) as response,
    ):
        return await response.read()


@pytest.mark.parametrize(
    "style", ["ok", "comments", "crlf", "cr", "slow-drip:0", "tool-call", "reasoning", "huge-line"]
)
async def test_bytes_are_relayed_untouched(style: str, scripted: Scripted) -> None:
    daemon, backend = await scripted(style)
    assert await _raw(daemon, **USAGE) == await _direct(backend, style, **USAGE)


async def test_tokens_that_arrive_together_with_an_error_are_not_lost(scripted: Scripted) -> None:
    daemon, _ = await scripted("error-mid-stream-3")  # without pauses: all in one read
    events = [event async for event in _events(await _raw(daemon))]
    assert sum(bool(_delta(event).get("content")) for event in events) == 3
    assert events[-1]["error"]["message"]


async def _events(raw: bytes) -> Any:
    for block in raw.split(b"\n\n"):
        if block.startswith(b"data: {"):
            yield json.loads(block[6:])


def _delta(event: dict[str, Any]) -> dict[str, Any]:
    choices = event.get("choices") or [{}]
    delta: dict[str, Any] = choices[0].get("delta") or {}
    return delta


async def test_bytes_of_several_choices_with_logprobs(scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    fields = {"n": 3, "logprobs": True, **USAGE}
    assert await _raw(daemon, **fields) == await _direct(backend, "ok", **fields)


async def test_token_counts_come_only_when_asked_for(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    without = await daemon.stream("Hello")
    assert all(event.json()["choices"] for event in without[:-1])
    assert not any(event.json().get("usage") for event in without[:-1])
    last = (await daemon.stream("Hello", **USAGE))[-2].json()
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 5
    routed = daemon.events.of("request.routed")
    assert [entry["tokens"] for entry in routed] == [5, 5]  # the journal has them both times


async def test_other_stream_options_reach_the_upstream(scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    await daemon.stream("Hello", stream_options={"include_obfuscation": False})
    (seen,) = backend.asked
    assert seen.body["stream_options"] == {"include_obfuscation": False, "include_usage": True}


async def test_no_counts_are_asked_of_an_upstream_that_cannot(scripted: Scripted) -> None:
    daemon, backend = await scripted("ok", backend={"stream_usage": False})
    await daemon.stream("Hello")
    (seen,) = backend.asked
    assert "stream_options" not in seen.body


async def test_a_complete_answer_without_done_gets_one(scripted: Scripted) -> None:
    daemon, _ = await scripted("no-done")
    events = await daemon.stream("Hello")
    assert events[-1].done
    assert [event.done for event in events].count(True) == 1
    assert daemon.events.of("request.routed")[0]["outcome"] == "ok"


BROKEN = {
    "drop-mid-stream": "upstream_interrupted",
    "die-after-2": "upstream_interrupted",
    "ends-early": "upstream_interrupted",
    "close-delimited-truncated": "upstream_interrupted",
    "hang-mid-stream": "upstream_timeout",
    "garbage-json": "upstream_invalid_response",
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_answer_ends_with_one_error_and_no_done(
    fault: str, scripted: Scripted
) -> None:
    daemon, backend = await scripted(fault, "ok", backend=QUICK, faults=APART)
    events = await daemon.stream("Hello")
    assert not any(event.done for event in events)
    assert answer_text(5).startswith(stream_text(events[:-1]))
    errors = [event.json()["error"] for event in events if "error" in event.json()]
    assert len(errors) == 1
    assert events[-1].json()["error"] == errors[0]
    assert errors[0]["code"] == BROKEN[fault]
    assert {"message", "type", "param", "code"} <= errors[0].keys()
    # Words were sent: another model must not go on from there.
    assert [seen.model for seen in backend.asked] == [fault]
    (routed,) = daemon.events.of("request.routed")
    assert routed["outcome"] == "upstream_interrupted"
    assert routed["model"] == f"s/{fault}"


async def test_an_error_event_of_the_upstream_is_passed_on(scripted: Scripted) -> None:
    daemon, _ = await scripted("error-mid-stream", faults=APART)
    events = await daemon.stream("Hello")
    assert events[-1].json()["error"]["message"] == "the scripted model broke"
    assert events[-1].json()["error"]["code"] == 500
    assert not any(event.done for event in events)


async def test_the_first_token_is_sent_at_once(scripted: Scripted) -> None:
    """It reaches the client while the upstream is still silent about the rest."""
    daemon, backend = await scripted("hang-mid-stream-1")
    async with daemon.streaming("Hello") as response:
        events = await read_sse(response, 2)
        assert stream_text(events) == "Hello"
        assert backend.active == 1
    await backend.wait_closed_by_client(timeout=1.0)


async def test_a_slow_reader_slows_the_upstream_down(scripted: Scripted) -> None:
    """Nothing is piled up for a client that does not read: its pause reaches the backend."""
    daemon, backend = await scripted("endless")
    async with daemon.streaming("Hello") as response:
        await response.content.readany()
        (seen,) = await backend.wait_requests()
        before = -1
        async with asyncio.timeout(20):
            while seen.events != before:  # until the buffers on the way are full
                before = seen.events
                await asyncio.sleep(0.3)
        assert seen.finished is None
        await response.content.readexactly(1 << 20)
        async with asyncio.timeout(10):
            while seen.events == before:
                await asyncio.sleep(0.05)
    await backend.wait_closed_by_client()


async def test_headers_say_who_answered_and_why(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    async with daemon.streaming("Hello", headers={"X-Request-Id": "my-id.1"}) as response:
        headers = response.headers
        assert headers["x-request-id"] == "my-id.1"
        assert headers["x-router-model"] == "ok"
        assert headers["x-router-backend"] == "s"
        assert headers["x-router-category"] == "chat"
        assert headers["x-router-rule"] == "default"
        assert headers["cache-control"] == "no-cache"
        assert headers["x-accel-buffering"] == "no"
        decision = headers["x-router-decision"]
        await response.read()
    kept = await daemon.get(f"/admin/decisions/{decision}")
    assert kept.data["model"] == "s/ok"
    plain = await daemon.chat("Hello")
    assert plain.headers["x-request-id"].startswith("req_")
    assert plain.headers["x-router-decision"] != decision


@pytest.mark.parametrize("id_", ["a b", "x" * 129, "<script>", "é"])
async def test_a_request_id_that_could_do_harm_is_replaced(id_: str, scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    headers = {"X-Request-Id": id_}
    assert (await daemon.chat("Hello", headers=headers)).headers["x-request-id"].startswith("req_")


async def test_the_aggregate_of_a_plain_answer(scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    answer = await daemon.chat("Hello", logprobs=True, temperature=0.5, x_extra={"a": [1]})
    choice = answer.data["choices"][0]
    assert answer.data["object"] == "chat.completion"
    assert choice["finish_reason"] == "stop"
    assert len(choice["logprobs"]["content"]) == 5
    assert answer.data["usage"]["completion_tokens"] == 5
    (seen,) = backend.asked
    assert seen.body["stream"] is True  # a stream can be cancelled, a whole answer cannot
    assert seen.body["x_extra"] == {"a": [1]}
    assert seen.body["temperature"] == 0.5


async def test_the_aggregate_of_a_tool_call(scripted: Scripted) -> None:
    daemon, _ = await scripted("tool-call")
    answer = await daemon.chat("Weather?")
    choice = answer.data["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert (call["id"], call["type"]) == (TOOL_CALL_ID, "function")
    assert call["function"] == {"name": TOOL_NAME, "arguments": "".join(TOOL_ARGUMENTS)}
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris", "n": 2}
    assert choice["message"]["content"] is None


async def test_the_aggregate_of_reasoning(scripted: Scripted) -> None:
    daemon, _ = await scripted("reasoning")
    message = (await daemon.chat("Hello")).data["choices"][0]["message"]
    assert message["reasoning_content"] == "".join(REASONING)
    assert message["content"] == answer_text(5)


async def test_the_aggregate_of_several_choices(scripted: Scripted) -> None:
    daemon, _ = await scripted("ok")
    answer = await daemon.chat("Hello", n=3, max_tokens=2)
    assert [choice["index"] for choice in answer.data["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in answer.data["choices"]} == {answer_text(2)}
    assert {choice["finish_reason"] for choice in answer.data["choices"]} == {"length"}


async def test_completions(scripted: Scripted) -> None:
    daemon, backend = await scripted("ok")
    body = {"model": "ok", "prompt": "Once"}
    answer = await daemon.post("/v1/completions", body)
    assert answer.data["object"] == "text_completion"
    assert answer.data["choices"][0]["text"] == answer_text(5)
    async with daemon.http.post(
        daemon.url + "/v1/completions", json={**body, "stream": True}
    ) as response:
        events = await read_sse(response)
    assert stream_text(events) == answer_text(5)
    assert events[-1].done
    assert {seen.path for seen in backend.asked} == {"/v1/completions"}


async def test_many_streams_at_once_do_not_mix(scripted: Scripted) -> None:
    daemon, _ = await scripted(*(f"ok-{n}" for n in range(1, 9)))
    sizes = [1 + n % 8 for n in range(64)]
    answers = await asyncio.gather(
        *(daemon.stream("Hello", model=f"s/ok-{size}") for size in sizes)
    )
    assert [stream_text(events) for events in answers] == [answer_text(size) for size in sizes]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_an_answer_may_take_only_so_long(stream: bool, scripted: Scripted) -> None:
    daemon, backend = await scripted(
        "endless", faults={"delay": 0.01}, backend={"timeouts": {"total": 0.2}}
    )
    if stream:
        error = (await daemon.stream("Hello"))[-1].json()["error"]
    else:
        answer = await daemon.chat("Hello")
        assert answer.status == 504
        error = answer.error
    assert error["code"] == "upstream_timeout"
    assert "more than 0.2 s" in error["message"]
    await backend.wait_closed_by_client(timeout=1.0)
