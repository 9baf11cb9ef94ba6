"""Deterministic answers in OpenAI's wire shapes: what a healthy backend says."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import Any

CREATED = 1_700_000_000
# Multi-byte words and JSON-escaped characters, so that careless byte handling shows.
WORDS = (
    "Hello",
    " wörld",
    " 🌍",
    " it",
    " is",
    " «fine»",
    ' "today"',
    "\n",
    "and",
    " tomorrow",
)
REASONING = ("Let me", " think", " …")
TOOL_NAME = "get_weather"
TOOL_ARGUMENTS = ('{"city"', ': "Par', 'is", "n": 2}')
TOOL_CALL_ID = "call_0001"


def words(count: int) -> list[str]:
    """The `count` tokens of every answer."""
    return [WORDS[place % len(WORDS)] for place in range(count)]


def answer_text(count: int) -> str:
    """The text that `count` tokens make."""
    return "".join(words(count))


def encode(value: Any) -> bytes:
    """Compact JSON in UTF-8, not escaped to ASCII."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def prompt_tokens(body: dict[str, Any]) -> int:
    """A stand-in for a tokenizer: the words of the messages or of the prompt, at least 1."""
    asked = body.get("messages") or body.get("prompt") or body.get("input") or ""
    return max(1, len(json.dumps(asked).split()))


def usage(body: dict[str, Any], tokens: int) -> dict[str, Any]:
    """The usage object for an answer of `tokens` tokens."""
    prompt = prompt_tokens(body)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens,
        "total_tokens": prompt + tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def allowed(body: dict[str, Any], tokens: int) -> tuple[int, str]:
    """How many of `tokens` the request's limit lets through, and the finish_reason."""
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if isinstance(limit, int) and limit < tokens:
        return limit, "length"
    return tokens, "stop"


def _logprobs(body: dict[str, Any], token: str) -> dict[str, Any]:
    if not body.get("logprobs"):
        return {}
    entry = {
        "token": token,
        "logprob": -0.25,
        "bytes": list(token.encode()),
        "top_logprobs": [],
    }
    return {"logprobs": {"content": [entry], "refusal": None}}


def _deltas(body: dict[str, Any], tokens: int, style: str) -> tuple[list[dict[str, Any]], str]:
    """The chat deltas after the role, and the finish_reason; style: text, tool-call, reasoning."""
    if style == "tool-call":
        function = {"name": TOOL_NAME, "arguments": ""}
        call = {
            "index": 0,
            "id": TOOL_CALL_ID,
            "type": "function",
            "function": function,
        }
        parts = [{"index": 0, "function": {"arguments": part}} for part in TOOL_ARGUMENTS]
        return [{"tool_calls": [part]} for part in (call, *parts)], "tool_calls"
    count, reason = allowed(body, tokens)
    thoughts = REASONING if style == "reasoning" else ()
    deltas = [{"reasoning_content": thought} for thought in thoughts]
    return deltas + [{"content": word} for word in words(count)], reason


def chat_chunks(
    body: dict[str, Any], model: str, tokens: int, style: str = "text"
) -> list[dict[str, Any]]:
    """The chunks of a streamed chat in order: role, content, finish, usage when asked for.

    `n` choices are interleaved token by token; `max_tokens` and `logprobs` are honoured.
    """
    include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    base: dict[str, Any] = {
        "id": "chatcmpl-0001",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": model,
        "system_fingerprint": "fp_scripted",
    }
    if include_usage:
        base["usage"] = None
    choices = range(body.get("n") or 1)
    deltas, reason = _deltas(body, tokens, style)
    chunks: list[dict[str, Any]] = []

    def add(delta: dict[str, Any], finish: str | None) -> None:
        for index in choices:
            extra = _logprobs(body, delta["content"]) if delta.get("content") else {}
            choice = {"index": index, "delta": delta, "finish_reason": finish, **extra}
            chunks.append({**base, "choices": [choice]})

    add({"role": "assistant", "content": None}, None)
    for delta in deltas:
        add(delta, None)
    add({}, reason)
    if include_usage:
        spent = usage(body, allowed(body, tokens)[0] * len(choices))
        chunks.append({**base, "choices": [], "usage": spent})
    return chunks


def chat_body(body: dict[str, Any], model: str, tokens: int, style: str = "text") -> dict[str, Any]:
    """The whole answer of a chat that is not streamed; the same words as its stream."""
    count, reason = allowed(body, tokens)
    message: dict[str, Any] = {"role": "assistant", "content": answer_text(count)}
    if style == "reasoning":
        message["reasoning_content"] = "".join(REASONING)
    if style == "tool-call":
        reason = "tool_calls"
        function = {"name": TOOL_NAME, "arguments": "".join(TOOL_ARGUMENTS)}
        call = {"id": TOOL_CALL_ID, "type": "function", "function": function}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    logprobs = None
    if body.get("logprobs"):
        entries = [_logprobs(body, word)["logprobs"]["content"][0] for word in words(count)]
        logprobs = {"content": entries, "refusal": None}
    choices = [
        {
            "index": index,
            "message": message,
            "finish_reason": reason,
            "logprobs": logprobs,
        }
        for index in range(body.get("n") or 1)
    ]
    return {
        "id": "chatcmpl-0001",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": choices,
        "usage": usage(body, count * len(choices)),
        "system_fingerprint": "fp_scripted",
    }


def completion_chunks(body: dict[str, Any], model: str, tokens: int) -> list[dict[str, Any]]:
    """The chunks of a streamed legacy completion."""
    count, reason = allowed(body, tokens)
    base = {
        "id": "cmpl-0001",
        "object": "text_completion",
        "created": CREATED,
        "model": model,
    }
    steps: list[tuple[str, str | None]] = [(word, None) for word in words(count)]
    chunks: list[dict[str, Any]] = []
    for text, finish in [*steps, ("", reason)]:
        choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
        chunks.append({**base, "choices": [choice]})
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks.append({**base, "choices": [], "usage": usage(body, count)})
    return chunks


def completion_body(body: dict[str, Any], model: str, tokens: int) -> dict[str, Any]:
    """The whole answer of a legacy completion that is not streamed."""
    count, reason = allowed(body, tokens)
    text = answer_text(count)
    return {
        "id": "cmpl-0001",
        "object": "text_completion",
        "created": CREATED,
        "model": model,
        "choices": [{"index": 0, "text": text, "finish_reason": reason, "logprobs": None}],
        "usage": usage(body, count),
    }


def vector(text: str, size: int = 8) -> list[float]:
    """A unit-free embedding that depends only on the text; values in [-1, 1)."""
    digest = hashlib.sha256(text.encode()).digest()
    return [digest[place % len(digest)] / 128 - 1 for place in range(size)]


def embeddings_body(body: dict[str, Any], model: str) -> dict[str, Any]:
    """The answer of /v1/embeddings: one vector an input, base64 of float32 when asked for."""
    asked = body.get("input", "")
    texts = asked if isinstance(asked, list) else [asked]
    data: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        values: Any = vector(str(text), body.get("dimensions") or 8)
        if body.get("encoding_format") == "base64":
            values = base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
        data.append({"object": "embedding", "index": index, "embedding": values})
    spent = prompt_tokens(body)
    counts = {"prompt_tokens": spent, "total_tokens": spent}
    return {"object": "list", "data": data, "model": model, "usage": counts}


def error_body(status: int, message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """OpenAI's error envelope with its four fields."""
    return {
        "error": {
            "message": message,
            "type": kind,
            "param": None,
            "code": code or str(status),
        }
    }
