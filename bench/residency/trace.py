"""Who asks what: conversations of people, background tasks of their front end, and scripts.

A conversation is a closed loop: its next turn comes a while after the last answer has ended, so
that a slow box is asked less, as in life.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

# Shares of a kind of user, by category; output tokens follow the policy's own expectations.
PERSON = {
    "factual": 22, "coding": 14, "chat": 14, "advice": 12, "creative": 10, "rewriting": 9,
    "translation": 7, "summarization": 6, "math": 3, "reasoning": 2, "extraction": 1,
}  # fmt: skip
AGENT = {"coding": 85, "summarization": 10, "extraction": 5}
# Longer histories are cut at their beginning, and then no turn's prompt begins as the one before.
_MOST_PROMPT, _INSTRUCTIONS = 7000, 1000
# How much is chatted in each hour of the day, against the mean.
HOURS = [
    0.2, 0.1, 0.05, 0.05, 0.05, 0.1, 0.4, 0.8, 1.0, 1.0, 1.0, 1.1,
    1.3, 1.1, 1.0, 1.0, 1.1, 1.3, 1.6, 2.0, 2.4, 2.3, 1.6, 0.6,
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """think: seconds after the answer before. prompt, output: tokens; shared: those of the prompt
    that the turn before had in the same place."""

    think: float
    category: str
    complexity: float
    prompt: int
    shared: int
    output: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """at: seconds since midnight. tasks: a front end asks for a title and more after answers."""

    at: float
    name: str
    client: str
    interactive: bool
    tasks: bool
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """people: each begins so many conversations a day. agents: each runs so many jobs a day."""

    people: int
    conversations: float
    agents: int = 0
    jobs: float = 0.0


def make_trace(crowd: Crowd, hours: float, seed: int) -> list[Conversation]:
    """The conversations that begin within these hours from 8 in the morning, by time."""
    rng = random.Random(seed)
    made: list[Conversation] = []
    for number in range(crowd.people):
        for at in _starts(crowd.conversations, hours, rng):
            name = f"person{number}-{len(made)}"
            made.append(_chat(at, name, f"person{number}", rng))
    for number in range(crowd.agents):
        for at in _starts(crowd.jobs, hours, rng):
            name = f"agent{number}-{len(made)}"
            made.append(_job(at, name, f"agent{number}", rng))
    return sorted(made, key=lambda each: each.at)


def _starts(a_day: float, hours: float, rng: random.Random) -> list[float]:
    """A Poisson process whose rate follows the hours of the day."""
    begin, end, most = 8 * 3600.0, (8 + hours) * 3600.0, max(HOURS)
    mean = sum(HOURS) / 24
    at, found = begin, []
    while (at := at + rng.expovariate(a_day * most / mean / 86400)) < end:
        if rng.random() < HOURS[int(at / 3600) % 24] / most:
            found.append(at)
    return found


def _chat(at: float, name: str, client: str, rng: random.Random) -> Conversation:
    category = _pick(PERSON, rng)
    turns, history = [], 0
    for number in range(1 + min(11, int(rng.expovariate(1 / 2.5)))):
        if number and rng.random() < 0.15:
            category = _pick(PERSON, rng)
        said, output = _lognormal(60, 1.0, rng), min(2000, _lognormal(300, 0.8, rng))
        think = 0.0 if number == 0 else _lognormal(35, 0.9, rng)
        prompt = 150 + history + said
        shared = 150 + history if prompt <= _MOST_PROMPT else 150
        turns.append(_turn(think, category, (min(_MOST_PROMPT, prompt), shared, output), rng))
        history += said + output
    return Conversation(
        at=at, name=name, client=client, interactive=True, tasks=True, turns=tuple(turns)
    )


def _job(at: float, name: str, client: str, rng: random.Random) -> Conversation:
    """An agent's job: some ten calls one after another, each with much to read."""
    turns = [
        _turn(
            0.0 if number == 0 else rng.uniform(0.5, 4.0),
            _pick(AGENT, rng),
            _call(rng),
            rng,
        )
        for number in range(rng.randint(4, 16))
    ]
    return Conversation(
        at=at, name=name, client=client, interactive=False, tasks=False, turns=tuple(turns)
    )


def _call(rng: random.Random) -> tuple[int, int, int]:
    """An agent's call: its instructions are always the same, the files it reads are not."""
    prompt = min(_MOST_PROMPT, _lognormal(3000, 0.5, rng))
    return prompt, min(_INSTRUCTIONS, prompt), min(1500, _lognormal(250, 0.7, rng))


def _turn(think: float, category: str, tokens: tuple[int, int, int], rng: random.Random) -> Turn:
    prompt, shared, output = tokens
    return Turn(
        think=think,
        category=category,
        complexity=rng.betavariate(2, 3),
        prompt=prompt,
        shared=shared,
        output=output,
    )


def _pick(shares: dict[str, int], rng: random.Random) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


def _lognormal(median: float, sigma: float, rng: random.Random) -> int:
    return max(1, round(rng.lognormvariate(math.log(median), sigma)))
