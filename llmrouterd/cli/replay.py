"""replay: the recorded requests under another policy."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmrouterd import data
from llmrouterd.app import database_path
from llmrouterd.config import load_policy
from llmrouterd.config.files import rules_folder
from llmrouterd.errors import ConfigError
from llmrouterd.replay.comparison import Comparison, Expected, compare, describe_comparison, summary
from llmrouterd.replay.reading import read_decisions
from llmrouterd.replay.recorded import Replayer
from llmrouterd.settings import read_settings

if TYPE_CHECKING:
    import argparse

    from llmrouterd.policy import Policy

EXIT_SAME, EXIT_CHANGED, EXIT_TROUBLE = 0, 1, 2
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_MOVES = 12


def seconds_of(text: str) -> float:
    """`7d`, `12h`, `30m` or `2w` as seconds. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no span of time; write 30m, 12h, 7d or 2w")
    return float(found[1]) * _UNITS[found[2]]


def replay_command(options: argparse.Namespace) -> int:
    """Decide the recorded requests again; 0 if nothing changes, 1 if something does, 2 if it
    cannot be done."""
    settings = read_settings(os.environ, options.policy)
    try:
        since = seconds_of(options.since)
        policy = _edited(options.policy)
        path = Path(options.database) if options.database else database_path(policy, settings)
        records = read_decisions(path, time.time() - since, options.limit)
        compared = compare(records, Replayer(policy), active=_active() if options.policy else None)
    except (ConfigError, ValueError) as error:
        print(error, file=sys.stderr)
        return EXIT_TROUBLE
    except (OSError, sqlite3.Error) as error:
        print(f"the recorded requests cannot be read: {error}", file=sys.stderr)
        return EXIT_TROUBLE
    if options.json:
        print(json.dumps(describe_comparison(compared)))
    else:
        print(in_words(compared))
    return EXIT_CHANGED if compared.changed else EXIT_SAME


def _edited(file: str | None) -> Policy:
    """The policy to try. A copy elsewhere is read as if it lay in the active policy's place, as
    the page does, unless it has lexicons of its own beside it."""
    own, active = read_settings(os.environ, file), read_settings(os.environ)
    alone = rules_folder(replace(own, rules=None)) != data.RULES
    if alone or active.policy == data.DEFAULT_POLICY:
        return load_policy(own)
    return load_policy(active, file=own.policy)


def _active() -> Policy | None:
    """The active policy; None where it has problems, which are not those of the edit."""
    try:
        return load_policy(read_settings(os.environ))
    except ConfigError:
        return None


def in_words(compared: Comparison) -> str:
    """A comparison for a person to read, several lines."""
    lines = [summary(compared)]
    if compared.skipped:
        lines.append(
            f"  {compared.skipped} were stored without what re-deciding needs, and left out"
        )
    if not compared.changed:
        return "\n".join(lines)
    lines += [
        f"  {move.number:6d}  {move.before} -> {move.after}" for move in compared.moves[:_MOVES]
    ]
    if len(compared.moves) > _MOVES:
        lines.append(f"          and {len(compared.moves) - _MOVES} other moves")
    before, after = compared.before, compared.after
    lines += ["  expected            before     after"]
    lines += [f"    {name:<16}{one:>10}{other:>10}" for name, one, other in _rows(before, after)]
    for number, affected in enumerate(compared.affected, start=1):
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(affected.at))
        lines += [
            f"  most affected {number}: {affected.id} ({affected.category}, {at}): "
            f"{affected.before} -> {affected.after}",
            *(f"    before  {line}" for line in affected.words_before.splitlines()),
            *(f"    after   {line}" for line in affected.words_after.splitlines()),
        ]
    return "\n".join(lines)


def _rows(before: Expected, after: Expected) -> list[tuple[str, str, str]]:
    shown = [
        ("good answers", "quality", "{:.1%}"),
        ("first token", "wait", "{:.1f} s"),
        ("end of answer", "seconds", "{:.1f} s"),
        ("cost", "dollars", "{:.2f} $"),
        ("swaps", "swaps", "{}"),
        ("refused", "refused", "{}"),
    ]
    return [
        (name, form.format(getattr(before, key)), form.format(getattr(after, key)))
        for name, key, form in shown
    ]
