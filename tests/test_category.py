"""The trained classifier: its file, its arithmetic, and what the shipped one reads."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.classifier.category import continued, read_category
from llmrouterd.classifier.features import STRUCTURE, structure, words_and_pieces
from llmrouterd.classifier.model import ModelError, pack, read_model, unpack, write_model
from llmrouterd.config import load_policy
from llmrouterd.config.weights import category_model
from llmrouterd.policy import Policy
from llmrouterd.settings import Settings
from tests.support.policies import policy


@given(st.lists(st.lists(st.integers(-127, 127), min_size=5, max_size=5), min_size=1, max_size=40))
def test_lanes_add_up_side_by_side(rows: list[list[int]]) -> None:
    total = sum(pack(row) for row in rows)
    assert unpack(total, 5) == [sum(column) for column in zip(*rows, strict=True)]


@given(st.text(max_size=3000))
def test_any_text_has_logits_that_are_a_distribution(text: str) -> None:
    model = category_model()
    logits = model.logits(text)
    assert len(logits) == len(model.categories) == 12
    assert sum(map(math.exp, logits)) == pytest.approx(1.0)
    assert len(structure(text)) == len(STRUCTURE)


def test_features_of_a_long_text_are_those_of_its_ends() -> None:
    words, pieces = words_and_pieces("begin " + "middle " * 400 + "finish")
    assert words["^begin"] == words["$finish"] == 1
    assert words["middle"] < 70
    assert pieces[" fi"] == 1
    assert words_and_pieces("")[0] == {}


def small(**changes: object) -> bytes:
    head = {
        "categories": ["one", "two"],
        "bias": [0.0, 0.0],
        "of_structure": [[0.0, 0.0] for _ in STRUCTURE],
        **changes,
    }
    word = bytes([127, (-127) & 255, 255])
    return write_model(head, [(["yes"], word, 0.1, 1.0), (["zz"], bytes([0, 0, 1]), 0.1, 1.0)])


def test_a_written_model_is_read_and_weighs() -> None:
    model = read_model(small(), "abc")
    assert (model.categories, model.digest) == (("one", "two"), "abc")
    said, silent = model.logits("yes"), model.logits("no")
    assert said[0] > said[1] + 1.0
    assert silent[0] == pytest.approx(silent[1]) == pytest.approx(math.log(0.5))


@pytest.mark.parametrize("content", [b"", b"other", small()[:60], small()[:28] + b"garbage"])
def test_a_damaged_file_is_told(content: bytes) -> None:
    with pytest.raises(ModelError):
        read_model(content, "")


def test_weights_for_other_categories_than_their_rows_are_refused() -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_model(small(categories=["one", "two", "three"]), "")


@pytest.mark.parametrize(
    ("category", "text"),
    [
        ("coding", "my flask app returns 500 when i post json, here is the traceback"),
        ("math", "was ist 17 Prozent von 2400"),
        ("creative", "write me a limerick about a lazy lighthouse keeper"),
        ("translation", "как сказать по-испански «до скорой встречи»"),
        ("summarization", "please condense the following minutes into five bullet points: ..."),
        ("advice", "¿qué puedo cocinar hoy con arroz, pimientos y pollo?"),
        ("factual", "who was the first emperor of Brazil"),
        ("chat", "hey how are you doing today"),
        ("roleplay", "you are a grumpy innkeeper and I am a lost traveller, stay in character"),
        ("rewriting", "make this mail sound friendlier: I need the report by noon."),
        ("extraction", "positive or negative? 'The room smelled and nobody cared.'"),
        ("reasoning", "if all my neighbours have cats and Jo has none, is Jo my neighbour?"),
    ],
)
def test_what_the_shipped_classifier_reads(shipped: Policy, category: str, text: str) -> None:
    reading = read_category([text], shipped)
    assert reading.category == category, reading
    assert sum(reading.probabilities.values()) == pytest.approx(1.0)
    assert reading.doubt == pytest.approx(0.0, abs=1e-9)


def test_a_short_turn_goes_on_with_its_task(shipped: Policy) -> None:
    before = "Write a Python function that parses ISO dates and handle the errors"
    assert read_category(["and the other way round?", before], shipped).category == "coding"
    assert read_category(["Write a poem about autumn", before], shipped).category == "creative"
    assert continued("continue") > continued("and what about this one") > continued("x " * 20)
    assert continued("word " * 400) == 0.0


def test_a_lexicon_line_outweighs_the_classifier(tmp_path: Path) -> None:
    # `integral` has a weight of 6 in the small lexicons.
    made = policy("classification: {lexicon_weight: 3}")
    plain = policy("classification: {lexicon_weight: 0}")
    text = "tell me a story about an integral part"
    assert read_category([text], made).category == "math"
    assert read_category([text], plain).category == "creative"


def test_a_category_of_the_owners_own_needs_its_lexicon(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "legal.yaml").write_text(
        "category: legal\ndescription: law\ngroups: [{weight: 8, phrases: [tenancy]}]\n"
    )
    file = tmp_path / "router.yaml"
    file.write_text("categories: {legal: {lexicon: legal.yaml}, coding: {}}\n")
    made = load_policy(Settings(policy=file, rules=rules, state=tmp_path, environ={}))
    assert read_category(["my tenancy ends in May"], made).category == "legal"
    strange = read_category(["write a poem about the sea"], made)
    assert strange.category == "general"
    assert strange.doubt > 0.8
    assert set(strange.probabilities) == {"legal", "coding"}
