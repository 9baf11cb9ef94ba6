"""The optional signature at the end of an answer's text: which model wrote it, and why.

A signature is an empty line and a text between two invisible marks. The marks let it be taken
out of the history that comes back with the next request, so that no model reads (and imitates)
it; without them a user's own text might be taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter
from typing import Any, NamedTuple

# INVISIBLE SEPARATOR twice: no font shows it, and no trimming of white space removes it.
MARK = "\u2063\u2063"
PLACEHOLDERS = ("model", "backend", "category", "rule", "decision")

# Before the mark, for a mark right after a closing fence would keep that fence open.
_GAP = "\n\n"
_QUOTED = re.compile(rf"{_GAP}{MARK}[^{MARK[0]}]*{MARK}")
_SIGNED_ENDS = frozenset({"stop", "length"})
_NEVER_SIGNED = ("tool_calls", "function_call", "refusal")
_COPIED = ("id", "object", "created", "model")


def render(template: str, values: Mapping[str, str]) -> str:
    """The signature to append: `template` with its placeholders filled, gap and marks included.

    A known placeholder without a value is left empty; `{{` and `}}` are braces. Raises
    ValueError, naming the allowed ones, for any other placeholder, and for unbalanced braces or
    a template that holds the invisible mark itself.
    """
    parts: list[str] = []
    for text, name, spec, conversion in Formatter().parse(template):
        parts.append(text)
        if name is None:
            continue
        if name not in PLACEHOLDERS or spec or conversion:
            allowed = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
            raise ValueError(f"unknown placeholder {{{name}}} in the signature; allowed: {allowed}")
        parts.append(values.get(name, "").replace(MARK[0], ""))
    if MARK[0] in template:
        raise ValueError("the signature's template holds the invisible separator U+2063")
    text = "".join(parts).lstrip("\n")  # the gap is an empty line; more would show as a hole
    return f"{_GAP}{MARK}{text}{MARK}"


def strip_history(messages: list[dict[str, Any]], *, quoted: bool = False) -> list[dict[str, Any]]:
    """The messages without the signatures at the ends of the assistant's texts.

    Only what `render` makes is removed, from string content or the last text part. `quoted`
    removes it anywhere in the user's texts too: a client's background task tells the chat so far
    in one of those. Where there is none, the very list that was given comes back; it is never
    changed.
    """
    stripped: list[dict[str, Any]] | None = None
    for position, message in enumerate(messages):
        if not isinstance(message, dict):
            continue
        content, bare = message.get("content"), None
        if message.get("role") == "assistant":
            bare = _strip_parts(content) if isinstance(content, list) else _strip(content)
        elif quoted and isinstance(content, str) and MARK in content:
            bare = _QUOTED.sub("", content)
        if bare is not None:
            if stripped is None:
                stripped = list(messages)
            stripped[position] = {**message, "content": bare}
    return messages if stripped is None else stripped


def _strip(text: object) -> str | None:
    """`text` without the signature at its end, or None where it has none."""
    if not isinstance(text, str) or not text.endswith(MARK):
        return None
    end = len(text) - len(MARK)
    start = text.rfind(MARK, 0, end)
    body = text[start + len(MARK) : end]
    gap = start - len(_GAP)
    if gap < 0 or text[gap:start] != _GAP or MARK[0] in body:
        return None
    return text[:gap]


def _strip_parts(parts: list[Any]) -> list[Any] | None:
    for position in range(len(parts) - 1, -1, -1):
        part = parts[position]
        if isinstance(part, dict) and part.get("type") == "text":
            bare = _strip(part.get("text"))
            if bare is None:
                return None
            return [*parts[:position], {**part, "text": bare}, *parts[position + 1 :]]
    return None


def sign_message(message: dict[str, Any], signature: str) -> dict[str, Any]:
    """The whole answer's message with the signature, or the message itself where none belongs.

    None belongs after a tool call, a refusal, an empty text or inside an open code fence. The
    caller sees to the finish reason.
    """
    content = message.get("content")
    if not isinstance(content, str) or not content.strip():
        return message
    if any(message.get(name) for name in _NEVER_SIGNED):
        return message
    fences = FenceTracker()
    fences.feed(content)
    return message if fences.open else {**message, "content": content + signature}


class StreamSigner:
    """Says where in a stream of parsed `chat.completion.chunk` objects the signature goes.

    Give every chunk, in order, to one of its two methods.
    """

    __slots__ = ("_choices", "_signature")

    def __init__(self, signature: str) -> None:
        self._signature = signature
        self._choices: dict[int, _Choice] = {}

    def chunks_before(self, chunk: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The chunks to send before this one: a signature for each choice that finishes here.

        A choice whose last text comes in the finishing chunk itself stays unsigned, for nothing
        before that chunk is its end; `instead_of` signs it too.
        """
        return [
            _text_chunk(chunk, index, self._signature)
            for index, text in self._finishing(chunk)
            if not text
        ]

    def instead_of(self, chunk: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The chunks to send in place of this one, or [] to send it as it came.

        Text in a finishing chunk goes out first, then the signature, then the chunk without it.
        """
        finishing = dict(self._finishing(chunk))
        if not finishing:
            return []
        extra: list[dict[str, Any]] = []
        for index, text in finishing.items():
            if text:
                extra.append(_text_chunk(chunk, index, text))
            extra.append(_text_chunk(chunk, index, self._signature))
        choices = [
            {**choice, "delta": {**choice["delta"], "content": ""}}
            if finishing.get(_index(choice))
            else choice
            for choice in _choices(chunk)
        ]
        return [*extra, {**chunk, "choices": choices}]

    def _finishing(self, chunk: Mapping[str, Any]) -> list[tuple[int, str]]:
        """Index and last text of each choice that ends here and is to be signed."""
        found: list[tuple[int, str]] = []
        for choice in _choices(chunk):
            index = _index(choice)
            known = self._choices.get(index)
            if known is None:
                known = self._choices[index] = _Choice()
            delta = choice.get("delta")
            text = known.add(delta) if isinstance(delta, Mapping) else ""
            reason = choice.get("finish_reason")
            if reason is None:
                continue
            if reason in _SIGNED_ENDS and known.signable:
                found.append((index, text))
            known.over = True
        return found


class _Choice:
    """What one choice's deltas have shown so far."""

    __slots__ = ("_fences", "_spoken", "over")

    def __init__(self) -> None:
        self._fences = FenceTracker()
        self._spoken = False
        self.over = False

    def add(self, delta: Mapping[str, Any]) -> str:
        """Take a delta; returns its text."""
        for name in _NEVER_SIGNED:
            if delta.get(name):
                self.over = True
        text = delta.get("content")
        if not isinstance(text, str) or not text:
            return ""
        self._spoken = self._spoken or not text.isspace()
        self._fences.feed(text)
        return text

    @property
    def signable(self) -> bool:
        return self._spoken and not self.over and not self._fences.open


def _choices(chunk: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    choices = chunk.get("choices")
    if not isinstance(choices, list):
        return []
    return [choice for choice in choices if isinstance(choice, Mapping)]


def _index(choice: Mapping[str, Any]) -> int:
    index = choice.get("index")
    return index if type(index) is int else 0


def _text_chunk(like: Mapping[str, Any], index: int, text: str) -> dict[str, Any]:
    head = {name: like[name] for name in _COPIED if name in like}
    choice = {"index": index, "delta": {"content": text}, "finish_reason": None}
    return {**head, "choices": [choice]}


_FENCE = re.compile(r"(`{3,})[^`]*$|(~{3,})")
_LIST_ITEM = re.compile(r"(?:[-+*]|\d{1,9}[.)])(?=\s|$)")
_NO_PARAGRAPH = re.compile(r"#{1,6}(?:\s|$)|(?:([-_*])\s*)(?:\1\s*){2,}$")


class _Fence(NamedTuple):
    """An open fence: `base` is the column of the list item it is in, `quotes` its depth."""

    character: str
    length: int
    base: int
    quotes: int


class _Blocks(NamedTuple):
    """The blocks that are open after a line; `items` are the columns at which the text of the
    open list items begins, outermost first."""

    fence: _Fence | None = None
    items: tuple[int, ...] = ()
    quotes: int = 0
    paragraph: bool = False


class FenceTracker:
    """Whether a Markdown text, fed in any pieces, ends inside a fenced code block.

    CommonMark's rules: three or more backticks or tildes, indented by at most three columns
    against their list item; closed by at least as many of the same, or by the end of the list
    item or block quote around them.
    """

    __slots__ = ("_blocks", "_line")

    def __init__(self) -> None:
        self._line: list[str] = []
        self._blocks = _Blocks()

    def feed(self, text: str) -> None:
        """Take the next piece of the text."""
        if "\n" not in text:
            self._line.append(text)
            return
        head, *lines = text.split("\n")
        self._line.append(head)
        lines.insert(0, "".join(self._line))
        self._line = [lines.pop()]
        for line in lines:
            self._blocks = _after(self._blocks, line)

    @property
    def open(self) -> bool:
        """Whether a line added now would be code; the last line counts without its line end."""
        return _after(self._blocks, "".join(self._line)).fence is not None


def _after(blocks: _Blocks, line: str) -> _Blocks:
    """The blocks that are open after one more line."""
    fence = blocks.fence
    whole = line.rstrip("\r").expandtabs(4)
    # Inside a fence a further quote mark is code.
    line, quotes = _unquote(whole, fence.quotes if fence else len(whole))
    body = line.lstrip(" ")
    column = len(line) - len(body)
    if fence is not None:
        if quotes == fence.quotes and (column >= fence.base or not body):
            run = len(body) - len(body.lstrip(fence.character))
            closes = run >= fence.length and not body[run:].strip() and column - fence.base <= 3
            return blocks._replace(fence=None) if closes else blocks
        # The list item or quote around the fence has ended, and the fence with it.
        return _after(blocks._replace(fence=None), whole)
    if not body:
        items = blocks.items if quotes == blocks.quotes else ()
        return _Blocks(items=items, quotes=quotes)
    plain = not (_FENCE.match(body) or _LIST_ITEM.match(body) or _NO_PARAGRAPH.match(body))
    if blocks.paragraph and plain and quotes <= blocks.quotes:
        # A paragraph goes on, also without the marks and the indent of its item and its quote.
        return blocks
    items = tuple(item for item in blocks.items if item <= column and quotes == blocks.quotes)
    items, column, body = _open_items(items, column, body)
    base = items[-1] if items else 0
    opening = _FENCE.match(body) if column - base <= 3 else None
    if opening is not None:
        marks = opening[1] or opening[2]
        return _Blocks(_Fence(marks[0], len(marks), base, quotes), items, quotes)
    indented = column - base > 3
    paragraph = bool(body) and not indented and _NO_PARAGRAPH.match(body) is None
    return _Blocks(items=items, quotes=quotes, paragraph=paragraph)


def _open_items(items: tuple[int, ...], column: int, body: str) -> tuple[tuple[int, ...], int, str]:
    """The list items after a line's own markers, and the column and text behind these."""
    while (marker := _LIST_ITEM.match(body)) and column - (items[-1] if items else 0) <= 3:
        if _NO_PARAGRAPH.match(body):
            break
        rest = body[marker.end() :].lstrip(" ")
        spaces = len(body) - marker.end() - len(rest)
        start = column + marker.end() + (spaces if rest and spaces <= 4 else 1)
        items = (*items, start)
        column += marker.end() + spaces
        body = rest
    return items, column, body


def _unquote(line: str, limit: int) -> tuple[str, int]:
    """A line without its block quote marks, at most `limit` of them, and how many these were."""
    depth = 0
    while depth < limit and (body := line.lstrip(" ")).startswith(">"):
        if len(line) - len(body) > 3:
            break
        line = body[1:].removeprefix(" ")
        depth += 1
    return line, depth
