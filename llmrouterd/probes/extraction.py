"""Extraction: texts to JSON, tables, counting, and tool calls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llmrouterd.probes.arithmetic import numeric
from llmrouterd.probes.checks import CallCheck, ChoiceCheck, Draft, JsonCheck
from llmrouterd.probes.times import MONTHS
from llmrouterd.probes.wordlists import COLOURS, GOODS, PEOPLE, PLACES, SURNAMES

if TYPE_CHECKING:
    from llmrouterd.probes.seed import Source


def _order(source: Source, level: int) -> tuple[str, dict[str, Any]]:
    """A text about one order and what is in it."""
    who = f"{source.choice(PEOPLE)} {source.choice(SURNAMES)}"
    goods, colour = source.choice(GOODS), source.choice(COLOURS)
    count, price = source.between(2, 40), source.between(5, 900)
    town = source.choice(PLACES)
    month, day = source.between(1, 12), source.between(1, 28)
    year = source.between(2011, 2029)
    found: dict[str, Any] = {"name": who, "item": goods, "quantity": count}
    parts = [f"{who} ordered {count} {colour} {goods}s"]
    if level >= 2:
        found |= {"color": colour, "city": town}
        parts.append(f"to be sent to {town}")
    if level >= 3:
        found |= {"unit_price": price, "date": f"{year}-{month:02d}-{day:02d}"}
        parts.append(f"at {price} euros each, on {day} {MONTHS[month - 1]} {year}")
    text = ", ".join(parts) + "."
    if level >= 4:
        other, express = source.choice(PEOPLE), bool(source.below(2))
        lower = source.between(2, 40)
        text = (
            f"At first {other} wanted {lower} of them to go to {source.choice(PLACES)}, but "
            "that was "
            f"cancelled. {text} "
            + ("It goes by express. " if express else "It does not go by express. ")
            + "No telephone number was given."
        )
        found |= {"express": express, "phone": None}
    if level == 5:
        found["total"] = count * price
        text += " There is no discount."
    return text, found


def record_json(source: Source, level: int) -> Draft:
    """A text to a JSON object with given keys."""
    text, found = _order(source, level)
    keys = ", ".join(f'"{key}"' for key in found)
    hints = "Use null for what is not known. Give the item in the singular, numbers as numbers"
    hints += ", dates as YYYY-MM-DD." if level >= 3 else "."
    if level == 5:
        hints += ' "total" is the price of all items together in euros.'
    prompt = (
        f"Extract from the text a JSON object with exactly the keys {keys}. {hints} Reply with the "
        f"JSON only.\n\nText: {text}"
    )
    value = json.dumps(found)
    return Draft(prompt=prompt, check=JsonCheck(value=value), reference=value, hidden=False)


def entity_list(source: Source, level: int) -> Draft:
    """All things of one sort in a text, as a JSON array."""
    count = 1 + level
    people = [
        f"{a} {b}"
        for a, b in zip(source.sample(PEOPLE, 8), source.sample(SURNAMES, 8), strict=True)
    ]
    towns = source.sample(PLACES, 8)
    mails = [f"{name.split()[0].lower()}@{name.split()[1].lower()}.example" for name in people]
    lines = []
    for place in range(count):
        line = source.choice(
            (
                f"{people[place]} moved to {towns[place]} and can be reached at {mails[place]}.",
                f"From {towns[place]} came {people[place]}, who writes from {mails[place]}.",
                f"Write to {mails[place]} if you look for {people[place]}; the office is in "
                f"{towns[place]}.",
            )
        )
        lines.append(line)
    if level > 2:
        lines.insert(1, f"The bridge of {towns[7]} was closed for {source.between(3, 30)} days.")
    if level > 3:
        lines.append(f"The invoice of {source.choice(MONTHS)} went to {mails[7]} by mistake.")
    kind = source.choice(("towns", "mails", "people"))
    wanted, name = {
        "towns": (towns[:count] + ([towns[7]] if level > 2 else []), "towns"),
        "mails": (mails[:count] + ([mails[7]] if level > 3 else []), "e-mail addresses"),
        "people": (people[:count], "full names of people"),
    }[kind]
    prompt = (
        f"List all {name} in the text as one JSON array of strings, each once. Reply with the JSON "
        f"only.\n\nText: {' '.join(lines)}"
    )
    value = json.dumps(wanted)
    check = JsonCheck(value=value, unordered=True)
    return Draft(prompt=prompt, check=check, reference=value, hidden=False)


def table_lookup(source: Source, level: int) -> Draft | None:
    """A question about a table: look up, compare, add up."""
    rows = (3, 5, 8, 12, 18)[level - 1]
    names = source.sample([f"{a}-{b}" for a in PLACES[:10] for b in ("A", "B")], rows)
    columns = ("stock", "price", "weight")
    cells = {name: [source.between(10, 999) for _ in columns] for name in names}
    table = "\n".join(
        ["| store | stock | price | weight |", "|---|---|---|---|"]
        + [f"| {name} | {' | '.join(map(str, cells[name]))} |" for name in names]
    )
    column = source.below(3)
    if level <= 2:
        asked = source.choice(names)
        question, wanted = f"What is the {columns[column]} of {asked}?", str(cells[asked][column])
        others = tuple(
            str(n) for n in {v for row in cells.values() for v in row} if str(n) != wanted
        )
    elif level == 3:
        ranked = sorted(names, key=lambda name: cells[name][column])
        question, wanted = f"Which store has the largest {columns[column]}?", ranked[-1]
        if cells[ranked[-2]][column] == cells[wanted][column]:
            return None
        others = tuple(name for name in names if name != wanted)
    else:
        limit = source.between(200, 700)
        kept = [name for name in names if cells[name][1] > limit]
        if not 2 <= len(kept) <= (4 if level == 4 else 9):
            return None
        total = sum(cells[name][0] for name in kept)
        return numeric(
            f"{table}\n\nWhat is the sum of the stock of all stores whose price is greater than "
            f"{limit}?",
            total,
            700,
        )
    prompt = f"{table}\n\n{question} End with one line of the form\nAnswer: <value>"
    return Draft(
        prompt=prompt,
        check=ChoiceCheck(accepted=(wanted,), others=others),
        reference=f"Answer: {wanted}",
        guess=1 / rows if level == 3 else 0.05,
        hidden=False,
    )


def counting(source: Source, level: int) -> Draft:
    """How often a word stands in a list of words."""
    size = (8, 14, 22, 34, 50)[level - 1]
    word, *others = source.sample(GOODS + COLOURS, 6)
    count = source.between(2, 3 + size // 5)
    listed = source.shuffle([word] * count + [source.choice(others) for _ in range(size - count)])
    question = f'How many times does the word "{word}" occur in this list?\n{", ".join(listed)}'
    return numeric(question, count)


_TOOLS: tuple[tuple[str, str, dict[str, dict[str, Any]]], ...] = (
    (
        "get_weather",
        "Weather forecast for a city.",
        {"city": {"type": "string"}, "day": {"type": "string", "description": "YYYY-MM-DD"}},
    ),
    (
        "send_message",
        "Send a short message to a person.",
        {"recipient": {"type": "string"}, "text": {"type": "string"}},
    ),
    ("set_timer", "Start a timer.", {"minutes": {"type": "integer"}, "label": {"type": "string"}}),
    (
        "book_table",
        "Reserve a table in a restaurant.",
        {
            "restaurant": {"type": "string"},
            "people": {"type": "integer"},
            "time": {"type": "string", "description": "HH:MM, 24 hours"},
        },
    ),
    (
        "convert_currency",
        "Convert an amount of money.",
        {
            "amount": {"type": "number"},
            "source": {"type": "string", "description": "ISO 4217 code"},
            "target": {"type": "string", "description": "ISO 4217 code"},
        },
    ),
)


def _tools(names: list[str]) -> tuple[dict[str, Any], ...]:
    made = []
    for name, description, properties in _TOOLS:
        if name in names:
            schema = {"type": "object", "properties": properties, "required": list(properties)}
            function = {"name": name, "description": description, "parameters": schema}
            made.append({"type": "function", "function": function})
    return tuple(made)


def _wish(source: Source, name: str) -> tuple[str, dict[str, Any]]:
    """What a user asks for, and the arguments that it makes."""
    if name == "get_weather":
        town, day = source.choice(PLACES), source.between(1, 28)
        month, year = source.between(1, 12), source.between(2025, 2035)
        text = f"What will the weather be like in {town} on {day} {MONTHS[month - 1]} {year}?"
        return text, {"city": town, "day": f"{year}-{month:02d}-{day:02d}"}
    if name == "send_message":
        who, goods = source.choice(PEOPLE), source.choice(GOODS)
        said = f"the {goods} is ready"
        return f"Send {who} a message with exactly this text: {said}", {
            "recipient": who,
            "text": said,
        }
    if name == "set_timer":
        minutes, label = source.between(2, 90), source.choice(GOODS)
        text = f"Start a timer of {minutes} minutes with the label {label}."
        return text, {"minutes": minutes, "label": label}
    if name == "book_table":
        people, hour, half = source.between(2, 9), source.between(6, 10), source.below(2)
        place = f"Café {source.choice(SURNAMES)}"
        shown = f"half past {hour}" if half else f"{hour} o'clock"
        text = f"Reserve a table for {people} people at {place} at {shown} in the evening."
        time = f"{hour + 12}:{'30' if half else '00'}"
        return text, {"restaurant": place, "people": people, "time": time}
    amount = source.between(20, 9000)
    codes = {"EUR": "euros", "USD": "US dollars", "JPY": "Japanese yen", "CHF": "Swiss francs"}
    first, second = source.sample(list(codes), 2)
    text = f"How much is {amount} {codes[first]} in {codes[second]}?"
    return text, {"amount": amount, "source": first, "target": second}


def tool_call(source: Source, level: int) -> Draft:
    """The right call of the right tool, at the top level two of them."""
    names = source.sample([tool[0] for tool in _TOOLS], (1, 2, 3, 5, 5)[level - 1])
    easy = [name for name in names if name in ("set_timer", "send_message")]
    first = source.choice(easy or names) if level < 3 else names[0]
    wishes = [(first, *_wish(source, first))]
    if level == 5:
        wishes.append((names[1], *_wish(source, names[1])))
    calls = tuple((name, json.dumps(arguments)) for name, _, arguments in wishes)
    return Draft(
        prompt=" And also: ".join(text for _, text, _ in wishes),
        check=CallCheck(calls=calls),
        reference=json.dumps([{"name": n, "arguments": json.loads(a)} for n, a in calls]),
        tools=_tools(names),
        hidden=False,
    )
