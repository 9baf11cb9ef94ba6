"""YAML text -> plain data with places; never raises, whatever the bytes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.config.source import MAX_BYTES, Source, json_path, parse_source

TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["Cc"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcxyz", min_size=1), inner)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text("abcxyz", min_size=1), TREES))
def test_what_json_can_say_is_read_as_it_is(tree: dict[str, Any]) -> None:
    for text in (json.dumps(tree), yaml.safe_dump(tree, allow_unicode=True)):
        source = parse_source(text.encode(), "f")
        assert source.problems == []
        assert source.data == tree


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_bytes_make_it_raise(content: bytes) -> None:
    source = parse_source(content, "f")
    assert source.data is not None or source.problems
    for problem in source.problems:
        assert problem.line >= 1
        assert problem.column >= 1
        assert "\n" not in str(problem)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused_and_does_not_crash(opening: str) -> None:
    source = parse_source((opening * 100_000).encode(), "f")
    (problem,) = source.problems
    assert problem.message == "too large, or nested too deep or without end; write it out flat"
    assert problem.column == len(opening) * 60 + 1


def test_sixty_levels_are_allowed() -> None:
    source = parse_source(("[" * 60 + "]" * 60).encode(), "f")
    assert source.problems == []


def test_aliases_are_expanded_within_bounds() -> None:
    source = parse_source(b"a: &x [1, 2]\nb: [*x, *x]\n", "f")
    assert source.data == {"a": [1, 2], "b": [[1, 2], [1, 2]]}
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
    )
    bombed = parse_source(bomb.encode(), "f")
    assert bombed.data is None
    assert len(bombed.problems) == 1


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# words\n", b"~", b"null", b"---\n"])
def test_nothing_is_an_empty_mapping(content: bytes) -> None:
    assert (parse_source(content, "f").data, parse_source(content, "f").problems) == ({}, [])


def test_a_date_is_a_text() -> None:
    assert parse_source(b"a: 2026-11-23", "f").data == {"a": "2026-11-23"}


def test_merging() -> None:
    text = b"base: &b {x: 1, y: 2}\nmore: &m {z: 3, x: 9}\nboth:\n  <<: [*b, *m]\n  y: 5\n"
    source = parse_source(text, "f")
    assert source.data["both"] == {"x": 1, "y": 5, "z": 3}
    assert source.problems == []


@pytest.mark.parametrize(
    ("text", "path", "place"),
    [
        ("a:\n  - b: 1\n  - b: 2\n", ("a", 1, "b"), (3, 8)),
        ("a: {b: [1, 22]}\n", ("a", "b", 1), (1, 12)),
        ("a: {b: 1}\n", ("a", "missing"), (1, 4)),
        ("# c\n\na: 1\n", (), (3, 1)),
        ("ä: {ö: 1}\n", ("ä", "ö"), (1, 8)),
    ],
)
def test_places_count_from_one(text: str, path: tuple[Any, ...], place: tuple[int, int]) -> None:
    problem = parse_source(text.encode(), "f").problem(path, "m")
    assert (problem.line, problem.column) == place


def test_the_place_of_a_key_and_of_a_merged_value() -> None:
    source = parse_source(b"b: &b {x: 1}\na:\n  <<: *b\n  y: 2\n", "f")
    at_key = source.problem(("a", "y"), "m", at_key=True)
    assert (at_key.line, at_key.column) == (4, 3)
    merged = source.problem(("a", "x"), "m")
    assert (merged.line, merged.column) == (1, 11)


def test_a_problem_names_the_variables_that_made_the_value() -> None:
    source = Source(file="f", origins={("a",): ("ONE", "TWO")})
    assert str(source.problem(("a",), "bad")) == "f:1:1: $.a: bad (set by ONE, TWO)"


def test_paths() -> None:
    assert json_path(()) == "$"
    assert json_path(("backends", 0, "url")) == "$.backends[0].url"


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan", ".NaN", "-.INF"])
def test_numbers_are_finite(text: str) -> None:
    source = parse_source(f"a: {text}".encode(), "f")
    assert [problem.message for problem in source.problems] == ["must be a finite number"]
    assert source.data == {"a": None}


def test_large_numbers_stay_what_they_are() -> None:
    data = parse_source(b"a: 99999999999999999999\nb: 1.5e300\nc: 0x1F\n", "f").data
    assert data["a"] == 99999999999999999999
    assert data["c"] == 31
    assert math.isfinite(float(data["b"]))


def test_the_bound_on_the_size() -> None:
    assert parse_source(b"#" * MAX_BYTES, "f").problems == []
    assert len(parse_source(b"#" * (MAX_BYTES + 1), "f").problems) == 1
