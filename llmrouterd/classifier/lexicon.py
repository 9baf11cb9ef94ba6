"""Category lexicons: weighted phrases and patterns in, evidence per category out.

`build_lexicons` compiles checked data (the files in ``rules/``) into one `LexiconSet`. Its `match`
walks a text once for all phrases and searches all patterns with RE2, in time linear in the text.

Evidence is in logit units. Each distinct entry of a lexicon counts once per text. The entries of
one group are taken for synonyms: the second that is met adds half of the group's weight, the third
a quarter, so that a group never gives more than twice its weight. A phrase that is met only in the
middle of a long text gives a part of its weight, because people say what they want at the beginning
or the end. A category's sum ``s`` is then saturated to ``S * tanh(s / S)``, so that a long pasted
text cannot win by its length. `probabilities` turns evidence into a distribution with the right to
abstain.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrouterd.classifier.patterns import PatternSet, PatternTooLargeError, pattern_problem
from llmrouterd.classifier.tokens import (
    PhraseTrie,
    fold,
    inner_range,
    is_break,
    phrase_problem,
    phrase_words,
    spellings,
    tokenize,
    unbroken,
)

ANYWHERE, START, END, WHOLE, OPEN, SENTENCE = (
    "anywhere",
    "start",
    "end",
    "whole",
    "open",
    "sentence",
)

HEAD_LIMIT = 4000
TAIL_LIMIT = 2000
EDGE = 200
GAP = 30  # tokens between a phrase and the one it must come after
DEFAULT_SATURATION = 8.0
DEFAULT_BODY_SHARE = 0.35


Problem = tuple[str, str, str]


class LexiconError(ValueError):
    """Lexicons that cannot be compiled: every problem as (category, path in its file, message)."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{name}: {path}: {text}" for name, path, text in problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One entry that was met, and the logit units it added to its category before saturation."""

    category: str
    entry: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the lexicons say of a text: (category, logit) for each category, and the hits."""

    totals: tuple[tuple[str, float], ...]
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A phrase or pattern as its file has it, with the place and weight of its group."""

    text: str
    group: int
    where: str
    weight: float
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexicon:
    """One category's lexicon: name, description, and entries in the order of the file."""

    category: str
    description: str
    phrases: tuple[Entry, ...]
    patterns: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a text, counted in tokens, its edges lie."""

    tokens: Sequence[str]
    low: int
    high: int
    head: int
    tail: int

    @classmethod
    def of(cls, folded: str, tokens: Sequence[str]) -> _Place:
        """Find the edges of a text from its folded form and its tokens."""
        low, high = inner_range(tokens)
        if len(folded) <= EDGE:
            return cls(tokens, low, high, len(tokens), 0)
        head = len(tokenize(folded[:EDGE]))
        tail = len(tokens) - len(tokenize(folded[-EDGE:]))
        return cls(tokens, low, high, head, tail)

    def edge(self, begin: int, end: int) -> bool:
        """Return whether a phrase lies near the beginning or the end of the text."""
        return begin < self.head or end > self.tail

    def holds(self, where: str, begin: int, end: int) -> bool:
        """Return whether a phrase that covers these tokens lies where its group wants it."""
        match where:
            case "start":
                return begin < self.head
            case "end":
                return end > self.tail
            case "open":
                return begin == self.low
            case "whole":
                return begin == self.low and end == self.high
            case _:
                return self.edge(begin, end) and (
                    begin <= self.low or is_break(self.tokens[begin - 1])
                )


class LexiconSet:
    """All lexicons of a policy, compiled together; immutable, and safe to share between threads."""

    __slots__ = (
        "_entries",
        "_guards",
        "_owners",
        "_sets",
        "_trie",
        "body_share",
        "lexicons",
        "saturation",
    )

    def __init__(
        self, lexicons: tuple[Lexicon, ...], *, saturation: float, body_share: float
    ) -> None:
        self.lexicons = lexicons
        self.saturation = saturation
        self.body_share = body_share
        self._entries: list[Entry] = []
        self._owners: list[int] = []
        self._guards: list[int] = []
        self._trie = PhraseTrie()
        guards: dict[tuple[str, ...], int] = {(): 0}
        patterns: dict[str, list[tuple[int, str]]] = {}
        for owner, lexicon in enumerate(lexicons):
            for entry in (*lexicon.phrases, *lexicon.patterns):
                self._owners.append(owner)
                self._entries.append(entry)
                self._guards.append(self._guard(entry.after, guards))
            first = len(self._entries) - len(lexicon.phrases) - len(lexicon.patterns)
            for number, entry in _distinct(lexicon.phrases, first):
                for words in spellings(entry.text):
                    self._trie.add(words, number)
            for number, entry in enumerate(lexicon.patterns, first + len(lexicon.phrases)):
                place, pattern = _placed(entry)
                patterns.setdefault(place, []).append((number, pattern))
        self._trie.seal()
        self._sets = tuple((place, PatternSet(found)) for place, found in patterns.items())

    @property
    def categories(self) -> tuple[str, ...]:
        """Return the names of the categories, in the order they were given."""
        return tuple(lexicon.category for lexicon in self.lexicons)

    def match(self, text: str) -> Evidence:
        """Return the evidence in a text.

        Of more than 6,000 characters, the first 4,000 and the last 2,000 are read.
        """
        if len(text) > HEAD_LIMIT + TAIL_LIMIT:
            text = f"{text[:HEAD_LIMIT]}\n{text[-TAIL_LIMIT:]}"
        found = self._phrases(text)
        found.update(dict.fromkeys(self._patterns(text), 1.0))
        return self._weigh(found)

    def _guard(self, after: tuple[str, ...], guards: dict[tuple[str, ...], int]) -> int:
        """Return the number of a list of guarding phrases, 0 for none; negative in the trie."""
        if after not in guards:
            guards[after] = len(guards)
            for phrase in after:
                for words in spellings(phrase):
                    self._trie.add(words, -guards[after])
        return guards[after]

    def _phrases(self, text: str) -> dict[int, float]:
        """Return the numbers of the phrases met, and the share of its weight that each gives."""
        folded = fold(text)
        tokens = tokenize(folded)
        place = _Place.of(folded, tokens)
        entries, guards = self._entries, self._guards
        seen: dict[int, int] = {}
        found: dict[int, float] = {}
        for number, begin, end in self._trie.find(tokens):
            if number < 0:
                seen[-number] = end
                continue
            if found.get(number) == 1.0:
                continue
            if guards[number]:
                guard = seen.get(guards[number], begin + 1)
                if not (begin - GAP <= guard <= begin and unbroken(tokens, guard, begin)):
                    continue
            where = entries[number].where
            if where == ANYWHERE:
                found[number] = 1.0 if place.edge(begin, end) else self.body_share
            elif place.holds(where, begin, end):
                found[number] = 1.0
        return found

    def _patterns(self, text: str) -> Iterator[int]:
        text = text.strip()
        parts = {ANYWHERE: text.encode("utf-8", "replace")}
        if len(text) <= EDGE:
            parts[START] = parts[END] = parts[WHOLE] = parts[ANYWHERE]
        else:
            parts[START] = text[:EDGE].encode("utf-8", "replace")
            parts[END] = text[-EDGE:].encode("utf-8", "replace")
        for place, patterns in self._sets:
            if place in parts:
                yield from patterns.search(parts[place])

    def _weigh(self, found: Mapping[int, float]) -> Evidence:
        totals = [0.0] * len(self.lexicons)
        met: dict[tuple[int, int], int] = {}
        hits = []
        for number in sorted(found, key=lambda number: (-found[number], number)):
            entry, owner = self._entries[number], self._owners[number]
            repeats = met.get((owner, entry.group), 0)
            met[owner, entry.group] = repeats + 1
            weight = entry.weight * found[number] * 0.5**repeats
            totals[owner] += weight
            hits.append(
                Hit(category=self.lexicons[owner].category, entry=entry.text, weight=weight)
            )
        hits.sort(key=lambda hit: -abs(hit.weight))
        limit = self.saturation
        return Evidence(
            totals=tuple(
                (lexicon.category, limit * math.tanh(total / limit) if total else 0.0)
                for lexicon, total in zip(self.lexicons, totals, strict=True)
            ),
            hits=tuple(hits),
        )


def build_lexicons(
    data: Mapping[str, Mapping[str, Any]],
    *,
    saturation: float = DEFAULT_SATURATION,
    body_share: float = DEFAULT_BODY_SHARE,
) -> LexiconSet:
    """Compile lexicons, by category, from data that fits ``config/lexicon.schema.json``.

    ``saturation`` is the largest evidence, in logit units, that one category can gather;
    ``body_share`` the share (0..1) of its weight that a phrase gives which is only met away from
    both edges of a text. Raises LexiconError with all problems at once: patterns that are not RE2,
    phrases without a word.
    """
    problems: list[Problem] = []
    lexicons = []
    for category, content in data.items():
        problems += [(category, *problem) for problem in _problems(content["groups"])]
        lexicons.append(
            Lexicon(
                category=category,
                description=content["description"],
                phrases=tuple(_parse(content["groups"], "phrases")),
                patterns=tuple(_parse(content["groups"], "patterns")),
            )
        )
    if problems:
        raise LexiconError(tuple(problems))
    try:
        return LexiconSet(tuple(lexicons), saturation=saturation, body_share=body_share)
    except PatternTooLargeError as error:
        raise LexiconError((("*", "groups", str(error)),)) from error


def probabilities(
    evidence: Evidence, *, prior: Mapping[str, float], abstain_logit: float, temperature: float
) -> tuple[dict[str, float], float]:
    """Return the distribution over categories (it sums to 1) and the probability of abstaining.

    A category's logit is ``log(prior) + evidence``; abstaining competes with ``abstain_logit``. All
    are divided by ``temperature`` (> 0) and put through one softmax; the categories are then
    normalised without the abstain option. A category that ``prior`` leaves out has a prior of 1; a
    prior must be above 0.
    """
    logits = {category: total / temperature for category, total in evidence.totals}
    for category in prior.keys() & logits.keys():
        logits[category] += math.log(prior[category]) / temperature
    abstain = abstain_logit / temperature
    top = max((abstain, *logits.values()))
    powers = {category: math.exp(logit - top) for category, logit in logits.items()}
    mass = sum(powers.values())
    silent = math.exp(abstain - top)
    if mass == 0.0:
        return {category: 1.0 / len(powers) for category in powers}, 1.0
    shares = {category: power / mass for category, power in powers.items()}
    return shares, silent / (mass + silent)


def _parse(groups: Sequence[Mapping[str, Any]], kind: str) -> Iterator[Entry]:
    """Yield the phrases or the patterns of a lexicon's groups, in order."""
    for number, group in enumerate(groups):
        for text in group.get(kind, ()):
            yield Entry(
                text=text,
                group=number,
                where=group.get("where", ANYWHERE),
                weight=float(group["weight"]),
                after=tuple(group.get("after", ())) if kind == "phrases" else (),
            )


def _problems(groups: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (path, message) for each phrase and pattern that cannot be compiled."""
    for number, group in enumerate(groups):
        for kind in ("after", "phrases", "patterns"):
            check = pattern_problem if kind == "patterns" else phrase_problem
            for position, text in enumerate(group.get(kind, ())):
                message = check(text)
                if message:
                    yield f"groups[{number}].{kind}[{position}]", message


def _distinct(phrases: Sequence[Entry], first: int) -> Iterator[tuple[int, Entry]]:
    """Yield phrases, numbered from ``first``, without those that say the same in another group.

    Related languages share words; a word counts once, with the greater weight.
    """
    heaviest: dict[tuple[object, ...], tuple[int, Entry]] = {}
    for number, entry in enumerate(phrases, first):
        key = (*phrase_words(entry.text), entry.where, entry.after, entry.weight > 0)
        known = heaviest.get(key)
        if known is None or abs(known[1].weight) < abs(entry.weight):
            heaviest[key] = (number, entry)
    yield from heaviest.values()


def _placed(entry: Entry) -> tuple[str, str]:
    """Return the part of the text a pattern is searched in, and the pattern anchored for it."""
    if entry.where == WHOLE:
        return WHOLE, rf"\A(?:{entry.text})[\s.!?。！？…]*\z"
    if entry.where == OPEN:
        return START, rf"\A(?:{entry.text})"
    return (ANYWHERE if entry.where == SENTENCE else entry.where), entry.text
