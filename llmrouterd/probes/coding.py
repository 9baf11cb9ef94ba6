"""Coding: what a program prints, which line is wrong, regular expressions, SQL."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from llmrouterd.probes.arithmetic import numeric
from llmrouterd.probes.bugs import BUGS
from llmrouterd.probes.checks import ChoiceCheck, Draft, NumberCheck, PhraseCheck
from llmrouterd.probes.programs import Run, TooLong, Tree, show_body, show_function
from llmrouterd.probes.wordlists import PEOPLE, PLACES

if TYPE_CHECKING:
    from llmrouterd.probes.seed import Source

_PRINTS = "\nWork it out step by step, then end with one line of the form\nAnswer: <output>"


def _straight(source: Source) -> tuple[list[Tree], Tree]:
    a, b, c = (source.between(2, 15) for _ in range(3))
    body = [("set", "a", a), ("set", "b", b), ("set", "a", ("+", "a", c))]
    return [*body, ("set", "b", ("*", "b", 2))], ("+", "a", "b")


def _loop(source: Source) -> tuple[list[Tree], Tree]:
    step, most = source.between(2, 5), source.between(5, 9)
    inner: Tree = ("if", ("==", ("%", "i", step), 0), [("add", "t", "i")], [("add", "t", 1)])
    return [("set", "t", source.between(0, 9)), ("for", "i", 1, most, [inner])], "t"


def _items(source: Source) -> tuple[list[Tree], Tree]:
    numbers = [source.between(1, 20) for _ in range(5)]
    limit = source.between(6, 14)
    then: list[Any] = [("push", "kept", ("-", ("*", "x", 2), source.between(1, 4)))]
    other: list[Any] = [("add", "n", "x")]
    body: list[Tree] = [("list", "xs", numbers), ("list", "kept", []), ("set", "n", 0)]
    body.append(("each", "x", "xs", [("if", (">", "x", limit), then, other)]))
    return [*body, ("push", "kept", "n")], "kept"


def _nested(source: Source) -> tuple[list[Tree], Tree]:
    outer, modulus = source.between(4, 6), source.between(3, 5)
    test = ("==", ("%", ("+", ("*", "i", "j"), source.between(0, 3)), modulus), 0)
    then: list[Any] = [("add", "t", ("*", "i", source.between(2, 4)))]
    other: list[Any] = [("set", "t", ("+", "t", "j"))]
    inner = ("for", "j", ("+", "i", 1), outer + 1, [("if", test, then, other)])
    tail = ("while", (">", "t", source.between(20, 40)), [("set", "t", ("-", "t", 7))])
    return [("set", "t", 0), ("for", "i", 0, outer, [inner]), tail], "t"


def _aliases(source: Source) -> tuple[list[Tree], Tree]:
    numbers = [source.between(1, 9) for _ in range(4)]
    size = source.between(3, 5)
    inner: list[Any] = [
        ("push", "b", ("call", ("+", "i", source.between(1, 3)))),
        ("put", "a", ("%", "i", 3), ("+", ("item", "a", ("+", "i", 1)), ("size", "c"))),
        ("if", (">", ("size", "a"), source.between(5, 7)), [("push", "c", "i")], []),
    ]
    body: list[Tree] = [("list", "a", numbers), ("same", "b", "a"), ("copy", "c", "a")]
    body += [("for", "i", 0, size, inner), ("set", "t", 0)]
    body.append(("each", "x", "c", [("add", "t", "x")]))
    return [*body, ("push", "a", "t")], "b"


def code_output(source: Source, level: int) -> Draft | None:
    """What a small program in Python or JavaScript prints."""
    body, shown = (_straight, _loop, _items, _nested, _aliases)[level - 1](source)
    function = None
    if level == 5:
        drop, low = source.between(1, 2), source.between(2, 3)
        function = (
            "n",
            ("<", "n", low),
            source.between(1, 4),
            ("+", ("*", "n", 2), ("call", ("-", "n", drop))),
        )
    run = Run(function)
    try:
        run.do(body)
        value = run.value(shown)
    except (TooLong, IndexError):
        return None
    js = bool(source.below(2))
    lines = show_function(function, js) if function else []
    lines += show_body(body, js, 0, set())
    if isinstance(value, list):
        lines.append(f"console.log(JSON.stringify({shown}));" if js else f"print({shown})")
        reference = str(value)
    else:
        inner = shown if isinstance(shown, str) else f"{shown[1]} {shown[0]} {shown[2]}"
        lines.append(f"console.log({inner});" if js else f"print({inner})")
        reference = str(value)
    name = "JavaScript" if js else "Python"
    text = (
        f"What does this {name} program print?\n\n```{name.lower()}\n" + "\n".join(lines) + "\n```"
    )
    if not isinstance(value, list):
        return numeric(text, value)
    check = PhraseCheck(accepted=(reference,), literal=True)
    return Draft(
        prompt=text + _PRINTS, check=check, reference=f"Answer: {reference}", max_tokens=700
    )


def bug_line(source: Source, level: int) -> Draft:
    """The one line of a short function that is wrong."""
    bug = source.choice([bug for bug in BUGS if bug.level == level])
    lines = list(bug.lines)
    place = source.choice(sorted(bug.wrong))
    lines[place - 1] = bug.wrong[place]
    shift = source.between(0, 3)
    comments = [f"# checked by {name}" for name in source.sample(PEOPLE, shift)]
    shown = "\n".join(f"{n}: {line}" for n, line in enumerate([*comments, *lines], start=1))
    text = (
        f"This Python function should {bug.purpose}, but exactly one line of it is "
        f"wrong.\n\n{shown}\n\n"
        "Which line has to be changed? Think, then end with one line of the form\n"
        "Answer: <line number>"
    )
    return Draft(
        prompt=text,
        check=NumberCheck(value=Fraction(place + shift)),
        reference=f"Answer: {place + shift}",
        guess=1 / (len(lines) - 1),
        hidden=False,
    )


_PATTERNS: tuple[tuple[tuple[str, str], ...], ...] = (
    ((r"ab*c", "abc"), (r"[a-c]+", "abc"), (r"a.c", "abc"), (r"\d\d", "017"), (r"x?y", "xy")),
    ((r"(ab)+c", "abc"), (r"[^a]b+", "abc"), (r"\d{2,3}x", "017x"), (r"a|bc", "abc")),
    (
        (r"(a|b)*c[0-2]?", "abc012"),
        (r"a{2}b?c+", "abc"),
        (r"(\d|x){3}", "01x"),
        (r"[ab][bc]*a", "abc"),
    ),
    (
        (r"(ab?c)+|b{2,}", "abc"),
        (r"(?:a|bc)*b", "abc"),
        (r"([ab])c\1+", "abc"),
        (r"(?!ab)[abc]{3,4}", "abc"),
    ),
    (
        (r"(a(?=b)b?|c)+", "abc"),
        (r"(?=.*c)[ab]+c?b*", "abc"),
        (r"(\w)(\w)?\1\2?c?", "abc"),
        (r"(?:a(?!c)|b|c(?=a))+", "abc"),
    ),
)


def regex_match(source: Source, level: int) -> Draft | None:
    """Which of some strings a regular expression matches as a whole."""
    pattern, letters = source.choice(_PATTERNS[level - 1])
    compiled = re.compile(pattern)
    good: set[str] = set()
    bad: set[str] = set()
    for _ in range(300):
        text = "".join(source.choice(letters) for _ in range(source.between(2, 4 + level // 2)))
        (good if compiled.fullmatch(text) else bad).add(text)
    if not good or len(bad) < 5:
        return None
    wanted = source.choice(sorted(good))
    others = source.sample(sorted(bad), 3 + (level > 2))
    options = source.shuffle([wanted, *others])
    listed = "\n".join(f"- {option}" for option in options)
    text = (
        f"Exactly one of these strings is matched as a whole by the regular expression {pattern}\n"
        f"{listed}\nWhich one? End with one line of the form\nAnswer: <string>"
    )
    return Draft(
        prompt=text,
        check=ChoiceCheck(accepted=(wanted,), others=tuple(others)),
        reference=f"Answer: {wanted}",
        guess=1 / len(options),
        hidden=False,
    )


def _table(name: str, columns: str, rows: list[tuple[Any, ...]]) -> str:
    lines = [" | ".join("NULL" if value is None else str(value) for value in row) for row in rows]
    return f"Table {name} ({columns}):\n" + "\n".join(lines)


def sql_result(source: Source, level: int) -> Draft | None:
    """The one number that a query returns over small tables."""
    names, towns = source.sample(PEOPLE, 4 + level), source.sample(PLACES, 3)
    people: list[tuple[int, str, str, int | None]] = [
        (n, name, source.choice(towns), source.between(18, 70)) for n, name in enumerate(names, 201)
    ]
    if level == 5:
        spot = source.below(len(people))
        people[spot] = (*people[spot][:3], None)
    orders = [
        (n, source.between(201, 200 + len(people)), source.between(5, 90))
        for n in range(501, 505 + level)
    ]
    limit, town = source.between(25, 55), towns[0]
    aged = [(p, p[3]) for p in people if p[3] is not None]
    if level == 1:
        query = "SELECT COUNT(*) FROM people WHERE age > :limit;"
        value = sum(age > limit for _, age in aged)
    elif level == 2:
        query = "SELECT SUM(age) FROM people WHERE town = ':town' OR age < :limit;"
        value = sum(age for p, age in aged if p[2] == town or age < limit)
    elif level == 3:
        query = "SELECT MAX(s) FROM (SELECT SUM(age) AS s FROM people GROUP BY town);"
        value = max(sum(age for p, age in aged if p[2] == t) for t in towns)
    elif level == 4:
        query = (
            "SELECT SUM(o.amount) FROM orders o JOIN people p ON p.id = o.person\n"
            "WHERE p.town <> ':town' AND p.age >= :limit;"
        )
        kept = {p[0] for p, age in aged if p[2] != town and age >= limit}
        value = sum(o[2] for o in orders if o[1] in kept)
    else:
        query = (
            "SELECT COUNT(*) + SUM(COALESCE(o.amount, 0)) FROM people p\n"
            "LEFT JOIN orders o ON o.person = p.id AND o.amount > :limit WHERE p.age <> 40;"
        )
        value = 0
        for person, age in aged:
            amounts = [o[2] for o in orders if o[1] == person[0] and o[2] > limit]
            value += (max(1, len(amounts)) + sum(amounts)) if age != 40 else 0
    query = query.replace(":town", town).replace(":limit", str(limit))
    tables = [_table("people", "id, name, town, age", [tuple(p) for p in people])]
    if level > 3:
        tables.append(_table("orders", "id, person, amount", [tuple(o) for o in orders]))
    text = "\n\n".join([*tables, f"Which single number does this SQL query return?\n{query}"])
    return numeric(text, value, 700) if value else None
