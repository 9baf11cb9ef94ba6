"""Rewriting and summarising under rules that can be counted, and recall from long texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrouterd.probes.checks import ChoiceCheck, Draft, Rule, RuleCheck
from llmrouterd.probes.times import MONTHS, WEEKDAYS
from llmrouterd.probes.wordlists import COLOURS, GOODS, PEOPLE, PLACES, SURNAMES, THINGS

if TYPE_CHECKING:
    from llmrouterd.probes.seed import Source

_CHARS_PER_TOKEN = 4.2
RECALL_TOKENS = (250, 500, 1000, 2000, 4000)


class _Event:
    """A wordy text about an event, and the facts in it."""

    def __init__(self, source: Source) -> None:
        self.name = f"{source.choice(PEOPLE)} {source.choice(SURNAMES)}"
        self.place = source.choice(PLACES)
        self.day = source.choice(WEEKDAYS)
        self.month = source.choice(MONTHS[:4] + MONTHS[5:])
        self.people, self.price = str(source.between(21, 480)), str(source.between(13, 95))
        goods = source.choice(GOODS)
        self.text = (
            f"It should be mentioned at this point that, as many of us had hoped for a very long "
            f"time, {self.name} is going to give a public talk in the beautiful old town of "
            f"{self.place}, which will take place on a {self.day} in the month of {self.month}. As "
            f"far as we know, the organisers are expecting a crowd of {self.people} people, and "
            f"every single one of them will have to pay {self.price} euros for a ticket, which "
            f"comes, quite surprisingly, with a small {goods} as a gift. Everybody who is "
            "interested "
            "should, of course, make up their mind as quickly as they possibly can."
        )

    @property
    def facts(self) -> tuple[str, ...]:
        return (self.name, self.place, self.day, self.month, self.people, self.price)


def rewrite(source: Source, level: int) -> Draft:
    """Rewrite a text under rules, with its facts kept."""
    event = _Event(source)
    kept = event.facts[: (2, 3, 4, 5, 6)[level - 1]]
    listed = ", ".join(kept)
    asked = [f"keep these words and numbers: {listed}"]
    rules = [Rule(kind="keep", words=kept), Rule(kind="numbers", words=(event.people, event.price))]
    most = (60, 45, 40, 35, 32)[level - 1]
    asked.append(f"use at most {most} words")
    rules.append(Rule(kind="max_words", number=most))
    reference = " ".join(kept) + "."
    if level >= 2:
        asked.append("do not use the word 'very' or the word 'people'")
        rules.append(Rule(kind="shun", words=("very", "people")))
    if level >= 3:
        count = level - 1
        asked.append(f"write exactly {count} sentences")
        rules.append(Rule(kind="sentences", number=count))
        pieces = [*kept[: count - 1], " ".join(kept[count - 1 :])]
        reference = " ".join(f"{piece}." for piece in pieces)
    if level >= 4:
        asked.append("write everything in lower case")
        rules.append(Rule(kind="lower"))
        reference = reference.lower()
    if level == 5:
        unused = [x for x in "qxkwvbpfg" if x not in reference and x in event.text.lower()]
        letter = source.choice(unused or ["q"])
        asked.append(f"use no word with the letter {letter}")
        rules.append(Rule(kind="no_letter", words=(letter,)))
    prompt = (
        f"Rewrite this text. Rules: {'; '.join(asked)}. Reply with the rewritten text only.\n\n"
        f"Text: {event.text}"
    )
    check = RuleCheck(rules=tuple(rules))
    return Draft(prompt=prompt, check=check, reference=reference, max_tokens=200, hidden=False)


def transform(source: Source, level: int) -> Draft:
    """Rewrite into one exact form."""
    count = 2 + level
    people = source.sample(PEOPLE, count)
    goods, numbers = source.sample(GOODS, count), [source.between(2, 90) for _ in range(count)]
    rows = list(zip(people, goods, numbers, strict=True))
    given = ". ".join(f"{who} has {number} {what}s" for who, what, number in rows) + "."
    first = rows[0]
    if level == 1:
        lines = [f"{who}: {number} {what}s" for who, what, number in rows]
        ask = f'Write one line for each sentence, in the form "{first[0]}: {first[2]} {first[1]}s"'
        wanted = "\n".join(lines)
    elif level == 2:
        ask, wanted = (
            "Replace every full stop by a semicolon and change nothing else",
            given.replace(".", ";"),
        )
    elif level == 3:
        ask = (
            "Write one line of comma-separated values for each sentence: name,number,thing "
            "(the thing in the singular, no heading, no spaces)"
        )
        wanted = "\n".join(f"{who},{number},{what}" for who, what, number in rows)
    elif level == 4:
        ask = (
            "Write one line for each sentence, sorted by name from A to Z, of the form "
            '"number thing (NAME)" with the name in capital letters and the thing in the '
            "singular"
        )
        wanted = "\n".join(f"{number} {what} ({who.upper()})" for who, what, number in sorted(rows))
    else:
        ask = (
            "Write one line for each sentence whose number is even, sorted by number from "
            'large to small, of the form "name/thing/half of the number" with the thing in '
            "the singular. If there is none, write the word none"
        )
        even = sorted((row for row in rows if row[2] % 2 == 0), key=lambda row: (-row[2], row[0]))
        wanted = "\n".join(f"{who}/{what}/{number // 2}" for who, what, number in even) or "none"
    prompt = f"{ask}. Reply with the result only.\n\n{given}"
    check = RuleCheck(rules=(Rule(kind="exact", words=(wanted,)),))
    return Draft(prompt=prompt, check=check, reference=wanted, max_tokens=250, hidden=False)


_FILLER = (
    "The members of the club talked about the weather for a while.",
    "A short break followed, with tea and with cake.",
    "Some of them looked out of the window at the street.",
    "Nothing of what was said next found its way into the notes.",
    "The room was warm and the chairs were not very comfortable.",
    "Somebody told an old story that most had heard before.",
    "The caretaker came in twice to ask how long it would take.",
    "It was agreed that the curtains should be washed at some point.",
    "There was a long discussion about the order of the agenda.",
    "Everybody thanked the hosts for the pleasant evening.",
    "A dog barked in the yard, and then it was quiet again.",
    "The minutes of the last meeting were read and approved.",
)


def summary(source: Source, level: int) -> Draft:
    """A summary in few words with the figures that matter and with none made up."""
    count = level + 1
    figures = source.sample(range(23, 970), count)
    goods = source.sample(GOODS, count)
    lines = []
    for number, thing in zip(figures, goods, strict=True):
        lines.append(
            source.choice(
                (
                    f"After some questions it was decided to buy {number} {thing}s.",
                    f"The treasurer then reported that {number} {thing}s had been sold.",
                    f"In the storeroom {number} {thing}s were counted.",
                )
            )
        )
        lines += source.sample(_FILLER, 1 + level)
    most = 14 + 9 * count
    wanted = ", ".join(f"{n} {thing}s" for n, thing in zip(figures, goods, strict=True))
    kept = (*map(str, figures), *(f"{thing}s" for thing in goods))
    prompt = (
        f"Summarise these minutes in at most {most} words. Name every number and what it is "
        "the number "
        "of, written in digits, and no other numbers. Reply with the summary only.\n\n"
        + " ".join(lines)
    )
    rules = (
        Rule(kind="keep", words=kept),
        Rule(kind="numbers", words=tuple(map(str, figures))),
        Rule(kind="max_words", number=most),
    )
    return Draft(
        prompt=prompt,
        check=RuleCheck(rules=rules),
        reference=f"The minutes name {wanted}.",
        max_tokens=40 + 4 * most,
        hidden=False,
    )


def recall(source: Source, level: int, tokens: int | None = None) -> Draft:
    """One of several secrets in a long text of about `tokens` tokens."""
    size = int((tokens or RECALL_TOKENS[level - 1]) * _CHARS_PER_TOKEN) - 420
    secrets = (1, 2, 4, 6, 9)[level - 1]
    things = source.sample([*THINGS, *GOODS], secrets)
    codes: list[int] = []
    while len(codes) < secrets:
        code = source.between(10_000, 99_999)
        if code not in codes:
            codes.append(code)
    lines: list[str] = []
    length = 0
    while length < size:
        lines.append(source.choice(_FILLER))
        length += len(lines[-1]) + 1
    for thing, code in zip(things, codes, strict=True):
        colour = source.choice(COLOURS)
        lines.insert(
            source.below(len(lines) + 1),
            f"The code of the {colour} box with the {thing} is {code}.",
        )
    text = " ".join(lines)
    prompt = (
        f"Read these notes.\n\n{text}\n\nWhat is the code of the box with the {things[0]}? End "
        "with one "
        "line of the form\nAnswer: <code>"
    )
    wanted = str(codes[0])
    return Draft(
        prompt=prompt,
        check=ChoiceCheck(accepted=(wanted,), others=tuple(map(str, codes[1:]))),
        reference=f"Answer: {wanted}",
        guess=0.0 if secrets == 1 else 1 / (2 * secrets),
        max_tokens=100,
        hidden=False,
    )
