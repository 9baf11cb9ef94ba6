"""teach: tell the daemon that it read a prompt wrong or chose the worse model, and see which
lexicon line would say the same."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from llmrouterd import data
from llmrouterd.chat import parse_request
from llmrouterd.classifier import classify
from llmrouterd.classifier.words import human_turns
from llmrouterd.cli.ask import ask_daemon, print_table
from llmrouterd.config import load_policy
from llmrouterd.config.files import rules_folder
from llmrouterd.config.insertion import InsertionError, insert_phrase
from llmrouterd.errors import ConfigError, RouterError
from llmrouterd.policy_tests import run_tests
from llmrouterd.settings import read_settings
from llmrouterd.signals import RequestContext
from llmrouterd.suggestion import choose_phrase

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from llmrouterd.policy import Policy
    from llmrouterd.settings import Settings

EXIT_FAILED = 1
_WEIGHTS = (3.0, 6.0)  # strong evidence first; what nearly settles it where that is not enough
_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A phrase for a lexicon. `reads`: the prompt's category with it, without the example."""

    file: str
    phrase: str
    weight: float
    reads: str
    diff: str
    accepted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A prompt, its category, the phrase of it, the lexicon to write and the one it is made from:
    the package's where the owner's folder has none."""

    text: str
    category: str
    phrase: str
    path: Path
    source: Path


class NoLineError(Exception):
    """There is nothing to suggest, or it cannot be written; the message says why."""


def teach_command(options: argparse.Namespace) -> int:
    """Teach, list what was taught, or forget it; 1 if the daemon refuses, or if a line was to be
    accepted and is not."""
    if options.list:
        return _list(options)
    if options.forget is not None:
        answer = ask_daemon(options, f"/admin/examples/{options.forget}", method="DELETE")
        if answer is not None:
            print(f"Forgotten; {_number(answer)} left.")
        return EXIT_FAILED if answer is None else 0
    given = {"id": options.id, "prompt": options.prompt, "category": options.category}
    given = {**given, "model": options.model}
    body = json.dumps({name: value for name, value in given.items() if value is not None})
    answer = ask_daemon(options, "/admin/feedback", body)
    if answer is None:
        return EXIT_FAILED
    if not options.json:
        _print_lesson(answer)
    line, reason = None, ""
    if answer["example"]:
        try:
            line = _suggest(options, answer["example"])
        except NoLineError as error:
            reason = str(error)
    if options.json:
        print(json.dumps({**answer, "line": asdict(line) if line else None, "reason": reason}))
    elif line is not None:
        _print_line(line)
    elif reason:
        print(f"No lexicon line: {reason}", file=sys.stderr)
    return EXIT_FAILED if options.accept and line is None else 0


def _list(options: argparse.Namespace) -> int:
    answer = ask_daemon(options, "/admin/examples")
    if answer is None:
        return EXIT_FAILED
    if options.json:
        print(json.dumps(answer["examples"]))
        return 0
    rows: list[tuple[str, ...]] = [("ID", "DATE", "CATEGORY", "CLIENT", "WORDS")]
    for row in answer["examples"]:
        words = " ".join(row["text"].split())
        short = words if len(words) <= _SHOWN else words[: _SHOWN - 3] + "..."
        date = datetime.fromtimestamp(row["at"]).strftime("%Y-%m-%d")
        rows.append((str(row["id"]), date, row["category"], row["client"], short))
    print_table(rows)
    return 0


def _number(answer: dict[str, Any]) -> str:
    number = answer["examples"]
    return f"{number} {'example' if number == 1 else 'examples'}"


def _print_lesson(answer: dict[str, Any]) -> None:
    example = answer["example"]
    if example:
        print(
            f"Example {example['id']}: what is at least {answer['similarity']:.0%} like it is "
            f"{example['category']} from now on ({_number(answer)})."
        )
    if answer["model"]:
        print(f"{answer['model']} gains and {answer['instead_of']} loses a little there.")


def _print_line(line: Line) -> None:
    print(line.diff, end="")
    print(f"With it the prompt is read as {line.reads}, even without the example.")
    if line.accepted:
        print(f"{line.file} is written; a running daemon takes it up at once.")
    else:
        print("Nothing is edited. The same command with --accept writes it.")


def _suggest(options: argparse.Namespace, example: dict[str, Any]) -> Line:
    """The line for an example, written if it is accepted. Raises NoLineError."""
    settings = read_settings(os.environ, options.policy)
    try:
        policy = load_policy(settings)
    except ConfigError:
        raise NoLineError("the policy here has problems; see `llmrouterd check`") from None
    category, text = example["category"], example["text"]
    found = policy.categories.get(category)
    if found is None or not found.lexicon:
        raise NoLineError(f"the policy here has no lexicon for {category}")
    stored = ask_daemon(options, "/admin/examples") or {"examples": ()}
    others = [row["text"] for row in stored["examples"] if row["category"] != category]
    others += _tested_otherwise(policy, category)
    phrase = choose_phrase(text, category, policy.lexicons, others)
    if phrase is None:
        raise NoLineError("no phrase of it speaks for this category alone; the example will do")
    folder = rules_folder(settings)
    path = folder / found.lexicon
    source = path if path.is_file() else data.RULES / found.lexicon
    wanted = _Wanted(text=text, category=category, phrase=phrase, path=path, source=source)
    line, after = _tried(settings, policy, wanted)
    if options.accept:
        if folder == data.RULES:
            raise NoLineError(f"{path} is the package's; set ROUTER_RULES to a folder of your own")
        _replace(path.resolve(), after)
    return replace(line, accepted=options.accept)


def _tested_otherwise(policy: Policy, category: str) -> Iterator[str]:
    """The words of the policy's own tests that are of another category."""
    for case in policy.tests.cases:
        wanted = case.expected.category
        if wanted is None or category in wanted:
            continue
        try:
            chat = parse_request("chat", case.body, policy.validators)
        except RouterError:
            continue
        yield from human_turns(chat.messages)


def _tried(settings: Settings, policy: Policy, wanted: _Wanted) -> tuple[Line, str]:
    """The line with the least weight that makes the prompt read right, else the heaviest, and the
    file's new text. It goes through the loader and the policy's tests first."""
    before = wanted.source.read_text(encoding="utf-8")
    failing = {result.case for result in run_tests(policy) if result.missed}
    for weight in _WEIGHTS:
        try:
            after = insert_phrase(before, wanted.phrase, weight)
            with tempfile.TemporaryDirectory(prefix="llmrouterd-rules-") as folder:
                made = _loaded(settings, Path(folder), wanted.path, after)
        except InsertionError as error:
            raise NoLineError(f"{wanted.source} cannot be added to: {error}") from None
        except ConfigError as error:
            raise NoLineError(f"the loader refuses it: {error}") from None
        broken = [r.place for r in run_tests(made) if r.missed and r.case not in failing]
        if broken:
            raise NoLineError(f"{wanted.phrase!r} breaks the policy's own {', '.join(broken)}")
        reads = _read(wanted.text, made)
        if reads == wanted.category:
            break
    diff = difflib.unified_diff(
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        fromfile=str(wanted.source),
        tofile=str(wanted.path),
        n=2,
    )
    line = Line(
        file=str(wanted.path),
        phrase=wanted.phrase,
        weight=weight,
        reads=reads,
        diff="".join(diff),
        accepted=False,
    )
    return line, after


def _loaded(settings: Settings, folder: Path, path: Path, content: str) -> Policy:
    """The policy with one lexicon changed, in a copy of the folder."""
    for lexicon in rules_folder(settings).glob("*.y*ml"):
        shutil.copy(lexicon, folder)
    (folder / path.name).write_text(content, encoding="utf-8")
    return load_policy(replace(settings, rules=folder))


def _read(text: str, policy: Policy) -> str:
    body = orjson.dumps({"messages": [{"role": "user", "content": text}]})
    chat = parse_request("chat", body, policy.validators)
    return classify(chat, policy, RequestContext()).category


def _replace(path: Path, content: str) -> None:
    """Write a file so that it is at any time the old one or the new one, with its mode."""
    fresh = path.with_name(f".{path.name}.taught")
    fresh.write_text(content, encoding="utf-8")
    if path.exists():
        shutil.copymode(path, fresh)
    os.replace(fresh, path)
