"""What a fake Ollama answers: deterministic text, tool calls, JSON that fits a schema, metrics."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .ollama_scheduler import FakeModel
from .openai_answers import words

THOUGHTS = ("Let me", " think", " about it")
TOOL_TRIGGER = "use tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """An answer before it is put on the wire; `reason` is done_reason: stop or length."""

    thoughts: tuple[str, ...]
    pieces: tuple[str, ...]
    calls: tuple[dict[str, Any], ...]
    reason: str

    @property
    def tokens(self) -> int:
        return len(self.thoughts) + len(self.pieces) + len(self.calls)


def example(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """A value that satisfies a plain JSON schema (types, enum, const, $ref, anyOf, bounds)."""
    root = root or schema
    if "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return example(target, root)
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return example(schema[key][0], root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: example(part, root) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema.get("items", {}), root)] * max(1, schema.get("minItems", 1))
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    return {"boolean": True, "null": None}.get(kind, "wörd".ljust(schema.get("minLength", 0), "x"))


def last_text(messages: list[dict[str, Any]], role: str) -> str:
    """The content of the last message of a role, or an empty text."""
    found = (each.get("content") or "" for each in reversed(messages) if each["role"] == role)
    return next(found, "")


def count_images(messages: list[dict[str, Any]]) -> int:
    return sum(len(message.get("images") or ()) for message in messages)


def _calls(body: dict[str, Any], messages: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    tools = body.get("tools")
    wanted = TOOL_TRIGGER in last_text(messages, "user").lower()
    if not tools or not wanted or messages[-1]["role"] == "tool":
        return ()
    function = tools[0]["function"]
    arguments = example(function.get("parameters") or {"type": "object"})
    called = {"index": 0, "name": function["name"], "arguments": arguments}
    return ({"id": "call_0a1b2c3d", "function": called},)


def _pieces(body: dict[str, Any], messages: list[dict[str, Any]], tokens: int) -> list[str]:
    form = body.get("format")
    if form:
        value = {"answer": "wörd", "n": 1} if form == "json" else example(form)
        text = json.dumps(value, ensure_ascii=False)
        return [text[place : place + 4] for place in range(0, len(text), 4)]
    pieces = words(tokens)
    if images := count_images(messages):
        pieces.insert(0, f"I see {images} images. ")
    if messages and messages[-1]["role"] == "tool":
        pieces.insert(0, f"The tool said: {messages[-1].get('content')}. ")
    return pieces


def speak(
    body: dict[str, Any], messages: list[dict[str, Any]], model: FakeModel, tokens: int
) -> Spoken:
    """The answer to a checked chat (or a generate, given as one user message).

    The text is `tokens` words (JSON when `format` is set); a tool is called when the request has
    tools and the last user text contains "use tool"; a thinking model thinks unless told not to.
    """
    think = body.get("think")
    thinks = "thinking" in model.capabilities and (think is None or bool(think))
    calls = _calls(body, messages)
    pieces = [] if calls else _pieces(body, messages, tokens)
    limit = (body.get("options") or {}).get("num_predict")
    reason = "stop"
    if isinstance(limit, int) and 0 <= limit < len(pieces):
        pieces, reason = pieces[:limit], "length"
    thoughts = THOUGHTS if thinks else ()
    return Spoken(thoughts=thoughts, pieces=tuple(pieces), calls=calls, reason=reason)


def prompt_length(messages: list[dict[str, Any]], num_ctx: int) -> int:
    """Tokens of the prompt (words, at least 1), cut at the context as Ollama cuts it."""
    count = sum(len((message.get("content") or "").split()) + 1 for message in messages)
    return max(1, min(count, num_ctx))


def metrics(model: FakeModel, load: int, prompt: int, tokens: int) -> dict[str, int]:
    """The last line's counts and nanoseconds; zeros are left out, as Go's omitempty does."""
    prompt_time = int(prompt / model.prompt_rate * 1e9)
    eval_time = int(tokens / model.eval_rate * 1e9)
    values = {
        "total_duration": load + prompt_time + eval_time + 1000,
        "load_duration": load,
        "prompt_eval_count": prompt,
        "prompt_eval_duration": prompt_time,
        "eval_count": tokens,
        "eval_duration": eval_time,
    }
    return {name: value for name, value in values.items() if value}
