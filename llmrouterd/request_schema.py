"""JSON Schemas of the request bodies: what we rely on and what could hurt, nothing more.

Fields that are not named here pass through to the backend, which knows better what it takes.
Bounds on numbers keep infinities and absurd sizes away from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_MOST = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may be; sizes in bytes or characters, times in seconds."""

    body_bytes: int
    body_seconds: float
    header_seconds: float
    messages: int
    text_characters: int
    depth: int
    tools: int
    in_flight: int


def _maybe(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, or null: many clients send null for 'not set'."""
    if "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


_NUMBER = _maybe({"type": "number", "minimum": -_MOST, "maximum": _MOST})
_INTEGER = _maybe({"type": "integer", "minimum": -1, "maximum": _MOST})
_BOOLEAN = _maybe({"type": "boolean"})
_MODEL = _maybe({"type": "string", "maxLength": 512})
_SEED = _maybe({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1})


def _sampling(limits: Limits) -> dict[str, Any]:
    stop = {"type": "string", "maxLength": 4096}
    return {
        "model": _MODEL,
        "stream": _BOOLEAN,
        "stream_options": _maybe(
            {"type": "object", "properties": {"include_usage": _BOOLEAN}, "maxProperties": 32}
        ),
        "temperature": _NUMBER,
        "top_p": _NUMBER,
        "top_k": _NUMBER,
        "min_p": _NUMBER,
        "presence_penalty": _NUMBER,
        "frequency_penalty": _NUMBER,
        "max_tokens": _INTEGER,
        "max_completion_tokens": _INTEGER,
        "n": _maybe({"type": "integer", "minimum": 1, "maximum": 128}),
        "seed": _SEED,
        "stop": {**stop, "type": ["string", "array", "null"], "items": stop, "maxItems": 64},
        "user": _maybe({"type": "string", "maxLength": limits.text_characters}),
    }


def chat_schema(limits: Limits) -> dict[str, Any]:
    """Body of POST /v1/chat/completions."""
    text = {"type": "string", "maxLength": limits.text_characters}
    part = {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"type": "string", "maxLength": 64}, "text": _maybe(text)},
    }
    call = {
        "type": "object",
        "properties": {
            "id": _maybe({"type": "string", "maxLength": 4096}),
            "function": _maybe({"type": "object"}),
        },
    }
    message = {
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": {"type": "string", "minLength": 1, "maxLength": 32},
            "content": {**text, "type": ["string", "array", "null"], "items": part},
            "tool_calls": _maybe({"type": "array", "items": call, "maxItems": 1024}),
            "function_call": _maybe({"type": "object"}),
            "tool_call_id": _maybe({"type": "string", "maxLength": 4096}),
        },
    }
    tool = {"type": "object"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["messages"],
        "properties": {
            **_sampling(limits),
            "messages": {
                "type": "array",
                "items": message,
                "minItems": 1,
                "maxItems": limits.messages,
            },
            "tools": _maybe({"type": "array", "items": tool, "maxItems": limits.tools}),
            "functions": _maybe({"type": "array", "items": tool, "maxItems": limits.tools}),
            "tool_choice": {"type": ["string", "object", "null"]},
            "function_call": {"type": ["string", "object", "null"]},
            "response_format": _maybe(
                {
                    "type": "object",
                    "required": ["type"],
                    "properties": {"type": {"type": "string"}},
                }
            ),
        },
    }


def completion_schema(limits: Limits) -> dict[str, Any]:
    """Body of POST /v1/completions."""
    text = {"type": "string", "maxLength": limits.text_characters}
    tokens = {"type": "array", "items": {"type": "integer"}, "maxItems": limits.text_characters}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["prompt"],
        "properties": {
            **_sampling(limits),
            "prompt": {
                "anyOf": [
                    text,
                    {"type": "array", "items": text, "minItems": 1, "maxItems": limits.messages},
                    tokens,
                    {"type": "array", "items": tokens, "minItems": 1, "maxItems": 4096},
                ]
            },
        },
    }


def embedding_schema(limits: Limits) -> dict[str, Any]:
    """Body of POST /v1/embeddings."""
    text = {"type": "string", "maxLength": limits.text_characters}
    tokens = {"type": "array", "items": {"type": "integer"}, "maxItems": limits.text_characters}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["input"],
        "properties": {
            "model": _MODEL,
            "input": {
                "anyOf": [
                    text,
                    {"type": "array", "items": text, "minItems": 1, "maxItems": limits.messages},
                    tokens,
                    {"type": "array", "items": tokens, "minItems": 1, "maxItems": 4096},
                ]
            },
            "dimensions": _maybe({"type": "integer", "minimum": 1, "maximum": 65536}),
            "encoding_format": _maybe({"type": "string", "enum": ["float", "base64", None]}),
        },
    }
