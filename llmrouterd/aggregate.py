"""A stream's chunks, put together to the one answer a non-streaming server would have given.

Upstreams are always asked for a stream, since only that can be cancelled; a client that did not
ask for one gets the result of these. Whatever a server adds to the known fields is kept.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

_STREAM_ONLY = frozenset({"obfuscation"})  # padding against traffic analysis
_TEXT_FIELDS = frozenset({"text", "content", "reasoning_content", "reasoning", "thinking"})


class _Envelope:
    """The fields around the choices."""

    __slots__ = ("first", "rest")

    def __init__(self) -> None:
        self.first: dict[str, Any] = {}
        self.rest: dict[str, Any] = {}

    def add(self, chunk: Mapping[str, Any]) -> None:
        first, rest = self.first, self.rest
        for name, value in chunk.items():
            if name in ("id", "created", "model"):
                # Azure opens with an empty model and created 0.
                if value and not first.get(name):
                    first[name] = value
            elif name in ("choices", "object", "obfuscation"):
                continue
            elif value is not None or name not in rest:
                rest[name] = value

    def result(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        first = self.first
        return {
            "id": first.get("id", ""),
            "object": kind,
            "created": first.get("created", 0),
            "model": first.get("model", ""),
            "choices": choices,
            **self.rest,
        }


def _merge_value(into: dict[str, Any], name: str, value: Any) -> None:
    """Keep an unknown field: lists grow, objects merge, of anything else the last one stays.

    A null only says that the field exists.
    """
    known = into.get(name)
    if value is None:
        into.setdefault(name, None)
    elif isinstance(value, list):
        if isinstance(known, list):
            known.extend(value)
        else:
            into[name] = list(value)
    elif isinstance(value, dict) and isinstance(known, dict):
        into[name] = {**known, **value}
    else:
        into[name] = value


class _Call:
    """One tool call: its named parts (`function`, or `custom`) hold text that grows."""

    __slots__ = ("extra", "id", "index", "parts", "type")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.type = ""
        self.parts: dict[str, dict[str, Any]] = {}
        self.extra: dict[str, Any] = {}

    def add(self, fragment: Mapping[str, Any]) -> None:
        for name, value in fragment.items():
            if name == "index" or value is None:
                continue
            if name == "id":
                self.id = self.id or str(value)
            elif name == "type":
                self.type = self.type or str(value)
            elif name in ("function", "custom") and isinstance(value, dict):
                _grow_call(self.parts.setdefault(name, {}), value)
            else:
                _merge_value(self.extra, name, value)

    def continues(self, fragment: Mapping[str, Any]) -> bool:
        """Whether a fragment for the same index belongs to this call.

        Some servers number every call 0. Another name under another id is another call, and so
        is a named fragment that opens an object where this one's arguments are whole already.
        """
        function = fragment.get("function")
        if not isinstance(function, Mapping) or not function.get("name"):
            return True
        ident = fragment.get("id")
        if ident and self.id:
            return bool(ident == self.id)
        opening = function.get("arguments")
        if isinstance(opening, str) and not opening.lstrip().startswith("{"):
            return True
        return not _is_whole("".join(self.parts.get("function", {}).get("arguments", ())))

    def result(self, completion_id: str, position: int) -> dict[str, Any]:
        kind = self.type or ("custom" if "custom" in self.parts else "function")
        parts = {name: _join_call(name, part) for name, part in self.parts.items()}
        if kind == "function":
            parts.setdefault("function", _join_call("function", {}))
        ident = self.id or f"call_{completion_id}_{position}"
        return {"id": ident, "type": kind, **parts, **self.extra}


def _grow_call(part: dict[str, Any], fragment: Mapping[str, Any]) -> None:
    """Take a call's fragment: the name once, all pieces of the arguments or the input."""
    for name, value in fragment.items():
        if value is None:
            continue
        if name == "name":
            part[name] = part.get(name) or value
        elif name in ("arguments", "input"):
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
            part.setdefault(name, []).append(text)
        else:
            _merge_value(part, name, value)


def _join_call(kind: str, part: Mapping[str, Any]) -> dict[str, Any]:
    """A call's part with its pieces of text joined: `{name, arguments}`, or `{name, input}`."""
    texts = {name: "".join(part[name]) for name in ("arguments", "input") if name in part}
    return {"name": "", "input" if kind == "custom" else "arguments": "", **part, **texts}


def _is_whole(arguments: str) -> bool:
    try:
        orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return False
    return True


class _Calls:
    """The tool calls of one choice, in the order of their index."""

    __slots__ = ("_by_index", "_calls")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}

    def add(self, fragments: Any) -> None:
        if not isinstance(fragments, list):
            return
        for fragment in fragments:
            if isinstance(fragment, Mapping):
                self._call(fragment).add(fragment)

    def _call(self, fragment: Mapping[str, Any]) -> _Call:
        index = fragment.get("index")
        if type(index) is int:
            call = self._by_index.get(index)
            if call is not None and call.continues(fragment):
                return call
            return self._open(index)
        ident = fragment.get("id")
        if ident:
            known = [call for call in self._calls if call.id == ident]
            return known[0] if known else self._open(len(self._calls))
        function = fragment.get("function")
        named = isinstance(function, Mapping) and bool(function.get("name"))
        if named or not self._calls:
            return self._open(len(self._calls))
        return self._calls[-1]

    def _open(self, index: int) -> _Call:
        call = _Call(index)
        self._calls.append(call)
        self._by_index[index] = call
        return call

    def result(self, completion_id: str) -> list[dict[str, Any]]:
        ordered = sorted(self._calls, key=lambda call: call.index)
        return [call.result(completion_id, n) for n, call in enumerate(ordered)]


class _Choice:
    """A text choice, and what a chat choice shares with it."""

    __slots__ = ("extra", "finish_reason", "index", "logprobs", "texts")

    def __init__(self, index: int) -> None:
        self.index = index
        self.finish_reason: Any = None
        self.logprobs: dict[str, Any] | None = None
        self.extra: dict[str, Any] = {}
        self.texts: dict[str, list[str]] = {}

    def add(self, choice: Mapping[str, Any]) -> None:
        for name, value in choice.items():
            if name in ("index", "delta", "message") or name in _STREAM_ONLY:
                continue
            if name == "finish_reason":
                if value is not None:
                    self.finish_reason = value
            elif name == "logprobs":
                if isinstance(value, dict):
                    self._add_logprobs(value)
            elif name in _TEXT_FIELDS and isinstance(value, str):
                self.texts.setdefault(name, []).append(value)
            else:
                _merge_value(self.extra, name, value)

    def _add_logprobs(self, logprobs: Mapping[str, Any]) -> None:
        if self.logprobs is None:
            self.logprobs = {}
        for name, value in logprobs.items():
            _merge_value(self.logprobs, name, value)

    def result(self, completion_id: str) -> dict[str, Any]:
        texts = {name: "".join(parts) for name, parts in self.texts.items()}
        return {
            "index": self.index,
            "text": texts.pop("text", ""),
            "logprobs": self.logprobs,
            "finish_reason": self.finish_reason,
            **texts,
            **self.extra,
        }


class _Message(_Choice):
    """A chat choice: what its deltas add up to."""

    __slots__ = ("calls", "content_parts", "fields", "function_call", "role")

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.role: str | None = None
        self.content_parts: list[Any] | None = None
        self.fields: dict[str, Any] = {}
        self.function_call: dict[str, Any] = {}
        self.calls = _Calls()

    def add(self, choice: Mapping[str, Any]) -> None:
        super().add(choice)
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = choice.get("message")
            if not isinstance(delta, dict):
                return
        for name, value in delta.items():
            if value is None:
                continue
            if name == "role":
                self.role = self.role or str(value)
            elif name == "tool_calls":
                self.calls.add(value)
            elif name == "function_call" and isinstance(value, dict):
                _grow_call(self.function_call, value)
            elif name == "audio" and isinstance(value, dict):
                self.fields[name] = _grow_audio(self.fields.get(name), value)
            elif name == "content" and isinstance(value, list):
                self._add_parts(value)
            elif isinstance(value, str):
                self.texts.setdefault(name, []).append(value)
            elif name not in _STREAM_ONLY:
                _merge_value(self.fields, name, value)

    def _add_parts(self, parts: list[Any]) -> None:
        """Content that comes as parts (some servers stream their reasoning so)."""
        if self.content_parts is None:
            self.content_parts = []
        text = "".join(self.texts.pop("content", ()))
        if text:
            self.content_parts.append({"type": "text", "text": text})
        self.content_parts.extend(parts)

    def _content(self, silent: bool) -> Any:
        text = "".join(self.texts.get("content", ()))
        if self.content_parts is not None:
            tail = [{"type": "text", "text": text}] if text else []
            return [*self.content_parts, *tail]
        return None if silent and not text else text

    def result(self, completion_id: str) -> dict[str, Any]:
        calls = self.calls.result(completion_id)
        texts = {name: "".join(parts) for name, parts in self.texts.items() if name != "content"}
        refusal = texts.pop("refusal", None) or None
        silent = bool(calls or self.function_call or refusal or "audio" in self.fields)
        message: dict[str, Any] = {
            "role": self.role or "assistant",
            "content": self._content(silent),
            "refusal": refusal,
            **{name: text for name, text in texts.items() if name not in _STREAM_ONLY},
            **self.fields,
        }
        if calls:
            message["tool_calls"] = calls
        if self.function_call:
            message["function_call"] = _join_call("function", self.function_call)
        return {
            "index": self.index,
            "message": message,
            "logprobs": self.logprobs,
            "finish_reason": self.finish_reason,
            **self.extra,
        }


def _grow_audio(known: object, value: Mapping[str, Any]) -> dict[str, Any]:
    """Join audio deltas: data (base64) and transcript grow, id and expires_at stay."""
    known = known if isinstance(known, dict) else {}
    audio = {**known, **{name: item for name, item in value.items() if item is not None}}
    data, transcript = known.get("data"), known.get("transcript")
    if isinstance(data, str) and isinstance(value.get("data"), str):
        audio["data"] = _join_base64(data, value["data"])
    if isinstance(transcript, str) and isinstance(value.get("transcript"), str):
        audio["transcript"] = transcript + value["transcript"]
    return audio


def _join_base64(left: str, right: str) -> str:
    # Padding inside the joined text would end the data there for most decoders.
    if not left.endswith("="):
        return left + right
    try:
        whole = base64.b64decode(left, validate=True) + base64.b64decode(right, validate=True)
    except binascii.Error:
        return left + right
    return base64.b64encode(whole).decode()


class _Aggregate:
    """What both kinds share; a subclass names its object and its choices."""

    __slots__ = ("_choices", "_envelope")
    _kind: ClassVar[str]
    _choice: ClassVar[type[_Choice]]

    def __init__(self) -> None:
        self._envelope = _Envelope()
        self._choices: dict[int, _Choice] = {}

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Take the next chunk; missing, null or wrongly typed parts count as absent."""
        self._envelope.add(chunk)
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return
        for position, choice in enumerate(choices):
            if not isinstance(choice, dict):
                continue
            index = choice.get("index")
            if type(index) is not int:
                index = position
            known = self._choices.get(index)
            if known is None:
                known = self._choices[index] = self._choice(index)
            known.add(choice)

    @property
    def finished(self) -> bool:
        """Whether at least one choice was seen and every seen one has its finish reason."""
        choices = self._choices.values()
        return bool(choices) and all(choice.finish_reason is not None for choice in choices)

    def result(self) -> dict[str, Any]:
        """The whole object as far as it came; choices in the order of their index."""
        ident = str(self._envelope.first.get("id", ""))
        choices = [self._choices[index].result(ident) for index in sorted(self._choices)]
        return self._envelope.result(self._kind, choices)


class ChatAggregate(_Aggregate):
    """Builds a `chat.completion` object from `chat.completion.chunk` objects.

    Content is null for a message of only tool calls, a refusal or audio. A tool call that came
    without an id gets one made of the completion's id and the call's place.
    """

    __slots__ = ()
    _kind = "chat.completion"
    _choice = _Message


class CompletionAggregate(_Aggregate):
    """Builds a `text_completion` object from the chunks of `/v1/completions`."""

    __slots__ = ()
    _kind = "text_completion"
    _choice = _Choice
