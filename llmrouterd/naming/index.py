"""All names the boards know, found by key under strict rules. Similarity only suggests. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmrouterd.naming.families import MIRRORS
from llmrouterd.naming.key import ModelKey, family_of, parse_name, same_size
from llmrouterd.naming.records import GRADES, Identity, LineRow, Match, Resolution
from llmrouterd.naming.upstream import Named, name_upstream, official, same_publisher
from llmrouterd.naming.words import Parts, take_apart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmrouterd.benchmarks.rows import BenchmarkRow
    from llmrouterd.naming.tables import NameTables

# Boards where every model is a chat model, whatever its name leaves out.
_CHAT_BOARDS = frozenset({"lmarena", "livebench", "bfcl", "artificial_analysis"})
# Registries that list models under the names that APIs serve them by.
_API_BOARDS = frozenset({"models_dev"})
_WHOLE = frozenset({"", "BF16", "F16", "F32"})
_LEAST_RATIO, _MOST_RATIO = 0.7, 1.45
_BILLION = 1e9
_LEAST_LINE = 6  # characters; a shorter unknown name is anybody's
_GRAM = 3

ModelOf = tuple[str, str, frozenset[str], tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    source: str
    model: str
    publisher: str
    stem: str
    key: ModelKey


class NameIndex:
    """The boards' names by canonical key. Build it once per sync: 5,000 names take under 1 s."""

    def __init__(self, names: Iterable[tuple[str, str]], tables: NameTables) -> None:
        self._tables = tables
        self._rows: dict[ModelOf, dict[str, list[_Row]]] = {}
        self._exact: dict[str, dict[str, _Row]] = {}
        self._lines: dict[str, list[_Row]] = {}
        self._grams: dict[tuple[str, str], frozenset[str]] = {}
        for source, model in dict.fromkeys(names):
            row = _read_row(source, model, tables)
            self._rows.setdefault(row.key.model, {}).setdefault(source, []).append(row)
            self._exact.setdefault(source, {})[model.lower()] = row
            self._lines.setdefault(row.key.line, []).append(row)

    def resolve(self, identity: Identity) -> Resolution:
        """The model's key, and at most one row per source."""
        named = name_upstream(identity, self._tables)
        parts = take_apart(named.name)
        key = parse_name(named.name, named.context)
        key = replace(key, quant=named.quant or key.quant)
        if _contradicted(identity, key, parts):
            return Resolution(key=key, upstream=named.name)
        found = (self._one(source, key, named, parts) for source in sorted(self._exact))
        matches = sorted((match for match in found if match), key=lambda one: -one.grade)
        return Resolution(key=key, upstream=named.name, matches=tuple(matches))

    def suggest(self, identity: Identity, most: int = 3) -> list[tuple[str, str, float]]:
        """Rows with the most alike spelling, for a person to choose from: (source, model,
        similarity 0..1), best first. Nothing is ever scored by them."""
        mine = _trigrams(take_apart(identity.name).stem)
        if not self._grams:
            self._grams = {
                (source, row.model): _trigrams(row.stem)
                for source, rows in self._exact.items()
                for row in rows.values()
            }
        alike = (
            (2 * len(mine & theirs) / (len(mine) + len(theirs)), name)
            for name, theirs in self._grams.items()
            if not mine.isdisjoint(theirs)
        )
        best = sorted(alike, key=lambda one: (-one[0], one[1]))[:most]
        return [(source, model, round(share, 3)) for share, (source, model) in best]

    def line(self, key: ModelKey, source: str | None = None) -> tuple[LineRow, ...]:
        """Rows of the same line, of any size, by official publishers where there are any."""
        rows = [row for row in self._lines.get(key.line, ()) if source in {None, row.source}]
        rows = [row for row in rows if not row.publisher or official(row.publisher, row.key)]
        return tuple(
            LineRow(size_b=row.key.size_b, source=row.source, model=row.model)
            for row in sorted(rows, key=lambda row: (row.source, row.key.size_b or 0, row.model))
        )

    def _one(self, source: str, key: ModelKey, named: Named, parts: Parts) -> Match | None:
        """The row of one source, if exactly one is left by the rules."""
        exact = self._same_name(source, key, named, parts)
        if exact is not None and parts.is_model:
            grade = (
                "exact" if named.grade == "canonical" and named.method == "name" else named.grade
            )
            if named.method == "name" and named.context == "":
                grade = "canonical"
            return _match(exact, named, grade)
        rows = self._rows.get(key.model, {}).get(source, [])
        rows = [row for row in rows if same_size(row.key.size_b, key.size_b)]
        rows = [row for row in rows if _same_active(row.key, key)]
        rows = _dated(rows, key.date)
        rows = _published(rows, key, parts)
        rows = _whole(rows, key)
        rows = _closest(rows, parts)
        if len(rows) != 1:
            return None
        return _match(rows[0], named, named.grade)

    def _same_name(self, source: str, key: ModelKey, named: Named, parts: Parts) -> _Row | None:
        """The row that is called the same."""
        known = self._exact[source]
        stem = parts.stem.lower()
        whole = known.get(named.name.lower()) or known.get(stem.replace("_", "/", 1))
        whole = whole or known.get(f"{parts.publisher}/{stem}")
        if whole is not None and "/" in whole.model:
            return whole
        if whole is None and not parts.publisher and not parts.carried:
            whole = known.get(stem)
        return whole if whole and whole.key.variants == key.variants else None


def names_of(rows: Iterable[BenchmarkRow]) -> set[tuple[str, str]]:
    """The (source, model) pairs of published figures, as an index wants them."""
    return {(row.source, row.model) for row in rows}


def _read_row(source: str, model: str, tables: NameTables) -> _Row:
    low = model.lower()
    upstream = tables.names.get(source, {}).get(low) or tables.names.get("any", {}).get(low)
    parts = take_apart(model)
    publisher = parts.publisher
    if source in _API_BOARDS:
        named = name_upstream(Identity(name=model, backend="openai"), tables)
        key = parse_name(named.name, named.context)
    elif upstream is not None:
        key = replace(parse_name(upstream), quant=parts.quant)
        publisher = publisher or take_apart(upstream).publisher
    else:
        key = parse_name(model, "lmarena" if source in _CHAT_BOARDS else "")
    if not publisher and "/" in model and source not in _API_BOARDS:
        publisher = low.split("/")[-2]  # a repacker's own models are not the makers'
    return _Row(source=source, model=model, publisher=publisher, stem=parts.stem.lower(), key=key)


def _match(row: _Row, named: Named, grade: str) -> Match:
    return Match(source=row.source, model=row.model, method=named.method, grade=GRADES[grade])


def _contradicted(identity: Identity, key: ModelKey, parts: Parts) -> bool:
    """An exact number of parameters that the name's size cannot mean (names round: 2.6 is 2b)."""
    if identity.canonical or not identity.parameter_count or not key.size_b:
        return False
    if any(word.startswith("e") and word[1:2].isdigit() for word in parts.words):
        return False  # `e4b` counts only the effective ones
    ratio = identity.parameter_count / _BILLION / key.size_b
    return not _LEAST_RATIO <= ratio <= _MOST_RATIO


def _same_active(one: ModelKey, other: ModelKey) -> bool:
    if one.active_b is None or other.active_b is None:
        return True
    return same_size(one.active_b, other.active_b)


def _dated(rows: list[_Row], date: str) -> list[_Row]:
    """The rows of the same date; without a date those without one, else the only dated one."""
    same = [row for row in rows if _plain_date(row.key.date) == _plain_date(date)]
    if same or date:
        return same
    dates = {row.key.date for row in rows}
    return rows if len(dates) == 1 else []


def _plain_date(date: str) -> str:
    """2024-08-06 is 20240806, 08-2024 is 202408."""
    month, dash, year = date.partition("-")
    if dash and len(month) < len(year) and "-" not in year:
        return f"{year}{month}"
    return date.replace("-", "")


def _published(rows: list[_Row], key: ModelKey, parts: Parts) -> list[_Row]:
    """Official rows, else a mirror's, else those of the only publisher of a named variation."""
    if not rows:
        return []
    publisher = "" if parts.carried or parts.publisher in MIRRORS else parts.publisher
    stranger = bool(publisher) and not official(publisher, key)
    if stranger:
        mine = same_publisher(publisher)
        return [row for row in rows if row.publisher and same_publisher(row.publisher) == mine]
    known = [row for row in rows if official(row.publisher, row.key)]
    nameless = [row for row in rows if not row.publisher]
    certain = family_of(key) is not None or len(key.line) >= _LEAST_LINE
    if not known and nameless:
        return nameless if certain else []
    known = known or [row for row in rows if row.publisher in MIRRORS and row.key.quant in _WHOLE]
    if known:
        return known
    named = key.extra or family_of(key) is None
    if not (certain and named and len({row.publisher for row in rows}) == 1):
        return []
    stem = parts.stem.lower()
    return [row for row in rows if key.size_b is not None or row.stem == stem]


def _whole(rows: list[_Row], key: ModelKey) -> list[_Row]:
    """Rows of the full weights, unless the local ones are quantised as a row says."""
    if len(rows) <= 1:
        return rows
    same = [row for row in rows if row.key.quant == key.quant and key.quant not in _WHOLE]
    return same or [row for row in rows if row.key.quant in _WHOLE] or rows


def _closest(rows: list[_Row], parts: Parts) -> list[_Row]:
    if len(rows) <= 1:
        return rows
    stem = parts.stem.lower()
    same = [row for row in rows if row.stem == stem]
    if same:
        return same[:1]
    models = {row.stem.removesuffix("-hf") for row in rows}
    return rows[:1] if len(models) == 1 else rows


def _trigrams(text: str) -> frozenset[str]:
    padded = f"  {text.lower()} "
    return frozenset(padded[at : at + _GRAM] for at in range(len(padded) - _GRAM + 1))
