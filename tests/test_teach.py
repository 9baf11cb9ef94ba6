"""The owner's corrections: examples and how near is near enough, what the daemon keeps of them,
and the lexicon line that would say the same."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmrouterd.classifier import classify
from llmrouterd.classifier.examples import MOST_EXAMPLES, Examples, blend, features, taught
from llmrouterd.config.insertion import InsertionError, insert_phrase
from llmrouterd.data import RULES
from llmrouterd.explanation import in_words
from llmrouterd.lessons import MOST_REMEMBERED
from llmrouterd.signals import RequestContext
from llmrouterd.suggestion import choose_phrase, phrases
from tests.conftest import Opener, Scripted
from tests.support.daemon import Running, open_running
from tests.support.policies import chat, lexicons_only, plain_environment, policy

LOAF = "How long should my sourdough loaf cool before I cut it?"


def examples(*rows: tuple[str, str]) -> Examples:
    return Examples.of(
        {"id": at, "category": category, "text": text}
        for at, (category, text) in enumerate(rows, start=1)
    )


KNOWN = examples(
    ("advice", LOAF),
    ("factual", "Which river flows through Vienna?"),
    ("translation", "把这个句子翻译成英文"),
)


@pytest.mark.parametrize(
    ("text", "category", "least"),
    [
        (LOAF, "advice", 0.999),
        ("  how  LONG should my sourdough loaf cool before i cut it\n", "advice", 0.999),
        ("Hi! " + LOAF + " Thanks!", "advice", 0.8),
        ("How long should my sourdugh loaf cool before I cut it?", "advice", 0.75),
        ("How long should my rye loaf cool before I cut it?", "advice", 0.65),
        ("which river flows thru vienna", "factual", 0.65),
        ("请把这个句子翻译成英文", "translation", 0.8),
    ],
)
def test_what_is_said_again_in_other_words_is_near(text: str, category: str, least: float) -> None:
    near = KNOWN.nearest(text)
    assert near is not None
    assert near.category == category
    assert least <= near.similarity <= 1.0


@pytest.mark.parametrize(
    "text",
    ["", "   ", "?!", "Write a poem about rain.", "How long is the Danube?", "continue", "句"],
)
def test_other_prompts_are_far(text: str) -> None:
    near = KNOWN.nearest(text)
    assert near is None or near.similarity < 0.5
    assert Examples().nearest(text) is None


def test_equal_words_go_to_the_newest_and_the_oldest_are_left_out() -> None:
    twice = examples(("math", LOAF), ("advice", LOAF))
    near = twice.nearest(LOAF)
    assert near is not None
    assert (near.category, near.id) == ("math", 1)
    many = examples(*(("chat", f"number {n} of many") for n in range(MOST_EXAMPLES + 7)))
    assert len(many.rows) == MOST_EXAMPLES
    near = many.nearest("number 3 of many")
    assert near is not None
    assert near.text == "number 3 of many"


def test_only_the_edges_of_a_long_text_are_read() -> None:
    long = "Summarise the minutes. " + "word " * 5000 + "Keep it short."
    assert len(features(long)) < 60
    near = examples(("summarization", long)).nearest(long[:999] + "other " * 999 + long[-999:])
    assert near is not None
    assert near.similarity == pytest.approx(1.0)


def test_an_example_stands_for_one_mistake() -> None:
    def reads(category: str) -> Any:
        return lambda text: category

    near = taught(KNOWN, LOAF, "coding", 0.65, reads("coding"))
    assert near is not None
    assert near.category == "advice"
    assert taught(KNOWN, LOAF, "general", 0.65, reads("coding")) is not None
    # What is read otherwise than the example's own words is another task on the same text.
    assert taught(KNOWN, LOAF, "summarization", 0.65, reads("coding")) is None
    assert taught(KNOWN, "How long is the Danube?", "coding", 0.65, reads("coding")) is None
    assert taught(KNOWN, "", "general", 0.0, reads("general")) is None


def test_probabilities_after_an_override_still_sum_to_one() -> None:
    near = KNOWN.nearest("Hi! " + LOAF)
    assert near is not None
    mixed, doubt = blend({"coding": 0.7, "advice": 0.3}, 0.4, near)
    assert sum(mixed.values()) == pytest.approx(1.0)
    assert max(mixed, key=lambda name: mixed[name]) == "advice"
    assert doubt == pytest.approx(0.4 * (1 - near.similarity))


def test_the_classifier_takes_an_example() -> None:
    made = lexicons_only()
    context = RequestContext()
    before = classify(chat(LOAF), made, context)
    assert (before.category, before.taught) == ("general", 0.0)
    after = classify(chat(LOAF), made, context, examples=KNOWN)
    assert after.category == "advice"
    assert after.taught == pytest.approx(1.0)
    strict = policy("classification: {model: none, teach_similarity: 1.0}")
    assert classify(chat("Hi! " + LOAF), strict, context, examples=KNOWN).taught == 0.0
    # The task of a background request is not the human's.
    title = RequestContext(task="title_generation")
    assert classify(chat(LOAF), made, title, examples=KNOWN).taught == 0.0


async def taught_daemon(scripted: Scripted) -> Running:
    daemon, _ = await scripted("a", "b", classification={"model": "none"})
    return daemon


async def test_a_correction_by_id_is_used_at_once_and_kept(scripted: Scripted) -> None:
    daemon = await taught_daemon(scripted)
    answer = await daemon.chat(LOAF)
    assert answer.headers["x-router-category"] == "general"
    id_ = answer.headers["x-router-decision"]
    lesson = await daemon.post("/admin/feedback", {"id": id_, "category": "advice"})
    assert lesson.status == 200, lesson.body
    assert lesson.data["example"]["text"] == LOAF
    assert (lesson.data["decision"], lesson.data["examples"]) == (id_, 1)
    again = await daemon.chat(LOAF.lower())
    assert again.headers["x-router-category"] == "advice"
    explained = await daemon.explain(LOAF)
    assert explained["signals"]["taught"] == pytest.approx(1.0)
    assert "category advice (taught, 100% alike; advice 100%" in explained["words"]
    stored = await daemon.get(f"/admin/decisions/{again.headers['x-router-decision']}")
    assert stored.data["record"]["signals"]["taught"] > 0.9
    assert LOAF.lower() not in json.dumps(stored.data)
    (event,) = daemon.events.of("example.learnt")
    assert event == {"id": 1, "category": "advice", "decision": id_, "client": ""}
    gone = await daemon.request("DELETE", "/admin/examples/1")
    assert (gone.status, gone.data["examples"]) == (200, 0)
    assert (await daemon.request("DELETE", "/admin/examples/1")).status == 404
    assert (await daemon.request("DELETE", "/admin/examples/x")).status == 404
    assert (await daemon.chat(LOAF)).headers["x-router-category"] == "general"


async def test_lessons_outlive_the_daemon(tmp_path: Path) -> None:
    empty: dict[str, Any] = {"backends": []}
    async with open_running(empty, tmp_path) as daemon:
        for category in ("math", "advice"):  # the later one replaces the former
            lesson = {"prompt": f" {LOAF} ", "category": category}
            assert (await daemon.post("/admin/feedback", lesson)).status == 200
    async with open_running(empty, tmp_path) as daemon:
        (row,) = (await daemon.get("/admin/examples")).data["examples"]
        assert (row["text"], row["category"], row["decision"]) == (LOAF, "advice", "")
        near = daemon.state.current.snapshot.examples.nearest(LOAF)
        assert near is not None
        assert near.category == "advice"


async def test_a_better_model_gains_and_the_chosen_one_loses(scripted: Scripted) -> None:
    daemon = await taught_daemon(scripted)
    answer = await daemon.chat(LOAF)
    correction = {"id": answer.headers["x-router-decision"], "category": "advice", "model": "b"}
    lesson = await daemon.post("/admin/feedback", correction)
    assert lesson.status == 200, lesson.body
    assert (lesson.data["model"], lesson.data["instead_of"]) == ("s/b", "s/a")

    def learnt() -> bool:
        known = daemon.state.discovery.knowledge.feedback
        return known.get("s/a", {}).get("advice") == (1, -1.0) and known.get("s/b", {}).get(
            "advice"
        ) == (1, 1.0)

    async with asyncio.timeout(10):
        while not learnt():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("body", "status", "param", "words"),
    [
        ([], 400, None, "JSON object"),
        ({}, 400, "id", "the id of a decision, or a prompt"),
        ({"id": "x", "prompt": "y", "category": "math"}, 400, "id", "or a prompt"),
        ({"id": "x"}, 400, "category", "a better model, or both"),
        ({"prompt": "x"}, 400, "category", "needs its category"),
        ({"prompt": "x", "category": "maths"}, 400, "category", "there are: coding"),
        ({"prompt": "x", "category": "math", "model": "s/a"}, 400, "model", "needs the id"),
        ({"prompt": 7, "category": "math"}, 400, "prompt", "not empty"),
        ({"prompt": "x", "categroy": "math"}, 400, "categroy", "not known"),
        ({"prompt": "<context>a</context>", "category": "math"}, 400, "prompt", "no words"),
        ({"id": "dec_none", "category": "math"}, 404, "id", "No decision 'dec_none'"),
    ],
)
async def test_what_is_no_correction(
    open_daemon: Opener, body: Any, status: int, param: str | None, words: str
) -> None:
    daemon = await open_daemon({"backends": []})
    answer = await daemon.post("/admin/feedback", body)
    assert (answer.status, answer.error["param"]) == (status, param)
    assert words in answer.error["message"]
    assert daemon.state.lessons.rows == []


async def test_models_that_cannot_be_better(scripted: Scripted) -> None:
    daemon = await taught_daemon(scripted)
    id_ = (await daemon.chat(LOAF)).headers["x-router-decision"]
    for model, words in (("s/zz", "No backend serves"), ("s/a", "the model that answered")):
        body = {"id": id_, "model": model, "category": "advice"}
        answer = await daemon.post("/admin/feedback", body)
        assert answer.status == 400
        assert words in answer.error["message"]
    # Nothing of a correction is kept when a part of it is wrong.
    assert daemon.state.lessons.rows == []


async def test_the_words_of_old_decisions_are_gone(scripted: Scripted) -> None:
    daemon = await taught_daemon(scripted)
    id_ = (await daemon.chat(LOAF)).headers["x-router-decision"]
    for number in range(MOST_REMEMBERED):
        daemon.state.lessons.remember(f"dec_{number}", "words")
    answer = await daemon.post("/admin/feedback", {"id": id_, "category": "advice"})
    assert answer.status == 404
    assert "Give the prompt" in answer.error["message"]
    assert (await daemon.post("/admin/feedback", {"id": id_, "model": "b"})).status == 200


def test_phrases_that_may_name_a_task() -> None:
    assert next(phrases("Please plan a week of dinners")) == "plan a week"
    assert next(phrases("把下面的句子翻译成英文")) == "把下面的句子"
    for nothing in ("hi", "continue", "what is it?", "12 34 56", ""):
        assert list(phrases(nothing)) == []


def test_a_phrase_speaks_for_one_category_alone() -> None:
    lexicons = policy().lexicons
    text = "Plan a week of dinners for four"
    assert choose_phrase(text, "advice", lexicons, ()) == "plan a week"
    taken = ["please plan a week in Rome"]
    assert choose_phrase(text, "advice", lexicons, taken) == "week of dinners"
    # "python" speaks for coding in the small lexicons.
    assert choose_phrase("feeding python babies", "advice", lexicons, ()) is None
    assert choose_phrase("hi", "advice", lexicons, ()) is None


@pytest.mark.parametrize("file", sorted(RULES.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_line_leaves_the_rest_of_a_lexicon_as_it_is(file: Path) -> None:
    before = file.read_text()
    once = insert_phrase(before, 'say "hi": now', 3.0)
    after = insert_phrase(once, "plan a week", 3.0)
    known, made = yaml.safe_load(before), yaml.safe_load(after)
    assert made["groups"][:-1] == known["groups"]
    assert made["groups"][-1]["phrases"] == ['say "hi": now', "plan a week"]
    heavier = yaml.safe_load(insert_phrase(after, "third", 6.0))
    assert [group["weight"] for group in heavier["groups"][-2:]] == [3, 6]
    added = set(after.splitlines()) - set(before.splitlines())
    assert len(added) == 5
    assert [line for line in after.splitlines() if line not in added] == before.splitlines()


def test_what_follows_the_groups_stays_behind_them() -> None:
    text = "category: a\ngroups:\n- weight: 2 # two\n  phrases: [x y]\n\n# end\ndescription: d"
    after = insert_phrase(text, "new", 3.0)
    assert after.index("new") < after.index("# end") < after.index("description")
    made = yaml.safe_load(after)
    assert made["groups"][1] == {"weight": 3, "note": "Taught by corrections.", "phrases": ["new"]}
    for wrong in ("groups: [{weight: 1, phrases: [x]}]", "category: a", "- a", "groups: ["):
        with pytest.raises(InsertionError):
            insert_phrase(wrong, "new", 3.0)


def teach(daemon: Running, folder: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "llmrouterd", "teach", "--url", daemon.url, *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env=plain_environment(folder, ROUTER_CONFIG=str(daemon.policy_file)),
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


async def test_teach_on_the_command_line(open_daemon: Opener, tmp_path: Path) -> None:
    cases = [{"prompt": "a python loaf in my bag", "expect": {"category": "coding"}}]
    daemon = await open_daemon({"backends": [], "tests": {"cases": cases}})
    folder = daemon.policy_file.parent
    lexicon = folder / "small-rules" / "advice.yaml"
    before = lexicon.read_text()

    def run(*words: str) -> Any:
        return asyncio.to_thread(teach, daemon, folder, *words)

    status, out, err = await run("--prompt", LOAF, "--category", "advice")
    assert (status, err) == (0, "")
    assert "Example 1: what is at least 65% like it is advice from now on (1 example)." in out
    assert '+      - "sourdough loaf cool"' in out
    assert "read as advice, even without the example" in out
    assert "Nothing is edited" in out
    assert lexicon.read_text() == before

    words = ("--prompt", LOAF, "--category", "advice", "--accept", "--json")
    status, out, err = await run(*words)
    answer = json.loads(out)
    assert (status, answer["line"]["accepted"], answer["line"]["reads"]) == (0, True, "advice")
    assert lexicon.read_text().startswith(before)
    made = yaml.safe_load(lexicon.read_text())
    assert made["groups"][-1]["phrases"] == ["sourdough loaf cool"]
    assert [path.name for path in lexicon.parent.iterdir() if path.name.startswith(".")] == []

    status, out, _ = await run("--list")
    assert status == 0
    assert "sourdough loaf" in out
    status, out, _ = await run("--list", "--json")
    (row,) = json.loads(out)
    status, out, _ = await run("--forget", str(row["id"]))
    assert (status, out) == (0, "Forgotten; 0 examples left.\n")
    status, _, err = await run("--forget", str(row["id"]))
    assert status == 1
    assert "404" in err
    status, _, err = await run("dec_none", "--category", "advice")
    assert status == 1
    assert "No decision 'dec_none'" in err
    status, _, err = await run("--prompt", "hi", "--category", "chat", "--accept")
    assert status == 1
    assert "No lexicon line: no phrase" in err


def test_a_decision_from_before_there_were_examples_is_still_told() -> None:
    signals = {
        "category": "coding",
        "probabilities": {"coding": 1.0},
        "abstain": 0.0,
        "complexity": 0.5,
        "exact_tokens": True,
        "prompt_tokens": 3,
        "tool_tokens": 0,
        "needs": [],
        "task": "",
    }
    told = {"model": "a", "rule": "r", "mode": "routed", "preset": "balanced", "signals": signals}
    assert "category coding (coding 100%" in in_words({**told, "ranked": [], "rejected": []})
