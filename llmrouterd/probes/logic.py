"""Reasoning: orderings, knights and knaves, truth tables, calendars, sequences."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import permutations, product
from typing import TYPE_CHECKING, Any

from llmrouterd.probes.arithmetic import numeric
from llmrouterd.probes.checks import ChoiceCheck, DateCheck, Draft, ListCheck
from llmrouterd.probes.times import MONTHS, WEEKDAYS, weekday
from llmrouterd.probes.wordlists import PEOPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.probes.seed import Source

_PLACES = ("first", "second", "third", "fourth", "fifth", "sixth")

# (kind, one, other): what a clue says of the places of two people, or of one and a place.
Clue = tuple[str, int, int]


def holds(clue: Clue, places: tuple[int, ...]) -> bool:
    """Whether a clue is true where person i stands at places[i]."""
    kind, one, other = clue
    if kind == "before":
        return places[one] < places[other]
    if kind == "right_before":
        return places[one] + 1 == places[other]
    if kind == "apart":
        return abs(places[one] - places[other]) > 1
    if kind == "beside":
        return abs(places[one] - places[other]) == 1
    return places[one] != other if kind == "not_at" else places[one] == other


def solutions(clues: list[Clue], count: int) -> list[tuple[int, ...]]:
    """Every order of `count` people that keeps all clues."""
    return [
        places
        for places in permutations(range(count))
        if all(holds(clue, places) for clue in clues)
    ]


def _say(clue: Clue, names: list[str]) -> str:
    kind, one, other = clue
    if kind == "not_at":
        return f"{names[one]} is not {_PLACES[other]}."
    words = {
        "before": "is somewhere before",
        "right_before": "is directly before",
        "apart": "is not next to",
        "beside": "is next to",
    }[kind]
    return f"{names[one]} {words} {names[other]}."


def _clue(source: Source, level: int, places: tuple[int, ...]) -> Clue:
    """A true clue; higher levels use the weaker kinds."""
    kinds = ("before", "right_before", "beside", "not_at", "apart")[: level + 1]
    while True:
        kind = source.choice(kinds)
        one, other = source.sample(range(len(places)), 2)
        clue = (kind, one, source.below(len(places)) if kind == "not_at" else other)
        if holds(clue, places):
            return clue


def ordering(source: Source, level: int) -> Draft | None:
    """Who stands where in a queue, from clues that leave one order only."""
    count = (3, 4, 4, 5, 6)[level - 1]
    names = source.sample(PEOPLE, count)
    places = tuple(source.shuffle(range(count)))
    clues: list[Clue] = []
    while len(solutions(clues, count)) > 1:
        clue = _clue(source, level, places)
        if clue not in clues:
            clues.append(clue)
        if len(clues) > 4 * count:
            return None
    for clue in list(clues):  # none may be spare
        fewer = [other for other in clues if other != clue]
        if len(solutions(fewer, count)) == 1:
            clues = fewer
    asked = source.below(count)
    wanted = names[places.index(asked)]
    said = "\n".join(f"- {_say(clue, names)}" for clue in clues)
    text = (
        f"{count} people stand in a queue: {', '.join(source.shuffle(names))}.\n{said}\n"
        f"Who is {_PLACES[asked]} in the queue? Think, then end with one line of the form\n"
        "Answer: <name>"
    )
    return Draft(
        prompt=text,
        check=ChoiceCheck(accepted=(wanted,), others=tuple(n for n in names if n != wanted)),
        reference=f"Answer: {wanted}",
        guess=1 / count,
        max_tokens=600,
        hidden=False,
    )


# What somebody says: (kind, one, other) of people by number.
def _true(claim: tuple[str, int, int], knights: tuple[bool, ...]) -> bool:
    kind, one, other = claim
    if kind == "knave":
        return not knights[one]
    if kind == "knight":
        return knights[one]
    if kind == "same":
        return knights[one] == knights[other]
    if kind == "or":
        return knights[one] or not knights[other]
    return sum(knights) == one  # count


def consistent(claims: list[tuple[str, int, int]]) -> list[tuple[bool, ...]]:
    """Every way in which knights speak the truth and knaves lie; claim i is what i says."""
    return [
        knights
        for knights in product((True, False), repeat=len(claims))
        if all(
            _true(claim, knights) == knight for claim, knight in zip(claims, knights, strict=True)
        )
    ]


def _claim(source: Source, level: int, speaker: int, count: int) -> tuple[str, int, int]:
    others = [person for person in range(count) if person != speaker]
    one = source.choice(others)
    other = source.choice([person for person in range(count) if person != one])
    kind = source.choice(("count", "same", "knave", "knight", "or")[: 2 + level])
    return (kind, source.between(1, count - 1) if kind == "count" else one, other)


def knights(source: Source, level: int) -> Draft | None:
    """Who are the knights, where knights speak the truth and knaves lie; one solution only."""
    count = (2, 3, 3, 4, 5)[level - 1]
    names = source.sample(PEOPLE, count)
    claims = [_claim(source, level, speaker, count) for speaker in range(count)]
    ways = consistent(claims)
    if len(ways) != 1 or not 0 < sum(ways[0]) < count:
        return None
    words = {
        "knave": "{0} is a knave.",
        "knight": "{0} is a knight.",
        "same": "{0} and {1} are of the same kind.",
        "or": "{0} is a knight or {1} is a knave, or both.",
    }
    lines = []
    for name, (kind, one, other) in zip(names, claims, strict=True):
        said = (
            f"Exactly {one} of us {'is a knight' if one == 1 else 'are knights'}."
            if kind == "count"
            else words[kind].format(names[one], names[other])
        )
        lines.append(f'{name} says: "{said}"')
    wanted = tuple(name for name, knight in zip(names, ways[0], strict=True) if knight)
    text = (
        "On an island knights always tell the truth and knaves always lie. Everybody is one of the "
        "two.\n" + "\n".join(lines) + "\nWho are the knights? Think, then end with one line that "
        "names the knights only, of the form\nAnswer: <names with commas between them>"
    )
    return Draft(
        prompt=text,
        check=ListCheck(items=wanted, universe=tuple(names), ordered=False),
        reference=f"Answer: {', '.join(wanted)}",
        guess=1 / (2**count - 2),
        max_tokens=700,
        hidden=False,
    )


def _formula(source: Source, letters: str, depth: int) -> Any:
    if depth == 0:
        letter = source.choice(letters)
        return ("not", letter) if source.below(3) == 0 else letter
    kind = source.choice(("and", "or", "xor", "implies")[: 2 + depth])
    left = _formula(source, letters, depth - 1)
    return (kind, left, _formula(source, letters, depth - 1 if source.below(2) else 0))


def true_of(formula: Any, values: dict[str, bool]) -> bool:
    """Whether a formula is true for the values of its letters."""
    if isinstance(formula, str):
        return values[formula]
    if formula[0] == "not":
        return not true_of(formula[1], values)
    left, right = (true_of(part, values) for part in formula[1:])
    if formula[0] == "and":
        return left and right
    if formula[0] == "or":
        return left or right
    return left != right if formula[0] == "xor" else not left or right


def _written(formula: Any) -> str:
    if isinstance(formula, str):
        return formula
    if formula[0] == "not":
        return f"NOT {formula[1]}"
    return f"({_written(formula[1])} {formula[0].upper()} {_written(formula[2])})"


def truth_table(source: Source, level: int) -> Draft | None:
    """In how many rows of its truth table a formula is true."""
    letters = "ABCDE"[: (2, 3, 3, 4, 5)[level - 1]]
    formula = _formula(source, letters, (1, 2, 2, 3, 3)[level - 1])
    shown = _written(formula)
    if any(letter not in shown.replace("AND", "").replace("IMPLIES", "") for letter in letters):
        return None
    rows = product((False, True), repeat=len(letters))
    value = sum(true_of(formula, dict(zip(letters, row, strict=True))) for row in rows)
    if value in (0, 2 ** len(letters)):
        return None
    text = (
        f"Each of {', '.join(letters)} is true or false. Consider\n{shown}\nFor how many of the "
        f"possible combinations of their values is this true?"
        + (
            " (X IMPLIES Y is false only where X is true and Y is false.)"
            if "IMPL" in shown
            else ""
        )
        + (" (X XOR Y is true where exactly one of the two is.)" if "XOR" in shown else "")
    )
    draft = numeric(text, value, 600)
    return Draft(
        prompt=draft.prompt,
        check=draft.check,
        reference=draft.reference,
        guess=1 / (2 ** len(letters) - 1),
        max_tokens=600,
    )


def _day_name(source: Source, level: int) -> Draft:
    start = source.below(7)
    days = source.between(3, 12) if level == 1 else source.between(20, 90)
    wanted = WEEKDAYS[(start + days) % 7]
    text = (
        f"Today is {WEEKDAYS[start]}. Which day of the week is it in {days} days? End with one "
        "line of the form\nAnswer: <day of the week>"
    )
    others = tuple(name for name in WEEKDAYS if name != wanted)
    return Draft(
        prompt=text,
        check=ChoiceCheck(accepted=(wanted,), others=others),
        reference=f"Answer: {wanted}",
        guess=1 / 7,
        hidden=days % 7 > 0,
    )


def calendar(source: Source, level: int) -> Draft | None:
    """Days of the week and dates some days later or before."""
    if level < 3:
        return _day_name(source, level)
    start = date(source.between(1990, 2030), source.between(1, 12), source.between(1, 28))
    named = f"{start.day} {MONTHS[start.month - 1]} {start.year}"
    if level == 3:
        days = source.between(12, 45)
        wanted = start + timedelta(days=days)
        question = f"Which date is {days} days after {named}?"
    elif level == 4:
        days = source.between(60, 300)
        wanted = start - timedelta(days=days)
        question = f"Which date is {days} days before {named}?"
    else:
        target, count = source.below(7), source.between(8, 30)
        day = start + timedelta(days=1)
        ahead = (target - day.weekday()) % 7
        wanted = day + timedelta(days=ahead + 7 * (count - 1))
        question = (
            f"{named} is a {weekday(start)}. Counting only the days after it, which date is the "
            f"{WEEKDAYS[target]} number {count}?"
        )
    text = f"{question} End with one line of the form\nAnswer: YYYY-MM-DD"
    return Draft(
        prompt=text,
        check=DateCheck(day=wanted.isoformat()),
        reference=f"Answer: {wanted.isoformat()}",
        max_tokens=600,
    )


def _arithmetic_rule(source: Source) -> Callable[[list[int]], int]:
    step = source.choice((2, 3, 4, 5, 6, 7, 8, 9, 11))
    return lambda seen: seen[-1] + step


def _geometric_rule(source: Source) -> Callable[[list[int]], int]:
    factor, more = source.between(2, 3), source.between(1, 5)
    return lambda seen: seen[-1] * factor + more


def _growing_rule(source: Source) -> Callable[[list[int]], int]:
    first, more = source.between(1, 5), source.between(2, 6)
    return lambda seen: seen[-1] + first + more * len(seen)


def _sum_rule(source: Source) -> Callable[[list[int]], int]:
    more = source.between(1, 6)
    return lambda seen: seen[-1] + seen[-2] + more if len(seen) > 1 else seen[-1] + more


def _mixed_rule(source: Source) -> Callable[[list[int]], int]:
    step, factor = source.between(3, 9), source.between(2, 3)
    return lambda seen: seen[-1] * factor if len(seen) % 2 else seen[-1] - step


def sequence(source: Source, level: int) -> Draft | None:
    """The next number of a row that one simple rule makes."""
    rules = (_arithmetic_rule, _geometric_rule, _growing_rule, _sum_rule, _mixed_rule)
    rule = rules[level - 1](source)
    seen = [source.between(2, 20)]
    while len(seen) < 8:
        seen.append(rule(seen))
    shown, value = seen[:7], seen[7]
    if len(set(seen)) < 8 or value < 0:
        return None
    text = f"Which number comes next?\n{', '.join(map(str, shown))}, ..."
    return numeric(text, value)
