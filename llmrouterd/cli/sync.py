"""sync: published figures now, by the running daemon or, without one, into its database."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrouterd.app import database_path
from llmrouterd.benchmarks.figures import Figures
from llmrouterd.benchmarks.packaged import read_packaged
from llmrouterd.benchmarks.providers import PROVIDERS
from llmrouterd.benchmarks.sync import Sync, describe, is_used, why_not_asked
from llmrouterd.cli.ask import ask_daemon
from llmrouterd.cli.run import is_ours
from llmrouterd.config import load_policy
from llmrouterd.errors import ConfigError
from llmrouterd.settings import read_settings
from llmrouterd.store import Store

if TYPE_CHECKING:
    import argparse

    from llmrouterd.policy import Benchmarks, Policy

EXIT_FAILED = 1
_POLL_SECONDS = 1.0
_COLUMNS = (
    ("SOURCE", "source"),
    ("STATUS", "status"),
    ("ROWS", "rows"),
    ("FACTS", "facts"),
    ("PUBLISHED", "published"),
    ("HTTP", "http_status"),
    ("DETAIL", "detail"),
)


def sync_command(options: argparse.Namespace) -> int:
    """Sync and print the status of each source; 1 if one of them failed."""
    settings = read_settings(os.environ, options.policy)
    try:
        policy = load_policy(settings)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    folder = Path(options.folder) if options.folder else None
    chosen, problems = _choose(policy.benchmarks, options.source, local=folder is not None)
    if folder is not None and not folder.is_dir():
        problems.append(f"{folder} is not a folder")
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return EXIT_FAILED
    server = policy.server
    if folder is None and (options.url or is_ours(server.host, server.port)):
        found = _by_daemon(options, chosen)
    else:
        found = asyncio.run(_directly(policy, database_path(policy, settings), chosen, folder))
        if found and is_ours(server.host, server.port):
            # It looks at its database now and then anyway, so a refusal does no harm.
            ask_daemon(options, "/admin/sync", json.dumps({"sources": []}))
    if found is None:
        return EXIT_FAILED
    if options.json:
        print(json.dumps(found))
    else:
        _print_table(found)
    return EXIT_FAILED if any(one["status"] != "ok" for one in found) else 0


def _choose(settings: Benchmarks, named: list[str], *, local: bool) -> tuple[list[str], list[str]]:
    """(the sources to sync, what is wrong with those that were named)."""
    problems: list[str] = []
    for name in named:
        if name not in PROVIDERS:
            problems.append(f"there is no source {name!r}; there are: {', '.join(PROVIDERS)}")
        elif not local and (reason := why_not_asked(PROVIDERS[name], settings)):
            problems.append(f"{name} cannot be fetched: {reason}")
        elif not is_used(PROVIDERS[name], settings):
            problems.append(f"{name}: {why_not_asked(PROVIDERS[name], settings)}")
    if named:
        return list(dict.fromkeys(named)), problems
    chosen = [
        name
        for name, provider in PROVIDERS.items()
        if (is_used(provider, settings) if local else not why_not_asked(provider, settings))
    ]
    if not chosen:
        problems.append("the policy has every source switched off")
    return chosen, problems


def _by_daemon(options: argparse.Namespace, chosen: list[str]) -> list[dict[str, Any]] | None:
    """Let the daemon do it and wait for its end; None after saying what is wrong."""
    asked = time.time()
    accepted = ask_daemon(options, "/admin/sync", json.dumps({"sources": chosen}))
    while accepted is not None:
        answer = ask_daemon(options, "/admin/benchmarks")
        if answer is None:
            return None
        if not set(chosen) & set(answer["syncing"]):
            print(f"synced by the daemon in {time.time() - asked:.0f} s", file=sys.stderr)
            return [one for one in answer["sources"] if one["source"] in chosen]
        time.sleep(_POLL_SECONDS)
    return None


async def _directly(
    policy: Policy, database: Path, chosen: list[str], folder: Path | None
) -> list[dict[str, Any]] | None:
    """Into the database; None after saying what is wrong."""
    errors: list[str] = []
    store = Store(database, most=1, on_error=errors.append)
    settings = policy.benchmarks
    try:
        figures = Figures(store)
        await figures.restore(read_packaged() if settings.seed else {})
        sync = Sync(figures, lambda event, fields: None)
        if folder is None:
            await sync.fetch_all(chosen, settings, _say)
            done = chosen
        else:
            done = [name for name in chosen if await sync.read_folder(name, folder) is not None]
        found = [describe(PROVIDERS[name], figures, settings) for name in done]
    except (sqlite3.Error, OSError, ValueError) as error:
        errors.append(str(error))
        found = []
    finally:
        await asyncio.to_thread(store.close)
    if not errors and not found:
        errors.append(f"{folder}: there is no file of {', '.join(chosen)}")
    if errors:
        print("\n".join(dict.fromkeys(errors)), file=sys.stderr)
        return None
    return found


def _say(source: str) -> None:
    if sys.stderr.isatty():
        print(f"{source} ...", file=sys.stderr)


def _print_table(found: list[dict[str, Any]]) -> None:
    lines = [tuple(title for title, _ in _COLUMNS)]
    for one in found:
        cells = (one[key] for _, key in _COLUMNS)
        lines.append(tuple("" if cell is None else str(cell) for cell in cells))
    widths = [max(len(line[at]) for line in lines) for at in range(len(_COLUMNS))]
    for line in lines:
        cells = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())
