"""What Ollama's native API understands, and with which words it refuses the rest."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

FOREVER = float("inf")
DEFAULT_KEEP_ALIVE = 300.0
THINK_LEVELS = ("low", "medium", "high", "max")

# Fields of OpenAI's API (or of `options`) that Ollama drops without a word at the top level.
# A backend that sends them there has lost the user's wish, so here they are an error.
MISPLACED = frozenset(
    (
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "typical_p",
        "seed",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "num_predict",
        "num_ctx",
        "repeat_penalty",
        "repeat_last_n",
        "presence_penalty",
        "frequency_penalty",
        "response_format",
        "reasoning_effort",
    )
)
INTEGERS = frozenset(
    (
        "num_ctx",
        "num_predict",
        "num_batch",
        "num_gpu",
        "main_gpu",
        "num_thread",
        "num_keep",
        "seed",
        "top_k",
        "repeat_last_n",
        "draft_num_predict",
    )
)
FLOATS = frozenset(
    (
        "temperature",
        "top_p",
        "min_p",
        "typical_p",
        "repeat_penalty",
        "presence_penalty",
        "frequency_penalty",
    )
)
BOOLEANS = frozenset(("use_mmap", "numa"))
OPTIONS = INTEGERS | FLOATS | BOOLEANS | {"stop"}

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s)")


class Refused(Exception):
    """A 400 of Ollama; `violation` tells that the sender does not speak the protocol."""

    def __init__(self, message: str, *, violation: bool = True) -> None:
        super().__init__(message)
        self.violation = violation


def parse_keep_alive(value: Any) -> float | None:
    """Seconds of `keep_alive`: a number, or Go's duration text; negative is for ever, None unset.

    Raises Refused for what Go's time.ParseDuration refuses ("10", "5 minutes") and other types.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Refused(f"Unsupported type: '{type(value).__name__}'")
    if isinstance(value, (int, float)):
        return FOREVER if value < 0 else float(value)
    text = value.removeprefix("-").removeprefix("+")
    if text == "0":
        return 0.0
    if not text or "".join(match.group(0) for match in _PART.finditer(text)) != text:
        known = "missing unit in" if re.fullmatch(r"[\d.]+", text) else "invalid"
        raise Refused(f'time: {known} duration "{value}"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return FOREVER if value.startswith("-") else seconds


def check_options(options: Any) -> None:
    """Raises Refused for an option of a wrong type or of a name that Ollama does not have."""
    if options is None:
        return
    if not isinstance(options, dict):
        raise Refused("json: cannot unmarshal value into Go struct field .options")
    for name, value in options.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name not in OPTIONS:
            raise Refused(f"invalid option provided: {name}")
        if value is None:
            continue
        if name in INTEGERS and not (number and float(value).is_integer()):
            raise Refused(f'option "{name}" must be of type integer')
        if name in FLOATS and not number:
            raise Refused(f'option "{name}" must be of type float32')
        if name in BOOLEANS and not isinstance(value, bool):
            raise Refused(f'option "{name}" must be of type boolean')
        if name == "stop" and not (
            isinstance(value, list) and all(isinstance(text, str) for text in value)
        ):
            raise Refused('option "stop" must be of type array')


def check_images(images: Any) -> None:
    """Raises Refused unless every image is bare base64."""
    for image in images or ():
        if not isinstance(image, str):
            raise Refused(
                "json: cannot unmarshal object into Go struct field .images of type []uint8"
            )
        if image.startswith("data:"):
            raise Refused("illegal base64 data at input byte 4")
        try:
            base64.b64decode(image, validate=True)
        except binascii.Error as error:
            raise Refused("illegal base64 data at input byte 0") from error


def check_message(message: Any) -> None:
    """Raises Refused for a message that Go could not unmarshal."""
    if not isinstance(message, dict):
        raise Refused("json: cannot unmarshal value into Go struct field ChatRequest.messages")
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        kind = "array" if isinstance(content, list) else "object"
        where = "ChatRequest.messages.content of type string"
        raise Refused(f"json: cannot unmarshal {kind} into Go struct field {where}")
    if not isinstance(message.get("role"), str):
        raise Refused("json: message without a role")
    check_images(message.get("images"))
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Refused("json: a tool call without a function")
        if not isinstance(function.get("arguments"), dict):
            where = "ChatRequest.messages.tool_calls.function.arguments"
            raise Refused(f"json: cannot unmarshal string into Go struct field {where}")


def check_body(body: Any) -> None:
    """Raises Refused for a native request that real Ollama refuses or silently misreads."""
    if not isinstance(body, dict):
        raise Refused("json: cannot unmarshal value into Go value of type api.ChatRequest")
    misplaced = sorted(MISPLACED & body.keys())
    if misplaced:
        raise Refused(f"not understood at the top level: {', '.join(misplaced)}")
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise Refused("json: cannot unmarshal value into Go struct field .stream of type bool")
    think = body.get("think")
    if think is not None and not isinstance(think, bool) and think not in THINK_LEVELS:
        allowed = ", ".join(f'"{level}"' for level in reversed(THINK_LEVELS))
        raise Refused(f'invalid think value: "{think}" (must be {allowed}, true, or false)')
    form = body.get("format")
    if form not in (None, "", "json") and not isinstance(form, dict):
        raise Refused(f'invalid format: "{form}"; expected "json" or a JSON schema')
    check_options(body.get("options"))
    parse_keep_alive(body.get("keep_alive"))
    check_images(body.get("images"))
    messages = body.get("messages")
    if messages is not None and not isinstance(messages, list):
        raise Refused("json: cannot unmarshal value into Go struct field ChatRequest.messages")
    for message in messages or ():
        check_message(message)


def only_loads(body: Any) -> bool:
    """A request without a prompt: its model is loaded, and nothing is said."""
    return isinstance(body, dict) and not (body.get("prompt") or body.get("messages"))
