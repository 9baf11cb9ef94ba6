"""Facts: capitals, elements, numbers by definition or of history, authors."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from llmrouterd.probes.checks import ChoiceCheck, Draft, NumberCheck
from llmrouterd.probes.fact_tables import CAPITALS, ELEMENTS, NOT_CAPITALS, NUMBERS, WORKS

if TYPE_CHECKING:
    from llmrouterd.probes.seed import Source

_FORM = " Reply with one short line of the form\nAnswer: "


def _named(question: str, answer: str, others: tuple[str, ...]) -> Draft:
    accepted = tuple(answer.split("/"))
    return Draft(
        prompt=question + _FORM + "<name>",
        check=ChoiceCheck(accepted=accepted, others=others),
        reference=f"Answer: {accepted[0]}",
        max_tokens=150,
    )


def _number(question: str, value: int, guess: float = 0.0) -> Draft:
    return Draft(
        prompt=question + _FORM + "<number>",
        check=NumberCheck(value=Fraction(value)),
        reference=f"Answer: {value}",
        guess=guess,
        max_tokens=150,
    )


def capital(source: Source, level: int) -> Draft:
    """The capital of a country."""
    table = CAPITALS[level - 1]
    country = source.choice(sorted(table))
    all_names = [name for tier in CAPITALS for names in tier.values() for name in names.split("/")]
    wrong = tuple(n for n in [*all_names, *NOT_CAPITALS] if n not in table[country].split("/"))
    return _named(f"What is the capital of {country}?", table[country], wrong)


def element(source: Source, level: int) -> Draft:
    """Atomic numbers, and which element has one."""
    table = ELEMENTS[level - 1]
    name = source.choice(sorted(table))
    number, symbol = table[name]
    spellings = {
        "aluminium": "aluminium/aluminum",
        "caesium": "caesium/cesium",
        "sulfur": "sulfur/sulphur",
    }
    if source.below(2):
        return _number(f"What is the atomic number of the element {name}?", number)
    question = f"Which chemical element has the atomic number {number}? Give its English name."
    others = tuple(other for tier in ELEMENTS for other in tier if other != name)
    if len(symbol) == 2 and symbol.lower() != name[:2] and source.below(2):
        question = f"Which chemical element has the symbol {symbol}? Give its English name."
    return _named(question, spellings.get(name, name), others)


def number_fact(source: Source, level: int) -> Draft:
    """A number that a definition or history gives."""
    table = NUMBERS[level - 1]
    question = source.choice(sorted(table))
    return _number(question, table[question], guess=0.05 if level == 1 else 0.0)


def author(source: Source, level: int) -> Draft:
    """Who wrote a work."""
    table = WORKS[level - 1]
    title = source.choice(sorted(table))
    others = {name for tier in WORKS for names in tier.values() for name in names.split("/")}
    wrong = tuple(sorted(others - set(table[title].split("/"))))
    return _named(f'Who wrote "{title}"? Give the last name.', table[title], wrong)
