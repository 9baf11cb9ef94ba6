"""A rule's conditions, one table; and which rule hides which."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.config.rules import covers
from llmrouterd.decision import decide, matches
from llmrouterd.policy import When
from llmrouterd.scorer import Load
from tests.support.policies import catalog, model, policy, read, signals

SETS = {
    "category": ("coding", "math", "general"),
    "task": ("any", "none", "title", "tags"),
    "needs": ("vision", "tools", "json"),
    "client": ("a", "b"),
    "preset": ("speed", "quality"),
}
F = frozenset


@pytest.mark.parametrize(
    ("when", "said", "expected"),
    [
        ({}, {}, True),
        ({"category": F({"coding"})}, {"category": "coding"}, True),
        ({"category": F({"coding"})}, {"category": "math"}, False),
        ({"category": F({"general"})}, {"category": "general"}, True),
        ({"task": F({"title"})}, {"task": "title"}, True),
        ({"task": F({"title"})}, {"task": "tags"}, False),
        ({"task": F({"title"})}, {}, False),
        ({"task": F({"any"})}, {"task": "tags"}, True),
        ({"task": F({"any"})}, {}, False),
        ({"task": F({"none"})}, {}, True),
        ({"task": F({"none"})}, {"task": "tags"}, False),
        ({"needs": F({"vision"})}, {"needs": F({"vision", "json"})}, True),
        ({"needs": F({"vision", "json"})}, {"needs": F({"vision"})}, False),
        ({"min_complexity": 0.5}, {"complexity": 0.5}, True),
        ({"min_complexity": 0.5}, {"complexity": 0.49}, False),
        ({"max_complexity": 0.5}, {"complexity": 0.5}, True),
        ({"max_complexity": 0.5}, {"complexity": 0.51}, False),
        ({"min_prompt_tokens": 100}, {"prompt_tokens": 100}, True),
        ({"min_prompt_tokens": 100}, {"prompt_tokens": 99}, False),
        ({"max_prompt_tokens": 100}, {"prompt_tokens": 100}, True),
        ({"max_prompt_tokens": 100}, {"prompt_tokens": 101}, False),
        ({"client": F({"kids"})}, {"client": "kids"}, True),
        ({"client": F({"kids"})}, {"client": ""}, False),
        ({"preset": F({"speed"})}, {"preset": "speed"}, True),
        ({"preset": F({"speed"})}, {}, False),
        ({"text": "x"}, {"texts": F({"x"})}, True),
        ({"text": "x"}, {"texts": F({"other"})}, False),
        ({"category": F({"math"}), "min_complexity": 0.5}, {"category": "math"}, True),
        ({"category": F({"math"}), "min_complexity": 0.6}, {"category": "math"}, False),
    ],
)
def test_conditions(when: dict[str, Any], said: dict[str, Any], expected: bool) -> None:
    assert matches(When(**when), signals(**said)) is expected


def _sets(words: tuple[str, ...]) -> st.SearchStrategy[frozenset[str] | None]:
    return st.none() | st.frozensets(st.sampled_from(words), min_size=1)


WHENS = st.builds(
    When,
    **{name: _sets(words) for name, words in SETS.items()},
    min_complexity=st.none() | st.sampled_from([0.2, 0.5]),
    max_complexity=st.none() | st.sampled_from([0.5, 0.8]),
    min_prompt_tokens=st.none() | st.sampled_from([10, 100]),
    max_prompt_tokens=st.none() | st.sampled_from([50, 500]),
    text=st.none() | st.just("x"),
)
SIGNALS = st.builds(
    lambda **said: signals(**said),
    category=st.sampled_from(SETS["category"]),
    task=st.sampled_from(["", "title", "tags"]),
    needs=st.frozensets(st.sampled_from(SETS["needs"])),
    client=st.sampled_from(["", "a", "b"]),
    preset=st.sampled_from(["", "speed", "quality"]),
    complexity=st.sampled_from([0.1, 0.2, 0.5, 0.6, 0.9]),
    prompt_tokens=st.sampled_from([5, 10, 50, 100, 500, 900]),
    texts=st.sampled_from([F(), F({"x"})]),
)


@given(WHENS, WHENS, SIGNALS)
def test_what_a_rule_covers_it_matches(general: When, special: When, said: Any) -> None:
    """`covers` is what calls a rule unreachable: it must never be wrong in that direction."""
    if covers(general, special) and matches(special, said):
        assert matches(general, said)


@given(WHENS)
def test_covering_is_reflexive_and_the_empty_one_covers_all(when: When) -> None:
    assert covers(when, when)
    assert covers(When(), when)
    assert when.empty == covers(when, When())


RULES = """
backends: [{name: box, type: ollama, url: http://box}]
rules:
  - {name: homework, when: {text: "home\\\\s*work"}}
  - {name: hard-code, when: {category: [coding], min_complexity: 0.99}}
  - {name: code, when: {category: [coding]}}
  - {name: default}
"""


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("help me with my HomeWork in python", "homework"),
        ("write python", "code"),
        ("good evening", "default"),
    ],
)
def test_the_first_rule_that_matches_decides(words: str, rule: str) -> None:
    made = policy(RULES)
    said = read(words, policy=made)
    found = decide(said, made, catalog(model("box/a")), Load())
    assert found.rule == rule
    assert found.mode == "routed"
