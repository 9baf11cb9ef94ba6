"""`tests` of the policy: the cases in the file itself and in the file beside it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from llmrouterd.config.environment import interpolate
from llmrouterd.config.schema import fill, validate
from llmrouterd.config.source import Source, parse_source
from llmrouterd.policy import GENERAL, Globs
from llmrouterd.policy_cases import Case, Expected, PolicyTests

if TYPE_CHECKING:
    import hashlib
    from pathlib import Path as File

    from llmrouterd.config.source import Path
    from llmrouterd.problems import Problem
    from llmrouterd.settings import Settings

Data = dict[str, Any]
# Asks for vision; no picture is needed to decide.
_PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def read_tests(
    source: Source, filled: Data, settings: Settings, schema: Data, digest: hashlib._Hash
) -> tuple[PolicyTests, list[Problem]]:
    """The policy's cases, and what is wrong with them. schema: of the whole policy. The bytes of
    the file beside the policy go into the digest."""
    tests = filled["tests"]
    kind = schema["properties"]["tests"]["properties"]["cases"]
    problems: list[Problem] = []
    cases = _read(source, ("tests", "cases"), tests["cases"], filled, problems)
    if tests["file"]:
        beside, content = _parse(settings.policy.resolve().parent / tests["file"])
        digest.update(content)
        if beside is None:
            message = f"{tests['file']!r} cannot be read; it is looked for beside the policy"
            problems.append(source.problem(("tests", "file"), message))
        else:
            _check_list(beside, kind)
            problems += beside.problems
            if not beside.problems:
                items = fill(beside.data, kind, {})
                cases += _read(beside, (), items, filled, problems)
    return PolicyTests(refuse=tests["on_failure"] == "refuse", cases=tuple(cases)), problems


def _parse(path: File) -> tuple[Source | None, bytes]:
    try:
        content = path.read_bytes()
    except OSError:
        return None, b"missing"
    return parse_source(content, str(path)), content


def _check_list(source: Source, kind: Data) -> None:
    if source.problems:
        return
    if source.data == {}:  # an empty file
        source.data = []
    if isinstance(source.data, list):
        validate(source, kind)
    else:
        source.report((), "must be a list of cases, each as under tests.cases")


@lru_cache(maxsize=4)
def _named(content: bytes) -> str:
    policy = parse_source(content, "").data
    tests = policy.get("tests") if isinstance(policy, dict) else None
    file = tests.get("file") if isinstance(tests, dict) else None
    return file if isinstance(file, str) else ""


def tests_file(content: bytes, settings: Settings) -> File | None:
    """The file of cases that a policy's bytes name, whether or not the policy is valid."""
    name = interpolate(_named(content), settings.environ)[0]
    return settings.policy.resolve().parent / name if name else None


def _read(
    source: Source, base: Path, items: list[Data], filled: Data, problems: list[Problem]
) -> list[Case]:
    cases = []
    for at, item in enumerate(items):
        place = (*base, at)
        problems += [source.problem((*place, *path), text) for path, text in _wrong(item, filled)]
        cases.append(_case(item, source.problem(place, "")))
    return cases


def _wrong(item: Data, filled: Data) -> list[tuple[Path, str]]:
    """What is wrong with one case that fits the schema: (place in it, words)."""
    found: list[tuple[Path, str]] = []
    expect = item["expect"]
    if item["prompt"] is not None and item["messages"] is not None:
        found.append((("messages",), "give either prompt or messages, not both"))
    if all(value is None or value == [] for value in expect.values()):
        found.append((("expect",), f"expects nothing; name one of {', '.join(expect)}"))
    low, high = expect["min_complexity"], expect["max_complexity"]
    if low is not None and high is not None and low > high:
        found.append((("expect", "max_complexity"), f"{high} is below min_complexity, {low}"))
    known = {
        "category": {*filled["categories"], GENERAL},
        "rule": {rule["name"] for rule in filled["rules"]},
    }
    for key, names in known.items():
        for name in _listed(expect[key]) or ():
            if name not in names:
                there = ", ".join(sorted(names))
                found.append((("expect", key), f"unknown {key} {name!r}; there are: {there}"))
    clients = {client["name"] for client in filled["auth"]["clients"]}
    if item["client"] and item["client"] not in clients:
        there = ", ".join(sorted(clients)) or "none is declared"
        found.append((("client",), f"unknown client {item['client']!r}; there are: {there}"))
    return found


def _case(item: Data, at: Problem) -> Case:
    expect = item["expect"]
    task = expect["task"]
    return Case(
        name=item["name"],
        body=orjson.dumps({"messages": _messages(item)}),
        task=item["task"] or "",
        preset=item["preset"] or "",
        client=item["client"],
        expected=Expected(
            category=_listed(expect["category"]),
            rule=_listed(expect["rule"]),
            models=Globs(expect["models"]),
            task="" if task == "none" else task,
            min_complexity=expect["min_complexity"],
            max_complexity=expect["max_complexity"],
        ),
        at=at,
    )


def _messages(item: Data) -> list[Any]:
    messages = list(item["messages"] or ())
    if item["prompt"] is not None:
        content: Any = item["prompt"]
        if item["image"]:
            content = [{"type": "text", "text": content}, _PICTURE]
        messages = [{"role": "user", "content": content}]
    elif item["image"]:
        messages.append({"role": "user", "content": [_PICTURE]})
    return messages


def _listed(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    return (value,) if isinstance(value, str) else tuple(value)
