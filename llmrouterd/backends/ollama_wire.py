"""OpenAI's requests in the words of Ollama's native API, and its plain answers back.

Only what must be translated is touched: a field that neither side needs translated goes through
under its own name, so that a newer Ollama's fields work without a change here. The streams of
answers are in `ollama_stream`.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

import orjson


def words(text: str) -> frozenset[str]:
    """The words of a text, for tables of names that would be a page of quotes otherwise."""
    return frozenset(text.split())


# What Ollama loads a model with, as it does with `shift`: another value makes it load it again.
_LOADING = words(
    "num_ctx num_batch num_gpu main_gpu num_thread use_mmap use_mlock low_vram numa f16_kv"
    " logits_all vocab_only draft_num_predict"
)
# Of an OpenAI request's top level, what Ollama reads inside `options`, by its name there.
_SAMPLING = words(
    "temperature top_p top_k min_p typical_p seed stop repeat_penalty repeat_last_n"
    " presence_penalty frequency_penalty num_predict num_keep"
)
_OPTIONS = {name: name for name in sorted(_SAMPLING)}
_OPTIONS |= {"repetition_penalty": "repeat_penalty", "max_tokens": "num_predict"}

_COMMON = words(
    "model stream stream_options n options keep_alive max_completion_tokens shift response_format"
    " reasoning_effort reasoning"
).union(_LOADING, _OPTIONS)
_CHAT_TRANSLATED = _COMMON | words("messages tools tool_choice functions function_call")
_TEXT_TRANSLATED = _COMMON | words("prompt suffix tool_choice function_call echo best_of logprobs")
_EMBED_TRANSLATED = _COMMON | words("input encoding_format user")
_MESSAGE_TRANSLATED = words(
    "role content tool_calls function_call tool_call_id tool_name name images thinking"
    " reasoning_content reasoning refusal"
)
_ROLES = {"developer": "system", "function": "tool"}
_EFFORTS: dict[str, bool | str] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "max",
}


class Untranslatable(ValueError):
    """The request asks for what Ollama's API cannot say; `field` is the path of the field."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


def chat_request(
    body: Mapping[str, Any], *, model: str, keep_alive: int | str | None, num_ctx: int | None
) -> dict[str, Any]:
    """The `/api/chat` request for an OpenAI chat request; it always asks for a stream.

    `keep_alive` (seconds, or a duration as in Go) replaces the client's where it is not None.
    `num_ctx` (tokens, None: Ollama's own) and nothing of the client's decides how the model is
    loaded. A sampling field beside `options` wins over the one inside. Raises Untranslatable.
    """
    _require_one(body, "n")
    request = {k: v for k, v in body.items() if k not in _CHAT_TRANSLATED and v is not None}
    request |= {"model": model, "messages": _messages(body.get("messages")), "stream": True}
    if tools := _tools(body):
        request["tools"] = tools
    _set_common(request, body, keep_alive=keep_alive, num_ctx=num_ctx)
    return request


def generate_request(
    body: Mapping[str, Any], *, model: str, keep_alive: int | str | None, num_ctx: int | None
) -> dict[str, Any]:
    """The `/api/generate` request for an OpenAI `/v1/completions` request, always a stream.

    As Ollama's own `/v1/completions`, it lets the model's template apply unless `raw` is given.
    Raises Untranslatable, also for token lists, several prompts, `echo` and `n` or `best_of`.
    """
    _require_one(body, "n")
    _require_one(body, "best_of")
    if body.get("echo"):
        raise Untranslatable("echo", "not supported by Ollama; leave it out")
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if prompt is not None and not isinstance(prompt, str):
        raise Untranslatable("prompt", "Ollama takes one string, not tokens or several prompts")
    request = {k: v for k, v in body.items() if k not in _TEXT_TRANSLATED and v is not None}
    request |= {"model": model, "prompt": prompt or "", "stream": True}
    if body.get("suffix"):
        request["suffix"] = body["suffix"]
    logprobs = body.get("logprobs")
    if logprobs is not None and logprobs is not False:
        request["logprobs"] = True
        if type(logprobs) is int and logprobs > 0:
            request["top_logprobs"] = logprobs
    _set_common(request, body, keep_alive=keep_alive, num_ctx=num_ctx)
    return request


def _require_one(body: Mapping[str, Any], field: str) -> None:
    if body.get(field) not in (None, 1):
        raise Untranslatable(field, "Ollama gives one answer a request; ask for 1, or ask again")


def _set_common(
    request: dict[str, Any],
    body: Mapping[str, Any],
    *,
    keep_alive: int | str | None,
    num_ctx: int | None,
) -> None:
    """Set what all requests say alike: options, format, think, keep_alive."""
    options = _options(body)
    if num_ctx is not None:
        options["num_ctx"] = num_ctx
    if options:
        request["options"] = options
    shape = _format(body.get("response_format"))
    if shape is not None:
        request["format"] = shape
    think = _think(body)
    if think is not None:
        request.setdefault("think", think)
    kept = body.get("keep_alive") if keep_alive is None else keep_alive
    if kept is not None:
        request["keep_alive"] = kept


def _options(body: Mapping[str, Any]) -> dict[str, Any]:
    given = body.get("options")
    if given is not None and not isinstance(given, Mapping):
        raise Untranslatable("options", "must be an object of Ollama's options")
    options = {k: v for k, v in (given or {}).items() if k not in _LOADING}
    for field, name in _OPTIONS.items():
        value = body.get(field)
        if value is not None:
            options[name] = value
    limit = body.get("max_completion_tokens")
    if limit is not None:
        options["num_predict"] = limit
    if isinstance(options.get("stop"), str):
        options["stop"] = [options["stop"]]
    return options


def _format(response_format: object) -> object:
    """Ollama's `format`: "json", a JSON schema, or None for free text."""
    if response_format is None:
        return None
    if not isinstance(response_format, Mapping):
        raise Untranslatable("response_format", "must be an object with a type")
    if (kind := response_format.get("type")) == "text":
        return None
    if kind == "json_object":
        return response_format.get("schema") or "json"
    if kind == "json_schema":
        named = response_format.get("json_schema")
        schema = named.get("schema") if isinstance(named, Mapping) else None
        return schema or response_format.get("schema") or "json"
    raise Untranslatable(
        "response_format.type", "Ollama knows text, json_object and json_schema only"
    )


def _think(body: Mapping[str, Any]) -> bool | str | None:
    effort = body.get("reasoning_effort")
    if effort is None and isinstance(body.get("reasoning"), Mapping):
        effort = body["reasoning"].get("effort")
    if effort is None:
        return None
    if not isinstance(effort, str) or effort not in _EFFORTS:
        raise Untranslatable("reasoning_effort", f"must be one of {', '.join(_EFFORTS)}")
    return _EFFORTS[effort]


def _tools(body: Mapping[str, Any]) -> list[Any]:
    """The tools the model may call. Ollama has no tool_choice: none sends no tool, a named
    function only itself; that a call is required cannot be said."""
    tools = _listed(body, "tools")
    if not tools:
        tools = [{"type": "function", "function": f} for f in _listed(body, "functions")]
    choice = body.get("tool_choice") or body.get("function_call")
    if choice == "none":
        return []
    if not isinstance(choice, Mapping):
        return tools
    allowed = choice.get("allowed_tools")
    listed = _listed(allowed, "tools") if isinstance(allowed, Mapping) else [choice]
    names = [_function_name(tool) for tool in listed]
    chosen = [tool for tool in tools if _function_name(tool) in names]
    if not chosen:
        raise Untranslatable("tool_choice", "names a function that is not among the tools")
    return chosen


def _listed(body: Mapping[str, Any], field: str) -> list[Any]:
    value = body.get(field)
    if value is not None and not isinstance(value, list):
        raise Untranslatable(field, "must be a list")
    return value or []


def _function_name(tool: object) -> object:
    """The name in `{"function": {"name": ...}}`, or in the older `{"name": ...}`."""
    if not isinstance(tool, Mapping):
        return None
    function = tool.get("function")
    return function.get("name") if isinstance(function, Mapping) else tool.get("name")


def _messages(messages: object) -> list[dict[str, Any]]:
    if not isinstance(messages, list):
        raise Untranslatable("messages", "must be a list of messages")
    names: dict[str, str] = {}
    translated = []
    for position, message in enumerate(messages):
        path = f"messages[{position}]"
        if not isinstance(message, Mapping):
            raise Untranslatable(path, "must be an object")
        translated.append(_message(message, path, names))
    return translated


def _message(message: Mapping[str, Any], path: str, names: dict[str, str]) -> dict[str, Any]:
    """One message; `names` gathers the function of each tool call id, for the results below."""
    role = str(message.get("role", "user"))
    result = {k: v for k, v in message.items() if k not in _MESSAGE_TRANSLATED and v is not None}
    text, images = _content(message.get("content"), f"{path}.content")
    result["role"] = _ROLES.get(role, role)
    result["content"] = text or str(message.get("refusal") or "")
    native = message.get("images")
    if images := images + (native if isinstance(native, list) else []):
        result["images"] = images
    for field in ("thinking", "reasoning_content", "reasoning"):
        if message.get(field):
            result["thinking"] = message[field]
            break
    if calls := _tool_calls(message, path):
        result["tool_calls"] = calls
        names |= {c["id"]: c["function"]["name"] for c in calls if isinstance(c.get("id"), str)}
    if result["role"] == "tool":
        ident = message.get("tool_call_id")
        known = names.get(ident) if isinstance(ident, str) else None
        name = message.get("tool_name") or known or message.get("name")
        result |= {"tool_name": name} if name else {}
        result |= {"tool_call_id": ident} if ident else {}
    elif message.get("name") is not None:
        result["name"] = message["name"]
    return result


def _content(content: object, path: str) -> tuple[str, list[Any]]:
    """The text (parts on lines of their own) and the images (base64) of a message's content."""
    if content is None or isinstance(content, str):
        return content or "", []
    if not isinstance(content, list):
        raise Untranslatable(path, "must be a string or a list of parts")
    texts: list[str] = []
    images: list[Any] = []
    for position, part in enumerate(content):
        place = f"{path}[{position}]"
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in ("text", "input_text", "refusal"):
            texts.append(str(part.get("text") or part.get("refusal") or ""))
        elif kind in ("image_url", "input_image"):
            images.append(_image(part.get("image_url"), f"{place}.image_url"))
        else:
            raise Untranslatable(
                f"{place}.type", f"Ollama takes text and images only, not {kind!r}; leave it out"
            )
    return "\n".join(texts), images


def _image(image: object, path: str) -> str:
    url = image.get("url") if isinstance(image, Mapping) else image
    if isinstance(image, Mapping):
        path += ".url"
    if isinstance(url, str) and url[:5].lower() == "data:":
        head, comma, data = url.partition(",")
        if comma and head.lower().endswith(";base64"):
            return data.strip()
    raise Untranslatable(
        path, "Ollama fetches no images; send it as data:image/...;base64,... in the request"
    )


def _tool_calls(message: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    calls = message.get("tool_calls") or []
    legacy = message.get("function_call")
    if not calls and isinstance(legacy, Mapping):
        calls = [{"function": legacy}]
    if not isinstance(calls, list):
        raise Untranslatable(f"{path}.tool_calls", "must be a list of tool calls")
    translated: list[dict[str, Any]] = []
    for index, call in enumerate(calls):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise Untranslatable(
                f"{path}.tool_calls[{index}].function", "Ollama knows calls of functions only"
            )
        ident = {"id": call["id"]} if call.get("id") else {}
        arguments = _arguments(function.get("arguments"))
        name = str(function.get("name") or "")
        named = {"index": index, "name": name, "arguments": arguments}
        translated.append({**ident, "function": named})
    return translated


def _arguments(arguments: object) -> dict[str, Any]:
    """A call's arguments as the object Ollama wants.

    Small models write broken JSON, and clients send it back with every later turn: it is kept
    as `{"_raw": text}`, for refusing it would end the conversation, and dropping it mislead.
    """
    if isinstance(arguments, Mapping):
        return dict(arguments)
    if not isinstance(arguments, str) or not arguments.strip():
        return {}
    try:
        parsed = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {"_raw": arguments}
    return parsed if isinstance(parsed, dict) else {"_raw": arguments}


def embed_request(
    body: Mapping[str, Any], *, model: str, keep_alive: int | str | None, num_ctx: int | None
) -> dict[str, Any]:
    """The `/api/embed` request for an OpenAI embeddings request. Raises Untranslatable."""
    given = body.get("input")
    listed = given if isinstance(given, list) else [given]
    if not listed or not all(isinstance(text, str) for text in listed):
        raise Untranslatable("input", "Ollama takes a string or a list of strings, not tokens")
    request = {k: v for k, v in body.items() if k not in _EMBED_TRANSLATED and v is not None}
    request |= {"model": model, "input": given}
    _set_common(request, body, keep_alive=keep_alive, num_ctx=num_ctx)
    return request


def embed_response(
    body: Mapping[str, Any], model: str, encoding_format: str = "float"
) -> dict[str, Any]:
    """OpenAI's list of embeddings for an `/api/embed` answer.

    With `encoding_format` "base64", each one is base64 of little-endian 32-bit floats. Raises
    ValueError where the answer holds no proper embeddings.
    """
    vectors = body.get("embeddings")
    if not isinstance(vectors, list) or not all(isinstance(vector, list) for vector in vectors):
        raise ValueError("Ollama's answer holds no list of embeddings")
    data = []
    for index, vector in enumerate(vectors):
        value = _base64_floats(vector) if encoding_format == "base64" else vector
        data.append({"object": "embedding", "index": index, "embedding": value})
    counted = body.get("prompt_eval_count")
    tokens = counted if type(counted) is int else 0
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def _base64_floats(vector: list[Any]) -> str:
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (struct.error, OverflowError) as error:
        raise ValueError(f"Ollama's answer holds an embedding of no floats: {error}") from error


def error_message(body: bytes) -> str | None:
    """The message of a native `{"error": "..."}` body, or None where it is something else."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return error_text(parsed) if isinstance(parsed, dict) else None


def error_text(answer: Mapping[str, Any]) -> str | None:
    """The message of an answer's `error`, a string or an object with one; None without any."""
    error = answer.get("error")
    if isinstance(error, Mapping):
        error = error.get("message")
    return error if isinstance(error, str) and error else None
