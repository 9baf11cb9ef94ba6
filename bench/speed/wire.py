"""What goes over the wire: the chat requests of the load and the answers of the scripted backend.

Each token of an answer is the text ` wqN`, so that whoever counts ` wq` in a body knows how many
tokens arrived, whatever a gateway did to the JSON around them. A request may carry a plan in its
last message, `plan:EVENTS:MILLISECONDS:`; it survives every gateway as the user's own words.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache

TOKEN = b" wq"
SHORT_EVENTS = 8
MODELS = ("bench-coder-32b", "bench-general-70b", "bench-general-8b", "bench-tiny-1b")
CREATED = 1_700_000_000
_PLAN = re.compile(rb"plan:(\d{1,5}):(\d{1,5}):")
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_USAGE = re.compile(rb'"include_usage"\s*:\s*true')

_SYSTEM = (
    "You are a careful assistant in a small office. Answer in plain English, say when you are not "
    "sure, keep code in fenced blocks, and do not repeat the question."
)
_FIRST = (
    "Conversation {conversation}. Good morning, I would like some help with a few things today."
)
_REPLY = (
    "Good morning! Of course. Tell me what you have in mind, and I will take the points in order."
)
_LAST = (
    "Write a Python function that merges two sorted lists without using sorted().",
    "Please translate this sentence into German: the train leaves at a quarter past nine.",
    "What is the derivative of x squared times the sine of x? Show the steps.",
    "Write a short poem about a lighthouse in winter, in four lines.",
    "Summarize the causes of the fall of the Western Roman Empire in five bullet points.",
    "My landlord wants to raise the rent by a fifth. What should I do first?",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One answer: `events` tokens, each `interval_ms` after the last; 0 means back to back."""

    events: int
    interval_ms: int


def plan_of(body: bytes) -> Plan | None:
    """The plan that a request body carries, or None for the short answer that is sent at once."""
    at = body.find(b"plan:")
    found = _PLAN.match(body, at) if at >= 0 else None
    return Plan(events=int(found[1]), interval_ms=int(found[2])) if found else None


def wants_stream(body: bytes) -> bool:
    """True if the chat request asks for server-sent events."""
    return _STREAM.search(body) is not None


def wants_usage(body: bytes) -> bool:
    """True if the chat request asks for a last chunk with the token counts."""
    return _USAGE.search(body) is not None


# ---- requests -----------------------------------------------------------------------------------


def chat_bodies(*, model: str, stream: bool, plan: Plan | None, tools: bool) -> list[list[bytes]]:
    """Chat requests as JSON, each cut in three where the counters go: conversation and request.

    About 600 bytes each; with `tools` about 25 kB more, as Open WebUI sends with every chat.
    """
    bodies = []
    for last in _LAST:
        words = f"{last} Request @2@."
        if plan is not None:
            words += f" plan:{plan.events}:{plan.interval_ms}:"
        request: dict[str, object] = {
            "model": model,
            "stream": stream,
            "messages": [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": _FIRST.format(conversation="@1@")},
                {"role": "assistant", "content": _REPLY},
                {"role": "user", "content": words},
            ],
        }
        if tools:
            request["tools"] = _tools()
        text = json.dumps(request, separators=(",", ":"))
        bodies.append([part.encode() for part in re.split("@[12]@", text)])
    return bodies


def _tools() -> list[dict[str, object]]:
    """36 function definitions, about 25 kB of JSON."""
    verbs = ("search", "list", "read", "create", "update", "delete")
    nouns = ("note", "memory", "calendar_event", "document", "skill", "reminder")
    return [_tool(verb, noun) for noun in nouns for verb in verbs]


def _tool(verb: str, noun: str) -> dict[str, object]:
    thing = noun.replace("_", " ")
    text = (
        f"Use this to {verb} a {thing} of the current user. The result is a JSON object with the "
        f"{thing}, its id, and when it was last changed. Ask the user before anything is lost."
    )
    fields = {
        "id": {"type": "string", "description": f"The id of the {thing}; empty for all of them."},
        "query": {"type": "string", "description": f"Words that the {thing} must contain."},
        "limit": {"type": "integer", "description": "At most this many results.", "default": 10},
    }
    parameters = {"type": "object", "properties": fields, "required": ["id"]}
    function = {"name": f"{verb}_{noun}", "description": text, "parameters": parameters}
    return {"type": "function", "function": function}


# ---- answers ------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def events_of(count: int) -> tuple[bytes, ...]:
    """The `count` token events of an answer, as server-sent events; the first names the role."""
    return tuple(_event({"delta": _delta(index), "finish_reason": None}) for index in range(count))


def _delta(index: int) -> dict[str, str]:
    content = f"{TOKEN.decode()}{index}"
    return {"role": "assistant", "content": content} if index == 0 else {"content": content}


def _event(choice: dict[str, object], usage: dict[str, int] | None = None) -> bytes:
    chunk: dict[str, object] = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": MODELS[0],
        "choices": [{"index": 0, **choice}] if choice else [],
    }
    if usage is not None:
        chunk["usage"] = usage
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def usage_of(count: int) -> dict[str, int]:
    """The token counts of an answer of `count` tokens."""
    return {"prompt_tokens": 120, "completion_tokens": count, "total_tokens": 120 + count}


@lru_cache(maxsize=64)
def ending_of(count: int, *, usage: bool) -> bytes:
    """The last events of a stream: the finish reason, the usage if asked for, and `[DONE]`."""
    ending = _event({"delta": {}, "finish_reason": "stop"})
    if usage:
        ending += _event({}, usage_of(count))
    return ending + b"data: [DONE]\n\n"


@lru_cache(maxsize=64)
def whole_answer(count: int) -> bytes:
    """The non-streamed answer: what a client gets that aggregates the stream of `count` tokens."""
    content = "".join(f"{TOKEN.decode()}{index}" for index in range(count))
    message = {"role": "assistant", "content": content}
    answer = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": CREATED,
        "model": MODELS[0],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage_of(count),
    }
    return json.dumps(answer, separators=(",", ":")).encode()


def model_list() -> bytes:
    """The answer to `GET /v1/models`."""
    data = [
        {"id": name, "object": "model", "created": CREATED, "owned_by": "bench"} for name in MODELS
    ]
    return json.dumps({"object": "list", "data": data}, separators=(",", ":")).encode()
