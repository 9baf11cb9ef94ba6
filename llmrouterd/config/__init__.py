"""Bytes -> YAML -> environment -> schema -> semantics -> Policy; all problems at once.

`check`, start-up, reload and the tests call the same `load_policy`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrouterd import data
from llmrouterd.classifier.lexicon import LexiconError, LexiconSet, build_lexicons
from llmrouterd.config.build import build_policy
from llmrouterd.config.cases import read_tests
from llmrouterd.config.environment import unknown_settings
from llmrouterd.config.figures import FiguresError, read_figures
from llmrouterd.config.files import rules_folder
from llmrouterd.config.schema import environment_problems, fill, known_settings, resolve, validate
from llmrouterd.config.source import Source, parse_source
from llmrouterd.errors import ConfigError
from llmrouterd.problems import Problem
from llmrouterd.settings import NAMES

if TYPE_CHECKING:
    from llmrouterd.evidence.figures import Figures
    from llmrouterd.policy import Policy
    from llmrouterd.settings import Settings


@cache
def policy_schema() -> dict[str, Any]:
    """The policy's JSON Schema, as packaged."""
    schema: dict[str, Any] = json.loads(data.SCHEMA.read_bytes())
    return schema


@cache
def _lexicon_schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(data.LEXICON_SCHEMA.read_bytes())
    return schema


def load_policy(settings: Settings, text: bytes | None = None, file: Path | None = None) -> Policy:
    """Read and check everything. text: of the policy, instead of what its file has now. file: is
    read as if it lay in the policy's place. Raises ConfigError with all problems."""
    file = file or settings.policy
    name = str(file)
    try:
        content = file.read_bytes() if text is None else text
    except OSError as error:
        problem = Problem(
            file=name, line=1, column=1, path="$", message=f"cannot be read: {error.strerror}"
        )
        raise ConfigError((problem,)) from None
    source = parse_source(content, name)
    if source.data is None:
        raise ConfigError(tuple(source.problems))
    problems, usable = _check(source, settings)
    if usable:
        digest = hashlib.sha256(content)
        filled = fill(source.data, policy_schema(), settings.environ)
        lexicons, found = _load_lexicons(source, filled, rules_folder(settings), digest)
        digest.update(json.dumps(filled, sort_keys=True).encode())
        figures, wrong = _load_figures(source, filled, settings, digest)
        tests, untested = read_tests(source, filled, settings, policy_schema(), digest)
        read = (lexicons, figures, tests)
        policy, meant = build_policy(filled, source, read, digest.hexdigest()[:16])
        problems += found + wrong + untested + _not_told(meant, problems)
        if not problems:
            return policy
    raise ConfigError(tuple(sorted(set(problems), key=astuple)))


def _not_told(meant: list[Problem], told: list[Problem]) -> list[Problem]:
    """The problems of meaning without those that follow from one already told, at or below
    their place."""
    return [
        problem
        for problem in meant
        if not any(
            other.path == problem.path
            or other.path.startswith((problem.path + ".", problem.path + "["))
            for other in told
        )
    ]


def _check(source: Source, settings: Settings) -> tuple[list[Problem], bool]:
    """Problems of text, environment and schema; whether the rest can still be checked."""
    schema = policy_schema()
    environ = settings.environ
    known = NAMES | known_settings(schema) | known_settings(source.data)
    resolve(source, schema, environ)
    usable = validate(source, schema)
    found = [
        (name, f"unknown setting{f'; did you mean {near}' if near else ''}; ENV_DEFAULT lists all")
        for name, near in unknown_settings(environ, known)
    ]
    found += environment_problems(schema, environ)
    strangers = [
        Problem(file="environment", line=1, column=1, path=name, message=message)
        for name, message in found
    ]
    return source.problems + strangers, usable and not any(name in known for name, _ in found)


def _load_figures(
    source: Source, filled: dict[str, Any], settings: Settings, digest: hashlib._Hash
) -> tuple[Figures, list[Problem]]:
    """The evidence's numbers; with a problem, the packaged ones."""
    file = filled["evidence"]["file"]
    problems: list[Problem] = []
    figures, content = read_figures()
    if file:
        try:
            figures, content = read_figures(settings.policy.resolve().parent / file)
        except FiguresError as error:
            problems.append(source.problem(("evidence", "file"), str(error)))
    digest.update(content)
    return figures, problems


def _load_lexicons(
    source: Source, filled: dict[str, Any], folder: Path, digest: hashlib._Hash
) -> tuple[LexiconSet, list[Problem]]:
    problems: list[Problem] = []
    contents: list[tuple[str, str, bytes]] = []
    for name, category in filled["categories"].items():
        file = category["lexicon"]
        path = _lexicon_path(folder, file)
        if not file:
            continue
        place = ("categories", name, "lexicon")
        if path is None:
            message = f"the lexicon {file!r} is neither in {folder} nor among the packaged ones"
            problems.append(source.problem(place, message))
            continue
        try:
            content = path.read_bytes()
        except OSError as error:
            message = f"the lexicon {path} cannot be read: {error.strerror}"
            problems.append(source.problem(place, message))
            continue
        digest.update(content)
        contents.append((name, str(path), content))
    lexicons, found, together = _compile_lexicons(tuple(contents))
    problems += found
    problems += [source.problem(("categories",), message) for message in together]
    return lexicons, problems


@lru_cache(maxsize=1)
def _compile_lexicons(
    contents: tuple[tuple[str, str, bytes], ...],
) -> tuple[LexiconSet, tuple[Problem, ...], tuple[str, ...]]:
    """(category, file, bytes) of each lexicon -> all compiled, the problems in the files, and
    those of all together. The last result is kept: most edits leave the lexicons as they are."""
    problems: list[Problem] = []
    together: list[str] = []
    parsed: dict[str, dict[str, Any]] = {}
    sources: dict[str, Source] = {}
    for name, file, content in contents:
        lexicon = sources[name] = parse_source(content, file)
        if not lexicon.problems:
            validate(lexicon, _lexicon_schema())
        problems += lexicon.problems
        if not lexicon.problems:
            parsed[name] = {**lexicon.data, "category": name}
    try:
        return build_lexicons(parsed), tuple(problems), ()
    except LexiconError as error:
        for name, where, message in error.problems:
            if name in sources:
                problems.append(sources[name].problem(_path(where), message))
            else:
                together.append(message)
        return build_lexicons({}), tuple(problems), tuple(together)


def _lexicon_path(folder: Path, file: str) -> Path | None:
    return next((at for at in (folder / file, data.RULES / file) if at.is_file()), None)


def _path(text: str) -> tuple[str | int, ...]:
    """'groups[3].patterns[0]' -> ('groups', 3, 'patterns', 0)."""
    parts = text.replace("[", ".").replace("]", "").split(".")
    return tuple(int(part) if part.isdigit() else part for part in parts if part)
