"""References to the environment in a policy: `${NAME}` and `${NAME:-default}`."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PREFIX = "ROUTER_"
_REFERENCE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True}
_BOOLEANS |= {"false": False, "no": False, "off": False, "0": False, "": False}


def names_in(text: str) -> set[str]:
    """The names of all variables that a text refers to."""
    return {match[1] for match in _REFERENCE.finditer(text) if match[1]}


def interpolate(text: str, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Replace the references in a text; `$${` stands for `${`.

    Returns the text and the names that are neither set nor have a default. As in a shell,
    `:-` also replaces an empty value.
    """
    unset: list[str] = []

    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if name is None:
            return "${"
        found = environ.get(name)
        if found:
            return found
        if default is not None:
            return default
        if found is None:
            unset.append(name)
        return ""

    return _REFERENCE.sub(value, text), tuple(unset)


def convert(text: str, kind: Any) -> Any:
    """A text from the environment as the schema's type; left as it is where it does not fit."""
    readers: dict[str, Callable[[str], Any]] = {
        "integer": int,
        "number": float,
        "boolean": lambda word: _BOOLEANS[word.strip().lower()],
    }
    reader = readers.get(kind) if isinstance(kind, str) else None  # a list of types has text
    if reader is None:
        return text
    try:
        return reader(text)
    except (ValueError, KeyError):
        return text


def unknown_settings(
    environ: Mapping[str, str], known: Iterable[str]
) -> list[tuple[str, str | None]]:
    """Variables that begin with ROUTER_ and mean nothing to us, each with the nearest name."""
    names = sorted(known)
    # The common prefix would make every name look like every other.
    ends = [name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)]
    found: list[tuple[str, str | None]] = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in names:
            near = get_close_matches(name.removeprefix(PREFIX), ends, n=1, cutoff=0.6)
            found.append((name, PREFIX + near[0] if near else None))
    return found
