"""Ollama's streams of NDJSON objects as OpenAI's chunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import orjson

from llmrouterd.backends.ollama_wire import error_text, words

_LINE_FIELDS = words(
    "model created_at message response thinking done done_reason context logprobs total_duration"
    " load_duration prompt_eval_count prompt_eval_duration eval_count eval_duration"
)
_MESSAGE_FIELDS = frozenset({"role", "content", "thinking", "tool_calls"})
_ENDS = {"length": "length"}


class OllamaStreamError(Exception):
    """Ollama reported an error in a stream that had begun; its text is the message."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class _Stream(ABC):
    """What the streams of both endpoints share; a subclass turns one line into deltas."""

    __slots__ = ("_created", "_id", "_model", "_usage", "finished")
    _object = ""

    def __init__(
        self, *, completion_id: str, created: int, model: str, include_usage: bool = True
    ) -> None:
        self._id = completion_id
        self._created = created
        self._model = model
        self._usage = include_usage
        # False at the end of the stream: it was cut off.
        self.finished = False

    def feed(self, line: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The chunks that the next object of the stream becomes; none after the last one.

        Raises OllamaStreamError for an error line. Fields unknown here are kept in the chunks.
        """
        error = error_text(line)
        if error is not None:
            raise OllamaStreamError(error)
        if self.finished:
            return []
        done = line.get("done") is True
        choices = self._choices(line)
        if done:
            self.finished = True
            choices.append(self._finish(line))
        extra = {name: line[name] for name in line if name not in _LINE_FIELDS}
        chunks = [self._chunk([choice], extra) for choice in choices]
        if done:
            measured = timings(line)
            if self._usage:
                chunks.append(self._chunk([], extra | {"usage": usage(line)}))
            if measured:
                chunks[-1]["timings"] = measured
        return chunks

    @abstractmethod
    def _choices(self, line: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The choices that a line adds to, without the end."""

    @abstractmethod
    def _finish(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """The choice that ends the answer."""

    def _chunk(self, choices: list[dict[str, Any]], extra: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": self._object,
            "created": self._created,
            "model": self._model,
            "choices": choices,
            **extra,
        }


class ChatStream(_Stream):
    """The lines of `/api/chat` as `chat.completion.chunk` objects.

    The order is that of other servers: role, text and calls, finish reason, usage. `timings`, in
    llama.cpp's shape, is on the last chunk.
    """

    __slots__ = ("_calls", "_opened")
    _object = "chat.completion.chunk"

    def __init__(
        self, *, completion_id: str, created: int, model: str, include_usage: bool = True
    ) -> None:
        super().__init__(
            completion_id=completion_id, created=created, model=model, include_usage=include_usage
        )
        self._opened = False
        self._calls = 0

    def _choices(self, line: Mapping[str, Any]) -> list[dict[str, Any]]:
        deltas: list[dict[str, Any]] = []
        if not self._opened:
            self._opened = True
            deltas.append({"role": "assistant", "content": ""})
        message = line.get("message")
        if not isinstance(message, Mapping):
            message = {}
        delta = {k: v for k, v in message.items() if k not in _MESSAGE_FIELDS and v}
        if message.get("thinking"):
            delta["reasoning_content"] = message["thinking"]
        if message.get("content"):
            delta["content"] = message["content"]
        calls = self._tool_calls(message.get("tool_calls"))
        if calls:
            delta["tool_calls"] = calls
        logprobs = _chat_logprobs(line.get("logprobs"))
        if delta or logprobs:
            deltas.append(delta)
        choices = [_choice(delta=delta) for delta in deltas]
        if logprobs:
            choices[-1]["logprobs"] = {"content": logprobs, "refusal": None}
        return choices

    def _tool_calls(self, calls: object) -> list[dict[str, Any]]:
        """Ollama's calls come whole; numbered through the stream, named after the completion."""
        translated: list[dict[str, Any]] = []
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, Mapping) else None
            if not isinstance(function, Mapping):
                continue
            arguments = function.get("arguments")
            if not isinstance(arguments, str):
                arguments = orjson.dumps({} if arguments is None else arguments).decode()
            translated.append(
                {
                    "index": self._calls,
                    "id": call.get("id") or f"call_{self._id}_{self._calls}",
                    "type": "function",
                    "function": {"name": function.get("name") or "", "arguments": arguments},
                }
            )
            self._calls += 1
        return translated

    def _finish(self, line: Mapping[str, Any]) -> dict[str, Any]:
        reason = _ENDS.get(str(line.get("done_reason")), "stop")
        return _choice(delta={}, finish_reason="tool_calls" if self._calls else reason)


class CompletionStream(_Stream):
    """The lines of `/api/generate` as the `text_completion` chunks of `/v1/completions`."""

    __slots__ = ("_offset",)
    _object = "text_completion"

    def __init__(
        self, *, completion_id: str, created: int, model: str, include_usage: bool = True
    ) -> None:
        super().__init__(
            completion_id=completion_id, created=created, model=model, include_usage=include_usage
        )
        self._offset = 0

    def _choices(self, line: Mapping[str, Any]) -> list[dict[str, Any]]:
        text = line.get("response")
        thinking = line.get("thinking")
        logprobs = self._logprobs(line.get("logprobs"))
        if not (text or thinking or logprobs):
            return []
        choice = _choice(text=text if isinstance(text, str) else "")
        if thinking:
            choice["reasoning_content"] = thinking
        if logprobs:
            choice["logprobs"] = logprobs
        return [choice]

    def _logprobs(self, entries: object) -> dict[str, list[Any]] | None:
        """The older shape: lists side by side, offsets in characters from the text's start."""
        known = _logprobs(entries)
        if not known:
            return None
        offsets = []
        for entry in known:
            offsets.append(self._offset)
            self._offset += len(str(entry["token"]))
        return {
            "tokens": [entry["token"] for entry in known],
            "token_logprobs": [entry.get("logprob") for entry in known],
            "top_logprobs": [
                {top["token"]: top.get("logprob") for top in _logprobs(entry.get("top_logprobs"))}
                for entry in known
            ],
            "text_offset": offsets,
        }

    def _finish(self, line: Mapping[str, Any]) -> dict[str, Any]:
        return _choice(text="", finish_reason=_ENDS.get(str(line.get("done_reason")), "stop"))


def _choice(*, finish_reason: str | None = None, **said: Any) -> dict[str, Any]:
    return {"index": 0, **said, "logprobs": None, "finish_reason": finish_reason}


def _logprobs(entries: object) -> list[Mapping[str, Any]]:
    if not isinstance(entries, list):
        return []
    return [e for e in entries if isinstance(e, Mapping) and isinstance(e.get("token"), str)]


def _chat_logprobs(entries: object) -> list[dict[str, Any]]:
    """OpenAI's logprobs, which differ from Ollama's in that no field may be missing."""
    return [
        {
            **entry,
            "bytes": entry.get("bytes"),
            "top_logprobs": [
                {**top, "bytes": top.get("bytes")} for top in _logprobs(entry.get("top_logprobs"))
            ],
        }
        for entry in _logprobs(entries)
    ]


def _number(line: Mapping[str, Any], name: str) -> int:
    """A count or a duration of the last line; Ollama leaves out what is 0."""
    value = line.get(name)
    return value if type(value) is int and value > 0 else 0


def usage(line: Mapping[str, Any]) -> dict[str, int]:
    """OpenAI's usage from the counts on a stream's last line."""
    prompt, completion = _number(line, "prompt_eval_count"), _number(line, "eval_count")
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def timings(line: Mapping[str, Any]) -> dict[str, float] | None:
    """llama.cpp's timings, and `load_ms`, from the nanoseconds on a stream's last line.

    A rate without its duration is left out; None where the line has no durations at all.
    """
    if not any(_number(line, f"{name}_duration") for name in ("load", "prompt_eval", "eval")):
        return None
    found: dict[str, float] = {}
    for name, source in (("prompt", "prompt_eval"), ("predicted", "eval")):
        count = _number(line, f"{source}_count")
        duration = _number(line, f"{source}_duration")
        found[f"{name}_n"] = count
        found[f"{name}_ms"] = duration / 1e6
        if count:
            found[f"{name}_per_token_ms"] = duration / 1e6 / count
        if duration:
            found[f"{name}_per_second"] = count * 1e9 / duration
    found["load_ms"] = _number(line, "load_duration") / 1e6
    return found
