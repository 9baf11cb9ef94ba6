"""The extra `semantic`: its arithmetic everywhere, its real encoder where it is installed."""

from __future__ import annotations

import json
import math

import pytest

from llmrouterd import data
from llmrouterd.classifier.category import read_category
from llmrouterd.classifier.model import CategoryModel, ModelError
from llmrouterd.classifier.semantic import BlendedModel, blend
from llmrouterd.config.weights import blended_model, category_model, sentence_encoder
from tests.support.policies import ROOT, policy

installed = pytest.mark.skipif(sentence_encoder() is None, reason="the extra is not installed")


def nothing(text: str) -> list[float]:
    return [0.0] * 512


@installed
def test_it_is_blended_in_where_it_is_installed() -> None:
    model = blended_model()
    assert isinstance(model, BlendedModel)
    assert policy().model is model
    assert isinstance(policy("classification: {semantic: 'off'}").model, CategoryModel)
    assert policy("classification: {model: none}").model is None


def test_the_logits_are_a_distribution_and_half_of_each() -> None:
    model = blend(category_model(), nothing, data.SEMANTIC_MODEL.read_bytes())
    text = "write a python function that sorts a list"
    logits = model.logits(text)
    assert sum(map(math.exp, logits)) == pytest.approx(1.0)
    plain = model.plain.logits(text)
    # An embedding of zeros says the same of every text, so it must not change the order much.
    assert max(range(12), key=logits.__getitem__) == max(range(12), key=plain.__getitem__)


def test_without_the_package_the_plain_classifier_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmrouterd.config.weights._ENCODER", "no_such_module")
    assert sentence_encoder.__wrapped__() is None


@installed
def test_it_reads_prompts_it_has_never_seen_better() -> None:
    right = {"off": 0, "auto": 0}
    lines = (ROOT / "training" / "check" / "category.jsonl").read_text(encoding="utf-8")
    rows = [row for row in map(json.loads, lines.splitlines()[::3]) if "prompt" in row]
    for kind in right:
        made = policy(f"classification: {{semantic: '{kind}', lexicon_weight: 0}}")
        for row in rows:
            right[kind] += read_category([row["prompt"]], made).category == row["category"]
    assert right["auto"] > right["off"] + 5


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b'{"categories": ["x"], "weights": [], "bias": []}', b'{"categories": 3}'],
)
def test_damaged_weights_are_told(content: bytes) -> None:
    with pytest.raises(ModelError):
        blend(category_model(), nothing, content)
