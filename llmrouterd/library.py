"""The published rows and facts by name, and which of them are about a local model. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrouterd.evidence.subject import About, Figure, Relative, year_of
from llmrouterd.naming import Match, NameIndex, NameTables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmrouterd.benchmarks.rows import BenchmarkRow, PublishedFacts
    from llmrouterd.naming import Identity, Resolution

_EXACT = 1.0


class Library:
    """Built anew when rows or facts change: about a second for all public boards, so not on the
    event loop. `newest` is the date of the newest row."""

    def __init__(
        self,
        rows: Iterable[BenchmarkRow] = (),
        facts: Iterable[PublishedFacts] = (),
        tables: NameTables | None = None,
    ) -> None:
        self.rows = tuple(rows)
        self.facts = tuple(facts)
        self._tables = tables or NameTables()
        self._rows: dict[tuple[str, str], list[BenchmarkRow]] = {}
        for row in self.rows:
            self._rows.setdefault((row.source, row.model), []).append(row)
        self._facts: dict[tuple[str, str], PublishedFacts] = {
            (fact.source, fact.model): fact for fact in self.facts
        }
        self._names = NameIndex(dict.fromkeys([*self._rows, *self._facts]), self._tables)
        self._by_model: dict[str, list[str]] = {}
        for source, model in self._rows:
            self._by_model.setdefault(model, []).append(source)
        self._resolved: dict[Identity, Resolution] = {}
        dated = [row.date for row in self.rows if year_of(row.date) is not None]
        self.newest = max(dated, default="")

    def learn(self, rows: Iterable[BenchmarkRow], facts: Iterable[PublishedFacts]) -> Library:
        """Another library with the same tables of names."""
        return Library(rows, facts, self._tables)

    def identify(self, identity: Identity) -> Resolution:
        """Which published names are this model."""
        found = self._resolved.get(identity)
        if found is None:
            found = self._resolved[identity] = self._names.resolve(identity)
        return found

    def about(self, identity: Identity, id_: str) -> About:
        """All that is published about a model."""
        resolution = self.identify(identity)
        matches = self.matches(identity, id_)
        facts = tuple(self.known_facts(matches))
        return About(
            size_b=resolution.key.size_b,
            quant=resolution.key.quant,
            released=self.released(resolution, facts),
            facts=facts,
            figures=self.figures(matches),
            relatives=self.relatives(resolution),
            newest=self.newest,
        )

    def suggest(self, identity: Identity) -> list[tuple[str, str, float]]:
        """Similar published names, (source, model, similarity), for the owner to judge."""
        return list(self._names.suggest(identity))

    def matches(self, identity: Identity, id_: str) -> tuple[Match, ...]:
        """The published names of a model; those equal to its id (BACKEND/MODEL) are among them."""
        named = tuple(
            Match(source=source, model=id_, method="override", grade=_EXACT)
            for source in self._by_model.get(id_, ())
        )
        return named + self.identify(identity).matches

    def figures(self, matches: Iterable[Match]) -> tuple[Figure, ...]:
        """The rows of these names; of several names of one source the best grade counts."""
        best: dict[str, Match] = {}
        for match in matches:
            if (match.source, match.model) in self._rows:
                known = best.get(match.source)
                if known is None or match.grade > known.grade:
                    best[match.source] = match
        return tuple(
            Figure(row, match.grade_name)
            for match in best.values()
            for row in self._rows[(match.source, match.model)]
        )

    def known_facts(self, matches: Iterable[Match]) -> list[PublishedFacts]:
        """What registries say of a model, the best match first."""
        ordered = sorted(matches, key=lambda match: -match.grade)
        keys = [(match.source, match.model) for match in ordered]
        return [self._facts[key] for key in keys if key in self._facts]

    def released(self, resolution: Resolution, facts: Iterable[PublishedFacts]) -> float | None:
        """When the model came out, as a year: of itself, else of the first of its line. None
        where nobody says."""
        dates = [fact.released for fact in facts]
        if not any(dates):
            line = ((row.source, row.model) for row in self._names.line(resolution.key))
            dates = [self._facts[key].released for key in line if key in self._facts]
        years = [year for date in dates if (year := year_of(date)) is not None]
        return min(years, default=None)

    def relatives(self, resolution: Resolution) -> tuple[Relative, ...]:
        """Other sizes of the same line that have rows."""
        found: dict[float, list[Figure]] = {}
        names: dict[float, str] = {}
        for line in self._names.line(resolution.key):
            rows = self._rows.get((line.source, line.model))
            if rows and line.size_b and not _same_size(line.size_b, resolution.key.size_b):
                found.setdefault(line.size_b, []).extend(Figure(row, "exact") for row in rows)
                names.setdefault(line.size_b, line.model)
        return tuple(Relative(names[size], size, tuple(found[size])) for size in sorted(found))


def _same_size(one: float, other: float | None) -> bool:
    return other is not None and abs(one - other) <= 0.02 * max(one, other)
