"""Real providers' exchanges through the framer and the aggregates.

The recordings hold each chunk as an object; they are framed as their providers frame them.
"""

from __future__ import annotations

import lzma
import os
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.completion import Completion

from llmrouterd.aggregate import ChatAggregate, CompletionAggregate
from llmrouterd.sse import DONE, SSEFramer, encode

SHARED = Path(os.environ.get("LLMROUTERD_SHARED") or Path(__file__).parents[2] / "shared")
RECORDING = SHARED / "data/conformance/recorded-exchanges-dev.jsonl.xz"
CHAT = "/v1/chat/completions"

pytestmark = pytest.mark.skipif(not RECORDING.exists(), reason=f"no recordings at {RECORDING}")

Exchange = dict[str, Any]


@pytest.fixture(scope="module")
def exchanges() -> list[Exchange]:
    with lzma.open(RECORDING) as lines:
        return [orjson.loads(line) for line in lines]


@pytest.fixture(scope="module")
def streams(exchanges: list[Exchange]) -> list[Exchange]:
    found = [e for e in exchanges if e["stream"] and isinstance(e["response"], list)]
    assert len(found) > 200
    return found


@pytest.fixture(scope="module")
def chats(streams: list[Exchange]) -> list[Exchange]:
    return [e for e in streams if e["endpoint"] == CHAT]


def wire(chunks: list[Exchange], ending: bytes = b"\n") -> bytes:
    events = b": ping\n\n" + b"".join(encode(chunk) for chunk in chunks) + DONE
    return events.replace(b"\n", ending)


def cut(stream: bytes, rng: random.Random) -> list[bytes]:
    pieces, start = [], 0
    while start < len(stream):
        size = rng.choice((1, 2, 3, 17, 200, 1460, 65536))
        pieces.append(stream[start : start + size])
        start += size
    return pieces


def replay(pieces: list[bytes]) -> tuple[bytes, list[bytes]]:
    framer = SSEFramer()
    events = [event for piece in pieces for event in framer.feed(piece)] + framer.close()
    return b"".join(e.raw for e in events), [e.data for e in events if e.data is not None]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_every_stream_leaves_as_it_came(streams: list[Exchange], ending: bytes) -> None:
    rng = random.Random(20261123)
    for exchange in streams:
        stream = wire(exchange["response"], ending)
        raw, payloads = replay(cut(stream, rng))
        assert raw == stream
        assert payloads[-1] == b"[DONE]"
        assert [orjson.loads(p) for p in payloads[:-1]] == exchange["response"]


def fold(chunks: list[Exchange]) -> dict[int, dict[str, Any]]:
    """The plainest reading of a stream: texts by choice and field, calls by choice and index."""
    choices: dict[int, dict[str, Any]] = defaultdict(
        lambda: {"content": "", "reasoning": "", "finish": None, "calls": {}, "tokens": []}
    )
    for chunk in chunks:
        for choice in chunk["choices"]:
            known = choices[choice["index"]]
            delta = choice["delta"]
            known["content"] += delta.get("content") or ""
            known["reasoning"] += delta.get("reasoning") or ""
            known["finish"] = choice["finish_reason"] or known["finish"]
            known["tokens"] += (choice.get("logprobs") or {}).get("content") or []
            for call in delta.get("tool_calls") or []:
                into = known["calls"].setdefault(call["index"], {"name": "", "arguments": ""})
                into["name"] = into["name"] or call["function"]["name"]
                into["arguments"] += call["function"]["arguments"]
    return dict(choices)


def aggregate(chunks: list[Exchange]) -> ChatAggregate:
    whole = ChatAggregate()
    for chunk in chunks:
        whole.add(chunk)
    return whole


def test_chat_aggregates_equal_a_plain_fold(chats: list[Exchange]) -> None:
    with_calls = with_reasoning = with_logprobs = with_usage = 0
    for exchange in chats:
        chunks = exchange["response"]
        whole = aggregate(chunks)
        result, plain = whole.result(), fold(chunks)
        assert [c["index"] for c in result["choices"]] == sorted(plain)
        assert whole.finished == (bool(plain) and all(c["finish"] for c in plain.values()))
        for choice in result["choices"]:
            message, expected = choice["message"], plain[choice["index"]]
            assert (message["content"] or "") == expected["content"]
            assert message.get("reasoning", "") == expected["reasoning"]
            assert choice["finish_reason"] == expected["finish"]
            assert ((choice["logprobs"] or {}).get("content") or []) == expected["tokens"]
            calls = [call["function"] for call in message.get("tool_calls", [])]
            assert calls == [expected["calls"][n] for n in sorted(expected["calls"])]
            with_calls += bool(calls)
            with_reasoning += bool(expected["reasoning"])
            with_logprobs += bool(expected["tokens"])
        usages = [c["usage"] for c in chunks if c.get("usage")]
        assert result.get("usage") == (usages[-1] if usages else None)
        with_usage += bool(usages)
    # The recordings hold all of these; a reading that meets none has tested nothing.
    assert min(with_calls, with_reasoning, with_logprobs, with_usage) >= 1


def without_nulls(value: Any) -> Any:
    """The recordings spell out absent fields as null, which the official client cannot read in a
    tool call's later fragments."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def test_chat_aggregates_equal_the_official_clients(chats: list[Exchange]) -> None:
    compared = 0
    for exchange in chats:
        # The official client stops at a chunk without the right object, as Azure's first.
        chunks = [c for c in exchange["response"] if c["object"] == "chat.completion.chunk"]
        if not any(c["choices"] for c in chunks):
            continue
        state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
        for chunk in chunks:
            state.handle_chunk(ChatCompletionChunk.model_validate(without_nulls(chunk)))
        theirs = state.current_completion_snapshot
        ours = ChatCompletion.model_validate(aggregate(chunks).result())
        assert len(ours.choices) == len(theirs.choices)
        for mine, other in zip(ours.choices, theirs.choices, strict=True):
            assert (mine.message.content or "") == (other.message.content or "")
            assert mine.finish_reason == other.finish_reason
            calls = [
                (call.id, call.function.name, call.function.arguments)
                for call in other.message.tool_calls or []
            ]
            assert [
                (call.id, call.function.name, call.function.arguments)
                for call in mine.message.tool_calls or []
                if call.type == "function"
            ] == calls
        assert ours.usage == theirs.usage
        compared += 1
    assert compared > 200


def keys(value: Any, path: str = "") -> set[str]:
    """Every path of object keys that holds something, list positions left out."""
    if isinstance(value, dict):
        return {p for k, v in value.items() for p in keys(v, f"{path}.{k}")}
    if isinstance(value, list):
        return {p for item in value for p in keys(item, path)}
    return set() if value is None else {path}


@pytest.mark.parametrize("host", ["api.openai.com", "0.0.0.0:11434", "localhost:8000"])
def test_aggregates_have_the_shape_of_recorded_answers(
    exchanges: list[Exchange], chats: list[Exchange], host: str
) -> None:
    recorded = [
        e["response"]
        for e in exchanges
        if e["host"] == host and e["endpoint"] == CHAT and not e["stream"] and e["response"]
    ]
    known = {path for answer in recorded for path in keys(answer)}
    streamed = [e for e in chats if e["host"] == host]
    results = [aggregate(e["response"]).result() for e in streamed]
    assert recorded
    assert results
    for result in results:
        ChatCompletion.model_validate(result, strict=True)
        extra = {
            path
            for path in keys(result) - known
            # What an answer holds only when it was asked for, or has it to say.
            if not path.startswith((".choices.message.tool_calls", ".choices.logprobs", ".usage"))
            and path not in (".choices.message.reasoning", ".service_tier")
        }
        assert extra == set()
        assert result["object"] == "chat.completion"
        required = (".id", ".created", ".model", ".choices.index", ".choices.finish_reason")
        assert all(path in keys(result) or path not in known for path in required)


def test_azure_filter_results_are_kept(chats: list[Exchange]) -> None:
    kept = 0
    for exchange in chats:
        if "azure" not in exchange["host"]:
            continue
        opening = exchange["response"][0]
        result = aggregate(exchange["response"]).result()
        assert result["model"] != ""
        assert result.get("prompt_filter_results") == opening.get("prompt_filter_results")
        kept += "content_filter_results" in result["choices"][0]
        assert "obfuscation" not in result
    assert kept > 50


def test_completion_stream(streams: list[Exchange]) -> None:
    texts = [e for e in streams if e["endpoint"] == "/v1/completions"]
    assert texts
    for exchange in texts:
        whole = CompletionAggregate()
        for chunk in exchange["response"]:
            whole.add(chunk)
        result = Completion.model_validate(whole.result(), strict=True)
        plain = "".join(c["choices"][0]["text"] for c in exchange["response"])
        assert whole.finished
        assert result.choices[0].text == plain
        assert result.choices[0].finish_reason == "length"
