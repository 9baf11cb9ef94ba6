"""Rows made by rule from what was written by hand: instructions about pasted texts, and prompts as
they look after hurried fingers.

The same passages are given with instructions of four categories, so that nothing can be learnt
from the passages: only from what is asked of them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence

from training.data import GENERATED, HAND, HERE, Row

SEED = 20261124
PAIRS = 9  # passages that each instruction is given with
FOREIGN_SHARE = 0.25  # of them in another language than the instruction
DISTURBED = 0.35  # share of the prompts by hand that are given again, disturbed
MISTYPED = 0.03  # share of the letters that change places with the next, in a copy of each prompt


def generated_rows(rows: Sequence[Row]) -> Iterator[Row]:
    """Generated rows; the same ones every time."""
    chance = random.Random(SEED)
    bank = json.loads((HERE / "generator.json").read_text(encoding="utf-8"))
    yield from _about_passages(bank, chance)
    for row in rows:
        if row.source == HAND and chance.random() < DISTURBED:
            text = disturb(row.text, bank["politeness"].get(row.language, []), chance)
            yield _row(text, row.category, row.language, "disturbed")
    for row in rows:
        if row.source == HAND:
            yield _row(mistype(row.text, chance), row.category, row.language, "mistyped")


def _about_passages(bank: dict[str, dict], chance: random.Random) -> Iterator[Row]:
    everything = [text for texts in bank["passages"].values() for text in texts]
    for category, languages in bank["instructions"].items():
        for language, instructions in languages.items():
            near = bank["passages"].get(language) or everything
            for instruction in instructions:
                for _ in range(PAIRS):
                    foreign = category == "translation" or chance.random() < FOREIGN_SHARE
                    passage = chance.choice(everything if foreign else near)
                    text = _together(instruction, passage, chance)
                    yield _row(text, category, language, "about a passage")


def _together(instruction: str, passage: str, chance: random.Random) -> str:
    """An instruction and a passage, the way people put them together."""
    if chance.random() < 0.3:
        sentences = passage.split(". ")
        passage = ". ".join(sentences[: max(1, len(sentences) - 1)])
    instruction = instruction if chance.random() < 0.6 else instruction.lower()
    form = chance.choice(
        ["{i}:\n\n{p}", "{i}: {p}", "{p}\n\n{i}", "{i}\n{p}", '{i}: "{p}"', "{p}\n{i}", "{i}. {p}"]
    )
    return form.format(i=instruction, p=passage)


def disturb(text: str, polite: Sequence[str], chance: random.Random) -> str:
    """The same request as somebody else would have typed it."""
    kind = chance.randrange(3)
    if kind == 0:
        return text.lower().replace(",", "").rstrip(".!?")
    if kind == 1 and polite:
        return chance.choice(polite) + text
    return f"  {text.strip()}\n" if len(text) > 200 else text.upper()


def mistype(text: str, chance: random.Random) -> str:
    """The same with letters that changed places."""
    letters = list(text)
    for at in range(len(letters) - 1):
        if letters[at].isalpha() and chance.random() < MISTYPED:
            letters[at], letters[at + 1] = letters[at + 1], letters[at]
    return "".join(letters)


def _row(text: str, category: str, language: str, kind: str) -> Row:
    source = f"{GENERATED}: {kind}"
    return Row(text, category, source, source, language, "MIT", True)
