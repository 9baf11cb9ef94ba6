"""`${NAME}` and `${NAME:-default}`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.config.environment import convert, interpolate, names_in, unknown_settings

ENVIRON = {"A": "one", "B": "two words", "EMPTY": "", "A_1": "x", "TRICK": "${A}"}


@pytest.mark.parametrize(
    ("text", "expected", "unset"),
    [
        ("plain", "plain", ()),
        ("${A}", "one", ()),
        ("x${A}y${B}z", "xoneytwo wordsz", ()),
        ("${NONE}", "", ("NONE",)),
        ("${NONE}${OTHER}", "", ("NONE", "OTHER")),
        ("${NONE:-fallback}", "fallback", ()),
        ("${NONE:-}", "", ()),
        ("${A:-fallback}", "one", ()),
        ("${EMPTY:-fallback}", "fallback", ()),
        ("${EMPTY}", "", ()),
        ("${A_1}", "x", ()),
        ("$A", "$A", ()),
        ("$${A}", "${A}", ()),
        ("$$${A}", "$${A}", ()),
        ("${}", "${}", ()),
        ("${1A}", "${1A}", ()),
        ("${A", "${A", ()),
        ("${A:?no}", "${A:?no}", ()),
        ("${NONE:-http://h:1/x-y}", "http://h:1/x-y", ()),
        ("${TRICK}", "${A}", ()),  # a value is not looked into again
    ],
)
def test_references(text: str, expected: str, unset: tuple[str, ...]) -> None:
    assert interpolate(text, ENVIRON) == (expected, unset)


@given(st.text("ab ${}:-AB", max_size=30))
def test_names_are_those_that_are_looked_up(text: str) -> None:
    _, unset = interpolate(text, {})
    assert set(unset) <= names_in(text)
    assert interpolate(text, dict.fromkeys(names_in(text), "v"))[1] == ()


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("12", "integer", 12),
        ("1.5", "number", 1.5),
        ("1.5", "integer", "1.5"),
        ("abc", "integer", "abc"),
        ("TRUE", "boolean", True),
        (" off ", "boolean", False),
        ("", "boolean", False),
        ("maybe", "boolean", "maybe"),
        ("12", "string", "12"),
        ("12", None, "12"),
    ],
)
def test_texts_become_what_the_schema_says(text: str, kind: str | None, expected: Any) -> None:
    found = convert(text, kind)
    assert (found, type(found)) == (expected, type(expected))


def test_only_our_prefix_is_ours() -> None:
    environ = {
        "ROUTER_PORT": "1",
        "ROUTER_PROT": "1",
        "PATH": "x",
        "ROUTERS": "y",
        "ROUTER_XYZ": "z",
    }
    known = {"ROUTER_PORT", "ROUTER_HOST"}
    assert unknown_settings(environ, known) == [
        ("ROUTER_PROT", "ROUTER_PORT"),
        ("ROUTER_XYZ", None),
    ]
