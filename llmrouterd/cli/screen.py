"""The live view as lines of text: from what /admin/live and /admin/decisions say. Pure."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GIB = 2**30
_BAR = 20
_PAINTS = {"title": "1", "good": "32", "busy": "33", "bad": "31", "faint": "2"}
# Categories of characters that could move the cursor, or turn the line around.
_MOVING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_STATES = {"answering": "good", "loading": "busy", "queued": "busy"}


class Cell(NamedTuple):
    """A text with its paint: a key of _PAINTS, or "" for none."""

    text: str
    paint: str = ""


class Column(NamedTuple):
    """A title with a width in cells; the one of width 0 takes what is left."""

    title: str
    width: int


class Section(NamedTuple):
    """Rows under their columns' titles. A row of a single cell has the whole line."""

    columns: tuple[Column, ...]
    rows: list[tuple[Cell, ...]]


def _section(
    columns: tuple[Column, ...], rows: Sequence[tuple[Cell, ...]], nothing: str
) -> Section:
    return Section(columns, list(rows) or [(Cell(nothing, "faint"),)])


def clean(text: str) -> str:
    """Without control characters and their like: names and errors come from outside."""
    return "".join(
        " " if char in "\t\n\r" else char
        for char in text
        if char in "\t\n\r" or unicodedata.category(char) not in _MOVING
    )


def cells_of(text: str) -> int:
    """How many cells of a terminal a clean text takes."""
    return sum(map(_cells, text))


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clip(text: str, width: int) -> str:
    """A clean text in exactly so many cells: cut, with an ellipsis, or filled up with blanks."""
    size = cells_of(text)
    if size <= width:
        return text + " " * (width - size)
    kept, left = "", width - 1
    for char in text:
        left -= _cells(char)
        if left < 0:
            break
        kept += char
    return kept + "…" + " " * (width - 1 - cells_of(kept)) if width > 0 else ""


def render(
    live: Mapping[str, Any],
    decisions: Sequence[Mapping[str, Any]],
    size: tuple[int, int | None] = (80, 24),
    *,
    colour: bool = False,
    note: str = "",
) -> list[str]:
    """The lines of one frame. decisions: the newest first. size: width and height; a height of
    None is as high as need be. note: the last line. No line is wider than the width, and there are
    no more than the height."""
    width, height = size
    sections = [
        _requests(live),
        _memory(live),
        _backends(live),
        _decisions(decisions),
    ]
    foot = [_line((Cell(note, "faint"),), (width,), colour)] if note else []
    if height is not None:
        sections = _fit(sections, height - 1 - len(foot))
    lines = [_head(live, width, colour)]
    for section in sections:
        widths = _widths(section.columns, width)
        titles = tuple(Cell(column.title, "title") for column in section.columns)
        lines.append(_line(titles, widths, colour))
        lines += [_line(row, widths, colour) for row in section.rows]
    if height is not None:
        lines = lines[: max(0, height - len(foot))]
    return lines + foot


def _fit(sections: list[Section], height: int) -> list[Section]:
    """Rows are taken from the longest section until all have room; its last row says how many."""
    kept = [len(section.rows) for section in sections]
    while len(kept) + sum(kept) > height and max(kept) > 1:
        kept[kept.index(max(kept))] -= 1
    return [
        section
        if number == len(section.rows)
        else section._replace(
            rows=[
                *section.rows[: number - 1],
                (Cell(f"{len(section.rows) - number + 1} more", "faint"),),
            ]
        )
        for section, number in zip(sections, kept, strict=True)
    ]


def _widths(columns: tuple[Column, ...], width: int) -> tuple[int, ...]:
    """In a terminal that is too narrow the last columns are cut off."""
    fixed = sum(column.width for column in columns) + 2 * (len(columns) - 1)
    widths, left = [], width
    for column in columns:
        widths.append(min(column.width or max(0, width - fixed), max(0, left)))
        left -= widths[-1] + 2
    return tuple(widths)


def _line(row: tuple[Cell, ...], widths: tuple[int, ...], colour: bool) -> str:
    if len(row) == 1:
        widths = (sum(widths) + 2 * (sum(map(bool, widths)) - 1),)
    parts = []
    for cell, width in zip(row, widths, strict=True):
        text = clip(clean(cell.text), width)
        code = _PAINTS.get(cell.paint) if colour and text.strip() else None
        parts.append(f"\x1b[{code}m{text}\x1b[0m" if code else text)
    return "  ".join(parts).rstrip()


def _head(live: Mapping[str, Any], width: int, colour: bool) -> str:
    policy = live["policy"]
    refused = bool(policy["rejected_digest"])
    time = datetime.fromtimestamp(live["at"]).astimezone().strftime("%H:%M:%S")
    text = (
        f"llmrouterd {time}  {'edit refused' if refused else 'policy ' + policy['digest'][:8]}  "
        f"{live['in_flight']} answering, {live['queued']} waiting, "
        f"{live['requests_per_minute']} in a minute"
    )
    return _line((Cell(text, "bad" if refused else "title"),), (width,), colour)


def _requests(live: Mapping[str, Any]) -> Section:
    columns = (
        Column("AGE", 7),
        Column("STATE", 9),
        Column("PRIORITY", 9),
        Column("CLIENT", 12),
        Column("MODEL", 0),
    )
    ordered = sorted(live["requests"], key=lambda item: -item["age_seconds"])
    rows = [
        (
            Cell(_seconds(item["age_seconds"])),
            Cell(item["state"], _STATES.get(item["state"], "")),
            Cell(item["priority"]),
            Cell(item["client"] or "-"),
            Cell(f"{item['model']} on {item['host']}"),
        )
        for item in ordered
    ]
    return _section(columns, rows, "no requests")


def _memory(live: Mapping[str, Any]) -> Section:
    speeds = {item["model"]: item["tokens_per_second"] for item in live["speeds"]}
    columns = (Column("MEMORY", 9), Column("", _BAR), Column("TOK/S", 6), Column("LOADED", 0))
    rows: list[tuple[Cell, ...]] = []
    for host in live["hosts"]:
        used, total = host["used_bytes"], host["total_bytes"]
        full = "bad" if total and used > total else "good"
        of = f", {total / _GIB:.1f} GiB" if total else ""
        moving = host["moving"]
        doing = f"; {moving['kind']} of {', '.join(moving['models'])}" if moving else ""
        said = Cell(f"{host['name']}{of}{doing}")
        rows.append((Cell(f"{used / _GIB:.1f} GiB"), Cell(_bar(used, total), full), Cell(""), said))
        for held in host["models"]:
            speed, marks = speeds.pop(held["model"], None), []
            if held["pinned"]:
                marks.append("pinned")
            if held["in_flight"]:
                marks.append(f"{held['in_flight']} answering")
            if held["waiting"]:
                marks.append(f"{held['waiting']} waiting")
            taken = held["bytes"] or 0
            size = f"{taken / _GIB:.1f} GiB" if taken else "-"
            name = held["model"] + (f" ({', '.join(marks)})" if marks else "")
            paint = "good" if held["in_flight"] else ""
            shown = Cell("" if speed is None else f"{speed:.0f}")
            rows.append((Cell(size), Cell(_bar(taken, total)), shown, Cell(name, paint)))
    for model, speed in speeds.items():  # those of an API, and those that are gone again
        rows.append((Cell("-"), Cell(""), Cell(f"{speed:.0f}"), Cell(model)))
    return _section(columns, rows, "nothing is loaded")


def _bar(used: int, total: int | None) -> str:
    if not total:
        return ""
    filled = min(_BAR - 2, max(0, round(used / total * (_BAR - 2))))
    return "[" + "#" * filled + "." * (_BAR - 2 - filled) + "]"


def _backends(live: Mapping[str, Any]) -> Section:
    columns = (Column("BACKEND", 16), Column("STATE", 9), Column("MODELS", 6), Column("", 0))
    rows = []
    for backend in live["backends"]:
        held = {backend["name"]: backend["health"], **backend["unwell"]}
        held = {key: told for key, told in held.items() if told["state"] != "healthy"}
        states = [told["state"] for told in held.values()]
        state = states[0] if states and backend["status"] == "ok" else backend["status"]
        paint = {"ok": "good", "error": "bad", "dead": "bad"}.get(state, "busy")
        why = "; ".join(f"{key}: {told['reason']}" for key, told in held.items())
        rows.append(
            (
                Cell(backend["name"]),
                Cell(state, paint),
                Cell(str(len(backend["models"]))),
                Cell(backend["error"] or why),
            )
        )
    return _section(columns, rows, "no backends")


def _decisions(decisions: Sequence[Mapping[str, Any]]) -> Section:
    columns = (
        Column("ENDED", 8),
        Column("SECONDS", 7),
        Column("TOKENS", 6),
        Column("CATEGORY", 10),
        Column("OUTCOME", 11),
        Column("MODEL BY RULE", 0),
    )
    rows = []
    for row in decisions:
        time = datetime.fromtimestamp(row["at"]).astimezone().strftime("%H:%M:%S")
        tokens = row["completion_tokens"]
        paint = {"ok": "good", "client_gone": "busy"}.get(row["outcome"], "bad")
        rows.append(
            (
                Cell(time),
                Cell(_seconds(row["seconds"])),
                Cell("" if tokens is None else str(tokens)),
                Cell(row["category"]),
                Cell(row["outcome"], paint),
                Cell(f"{row['model'] or 'none'} by {row['rule']}"),
            )
        )
    return _section(columns, rows, "no decisions yet")


def _seconds(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return f"{minutes} m" if minutes < 100 else f"{minutes // 60} h"
