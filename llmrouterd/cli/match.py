"""match: names of local models -> the published models that they are, without a daemon."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrouterd.app import database_path
from llmrouterd.benchmarks.packaged import read_name_tables, read_packaged
from llmrouterd.cli.offline import EXIT_FAILED, each_line
from llmrouterd.config import load_policy
from llmrouterd.errors import ConfigError
from llmrouterd.naming import Identity, NameIndex, NameTables, names_of
from llmrouterd.settings import read_settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping

    from llmrouterd.naming import ModelKey, Resolution

_STORED = "SELECT source, model FROM benchmarks UNION SELECT source, model FROM model_facts"


def match_command(options: argparse.Namespace) -> int:
    """{"name", "backend", "digest"?, "details"?} a line -> {"name", "key", "matches"} a line."""
    tables = read_name_tables(boards=True)
    try:
        names = _read_names(options.names) if options.names else _known(options.policy, tables)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    index = NameIndex(names, tables)

    def work(item: dict[str, Any]) -> dict[str, Any]:
        identity = read_identity(item)
        found = index.resolve(identity)
        described = describe_resolution(found)
        if not found.matches:
            described["suggestions"] = [
                {"source": source, "model": model, "similarity": similarity}
                for source, model, similarity in index.suggest(identity)
            ]
        return described

    return each_line(work, label="name")


def read_identity(item: Mapping[str, Any]) -> Identity:
    """The identity of an input line; `details` is as Ollama's /api/show. Raises ValueError."""
    name = _text(item, "name")
    if not name:
        raise ValueError("a name is needed")
    details = _mapping(item, "details")
    info = _mapping(details, "model_info")
    count = info.get("general.parameter_count")
    base = (
        _text(details, "base_model")
        or _text(info, "general.base_model.0.repo_url")
        or _text(details, "parent_model")
    )
    return Identity(
        name=name,
        backend=_text(item, "backend"),
        digest=_text(item, "digest") or None,
        base_model=base or None,
        parameter_count=count if isinstance(count, int) and count > 0 else None,
        canonical=_text(item, "canonical") or None,
        family=_text(details, "family") or None,
        quantization=_text(details, "quantization_level") or None,
    )


def describe_resolution(found: Resolution) -> dict[str, Any]:
    """A resolution as JSON shows it."""
    matches = [
        {"source": one.source, "model": one.model, "method": one.method, "grade": one.grade}
        for one in found.matches
    ]
    return {"key": describe_key(found.key), "matches": matches}


def describe_key(key: ModelKey) -> dict[str, Any]:
    """A key as JSON shows it; the variants are sorted."""
    return {
        "family": key.family,
        "version": key.version,
        "size_b": key.size_b,
        "active_b": key.active_b,
        "variants": sorted(key.variants),
        "date": key.date,
        "quant": key.quant,
        "extra": list(key.extra),
    }


def _known(policy: str | None, tables: NameTables) -> Iterable[tuple[str, str]]:
    """The names in the package and those in the daemon's database, if there is one."""
    names = dict.fromkeys(tables.boards)
    for parsed in read_packaged().values():
        names |= dict.fromkeys(sorted(names_of(parsed.rows)))
        names |= dict.fromkeys((fact.source, fact.model) for fact in parsed.facts)
    try:
        settings = read_settings(os.environ, policy)
        database = database_path(load_policy(settings), settings)
    except ConfigError as error:
        if policy:
            raise ValueError(str(error)) from error
        print(f"{error}\nonly the packaged names are used", file=sys.stderr)
        return names
    return names | dict.fromkeys(_stored(database))


def _stored(database: Path) -> list[tuple[str, str]]:
    """The names in a database; none where there is no database or it is an older one."""
    if not database.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as open_:
            return [(str(source), str(model)) for source, model in open_.execute(_STORED)]
    except sqlite3.Error as error:
        print(f"{database}: {error}; only the packaged names are used", file=sys.stderr)
        return []


def _read_names(path: str) -> list[tuple[str, str]]:
    """A file of `SOURCE<tab>MODEL` lines. Raises OSError and ValueError."""
    names = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        source, tab, model = line.partition("\t")
        if line.strip() and not (source and tab and model.strip()):
            raise ValueError(f"{path}:{number}: a source, a tab and a model are needed")
        if model.strip():
            names.append((source, model.strip()))
    return names


def _text(item: Mapping[str, Any], key: str) -> str:
    value = item.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a text")
    return value


def _mapping(item: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = item.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{key} must be an object")
    return value
