"""The OpenAI wire as far as routing needs it: a request's bytes -> ChatRequest.

`raw` is what is forwarded. Only what a decision reads is parsed besides it, so unknown fields
pass through unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jsonschema_rs
import orjson

from llmrouterd.errors import BadRequest
from llmrouterd.request_schema import (
    Limits,
    chat_schema,
    completion_schema,
    embedding_schema,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


# Characters that no text needs and terminals, logs and prompts can be attacked with: C0 but
# tab, newline and carriage return, and DEL.
_CONTROL = {code: None for code in (*range(32), 127) if code not in (9, 10, 13)}
_CONTROL_ESCAPES = (b"\\u00", b"\\b", b"\\f", b"\x7f")
_MANY_BRACKETS = 65_536
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


class Message(NamedTuple):
    """What routing reads of a message. `text` joins the text parts with newlines."""

    role: str
    text: str
    images: int
    audio: int
    tool_calls: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A request to one of the three generation endpoints.

    kind: chat | completions | embeddings. A completion's prompt and an embedding's input appear
    as one user message. `tools_json` is the tools as JSON, b"" without any.
    """

    kind: str
    model: str | None
    messages: tuple[Message, ...]
    stream: bool
    include_usage: bool
    tools_json: bytes
    tool_required: bool
    json_output: bool
    max_tokens: int | None
    raw: dict[str, Any]


class Validators:
    """The compiled JSON Schemas of the request bodies under one set of limits."""

    __slots__ = ("_by_kind", "limits")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._by_kind = {
            "chat": jsonschema_rs.Draft202012Validator(chat_schema(limits)),
            "completions": jsonschema_rs.Draft202012Validator(completion_schema(limits)),
            "embeddings": jsonschema_rs.Draft202012Validator(embedding_schema(limits)),
        }

    def check(self, kind: str, data: Any) -> None:
        """Raise BadRequest that names the first few fields at fault."""
        validator = self._by_kind[kind]
        try:
            if validator.is_valid(data):
                return
            problems = [_explain(error) for error in _first(validator.iter_errors(data), 3)]
        except ValueError as error:  # numbers or nesting that the validator cannot take in
            raise BadRequest(f"The request body cannot be validated: {error}") from None
        raise BadRequest("; ".join(text for _, text in problems), param=problems[0][0])


def _first(errors: Iterator[Any], most: int) -> Iterator[Any]:
    for _, error in zip(range(most), errors, strict=False):
        yield error


def _explain(error: Any) -> tuple[str, str]:
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path
    ).lstrip(".")
    message = str(error.message)
    if len(message) > 300:  # it quotes the offending value, which may be the whole body
        message = message[:120] + " ... " + message[-160:]
    return path, f"{path or 'body'}: {message}"


def parse_json(body: bytes, limits: Limits) -> dict[str, Any]:
    """A JSON object from a body, with a bound on its nesting and without control characters."""
    if _depth_exceeds(body, limits.depth):
        raise BadRequest(f"The JSON is nested more than {limits.depth} levels deep.")
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadRequest("The body must be a JSON object.")
    if any(escape in body for escape in _CONTROL_ESCAPES):
        data = {key: sanitise(value) for key, value in data.items()}
    return data


def _depth_exceeds(body: bytes, most: int) -> bool:
    """Whether the nesting is deeper than `most`, in linear time and without recursion.

    The brackets alone are folded from the inside. Brackets inside of texts can keep that from
    coming to an end, and many that are deep make it slow; then the body is walked exactly.
    """
    brackets = body.translate(None, _NO_BRACKETS)
    if brackets.count(b"{") + brackets.count(b"[") <= most:
        return False
    for _ in range(most):
        folded = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if not folded:
            return False
        removed = len(brackets) - len(folded)
        if not removed or (len(brackets) > _MANY_BRACKETS and removed * 8 < len(brackets)):
            break
        brackets = folded
    depth, inside, escaped = 0, False, False
    for byte in body:
        if inside:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                inside = False
        elif byte == 0x22:
            inside = True
        elif byte in b"[{":
            depth += 1
            if depth > most:
                return True
        elif byte in b"]}":
            depth -= 1
    return False


def sanitise(value: Any) -> Any:
    """Take control characters out of every text of a JSON value; keys are left alone."""
    if isinstance(value, str):
        return value.translate(_CONTROL)
    if isinstance(value, list):
        return [sanitise(item) for item in value]
    if isinstance(value, dict):
        return {key: sanitise(item) for key, item in value.items()}
    return value


def parse_request(kind: str, body: bytes, validators: Validators) -> ChatRequest:
    """Parse and check a body. kind: chat | completions | embeddings. Raises BadRequest."""
    raw = parse_json(body, validators.limits)
    validators.check(kind, raw)
    if kind == "chat":
        messages = tuple(_message(item) for item in raw["messages"])
    else:
        source = raw.get("prompt" if kind == "completions" else "input")
        messages = (Message("user", _flat_text(source), 0, 0, False),)
    tools = raw.get("tools") or raw.get("functions")
    choice = raw.get("tool_choice") or raw.get("function_call")
    output = raw.get("response_format")
    options = raw.get("stream_options")
    return ChatRequest(
        kind=kind,
        model=raw.get("model") or None,
        messages=messages,
        stream=bool(raw.get("stream")) and kind != "embeddings",
        include_usage=bool(options and options.get("include_usage")),
        tools_json=orjson.dumps(tools) if tools else b"",
        tool_required=bool(tools) and choice not in (None, "auto", "none"),
        json_output=output is not None and output.get("type") in ("json_object", "json_schema"),
        max_tokens=raw.get("max_completion_tokens") or raw.get("max_tokens"),
        raw=raw,
    )


def _message(item: Mapping[str, Any]) -> Message:
    content = item.get("content")
    calls = bool(item.get("tool_calls") or item.get("function_call"))
    if isinstance(content, str):
        return Message(item["role"], content, 0, 0, calls)
    texts: list[str] = []
    images = audio = 0
    for part in content or ():
        kind = part.get("type")
        if kind == "text":
            texts.append(part.get("text") or "")
        elif kind in ("image_url", "image", "input_image"):
            images += 1
        elif kind in ("input_audio", "audio"):
            audio += 1
    return Message(item["role"], "\n".join(texts), images, audio, calls)


def _flat_text(source: Any) -> str:
    """A prompt or input: a text, texts, or token numbers (which stand for a character each)."""
    if isinstance(source, str):
        return source
    texts = []
    for item in source or ():
        texts.append(item if isinstance(item, str) else "#")
    return "\n".join(texts)
