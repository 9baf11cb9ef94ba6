"""The curated facts about names, read from the texts that travel with the package. Pure."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DIGEST_DIGITS = 12
_SIZE = r"(?P<s>e?[0-9.]+[bm]|[0-9]+x[0-9]+b)"


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRule:
    """Tags of one Ollama library that mean one upstream name; `{s}` in it is the tag's size."""

    tag: re.Pattern[str]
    upstream: str

    def read(self, tag: str) -> str | None:
        """The upstream name of a tag, None if the rule does not fit it."""
        found = self.tag.fullmatch(tag)
        if found is None:
            return None
        return self.upstream.replace("{s}", found.groupdict().get("s") or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class NameTables:
    """names: scope (any, api, lmarena) -> name in lower case -> upstream name. libraries: an
    Ollama library -> its rules. digests: the first 12 hex digits -> (library, fullest tag). tags:
    (library, tag) -> the fullest tag with the same digest. boards: known (source, model)."""

    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    libraries: Mapping[str, tuple[TagRule, ...]] = field(default_factory=dict)
    digests: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    tags: Mapping[tuple[str, str], str] = field(default_factory=dict)
    boards: tuple[tuple[str, str], ...] = ()

    def upstream_tag(self, library: str, tag: str) -> str | None:
        """What a library's tag (without quantisation) means, None if no fact is known."""
        rules = self.libraries.get(library, ())
        return next((found for rule in rules if (found := rule.read(tag)) is not None), None)


def make_tables(aliases: str, digests: str = "", boards: str = "") -> NameTables:
    """The tables of the three texts: aliases.csv, ollama.txt and boards.txt (see their README).

    ValueError for a row that is not as it should be."""
    names: dict[str, dict[str, str]] = {}
    libraries: dict[str, list[TagRule]] = {}
    lines = (line for line in aliases.splitlines() if line and not line.startswith("#"))
    for row in csv.DictReader(lines):
        scope, name, tag, upstream = (row[part] for part in ("scope", "name", "tag", "upstream"))
        if not upstream:
            raise ValueError(f"an alias without its upstream name: {scope},{name},{tag}")
        if scope == "ollama":
            rule = TagRule(tag=_tag_pattern(tag), upstream=upstream)
            libraries.setdefault(name, []).append(rule)
        else:
            names.setdefault(scope, {}).setdefault(name.lower(), upstream)
    by_digest, by_tag = _read_digests(digests.splitlines())
    return NameTables(
        names=names,
        libraries={name: tuple(rules) for name, rules in libraries.items()},
        digests=by_digest,
        tags=by_tag,
        boards=tuple(_read_boards(boards.splitlines())),
    )


def short_digest(digest: str) -> str:
    """The digits of a digest that Ollama shows."""
    return digest.strip().lower().removeprefix("sha256:")[:DIGEST_DIGITS]


def _tag_pattern(tag: str) -> re.Pattern[str]:
    """`{s}` is a size, `*` anything; our own short patterns over bounded tags."""
    text = "".join({"{s}": _SIZE, "*": ".*"}.get(part) or re.escape(part) for part in _split(tag))
    return re.compile(text)


def _split(tag: str) -> list[str]:
    return [part for part in re.split(r"(\{s\}|\*)", tag) if part]


def _read_digests(
    lines: Iterable[str],
) -> tuple[dict[str, tuple[str, str]], dict[tuple[str, str], str]]:
    by_digest: dict[str, tuple[str, str]] = {}
    by_tag: dict[tuple[str, str], str] = {}
    library = ""
    for line in lines:
        digest, _, rest = line.partition(" ")
        if not rest:
            library = digest
            continue
        tags = rest.split(" ")
        by_digest.setdefault(digest, (library, tags[0]))
        by_tag.update({(library, tag): tags[0] for tag in tags})
    return by_digest, by_tag


def _read_boards(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    source = ""
    for line in lines:
        if line.startswith("#"):
            source = line[1:]
        elif line:
            yield source, line
