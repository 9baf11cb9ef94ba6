"""Forms of prompts, and what a model's evidence knows of a kind (`category/form`)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.catalog import Evidence, Finding
from llmrouterd.classifier.form import FORMS, form_of
from llmrouterd.decision import decide
from llmrouterd.feedback import by_model
from llmrouterd.policy import Policy
from llmrouterd.scorer import Load
from tests.support.policies import catalog, model, policy, read, signals


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("exam", "Which planet is largest?\nA. Mars\nB. Venus\nC. Jupiter\nD. Earth"),
        ("exam", "What is a noun? (a) a thing (b) an action (c) a colour"),
        ("code", "def f(x):\n    return x + 1\nwhat is wrong here?"),
        ("code", "```js\nlet a\n```"),
        ("formula", r"Evaluate \int_0^1 x dx"),
        ("formula", "solve $x^2 = 4$ for x"),
        ("long", "once upon a time " * 40),
        ("question", "who wrote Faust?"),
        ("question", "誰が書いた？"),
        ("plain", "the largest temple complex ever built is found in"),
    ],
)
def test_the_form_of_a_prompt(form: str, text: str) -> None:
    assert form_of(text) == form


@given(st.text(max_size=6000))
def test_every_text_has_one(text: str) -> None:
    assert form_of(text) in FORMS


def test_the_classifier_reads_the_form_of_the_newest_turn() -> None:
    assert read("who wrote Faust?").form == "question"
    assert read([{"role": "system", "content": "x"}]).form == ""


def known(**means: float) -> dict[str, Evidence]:
    return {
        name.replace("_", "/"): Evidence(
            mean=mean, sd=0.1, sources=(Finding(source="test", mean=mean, sd=0.1),)
        )
        for name, mean in means.items()
    }


def first(category: str, form: str, **fields: dict[str, Evidence]) -> str:
    models = [model(f"box/{name}", evidence=evidence) for name, evidence in fields.items()]
    asked = signals(category=category, probabilities={category: 1.0}, form=form)
    return decide(asked, policy(), catalog(*models), Load()).ranked[0].model


def test_what_is_known_of_the_kind_counts_before_the_category() -> None:
    general = known(overall=1.0, factual=1.0, factual_exam=0.0)
    special = known(overall=0.8, factual=0.2, factual_exam=1.0)
    assert first("factual", "exam", general=general, special=special) == "box/special"
    assert first("factual", "question", general=general, special=special) == "box/general"


def test_a_lead_in_a_kind_that_may_be_an_accident_does_not_count() -> None:
    general = known(overall=1.0, factual=1.0, factual_exam=0.5)
    special = known(overall=0.8, factual=0.2, factual_exam=0.6)
    assert first("factual", "exam", general=general, special=special) == "box/general"


def test_thumbs_count_for_the_kind_the_category_and_overall() -> None:
    row = {"model": "box/a", "category": "coding/code", "number": 3, "total": 2.0}
    assert by_model([row]) == {
        "box/a": {"coding/code": (3, 2.0), "coding": (3, 2.0), "overall": (3, 2.0)}
    }


def test_an_estimate_for_a_kind_is_evidence_of_its_own() -> None:
    made = model("box/a", quality={"factual": 0.5, "factual/exam": 0.9})
    assert made.evidence["factual/exam"].mean > made.evidence["factual"].mean + 0.5
    assert "factual/question" not in made.evidence


def test_the_policy_takes_estimates_for_kinds() -> None:
    made: Policy = policy("models: [{match: '*', quality: {factual/exam: 0.9}}]")
    assert dict(made.models[0].quality) == {"factual/exam": 0.9}
