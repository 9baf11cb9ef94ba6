"""A published figure, and a published fact about a model, as every provider gives them. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRow:
    """One published figure of one model.

    model: as the board names it. board: SOURCE/NAME, such as `lmarena/coding`. value: on the
    board's own scale. low and high: its 95 % interval. votes: how many judgements it rests on.
    date: when it was published, as YYYY-MM-DD or its beginning. None and "" are 'not said'.
    """

    model: str
    board: str
    value: float
    low: float | None = None
    high: float | None = None
    votes: int | None = None
    date: str = ""

    @property
    def source(self) -> str:
        """The part of the board's name that says who published it."""
        return self.board.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFacts:
    """What a registry says of one model. None is 'not said'.

    context: tokens. price: US dollars for a million (input, output) tokens. capabilities: of
    chat, vision, tools, json, thinking, embedding, audio. size_b and active_b: billions of
    parameters. released: YYYY-MM-DD or its beginning.
    """

    source: str
    model: str
    context: int | None = None
    price: tuple[float, float] | None = None
    capabilities: frozenset[str] | None = None
    size_b: float | None = None
    active_b: float | None = None
    released: str = ""
