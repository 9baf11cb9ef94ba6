"""JSON in an answer, found and compared with bounds on its size and depth."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Any

from llmrouterd.probes.answers import folded
from llmrouterd.probes.numbers import find_numbers, plain

_MOST = 20_000
_DEEPEST = 20
_EMPTY = (None, "", "null", "none", "n/a", "unknown")
_TRAILING = re.compile(r",(\s*[}\]])")


class NoJson(ValueError):
    """There is no JSON, it is broken, or there are several that differ."""


def find_json(text: str) -> Any:
    """The JSON object or array of a text. Raises NoJson."""
    found: list[Any] = []
    place = 0
    while len(found) < 20 and (start := _next_start(text, place)) >= 0:
        end = _closing(text, start)
        if end < 0:
            raise NoJson("JSON is not closed, too long or too deep")
        found.append(_load(text[start:end]))
        place = end
    if not found:
        raise NoJson("no JSON")
    if any(not same(found[0], other, unordered=False) for other in found[1:]):
        raise NoJson("several JSON values that differ")
    return found[0]


def _next_start(text: str, place: int) -> int:
    starts = [at for at in (text.find("{", place), text.find("[", place)) if at >= 0]
    return min(starts, default=-1)


def _closing(text: str, start: int) -> int:
    """The place after the bracket that closes the one at `start`; -1 without any in bounds."""
    depth, quoted, escaped = 0, False, False
    for place in range(start, min(len(text), start + _MOST)):
        char = text[place]
        if quoted:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                quoted = False
        elif char == '"':
            quoted = True
        elif char in "{[":
            depth += 1
            if depth > _DEEPEST:
                return -1
        elif char in "}]":
            depth -= 1
            if depth == 0:
                return place + 1
    return -1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise NoJson("a key twice")
    return made


def _refuse(constant: str) -> Any:
    raise NoJson(f"{constant} is not JSON")


def _load(text: str) -> Any:
    for attempt in (text, _TRAILING.sub(r"\1", text)):
        try:
            return json.loads(attempt, object_pairs_hook=_unique, parse_constant=_refuse)
        except NoJson:
            raise
        except ValueError:
            continue
    raise NoJson("broken JSON")


def same(wanted: Any, given: Any, *, unordered: bool) -> bool:
    """Whether two JSON values say the same. Numbers may be texts; case and spaces are free."""
    if isinstance(wanted, dict):
        return (
            isinstance(given, dict)
            and {_key(key) for key in wanted} == {_key(key) for key in given}
            and len(wanted) == len(given)
            and all(same(wanted[k], _get(given, k), unordered=unordered) for k in wanted)
        )
    if isinstance(wanted, list):
        if not isinstance(given, list) or len(wanted) != len(given):
            return False
        if unordered:
            return sorted(map(_shape, wanted)) == sorted(map(_shape, given))
        return all(same(a, b, unordered=unordered) for a, b in zip(wanted, given, strict=True))
    return _shape(wanted) == _shape(given)


def _key(key: str) -> str:
    return folded(key.replace("_", " "))


def _get(given: dict[str, Any], key: str) -> Any:
    return next(value for name, value in given.items() if _key(name) == _key(key))


def _shape(value: Any) -> str:
    """A scalar as a text that equal ones share."""
    if isinstance(value, (dict, list)):
        return f"structure {json.dumps(value, sort_keys=True)}"
    if isinstance(value, bool):
        return f"bool {value}".lower()
    if value in _EMPTY or (isinstance(value, str) and value.strip().lower() in _EMPTY):
        return "empty"
    if isinstance(value, str):
        if value.strip().lower() in ("true", "false"):
            return f"bool {value.strip().lower()}"
        digits = plain(value.strip())
        numbers = find_numbers(digits)
        if len(numbers) == 1 and re.fullmatch(r"[-+]?[\d.,' ]+", digits):
            return f"number {numbers[0]}"
        return f"text {folded(value)}"
    return f"number {Fraction(value)}"
