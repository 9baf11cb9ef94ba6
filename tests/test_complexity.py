"""Complexity grows where a person would say so; a number between 0 and 1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.classifier.complexity import complexity as complexity_of_form
from llmrouterd.classifier.form import form_of
from llmrouterd.policy_reading import Complexity
from tests.support.policies import policy

WEIGHTS = policy().complexity


def complexity(text: str, category: str, weights: Complexity) -> float:
    return complexity_of_form(text, category, form_of(text), weights)


# Simple, and harder.
PAIRS = [
    ("hi", "Explain how a transformer model computes attention, in detail"),
    ("what is 2+2?", "Prove that there are infinitely many primes congruent to 3 mod 4"),
    (
        "write a hello world in python",
        "Design a distributed rate limiter in python that must survive node failures, handle at "
        "least 50,000 requests per second, and analyze its trade-offs step by step",
    ),
    ("summarize briefly: cats sleep a lot", "Compare and critically evaluate both arguments"),
    ("translate 'good morning' to french", "Refactor this class without changing its interface"),
    ("who wrote Faust?", "Derive the Euler-Lagrange equation rigorously: \\int L dt"),
    ("Wie spät ist es?", "Beweise Schritt für Schritt, dass es unendlich viele Primzahlen gibt"),
    ("你好", "请逐步证明这个算法的复杂度，必须包括边界情况，并优化它的设计"),
    ("name a fruit", "name a fruit\n1. must be red\n2. must be sweet\n3. exactly one word each"),
]


@pytest.mark.parametrize("category", ["general", "coding", "chat"])
@pytest.mark.parametrize(("simple", "harder"), PAIRS)
def test_obvious_pairs(simple: str, harder: str, category: str) -> None:
    assert 1.4 * complexity(simple, category, WEIGHTS) < complexity(harder, category, WEIGHTS)


def test_more_of_the_same_request_is_not_easier() -> None:
    request = "Compare these two designs. "
    found = [complexity(request * n, "general", WEIGHTS) for n in (1, 2, 4, 8, 200, 2000)]
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("plain", "more"),
    [
        ("what is it", "what is the maximum of it"),
        ("share it", "share 12 of it"),
        ("what is it", "what is \\frac{1}{2} of it"),
        ("tell me", "compare the architecture for me"),
        ("a list of cities", "a list of cities without capitals, only in Europe"),
    ],
)
def test_each_feature_adds(plain: str, more: str) -> None:
    assert complexity(more, "general", WEIGHTS) > complexity(plain, "general", WEIGHTS)


def test_not_counts_where_there_are_options() -> None:
    options = "\nA. iron\nB. wood\nC. glass\nD. paper"
    asked, tricky = "Which of these is magnetic?", "Which of these is not magnetic?"
    plain = complexity(tricky, "general", WEIGHTS) - complexity(asked, "general", WEIGHTS)
    exam = complexity(tricky + options, "general", WEIGHTS) - complexity(
        asked + options, "general", WEIGHTS
    )
    assert exam > 3 * abs(plain)


def test_long_words_do_not_make_a_sum_harder() -> None:
    short, long = "Tom has {}cats and {}dogs", "Barnaby possesses {}elephants and {}crocodiles"

    def lead(*numbers: str) -> float:
        one, other = (text.format(*numbers) for text in (short, long))
        return complexity(other, "general", WEIGHTS) - complexity(one, "general", WEIGHTS)

    assert lead("12 ", "7 ") < 0.6 * lead("", "")


def test_the_weights_are_the_policys() -> None:
    heavy = policy("complexity: {bias: 3}").complexity
    assert complexity("hi", "general", heavy) > 0.8
    tuned = policy("complexity: {categories: {math: 2}}").complexity
    assert complexity("hi", "math", tuned) > complexity("hi", "general", tuned)


@given(st.text(max_size=300), st.sampled_from(["general", "math", "no-such"]))
def test_always_a_share(text: str, category: str) -> None:
    assert 0 <= complexity(text, category, WEIGHTS) <= 1


@pytest.mark.parametrize("text", ["", " ", "a" * 1_000_000, "? " * 100_000, "\n- x" * 50_000])
def test_odd_texts(text: str) -> None:
    assert 0 < complexity(text, "general", WEIGHTS) < 1
