"""Puts a phrase into the text of a lexicon file; every other byte stays as it is."""

from __future__ import annotations

import json
import re

import yaml

NOTE = "Taught by corrections."


class InsertionError(ValueError):
    """The file is not written in a way that a line can be put into; the message says why."""


def insert_phrase(content: str, phrase: str, weight: float) -> str:
    """The content with the phrase in the last group if that was made here and has this weight,
    else in a new group at the end. Raises InsertionError."""
    try:
        root = yaml.compose(content, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise InsertionError(f"not valid YAML: {error}") from None
    groups = _child(root, "groups")
    if not isinstance(groups, yaml.SequenceNode) or groups.flow_style or not groups.value:
        raise InsertionError("its `groups` are not a list with a line for each")
    lines = content.splitlines(keepends=True)
    last = groups.value[-1]
    dash = re.match(r"\s*-\s+", lines[last.start_mark.line])
    if dash is None or dash.end() != last.start_mark.column:
        raise InsertionError(f"line {last.start_mark.line + 1} does not begin like a group")
    before = dash[0].index("-") * " "
    quoted = json.dumps(phrase, ensure_ascii=False)
    phrases = _own_phrases(last, weight)
    if phrases is not None:
        mark = phrases.value[-1].start_mark
        added = [f"{lines[mark.line][: mark.column]}{quoted}\n"]
    else:
        added = [
            f"{before}- weight: {weight:g}\n",
            f"{before}  note: {NOTE}\n",
            f"{before}  phrases:\n",
            f"{before}    - {quoted}\n",
        ]
    at = _last_line(last) + 1
    if lines[at - 1 : at] and not lines[at - 1].endswith("\n"):
        lines[at - 1] += "\n"
    return "".join([*lines[:at], *added, *lines[at:]])


def _own_phrases(group: yaml.Node, weight: float) -> yaml.SequenceNode | None:
    """The phrases of a group that was made here with this weight, one a line."""
    note, heavy, phrases = (_child(group, name) for name in ("note", "weight", "phrases"))
    if (
        isinstance(note, yaml.ScalarNode)
        and note.value == NOTE
        and isinstance(heavy, yaml.ScalarNode)
        and heavy.value == f"{weight:g}"
        and isinstance(phrases, yaml.SequenceNode)
        and not phrases.flow_style
        and phrases.value
        and _last_line(group) == _last_line(phrases)
    ):
        return phrases
    return None


def _child(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)


def _last_line(node: yaml.Node) -> int:
    """The line that a node's last value is on. A block's own end may be lines further down."""
    while isinstance(node, (yaml.MappingNode, yaml.SequenceNode)):
        if node.flow_style or not node.value:
            return node.end_mark.line
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
    return node.end_mark.line - 1 if block else node.end_mark.line
