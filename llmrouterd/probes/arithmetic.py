"""Mathematics: word problems, rates and percentages, number theory."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from llmrouterd.probes.checks import Draft, NumberCheck
from llmrouterd.probes.numbers import show
from llmrouterd.probes.wordlists import CONTAINERS, GOODS, PEOPLE, THINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.probes.seed import Source

_FORM = "\nWork it out, then end with one line of the form\nAnswer: <number>"


def numeric(question: str, value: int | Fraction, max_tokens: int = 500) -> Draft:
    """A question whose answer is a number that the question does not hold."""
    wanted = Fraction(value)
    return Draft(
        prompt=question + _FORM,
        check=NumberCheck(value=wanted),
        reference=f"Answer: {show(wanted)}",
        max_tokens=max_tokens,
    )


class _Story:
    """Sentences about how many things somebody has, with the count so far."""

    def __init__(self, source: Source, level: int) -> None:
        self.source = source
        self.who, self.other, self.third = source.sample(PEOPLE, 3)
        self.thing, self.extra = source.sample(THINGS, 2)
        self.size = (12, 30, 60, 150, 400)[level - 1]
        self.count = source.between(self.size // 2, self.size)
        self.lines = [f"{self.who} has {self.count} {self.thing}."]

    def step(self) -> None:
        """One thing more that happens."""
        ways: list[Callable[[], str | None]] = [
            self._gain, self._lose, self._packs, self._share, self._times, self._sell
        ]  # fmt: skip
        while (line := self.source.choice(ways)()) is None:
            pass
        self.lines.append(line)

    def _gain(self) -> str:
        more = self.source.between(3, self.size)
        self.count += more
        return self.source.choice(
            (
                f"{self.other} gives {self.who} {more} more.",
                f"Then {self.who} finds another {more} {self.thing}.",
                f"{self.who} buys {more} more {self.thing}.",
            )
        )

    def _lose(self) -> str | None:
        if self.count < 8:
            return None
        fewer = self.source.between(2, self.count - 4)
        self.count -= fewer
        return self.source.choice(
            (
                f"{self.who} gives {fewer} of the {self.thing} to {self.third}.",
                f"After that {self.who} loses {fewer} {self.thing}.",
                f"{self.who} uses up {fewer} of them.",
            )
        )

    def _packs(self) -> str:
        packs, each = self.source.between(2, 9), self.source.between(3, 12)
        self.count += packs * each
        kind = self.source.choice(CONTAINERS)
        return (
            f"{self.other} brings {packs} {kind} with {each} {self.thing} in each for {self.who}."
        )

    def _share(self) -> str | None:
        parts = self.source.between(2, 6)
        if self.count % parts or self.count // parts < 4:
            return None
        self.count //= parts
        return (
            f"{self.who} splits all the {self.thing} evenly into {parts} equal heaps, "
            "keeps one heap and gives the other heaps away."
        )

    def _times(self) -> str | None:
        factor = self.source.between(2, 4)
        if self.count * factor > self.size * 8:
            return None
        self.count *= factor
        name = {2: "twice", 3: "three times", 4: "four times"}[factor]
        return f"A week later {self.who} has {name} as many {self.thing} as before."

    def _sell(self) -> str | None:
        if self.count % 4 or self.count < 16:
            return None
        quarters = self.source.choice((1, 2, 3))
        self.count -= self.count * quarters // 4
        share = {1: "a quarter", 2: "half", 3: "three quarters"}[quarters]
        return f"{self.who} sells {share} of the {self.thing} at the market."

    def distract(self) -> None:
        """A sentence that has nothing to do with the count."""
        number = self.source.between(3, self.size)
        place = self.source.between(1, len(self.lines))
        line = self.source.choice(
            (
                f"{self.other} has {number} {self.extra}.",
                f"{self.third} is {self.source.between(20, 60)} years old.",
                f"There are {number} {self.extra} on the table, which belong to {self.third}.",
            )
        )
        self.lines.insert(place, line)


def word_problem(source: Source, level: int) -> Draft:
    """Several things happen to a number of things; how many are left."""
    story = _Story(source, level)
    for _ in range((1, 2, 3, 5, 8)[level - 1]):
        story.step()
    for _ in range((0, 0, 1, 1, 3)[level - 1]):
        story.distract()
    question = f"How many {story.thing} does {story.who} have now?"
    return numeric(" ".join([*story.lines, question]), story.count)


def _shopping(source: Source) -> tuple[str, int]:
    who, thing = source.choice(PEOPLE), source.choice(GOODS)
    price, count = source.between(3, 19), source.between(2, 9)
    paid = (price * count // 50 + 1) * 50
    text = (
        f"One {thing} costs {price} euros. {who} buys {count} of them and pays with {paid} euros. "
        "How many euros of change does the shop give back?"
    )
    return text, paid - price * count


def _discount(source: Source) -> tuple[str, Fraction]:
    thing = source.choice(GOODS)
    price, off = source.between(4, 60) * 20, source.choice((5, 10, 15, 20, 25, 30, 35, 40, 45))
    text = (
        f"A {thing} costs {price} euros. It is sold with {off}% off. What is the new price in "
        "euros?"
    )
    return text, Fraction(price * (100 - off), 100)


def _meeting(source: Source) -> tuple[str, int]:
    fast, slow, hours = source.between(50, 120), source.between(40, 95), source.between(2, 7)
    text = (
        f"Two trains start at the same moment from two towns {(fast + slow) * hours} km apart and "
        f"drive towards each other, one at {fast} km/h, the other at {slow} km/h. After how many "
        "minutes do they meet?"
    )
    return text, hours * 60


def _pipes(source: Source) -> tuple[str, Fraction]:
    first, second, empty = source.choice(
        ((6, 3, 4), (10, 15, 12), (4, 6, 3), (8, 12, 6), (5, 20, 8), (12, 20, 15), (9, 18, 12))
    )
    size = source.between(2, 9) * 120
    rate = Fraction(size, first) + Fraction(size, second) - Fraction(size, empty)
    start = source.between(1, 3)
    held = rate * start
    text = (
        f"A tank holds {size} litres and is empty. Pipe A alone fills it in {first} hours, pipe B "
        f"alone in {second} hours, and an open drain would empty a full tank in {empty} hours. "
        "Both "
        f"pipes and the drain are open for {start} hours. How many litres does the tank hold then?"
    )
    return text, held


def _mixture(source: Source) -> tuple[str, Fraction]:
    who = source.choice(PEOPLE)
    capital = source.between(2, 9) * 1000
    up, down = source.choice((10, 20, 25, 40, 50)), source.choice((5, 10, 15, 20, 30))
    fee, months = source.between(11, 39), source.between(3, 11)
    value = Fraction(capital * (100 + up) * (100 - down), 10000) - fee * months
    text = (
        f"{who} invests {capital} euros. In the first half of the year the value rises by "
        f"{up}%, in "
        f"the second half it falls by {down}% of what it was at the middle of the year. For "
        "each of "
        f"the {months} months that the account is open, a fee of {fee} euros is paid out of it at "
        "the end of the year. How many euros more than at the start are left (a loss is a "
        "negative "
        "number)?"
    )
    return text, value - capital


def rate_problem(source: Source, level: int) -> Draft | None:
    """Prices, percentages, speeds, work, growth."""
    ways: tuple[Callable[[Source], tuple[str, int | Fraction]], ...]
    ways = (_shopping, _discount, _meeting, _pipes, _mixture)
    text, value = ways[level - 1](source)
    wanted = Fraction(value)
    if wanted.denominator not in (1, 2, 4, 5, 10, 20, 25, 50, 100) or wanted == 0:
        return None
    return numeric(text, wanted)


def _chinese(source: Source) -> tuple[str, int]:
    first, second, third = source.sample((5, 7, 8, 9, 11, 13), 3)
    if math.gcd(first, second) * math.gcd(first, third) * math.gcd(second, third) > 1:
        return "", 0
    wanted = source.between(100, first * second * third - 1)
    text = (
        f"What is the smallest positive integer that leaves remainder {wanted % first} when "
        "divided "
        f"by {first}, remainder {wanted % second} when divided by {second}, and remainder "
        f"{wanted % third} when divided by {third}?"
    )
    return text, wanted


def _inclusion(source: Source) -> tuple[str, int]:
    first, second, third = source.sample((3, 4, 5, 6, 7, 9, 10), 3)
    most = source.between(200, 999)
    count = sum((n % first == 0 or n % second == 0) and n % third != 0 for n in range(1, most + 1))
    text = (
        f"How many integers from 1 to {most} are divisible by {first} or by {second} (or by both), "
        f"but not by {third}?"
    )
    return text, count


def number_theory(source: Source, level: int) -> Draft | None:
    """Remainders, common divisors and multiples, powers, counting."""
    if level == 1:
        divisor, number = source.between(3, 12), source.between(30, 200)
        text, value = (
            f"What is the remainder when {number} is divided by {divisor}?",
            number % divisor,
        )
    elif level == 2:
        common, a, b = source.between(2, 12), source.between(3, 13), source.between(3, 13)
        first, second = common * a, common * b
        if source.below(2):
            text = f"What is the greatest common divisor of {first} and {second}?"
            value = math.gcd(first, second)
        else:
            text = f"What is the least common multiple of {first} and {second}?"
            value = math.lcm(first, second)
    elif level == 3:
        base, power, modulus = source.between(2, 12), source.between(11, 60), source.between(7, 23)
        text = f"What is the remainder when {base}^{power} is divided by {modulus}?"
        value = pow(base, power, modulus)
    elif level == 4:
        text, value = _chinese(source)
    else:
        text, value = _inclusion(source)
    return numeric(text, value, 700) if text else None
