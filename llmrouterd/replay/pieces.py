"""What a catalog was assembled of, as pieces that are stored once however many decisions were made
from them: the world, each model's sighting, and what is published about it. Pure.

A piece's name is the digest of its content. Between two decisions hardly more changes than the
speeds of the model that has just answered, so a world costs a few hundred bytes.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from llmrouterd.benchmarks.rows import BenchmarkRow, PublishedFacts
from llmrouterd.catalog import ModelFacts, Sighting, known_fields, read_profile
from llmrouterd.evidence.subject import About, Figure, Relative

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_DIGEST_BYTES = 12


class Piece(NamedTuple):
    """body: compressed JSON. parts: the digests of the pieces that it refers to."""

    body: bytes
    parts: tuple[str, ...] = ()


def encode_world(seen: Iterable[Sighting]) -> tuple[str, dict[str, Piece]]:
    """The digest of the world and all its pieces by digest."""
    pieces: dict[str, Piece] = {}

    def add(value: Any, parts: tuple[str, ...] = ()) -> str:
        text = orjson.dumps(value, default=_plain, option=orjson.OPT_SORT_KEYS)
        digest = hashlib.blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()
        pieces[digest] = Piece(zlib.compress(text), parts)
        return digest

    members = []
    for sighting in seen:
        about = add(sighting.about)
        content = {
            "backend": sighting.backend,
            "facts": _lasting(sighting.facts),
            "profile": sighting.profile,
            "feedback": sighting.feedback,
            "pinned": sighting.pinned,
            "about": about,
        }
        members.append(add(content, (about,)))
    return add(members, tuple(members)), pieces


def read_world(
    digest: str, read: Callable[[str], bytes], known: dict[str, Any]
) -> dict[str, Sighting]:
    """The sightings of a world by their own digests. read: digest -> a piece's body; raises
    KeyError. known: what was read before, by digest; it is added to."""
    found: dict[str, Sighting] = {}
    for member in orjson.loads(zlib.decompress(read(digest))):
        if member not in known:
            known[member] = _sighting(orjson.loads(zlib.decompress(read(member))), read, known)
        found[member] = known[member]
    return found


def _lasting(facts: ModelFacts) -> ModelFacts:
    """Without what is of the moment; a decision's `Load` has that."""
    lasting = replace(facts, slots=None, loaded=None, movable=False, memory=None, cache=None)
    return replace(lasting, busy=None, expires=None)


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):  # a named one: orjson takes plain ones only
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _sighting(
    data: dict[str, Any], read: Callable[[str], bytes], known: dict[str, Any]
) -> Sighting:
    about = data["about"]
    if about not in known:
        known[about] = _about(orjson.loads(zlib.decompress(read(about))))
    return Sighting(
        backend=data["backend"],
        facts=_made(ModelFacts, data["facts"]),
        profile=read_profile(data["profile"]),
        feedback={name: (pair[0], pair[1]) for name, pair in data["feedback"].items()},
        pinned=data["pinned"],
        about=known[about],
    )


def _about(data: dict[str, Any]) -> About:
    made: About = _made(
        About,
        {
            **data,
            "facts": tuple(_made(PublishedFacts, fact) for fact in data["facts"]),
            "figures": _figures(data["figures"]),
            "relatives": tuple(
                Relative(name, size, _figures(figures)) for name, size, figures in data["relatives"]
            ),
        },
    )
    return made


def _figures(data: Iterable[Any]) -> tuple[Figure, ...]:
    return tuple(Figure(_made(BenchmarkRow, row), grade) for row, grade in data)


def _made(kind: type[Any], data: Mapping[str, Any]) -> Any:
    """A dataclass of its fields as JSON gives them."""
    given = known_fields(kind, data)
    if isinstance(given.get("capabilities"), list):
        given["capabilities"] = frozenset(given["capabilities"])
    for name in ("aliases", "price"):
        if isinstance(given.get(name), list):
            given[name] = tuple(given[name])
    return kind(**given)
