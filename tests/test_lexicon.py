"""The lexicon matcher: what a phrase, a place, a guard and a pattern match, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrouterd.classifier.lexicon import (
    Evidence,
    LexiconError,
    LexiconSet,
    build_lexicons,
    probabilities,
)
from llmrouterd.classifier.tokens import fold, tokenize, without_accents

ROOT = Path(__file__).parent.parent
SCHEMA = json.loads((ROOT / "config" / "lexicon.schema.json").read_text("utf-8"))
SHIPPED = {
    path.stem: yaml.safe_load(path.read_bytes()) for path in sorted((ROOT / "rules").glob("*.yaml"))
}
CATEGORIES = [
    *("advice", "chat", "coding", "creative", "extraction", "factual"),
    *("math", "reasoning", "rewriting", "roleplay", "summarization", "translation"),
]
LANGUAGES = {
    *("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "tr"),
    *("zh", "ja", "ko", "ar", "hi", "id", "vi"),
}
TWELFTH = dict.fromkeys(CATEGORIES, 1 / 12)


@pytest.fixture(scope="module")
def shipped() -> LexiconSet:
    return build_lexicons(SHIPPED)


def one(*groups: Mapping[str, Any], **options: float) -> LexiconSet:
    return build_lexicons({"x": {"description": "Test.", "groups": list(groups)}}, **options)


def total(lexicons: LexiconSet, text: str) -> float:
    return dict(lexicons.match(text).totals)["x"]


def met(group: Mapping[str, Any], text: str) -> bool:
    return bool(one({"weight": 1, **group}).match(text).hits)


@pytest.mark.parametrize(
    ("phrase", "text", "expected"),
    [
        ("class", "a world class hotel", True),
        ("class", "classes", False),
        ("class", "subclass", False),
        ("unit test", "UNIT\n   Test!", True),
        ("unit test", "unit. test", False),
        ("unit test*", "my unit-tests", True),
        ("don't know", "I DON’T know", True),
        ("poème", "un poeme", True),
        ("poème", "POÈME", True),
        ("straße", "STRASSE", True),
        ("ﬁle", "a file", True),
        ("写诗", "请写诗一首", True),
        ("写诗", "写。诗", False),
        ("詩を", "桜の詩を書く", True),
        ("번역*", "번역해줘", True),
        ("번역*", "전번역", False),
        ("कविता", "एक कविता लिखो", True),
        ("कवि", "एक कविता", False),
        ("classifi*", "classificação de textos", True),
        ("แปล", "ช่วยแปลให้", True),
        ("tl;dr", "TL; DR", True),
    ],
)
def test_phrase(phrase: str, text: str, expected: bool) -> None:
    assert met({"phrases": [phrase]}, text) is expected


LONG = "word " * 100


@pytest.mark.parametrize(
    ("where", "text", "expected"),
    [
        ("start", "hi there " + LONG, True),
        ("start", LONG + "hi there", False),
        ("end", LONG + "hi there", True),
        ("end", "hi there " + LONG, False),
        ("start", "hi there", True),
        ("end", "hi there", True),
        ("open", "... hi there you", True),
        ("open", "oh hi there", False),
        ("whole", " Hi there!! ", True),
        ("whole", "hi there you", False),
        ("whole", LONG + "hi there", False),
        ("sentence", "Well. Hi there you", True),
        ("sentence", "Well, hi there you", False),
        ("sentence", LONG + ". Hi there. " + LONG, False),
        ("anywhere", LONG + "hi there " + LONG, True),
    ],
)
def test_place(where: str, text: str, expected: bool) -> None:
    assert met({"phrases": ["hi there"], "where": where}, text) is expected
    if where != "sentence":
        assert met({"patterns": [r"hi\s+there"], "where": where}, text.lstrip(". ")) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write me a short and funny poem", True),
        ("poem I did not write", False),
        ("Write it down. A poem is fine", False),
        ("write " + "very " * 25 + "long poem", True),
        ("write " + "very " * 40 + "long poem", False),
        ("please rewrite the poem", False),
    ],
)
def test_after(text: str, expected: bool) -> None:
    assert met({"after": ["write", "compose"], "phrases": ["poem*"]}, text) is expected


def test_patterns_ignore_case_unless_told() -> None:
    assert met({"patterns": [r"\bdef \w+"]}, "DEF main")
    assert met({"patterns": [r"(?-i)[A-Z][a-z]+BackOff"]}, "CrashLoopBackOff")
    assert not met({"patterns": [r"(?-i)[A-Z][a-z]+BackOff"]}, "crashloopbackoff")


def test_entries_count_once_and_synonyms_less() -> None:
    lexicons = one({"weight": 2, "phrases": ["red", "green", "blue"]}, saturation=1000.0)
    assert total(lexicons, "red") == pytest.approx(2, abs=0.01)
    assert total(lexicons, "red red red") == pytest.approx(2, abs=0.01)
    assert total(lexicons, "red green") == pytest.approx(3, abs=0.01)
    assert total(lexicons, "red green blue") == pytest.approx(3.5, abs=0.01)


def test_same_phrase_in_two_groups_counts_once_with_the_greater_weight() -> None:
    lexicons = one(
        {"weight": 2, "lang": "es", "phrases": ["resumen"]},
        {"weight": 3, "lang": "pt", "phrases": ["Resumen"]},
        saturation=1000.0,
    )
    assert total(lexicons, "resumen") == pytest.approx(3, abs=0.01)


def test_sum_is_saturated_and_negative_groups_reduce() -> None:
    groups = [{"weight": 3, "phrases": [f"word{number}"]} for number in range(20)]
    lexicons = one(*groups, {"weight": -5, "phrases": ["not at all"]}, saturation=6.0)
    everything = " ".join(f"word{number}" for number in range(20))
    assert total(lexicons, "word1") == pytest.approx(6 * math.tanh(0.5))
    assert 5.9 < total(lexicons, everything) <= 6.0
    assert total(lexicons, "word1 not at all") == pytest.approx(6 * math.tanh(-2 / 6))


def test_middle_of_a_long_text_counts_less() -> None:
    lexicons = one({"weight": 2, "phrases": ["poem"]}, saturation=1000.0, body_share=0.25)
    assert total(lexicons, LONG + "poem " + LONG) == pytest.approx(0.5, abs=0.01)
    assert total(lexicons, LONG + "poem " + LONG + " poem") == pytest.approx(2, abs=0.01)


def test_long_text_is_bounded() -> None:
    lexicons = one({"weight": 1, "phrases": ["needle"], "patterns": ["n[e]{2}dle"]})
    hay = "hay " * 1000
    assert lexicons.match("needle" + hay * 50).hits
    assert lexicons.match(hay * 50 + "needle").hits
    assert not lexicons.match(hay * 2 + "needle " + hay * 2).hits


def test_hits_explain_the_total() -> None:
    evidence = one(
        {"weight": 1, "phrases": ["poem"]}, {"weight": -3, "phrases": ["no poem"]}
    ).match("no poem")
    assert [(hit.category, hit.entry, hit.weight) for hit in evidence.hits] == [
        ("x", "no poem", -3.0),
        ("x", "poem", 1.0),
    ]


def test_all_problems_are_reported_at_once() -> None:
    data = {
        "a": {
            "description": "A.",
            "groups": [
                {"weight": 1, "phrases": ["fine"]},
                {"weight": 1, "phrases": ["--", "ab*"], "patterns": ["fine", "(?=x)"]},
            ],
        },
        "b": {
            "description": "B.",
            "groups": [
                {"weight": 1, "patterns": [r"(a)\1", "(", "x{5000}"]},
                {"weight": 1, "after": ["?"], "phrases": ["fine"]},
            ],
        },
    }
    with pytest.raises(LexiconError) as caught:
        build_lexicons(data)
    found = {(name, path): message for name, path, message in caught.value.problems}
    assert set(found) == {
        ("a", "groups[1].phrases[0]"),
        ("a", "groups[1].phrases[1]"),
        ("a", "groups[1].patterns[1]"),
        ("b", "groups[0].patterns[0]"),
        ("b", "groups[0].patterns[1]"),
        ("b", "groups[0].patterns[2]"),
        ("b", "groups[1].after[0]"),
    }
    assert "lookaround is refused" in found["a", "groups[1].patterns[1]"]
    assert "backreferences are refused" in found["b", "groups[0].patterns[0]"]
    assert "no word" in found["a", "groups[1].phrases[0]"]
    assert "too short" in found["a", "groups[1].phrases[1]"]
    assert isinstance(caught.value, ValueError)


def test_patterns_too_large_together_are_a_problem() -> None:
    patterns = [rf"(?:\pL{{9}}\pN{{9}}){{9}}{number}" for number in range(60)]
    with pytest.raises(LexiconError) as caught:
        one({"weight": 1, "patterns": patterns})
    assert "60 patterns together need more than" in str(caught.value)


def test_patterns_that_hang_others_return() -> None:
    assert met({"patterns": [r"(a+)+$", r"(x*)*y"]}, "a" * 5000 + "b" + "x" * 900 + "y")


def test_no_lexicons_at_all() -> None:
    nothing = build_lexicons({})
    assert nothing.match("hello") == Evidence(totals=(), hits=())
    assert probabilities(nothing.match("x"), prior={}, abstain_logit=0.0, temperature=1.0) == (
        {},
        1.0,
    )


def test_probabilities() -> None:
    evidence = Evidence(totals=(("a", 2.0), ("b", 0.0)), hits=())
    shares, silent = probabilities(
        evidence, prior={"a": 0.5, "b": 0.5}, abstain_logit=0.0, temperature=1.0
    )
    assert shares["a"] == pytest.approx(math.e**2 / (math.e**2 + 1))
    assert silent == pytest.approx(1 / (1 + 0.5 * (math.e**2 + 1)))
    flat, _ = probabilities(evidence, prior={}, abstain_logit=0.0, temperature=100.0)
    assert flat["a"] == pytest.approx(0.505, abs=0.001)
    tilted, _ = probabilities(
        evidence, prior={"a": 0.1, "b": 0.9}, abstain_logit=0.0, temperature=1.0
    )
    assert tilted["a"] < shares["a"]


def test_without_accents() -> None:
    assert [without_accents(word) for word in ("poème", "łódź", "ёлка", "kısa", "tiếng")] == [
        "poeme",
        "lodz",
        "елка",
        "kisa",
        "tieng",
    ]
    assert without_accents("कविता") == "कविता"
    assert without_accents("번역") == "번역"


def test_shipped_files_fit_the_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert sorted(SHIPPED) == CATEGORIES
    for name, lexicon in SHIPPED.items():
        assert [error.message for error in validator.iter_errors(lexicon)] == [], name
        assert lexicon["category"] == name
        first = (ROOT / "rules" / f"{name}.yaml").read_text("utf-8").splitlines()[0]
        assert first == "# yaml-language-server: $schema=../config/lexicon.schema.json"


def test_schema_describes_every_key() -> None:
    group = SCHEMA["$defs"]["group"]["properties"]
    for key, value in {**SCHEMA["properties"], **group}.items():
        assert value.get("description"), key
        assert "default" in value or value.get("examples"), key


@pytest.mark.parametrize(
    "bad",
    [
        {"category": "x", "description": "d", "groups": [{"phrases": ["a"]}]},
        {"category": "x", "description": "d", "groups": [{"weight": 1}]},
        {"category": "x", "description": "d", "groups": [{"weight": 1, "phrase": ["a"]}]},
        {"category": "x", "description": "d", "groups": []},
        {
            "category": "x",
            "description": "d",
            "groups": [{"weight": 1, "after": ["a"], "phrases": ["b"], "patterns": ["c"]}],
        },
        {
            "category": "x",
            "description": "d",
            "groups": [{"weight": 1, "where": "middle", "phrases": ["b"]}],
        },
    ],
)
def test_schema_refuses(bad: dict[str, Any]) -> None:
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(bad)


def test_every_shipped_category_covers_many_languages() -> None:
    for name, lexicon in SHIPPED.items():
        languages = {group.get("lang") for group in lexicon["groups"]}
        if name == "chat":  # its greetings in all languages stand in one group
            assert len(lexicon["groups"][0]["phrases"]) > 300
        assert languages >= LANGUAGES, (name, LANGUAGES - languages)


@given(st.text(max_size=400))
@settings(max_examples=200, deadline=None)
def test_match_never_raises(shipped: LexiconSet, text: str) -> None:
    evidence = shipped.match(text)
    assert [name for name, _ in evidence.totals] == CATEGORIES
    assert all(abs(value) <= shipped.saturation for _, value in evidence.totals)
    assert evidence == shipped.match(text)
    shares, silent = probabilities(evidence, prior=TWELFTH, abstain_logit=0.0, temperature=1.0)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert 0.0 <= silent <= 1.0


@given(
    st.text(alphabet=st.characters(codec=None, categories=("L", "M", "N", "P", "Z", "Cs", "So")))
)
@settings(max_examples=150, deadline=None)
def test_match_takes_any_script_and_lone_surrogates(shipped: LexiconSet, text: str) -> None:
    assert len(shipped.match(text).totals) == 12
    assert all(token.strip() for token in tokenize(fold(text)))


@given(
    st.text(alphabet="abcdefgh", min_size=1, max_size=6), st.text(alphabet="abcdefgh", min_size=1)
)
@settings(deadline=None)
def test_word_boundaries_hold(word: str, glued: str) -> None:
    lexicons = one({"weight": 1, "phrases": [word]})
    assert lexicons.match(f"so {word}, then").hits
    assert not lexicons.match(f"so {word}{glued} and z{word}").hits


@given(
    st.lists(
        st.sampled_from(["red", "green", "blue", "one", "two", ".", "not at all"]), max_size=40
    )
)
@settings(deadline=None)
def test_a_negative_group_never_adds(words: list[str]) -> None:
    positive = {"weight": 2, "phrases": ["red", "green", "one two"]}
    negative = {"weight": -1.5, "phrases": ["not at all", "blue"]}
    text = " ".join(words)
    assert total(one(positive, negative), text) <= total(one(positive), text)


@given(st.text(alphabet="ab wri te poem.", max_size=80), st.integers(min_value=1, max_value=5))
@settings(deadline=None)
def test_repeating_a_short_text_adds_nothing_new_per_entry(text: str, times: int) -> None:
    lexicons = one({"weight": 1, "phrases": ["a", "b", "poem"]}, saturation=1000.0)
    once = {hit.entry for hit in lexicons.match(text).hits}
    assert {hit.entry for hit in lexicons.match(" . ".join([text] * times)).hits} == once
