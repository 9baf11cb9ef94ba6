"""Probes held against answers of every shape: right, wrong, unclear, hostile."""

from __future__ import annotations

import json
import sys
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrouterd.probes import (
    LEVELS,
    Probe,
    generate,
    verify,
)
from llmrouterd.probes.checks import (
    CallCheck,
    ChoiceCheck,
    DateCheck,
    JsonCheck,
    ListCheck,
    NumberCheck,
    PhraseCheck,
    RuleCheck,
    TimeCheck,
)
from llmrouterd.probes.generate import KINDS
from llmrouterd.probes.jsons import NoJson, find_json
from llmrouterd.probes.number_words import in_words
from llmrouterd.probes.numbers import show
from llmrouterd.probes.translation import _spellings
from tests.support.probe_places import as_calls, bounded, probe_ids, short_reference

SHORT = (NumberCheck, ChoiceCheck, ListCheck, PhraseCheck, DateCheck, TimeCheck)
PHRASINGS = (
    "{}",
    "{}.",
    "Answer: {}",
    "answer: {}",
    "Answer:\n{}",
    "**Answer:** {}",
    "**Answer: {}**",
    "Final answer: {}.",
    "The answer is {}.",
    "The final answer is: **{}**",
    "So we are done.\n\nAnswer: {}",
    "<think>Is it 12345, or Nobody? Answer: 99999</think>\nAnswer: {}",
    "Let me see, it must be so.</think>Answer: {}",
    "```\nAnswer: {}\n```",
    "\\boxed{{{}}}",
    "$\\boxed{{\\text{{{}}}}}$",
    "  \n Answer:   {}  \n\n",
    "<|channel|>analysis<|message|>Perhaps 77.<|end|><|channel|>final<|message|>Answer: {}",
    "Answer: {}</s>",
    "Answer: {}\n\nAnswer: {}",
    "### Answer: {}",
)


def wrong_answers(probe: Probe) -> list[str]:
    """Answers near to the right one, and wrong."""
    check = probe.check
    if isinstance(check, NumberCheck):
        near = [check.value + 1, check.value - 1, check.value * 10 + 1, -check.value - 1]
        return [show(value) for value in near]
    if isinstance(check, ChoiceCheck):
        return [*check.others[:3], "Nobody"]
    if isinstance(check, ListCheck):
        others = [name for name in check.universe if name not in check.items]
        return [", ".join(others), ", ".join(check.universe)]
    if isinstance(check, DateCheck):
        return [str(date.fromisoformat(check.day) + timedelta(days=n)) for n in (-1, 1, 7)]
    if isinstance(check, TimeCheck):
        hour, minute = check.time.split(":")
        return [f"{(int(hour) + 12) % 24:02d}:{minute}", f"{hour}:{(int(minute) + 5) % 60:02d}"]
    assert isinstance(check, PhraseCheck)
    return [f"x{short_reference(probe)}", f"{short_reference(probe)}x", "nothing"]


# --- verification: right answers in many words --------------------------------------------------


@given(probe_ids, st.sampled_from(PHRASINGS))
@settings(bounded, max_examples=400)
def test_right_answers_pass_in_any_phrasing(place: tuple[tuple[str, int], int], way: str) -> None:
    (kind, level), seed = place
    probe = generate(kind, level, seed)
    if isinstance(probe.check, SHORT):
        text = short_reference(probe)
        verdict = verify(probe, way.replace("{}", text).replace("{{", "{").replace("}}", "}"))
        assert verdict.passed, (verdict.reason, probe.check)


@given(probe_ids, st.sampled_from(PHRASINGS), st.integers(0, 3))
@settings(bounded, max_examples=400)
def test_wrong_answers_never_pass(place: tuple[tuple[str, int], int], way: str, which: int) -> None:
    (kind, level), seed = place
    probe = generate(kind, level, seed)
    if isinstance(probe.check, SHORT):
        wrong = wrong_answers(probe)
        text = wrong[which % len(wrong)]
        answer = way.replace("{}", text).replace("{{", "{").replace("}}", "}")
        assert not verify(probe, answer).passed, (answer, probe.check)


@given(probe_ids, st.integers(0, 3), st.booleans())
@settings(bounded, max_examples=300)
def test_two_answers_never_pass(
    place: tuple[tuple[str, int], int], which: int, right_first: bool
) -> None:
    (kind, level), seed = place
    probe = generate(kind, level, seed)
    if not isinstance(probe.check, SHORT):
        return
    right, wrongs = short_reference(probe), wrong_answers(probe)
    pair = [right, wrongs[which % len(wrongs)]]
    if not right_first:
        pair.reverse()
    one, two = pair
    for answer in (
        f"Answer: {one}\nAnswer: {two}",
        f"Answer: {one} or {two}",
        f"The answer is {one}. The answer is {two}.",
        f"\\boxed{{{one}}} \\boxed{{{two}}}",
        f"It is {one} or {two}",
    ):
        assert not verify(probe, answer).passed, (answer, probe.check)


def number_probe(value: str) -> Probe:
    probe = generate("word_problem", 1, 1)
    check = NumberCheck(value=Fraction(value))
    return _with(probe, check=check, messages=({"role": "user", "content": "How many? 5 and 8."},))


def _with(probe: Probe, **changes: Any) -> Probe:
    fields = {name: getattr(probe, name) for name in Probe.__dataclass_fields__} | changes
    return Probe(**fields)


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("1234", "1,234"),
        ("1234", "Answer: 1 234"),
        ("1234", "1'234"),
        ("1234", "1\u202f234"),
        ("1234567", "1.234.567"),
        ("1234567", "Answer: 1,234,567.00"),
        ("1234.5", "1.234,5"),
        ("2.5", "2,5"),
        ("2.5", "2.50"),
        ("2.5", "Answer: 5/2"),
        ("2.5", "\\boxed{\\frac{5}{2}}"),
        ("-7", "−7"),
        ("-7", "Answer: –7"),
        ("-7", "minus: -7"),
        ("42", "４２"),
        ("42", "答案是42。"),
        ("42", "**42**"),
        ("42", "$42$"),
        ("42", "€42"),
        ("42", "42 km²"),
        ("42", "42%"),
        ("42", "The answer is forty-two."),
        ("42", "Answer: x = 42"),
        ("42", "5 * 8 + 2 = 42"),
        ("42", "Answer: 42 (5 times 8, plus 2)"),
        ("42", "First 5 + 8 = 13.\nThen 13 + 29 = 42"),
        ("42", "We get 13, then 29. So she has 42 apples in total."),
        ("42", "Answer: 42 apples"),
        ("42", "Answer: $5 \\times 8 + 2 = 42$"),
        ("42", "Réponse : 42"),
        ("42", "٤٢"),
        ("42", "Answer: `42`"),
        ("42", "Answer: 42\n\nI hope this is clear!"),
        ("1234", "1{,}234"),
        ("0", "Answer: 0"),
        ("0", "zero"),
        ("300", "Answer: 3e2"),
        ("42", "Answer: $\\mathbf{42}$"),
    ],
)
def test_numbers_are_read_as_people_write_them(value: str, answer: str) -> None:
    verdict = verify(number_probe(value), answer)
    assert verdict.passed, verdict.reason


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("42", "42 or 43"),
        ("42", "It is 42. It is 43."),
        ("42", "Answer: 43\nAnswer: 42"),
        ("42", "Answer: 42\nActually, wait: it is 43."),
        ("42", "4 2"),
        ("42", "420"),
        ("42", "0.42"),
        ("42", "-42"),
        ("42", "42.5"),
        ("42", "1042"),
        ("42", "v42b"),
        ("42", "40 to 44"),
        ("42", ""),
        ("42", "   \n"),
        ("42", "<think>Answer: 42</think>"),
        ("42", "<think>Answer: 42"),
        ("42", "Answer: <number>"),
        ("42", "10^42"),
        ("42", "41, 42, 43"),
        ("42", "Answer: 42, 43"),
        ("42", "It could be 42, but it could also be 43"),
        ("42", "42,43"),
        ("1234", "1.234"),
        ("1.234", "1,234"),
        ("42", "9" * 5000),
        ("42", "forty"),
        ("42", "forty-two or forty-three"),
        ("42", "Answer: " + "42 " * 10 + "41"),
        ("2", "Answer: 4/2/2"),
        ("42", "\\boxed{}"),
        ("42", "I cannot answer this."),
        ("42", "Answer: 21 + 20 = 41, not 42"),
    ],
)
def test_numbers_that_are_wrong_or_unclear_fail(value: str, answer: str) -> None:
    assert not verify(number_probe(value), answer).passed


def choice_probe() -> Probe:
    check = ChoiceCheck(accepted=("Canberra",), others=("Sydney", "Melbourne"))
    asked = ({"role": "user", "content": "What is the capital of Australia? Name it."},)
    return _with(generate("capital", 1, 1), check=check, messages=asked)


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ("Canberra", True),
        ("canberra", True),
        ("CANBERRA!", True),
        ("Answer: **Canberra**", True),
        ("The capital of Australia is Canberra.", True),
        ("Canberra, not Sydney", True),
        ("It is not Sydney but rather this.\nAnswer: Canberra", True),
        ("Ｃanberra", True),
        ("What is the capital of Australia? Name it.\nCanberra", True),
        ("Canberra (Sydney is larger)", True),
        ("Sydney", False),
        ("Sydney, Canberra", False),
        ("Canberra or Sydney", False),
        ("Canberra, Sydney, Melbourne", False),
        ("Not Canberra", False),
        ("It isn't Canberra", False),
        ("Canberran", False),
        ("Canberra / Perth", False),
        ("", False),
        ("Either Canberra or Perth", False),
        ("What is the capital of Australia? Name it.", False),
        ("Answer: Canberra\nAnswer: Sydney", False),
        ("Answer: yes", False),
    ],
)
def test_choices(answer: str, passes: bool) -> None:
    verdict = verify(choice_probe(), answer)
    assert verdict.passed is passes, verdict.reason


def json_probe(value: Any, unordered: bool = False) -> Probe:
    check = JsonCheck(value=json.dumps(value), unordered=unordered)
    return _with(generate("record_json", 1, 1), check=check)


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ('{"name": "Ada", "n": 3, "ok": true, "x": null}', True),
        ('```json\n{"name": "ada", "n": "3", "ok": "true", "x": ""}\n```', True),
        ('Here you are: {"x": null, "n": 3.0, "ok": true, "name": " Ada "} Bye!', True),
        ('{"name": "Ada", "n": 3, "ok": true, "x": null,}', True),
        ('{"name": "Ada", "n": 4, "ok": true, "x": null}', False),
        ('{"name": "Ada", "n": 3, "ok": 1, "x": null}', False),
        ('{"name": "Ada", "n": 3, "ok": true}', False),
        ('{"name": "Ada", "n": 3, "ok": true, "x": null, "y": 1}', False),
        ('{"name": "Ada", "name": "Bob", "n": 3, "ok": true, "x": null}', False),
        ('{"name": "Ada", "n": 3, "ok": true, "x": null} {"name": "Bob"}', False),
        ('{"name": "Ada", "n": NaN, "ok": true, "x": null}', False),
        ('[{"name": "Ada", "n": 3, "ok": true, "x": null}', False),
        ('{"name": ["Ada"], "n": 3, "ok": true, "x": null}', False),
        ("name: Ada, n: 3", False),
        ("{", False),
        ("[" * 5000 + "]" * 5000, False),
        ('{"a":' * 3000, False),
        ('{"n": ' + "9" * 6000 + "}", False),
        ("{}" * 10_000, False),
    ],
)
def test_json_is_compared_by_value(answer: str, passes: bool) -> None:
    probe = json_probe({"name": "Ada", "n": 3, "ok": True, "x": None})
    verdict = verify(probe, answer)
    assert verdict.passed is passes, verdict.reason


def test_arrays_may_be_sets_and_may_be_wrapped() -> None:
    probe = json_probe(["a@b.example", "c@d.example"], unordered=True)
    assert verify(probe, '["c@d.example", "a@b.example"]').passed
    assert verify(probe, '{"mails": ["a@b.example", "c@d.example"]}').passed
    assert not verify(probe, '["c@d.example"]').passed
    assert not verify(probe, '["c@d.example", "c@d.example"]').passed
    assert not verify(probe, '["c@d.example", "a@b.example", "e@f.example"]').passed
    with pytest.raises(NoJson):
        find_json("no brackets")


def test_tool_calls_are_compared_by_name_and_arguments() -> None:
    for level in LEVELS:
        for seed in range(20):
            probe = generate("tool_call", level, seed)
            assert isinstance(probe.check, CallCheck)
            calls = as_calls(probe.reference)
            assert verify(probe, "I call it.", calls[::-1]).passed
            assert verify(probe, "", json.loads(probe.reference)).passed
            assert not verify(probe, probe.reference).passed
            assert not verify(probe, "", [*calls, calls[0]]).passed
            assert not verify(probe, "", calls[1:]).passed
            broken = [
                {**call, "function": {**call["function"], "arguments": "{"}} for call in calls
            ]
            assert not verify(probe, "", broken).passed
            other = [{**call, "function": {**call["function"], "name": "x"}} for call in calls]
            assert not verify(probe, "", other).passed
            for junk in (
                [None],
                ["x"],
                [{"function": None}],
                [{"function": {"arguments": 3}}],
                [{}],
            ):
                assert not verify(probe, "", junk).passed
            bomb = {"name": calls[0]["function"]["name"], "arguments": "[" * 90_000}
            assert not verify(probe, "", [bomb] * len(calls)).passed
    plain_probe = generate("capital", 1, 1)
    assert not verify(plain_probe, plain_probe.reference, [{"name": "x"}]).passed


def test_rules_are_each_enforced() -> None:
    for seed in range(20):
        probe = generate("rewrite", 5, seed)
        good = probe.reference
        assert verify(probe, f"Here is the rewritten text:\n\n{good}").passed
        assert verify(probe, f'"{good}"').passed
        assert isinstance(probe.check, RuleCheck)
        letter = next(r.words[0] for r in probe.check.rules if r.kind == "no_letter")
        kept = next(r.words for r in probe.check.rules if r.kind == "keep")
        assert not verify(probe, good.upper()).passed
        assert not verify(probe, good + " more.").passed
        assert not verify(probe, good.replace(kept[-1], "")).passed
        assert not verify(probe, good[:-1] + f" {letter}.").passed
        assert not verify(probe, good[:-1] + " and" * 40 + ".").passed
        assert not verify(probe, good[:-1] + " 7777.").passed
        assert not verify(probe, "").passed
    summary = generate("summary", 3, 1)
    assert not verify(summary, summary.reference + " That cost 5,000 euros.").passed
    assert not verify(summary, summary.reference.replace("s", "")).passed


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_answers_never_raise_and_never_pass(kind: str) -> None:
    probe = generate(kind, 3, 11)
    hostile = [
        "a" * 1_000_001,
        "1" * 40_000,
        "Answer: " * 6000,
        "\\boxed{" * 7000,
        "{" * 49_000,
        "((" * 20_000,
        "\ud800",
        "\x00\x01",
        "<think>" * 5000,
        "</think>" * 5000,
        "-" * 40_000,
        "**" * 20_000,
        "1,1" * 16_000,
        "not " * 12_000,
        "\u0301" * 30_000,
        "٣" * 3000,
        "1 1 1 " * 8000,
        '"' * 40_000,
        "Answer: 1e999",
        "Answer: 1/0",
        "\\frac{1}{0}",
        "９" * 100,
        "a: " * 16_000,
        "(" * 199 + "x",
        "I do not know.",
        "Yes and no.",
        "- 1\n- 0\n" * 5000,
        "= " * 20_000,
        "<|channel|>analysis" * 2000,
    ]
    for answer in hostile:
        verdict = verify(probe, answer)
        assert not verdict.passed, answer[:40]
        assert len(verdict.reason) <= 200


@given(st.text(max_size=400), probe_ids)
@settings(bounded, max_examples=300)
def test_any_text_gets_a_verdict(text: str, place: tuple[tuple[str, int], int]) -> None:
    (kind, level), seed = place
    probe = generate(kind, level, seed)
    assert isinstance(verify(probe, text).passed, bool)
    # Thoughts never count, whatever they hold.
    assert not verify(probe, f"<think>{probe.reference}\n{text}".replace("</think>", "")).passed


# --- words for numbers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "language", "words"),
    [
        (0, "en", "zero"),
        (21, "en", "twenty-one"),
        (342, "en", "three hundred forty-two"),
        (70_015, "en", "seventy thousand fifteen"),
        (1, "de", "eins"),
        (21, "de", "einundzwanzig"),
        (101, "de", "einhunderteins"),
        (17, "de", "siebzehn"),
        (76, "de", "sechsundsiebzig"),
        (1871, "de", "eintausendachthunderteinundsiebzig"),
        (30, "de", "dreißig"),
        (71, "fr", "soixante et onze"),
        (80, "fr", "quatre-vingts"),
        (81, "fr", "quatre-vingt-un"),
        (91, "fr", "quatre-vingt-onze"),
        (77, "fr", "soixante-dix-sept"),
        (200, "fr", "deux cents"),
        (201, "fr", "deux cent un"),
        (1000, "fr", "mille"),
        (80_000, "fr", "quatre-vingt mille"),
        (200_000, "fr", "deux cent mille"),
        (21, "fr", "vingt et un"),
        (99, "fr", "quatre-vingt-dix-neuf"),
        (22, "es", "veintidós"),
        (31, "es", "treinta y uno"),
        (100, "es", "cien"),
        (500, "es", "quinientos"),
        (101, "es", "ciento uno"),
        (21_000, "es", "veintiún mil"),
        (31_700, "es", "treinta y un mil setecientos"),
        (100_000, "es", "cien mil"),
        (21, "it", "ventuno"),
        (28, "it", "ventotto"),
        (33, "it", "trentatré"),
        (108, "it", "centootto"),
        (1001, "it", "milleuno"),
        (2000, "it", "duemila"),
        (180, "it", "centoottanta"),
        (10, "zh", "十"),
        (15, "zh", "十五"),
        (110, "zh", "一百一十"),
        (101, "zh", "一百零一"),
        (1001, "zh", "一千零一"),
        (1010, "zh", "一千零一十"),
        (10_010, "zh", "一万零一十"),
        (20, "zh", "二十"),
        (100_500, "zh", "十万零五百"),
        (123_456, "zh", "十二万三千四百五十六"),
        (1100, "zh", "一千一百"),
    ],
)
def test_numbers_in_words(number: int, language: str, words: str) -> None:
    assert in_words(number, language) == words


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "it", "zh"])
def test_numbers_in_words_are_all_different(language: str) -> None:
    numbers = [*range(2500), *range(9990, 10_120), *range(99_900, 101_200), *range(998_900, 10**6)]
    assert len({in_words(number, language) for number in numbers}) == len(set(numbers))
    with pytest.raises(ValueError):
        in_words(10**6, language)


def test_other_spellings_of_numbers_pass() -> None:
    assert "hunderteins" in _spellings(101, "de")
    assert "one hundred and five" in _spellings(105, "en")
    assert "两千零一" in _spellings(2001, "zh")
    base = generate("number_to_words", 3, 2)
    probe = _with(base, check=PhraseCheck(accepted=_spellings(642, "en")))
    for answer in ("six hundred and forty-two", "Six hundred forty two.", "SIX HUNDRED FORTY-TWO"):
        assert verify(probe, f"In English it is {answer}").passed
    for answer in (
        "six hundred forty-three",
        "six hundred forty",
        "642",
        "six hundred forty-two or 3",
    ):
        assert not verify(probe, f"Answer: {answer}").passed


def test_no_recursion_limit_is_near() -> None:
    assert sys.getrecursionlimit() >= 500
    deep = "[" * 19 + "1" + "]" * 19
    assert find_json(deep)
