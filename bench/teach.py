"""How near must a prompt be to a corrected one?   python -m bench.teach [--write]

Reads LLMROUTERD_SHARED (default ../shared). Prompts that the classifier misreads are taken as
the owner's lessons, and then asked again: changed a little, beside all other prompts, and with
another task on the same text. --write puts the tables into docs/teaching.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from llmrouterd.chat import parse_request
from llmrouterd.classifier import classify
from llmrouterd.classifier.examples import MOST_CHARACTERS, Examples, taught
from llmrouterd.config import load_policy
from llmrouterd.data import DEFAULT_POLICY
from llmrouterd.policy import Policy
from llmrouterd.settings import Settings
from llmrouterd.signals import RequestContext

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "teaching.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
THRESHOLDS = (0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9)
SIZES = (1, 20, 100, 500)
ROUNDS = {1: 60, 20: 12, 100: 4, 500: 2}
ASKED_AGAIN, OTHERS = 60, 600
POLITE = (
    "Please {}",
    "Hi! {} Thanks!",
    "Could you help me with this? {}",
    "{}\n\nThank you in advance.",
    "hey, {}",
    "I have a question. {}",
)
TASKS = {
    "translation": "Translate this into German:\n\n{}",
    "summarization": "Summarize the following text in two sentences:\n\n{}",
    "rewriting": "Make this sound more formal:\n\n{}",
    "extraction": "List all names and dates in this text:\n\n{}",
    "creative": "Write a short story that begins like this:\n\n{}",
}


class Prompt(NamedTuple):
    """A prompt with the category it should have."""

    text: str
    category: str


def read_prompts() -> list[Prompt]:
    """All labelled prompts, each text once."""
    shared = Path(os.environ.get("LLMROUTERD_SHARED", ROOT.parent / "shared"))
    path = shared / "data" / "routing" / "category_prompts_full.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return list({row["prompt"]: Prompt(row["prompt"], row["category"]) for row in rows}.values())


@cache
def default_policy() -> Policy:
    """The packaged policy with the packaged lexicons."""
    settings = Settings(policy=DEFAULT_POLICY, rules=None, state=ROOT, environ={})
    return load_policy(settings)


@cache
def read(text: str) -> str:
    """The category as the classifier reads it without examples."""
    policy = default_policy()
    body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    return classify(
        parse_request("chat", body, policy.validators), policy, RequestContext()
    ).category


def typos(text: str, rng: random.Random) -> str:
    """Two letters in a hundred dropped, doubled, swapped or replaced."""
    letters = list(text)
    for at, letter in enumerate(text[:-1]):
        if letter.isalpha() and rng.random() < 0.02:
            kind = rng.randrange(4)
            if kind == 0:
                letters[at] = ""
            elif kind == 1:
                letters[at] = letter * 2
            elif kind == 2:
                letters[at], letters[at + 1] = letters[at + 1], letters[at]
            else:
                letters[at] = rng.choice("abcdefghijklmnopqrstuvwxyz")
    return "".join(letters)


def one_word(text: str, rng: random.Random) -> str:
    """A word left out, or replaced by another."""
    words = text.split(" ")
    if len(words) > 3:
        words[rng.randrange(len(words))] = rng.choice(["", "another", "some", "new"])
    return " ".join(words)


CHANGES: dict[str, Callable[[str, random.Random], str]] = {
    "white space": lambda text, rng: "  " + text.replace(" ", "  ").replace("\n", "\n\n") + "\n",
    "case": lambda text, rng: rng.choice([text.upper, text.lower])(),
    "politeness": lambda text, rng: rng.choice(POLITE).format(
        text.replace("{", "").replace("}", "")
    ),
    "typos 2 %": typos,
    "a word": one_word,
}


class Asked(NamedTuple):
    """One prompt asked of one set of examples: what it is, what it is read as, how near it comes
    to which lesson, and whether that lesson's own words are read alike."""

    kind: str
    wanted: str
    read: str
    similarity: float
    category: str
    alike: bool

    def result(self, least: float, *, checked: bool = True) -> str:
        """What an override at this threshold does: `right` or `wrong` where it changes what was
        read for better or worse, else `kept`."""
        near = self.similarity >= least and self.category != self.read
        if not near or (checked and not self.alike):
            return "kept"
        if self.category == self.wanted:
            return "right"
        return "wrong" if self.read == self.wanted else "kept"


def ask(examples: Examples, kind: str, prompt: Prompt) -> Asked:
    """Ask one prompt; the real rule decides whether the example is alike."""
    found = read(prompt.text)
    near = examples.nearest(prompt.text)
    if near is None:
        return Asked(kind, prompt.category, found, 0.0, "", False)
    alike = taught(examples, prompt.text, found, 0.0, read) is not None
    return Asked(kind, prompt.category, found, near.similarity, near.category, alike)


def learn(lessons: list[Prompt]) -> Examples:
    """Examples of these prompts."""
    return Examples.of(
        {"id": at, "category": lesson.category, "text": lesson.text[:MOST_CHARACTERS]}
        for at, lesson in enumerate(lessons)
    )


def rounds(prompts: list[Prompt], size: int, rng: random.Random) -> Iterator[Asked]:
    """Everything that is asked of sets of so many lessons."""
    misread = [prompt for prompt in prompts if read(prompt.text) != prompt.category]
    for _ in range(ROUNDS[size]):
        lessons = rng.sample(misread, size)
        examples = learn(lessons)
        taught_texts = {lesson.text for lesson in lessons}
        for lesson in rng.sample(lessons, min(size, ASKED_AGAIN)):
            for kind, change in CHANGES.items():
                yield ask(examples, kind, Prompt(change(lesson.text, rng), lesson.category))
        for other in rng.sample(prompts, OTHERS if size > 1 else OTHERS // 10):
            if other.text not in taught_texts:
                yield ask(examples, "other prompts", other)


def swapped(prompts: list[Prompt], rng: random.Random) -> Iterator[Asked]:
    """Lessons that are a task on a text, and another task on the same text."""
    texts = [prompt.text for prompt in prompts if 80 <= len(prompt.text) <= 800]
    for text in rng.sample(texts, 400):
        for category, template in TASKS.items():
            lesson = Prompt(template.format(text.replace("{", "").replace("}", "")), category)
            if read(lesson.text) == category:
                continue
            examples = learn([lesson])
            for other, asked in TASKS.items():
                if other != category:
                    again = asked.format(text.replace("{", "").replace("}", ""))
                    yield ask(examples, "another task", Prompt(again, other))


def share(asked: list[Asked], result: str, least: float, *, checked: bool = True) -> str:
    """Per cent of what was asked with this result."""
    if not asked:
        return "-"
    found = sum(one.result(least, checked=checked) == result for one in asked)
    return f"{100 * found / len(asked):.1f}"


def table(asked: list[Asked], tasks: list[Asked]) -> str:
    """A row for each threshold."""
    still = {kind: [one for one in asked if one.kind == kind and one.read != one.wanted]
             for kind in CHANGES}  # fmt: skip
    others = [one for one in asked if one.kind == "other prompts"]
    heads = [*CHANGES, "others: right", "others: wrong", "another task: wrong", "unchecked: wrong"]
    lines = [f"| similarity | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for least in THRESHOLDS:
        cells = [share(rows, "right", least) for rows in still.values()]
        cells += [share(others, "right", least), share(others, "wrong", least)]
        cells += [share(tasks, "wrong", least), share(tasks, "wrong", least, checked=False)]
        lines.append(f"| {least:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def seconds(prompts: list[Prompt], rng: random.Random) -> tuple[float, float]:
    """Median and 95th percentile of one look-up among 500 examples, in milliseconds."""
    examples = learn(rng.sample(prompts, 500))
    times = []
    for prompt in rng.sample(prompts, 2000):
        started = time.perf_counter()
        examples.nearest(prompt.text[:MOST_CHARACTERS])
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times), statistics.quantiles(times, n=20)[18]


def report() -> str:
    """All tables, in Markdown."""
    prompts = read_prompts()
    rng = random.Random(11)
    tasks = list(swapped(prompts, rng))
    parts = []
    for size in SIZES:
        asked = list(rounds(prompts, size, rng))
        again = sum(one.kind in CHANGES and one.read != one.wanted for one in asked)
        others = sum(one.kind == "other prompts" for one in asked)
        parts.append(
            f"With {size} {'lesson' if size == 1 else 'lessons'} ({again} changed lessons that are "
            f"still misread, {others} other prompts, {len(tasks)} other tasks on a lesson's "
            f"text), per cent:\n\n{table(asked, tasks)}"
        )
    median, slow = seconds(prompts, rng)
    parts.append(
        f"A look-up among 500 examples took {median:.2f} ms (median) and {slow:.2f} ms "
        "(95th percentile) on one core."
    )
    return "\n\n".join(parts)


def main() -> None:
    """Print the tables; write them into the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/teaching.md")
    options = parser.parse_args()
    found = report()
    print(found)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n\n{found}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
