"""YAML text -> plain data, with the place of every key and value.

Only what JSON can say is accepted: mappings with text keys, sequences, text, numbers,
booleans, null. Everything else is a problem with its place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import yaml

from llmrouterd.problems import Problem

MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 200_000
MAX_DEPTH = 60
Path = tuple[str | int, ...]
_ENDLESS = "too large, or nested too deep or without end; write it out flat"
# What the YAML parser says, and what a person has most likely done.
_HINTS = {
    "mapping values are not allowed": " (a text with a colon in it needs quotes)",
    "cannot start any token": " (a text that begins with such a character needs quotes)",
    "found another document": " (take the line --- out)",
    "alias": " (a text that begins with * needs quotes)",
    "alphabetic or numeric character": " (a text that begins with * or & needs quotes)",
    "did not find expected key": " (is this line indented like its neighbours?)",
    "did not find expected '-' indicator": " (is this line indented like its neighbours?)",
    "did not find expected ',' or ']'": " (a list in [...] is not closed)",
    "did not find expected ',' or '}'": " (a mapping in {...} is not closed)",
    "found unexpected end of stream": " (a quote is not closed)",
}


class _Loader(yaml.CSafeLoader):
    """The safe loader without dates: `2026-11-23` is a text here, as in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_JSON_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null")
)


def json_path(path: Path) -> str:
    """('backends', 0, 'url') -> '$.backends[0].url'."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "$" + "".join(parts)


@dataclass(slots=True)
class Source:
    """A parsed file: `data`, its `problems`, and where things are. `origins` are the environment
    variables that a value was made from; a problem with the value names them."""

    file: str
    data: Any = None
    problems: list[Problem] = field(default_factory=list)
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    origins: dict[Path, tuple[str, ...]] = field(default_factory=dict)

    def problem(self, path: Path, message: str, *, at_key: bool = False) -> Problem:
        """A problem at `path`, or at its nearest ancestor that is written in the file."""
        table = self.keys if at_key else self.values
        place: tuple[int, int] | None = None
        known = path
        while place is None and known:
            place = table.get(known) or self.values.get(known)
            known = known[:-1]
        line, column = place or self.values.get((), (1, 1))
        if path in self.origins:
            message += f" (set by {', '.join(self.origins[path])})"
        return Problem(
            file=self.file, line=line, column=column, path=json_path(path), message=message
        )

    def report(self, path: Path, message: str, *, at_key: bool = False) -> None:
        self.problems.append(self.problem(path, message, at_key=at_key))


def parse_source(content: bytes, file: str) -> Source:
    """Parse one YAML document. Never raises: what is wrong is in `problems`."""
    source = Source(file=file)
    if len(content) > MAX_BYTES:
        source.report((), f"the file has {len(content)} bytes; at most {MAX_BYTES} are allowed")
        return source
    try:
        text = content.decode("utf-8-sig")
        deep = _too_deep(text)
        node = None if deep else yaml.compose(text, Loader=_Loader)
    except UnicodeDecodeError as error:
        source.report((), f"the file is not UTF-8 (byte {error.start}); save it as UTF-8")
        return source
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        source.values[()] = where
        said = str(error.problem or error.context)
        hint = next((hint for part, hint in _HINTS.items() if part in said), "")
        if _is_tab(text, where):
            hint = " (a tab; indent with spaces)"
        source.report((), f"not valid YAML: {said}{hint}")
        return source
    except yaml.reader.ReaderError as error:
        # The parser counts bytes.
        before = text.encode()[: error.position].decode("utf-8", "ignore")
        source.values[()] = (before.count("\n") + 1, len(before) - before.rfind("\n"))
        source.report((), f"the character U+{error.character:04X} is not allowed")
        return source
    if deep:
        source.values[()] = deep
        source.report((), _ENDLESS)
        return source
    if node is None or node.tag == "tag:yaml.org,2002:null":
        source.data = {}
        return source
    reader = _Reader(source)
    data = reader.read(node, ())
    source.data = None if reader.endless else data
    return source


def _is_tab(text: str, where: tuple[int, int]) -> bool:
    line, column = where
    lines = text.split("\n")
    return line <= len(lines) and lines[line - 1][column - 1 : column] == "\t"


def _too_deep(text: str) -> tuple[int, int] | None:
    """Where the nesting goes too deep: the parser in C would overflow its stack there."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
                mark = event.start_mark
                if depth > MAX_DEPTH and mark is not None:
                    return mark.line + 1, mark.column + 1
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
    except yaml.MarkedYAMLError as error:
        if error.problem_mark is None or "nesting depth" not in str(error.problem):
            raise
        # Newer parsers have a larger limit of their own, and look ahead to it.
        return _too_deep(text[: error.problem_mark.index])
    return None


class _Reader:
    """Walks the node tree once; aliases are expanded, within bounds."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._nodes = 0
        self._constructor = yaml.constructor.SafeConstructor()
        self._open: set[int] = set()
        self.endless = False

    def read(self, node: yaml.Node, path: Path) -> Any:
        mark = node.start_mark
        self._source.values.setdefault(path, (mark.line + 1, mark.column + 1))
        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH or id(node) in self._open:
            if not self.endless:
                self._source.report(path, _ENDLESS)
            self.endless = True
        if self.endless:
            return None
        if node.tag not in _JSON_TAGS:
            self._source.report(path, f"tag {node.tag!r} is not allowed; use plain YAML values")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.read(item, (*path, at)) for at, item in enumerate(node.value)]
            return self._scalar(node, path) if isinstance(node, yaml.ScalarNode) else None
        finally:
            self._open.discard(id(node))

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        try:
            value = self._constructor.construct_object(node)
        except (ValueError, yaml.YAMLError):  # the value is not shown: it may be a key
            self._source.report(path, f"not a valid {node.tag.rpartition(':')[2]}")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._source.report(path, "must be a finite number")
            return None
        return value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged |= self._merge(value_node, path)
                continue
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            where = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if key is None:
                self._source.report(
                    path, "a key must be a text (a text with {{ in it needs quotes)"
                )
                continue
            here = (*path, key)
            if key in own:
                first_line = self._source.keys[here][0]
                self._source.keys[here] = where
                self._source.report(
                    here, f"duplicate key; it is already given in line {first_line}", at_key=True
                )
                continue
            self._source.keys[here] = where
            # What `<<` brought in is replaced, and so is its place.
            self._source.values.pop(here, None)
            own[key] = self.read(value_node, here)
        return {**merged, **own}

    def _merge(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for part in reversed(parts):
            value = self.read(part, path)
            if isinstance(value, dict):
                merged |= value
            else:
                self._source.report(path, "`<<` must name a mapping")
        return merged
