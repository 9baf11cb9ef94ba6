"""What a published source is: where its files are, and how its bytes become figures. Pure.

A source is read in two steps, and only the first touches the network or a disk:

    fetched: list[Fetched] = []
    while wanted := provider.resources(fetched):     # LiveBench asks twice: the listing, the table
        fetched += [... one Fetched for each ...]
    parsed = provider.parse(fetched)                 # may take a second: run it in a thread
    gates.check(provider, parsed, former_rows)       # the former figures are kept when it raises

Local files go the same way: `local_file(provider, name, content)` gives the `Fetched` of a file
whose name one of `provider.files` fits, or None. Everything that is wrong with what was fetched
raises ProviderError, whose text names the column or the place.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmrouterd.benchmarks.rows import BenchmarkRow, PublishedFacts

Kind = Literal["parquet", "rows", "csv", "json"]
Auth = Literal["", "huggingface", "x-api-key"]


class ProviderError(ValueError):
    """What was fetched cannot be used; the text says which column or place is at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One thing to fetch.

    kind `rows`: `url` lacks offset and length; the pages are asked for with `&offset=N&length=100`
    until `num_rows_total` rows are there. `parquet` can be used only when `parquet.AVAILABLE`.
    auth: `huggingface` sends the token as a bearer token when there is one; `x-api-key` sends the
    source's own key in the header of that name and cannot do without it. alternatives: other
    places of the same rows, tried in order when this one cannot be used.
    """

    key: str
    url: str
    kind: Kind
    auth: Auth = ""
    alternatives: tuple[Resource, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came for one resource.

    key: of the Resource. kind: of the resource or the alternative that was used. name: the last
    part of the URL's path, or the file's name, which may carry a date. parts: the bodies as served;
    several for `rows` only, one for each page. CSV and JSON may be gzipped. modified: the day the
    server says it changed (Last-Modified) as YYYY-MM-DD, or "".
    """

    key: str
    kind: Kind
    name: str
    parts: tuple[bytes, ...]
    modified: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The lowest and the highest value that a board can hold."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a source says. published: its newest day, YYYY-MM-DD or its beginning, or "". dropped:
    entries left out on purpose, such as flagged ones. detail: a remark for the status, such as the
    release that was read."""

    rows: tuple[BenchmarkRow, ...] = ()
    facts: tuple[PublishedFacts, ...] = ()
    published: str = ""
    dropped: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is said of a source wherever it is shown.

    name: as in the policy and before the `/` of its boards. frozen: it does not change any more;
    fetch it once and look again monthly. needs_key: it answers only with a key. default: synced
    unless the owner says otherwise. bounds: of its values. required: boards without which it is
    not whole.
    """

    name: str
    title: str
    licence: str
    attribution: str
    home: str
    frozen: bool = False
    needs_key: bool = False
    default: bool = True
    bounds: Bounds = Bounds(low=0.0, high=100.0)
    required: tuple[str, ...] = ()


class Provider(Protocol):
    """One source. `files`: for each resource key the patterns of local file names that it takes."""

    @property
    def about(self) -> About: ...

    @property
    def files(self) -> Mapping[str, tuple[str, ...]]: ...

    def resources(self, fetched: Sequence[Fetched]) -> tuple[Resource, ...]:
        """What is still to be fetched, given what was; nothing when it is complete. Raises
        ProviderError when a listing that was fetched does not name what it should."""
        ...

    def parse(self, fetched: Sequence[Fetched]) -> Parsed:
        """The figures. Of local files there may be several with one key: the newest figure of a
        model and board is kept. Raises ProviderError."""
        ...


_SUFFIXES: dict[str, Kind] = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".json": "json",
    ".json.gz": "json",
    ".parquet": "parquet",
}


def local_file(provider: Provider, name: str, content: bytes) -> Fetched | None:
    """A file of that name as the provider's resource, or None when it is not one of its own."""
    for key, patterns in provider.files.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            for suffix, kind in _SUFFIXES.items():
                if name.endswith(suffix):
                    return Fetched(key=key, kind=kind, name=name, parts=(content,))
    return None


def missing(wanted: Sequence[Resource], fetched: Sequence[Fetched]) -> tuple[Resource, ...]:
    """Those of the resources that have not come yet."""
    there = {one.key for one in fetched}
    return tuple(resource for resource in wanted if resource.key not in there)
