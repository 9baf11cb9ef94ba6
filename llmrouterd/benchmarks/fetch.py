"""Fetches all that a provider asks for: in stages, page by page, or nothing when nothing is new.

Whole or not at all: one page that cannot be had fails the source.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from yarl import URL

from llmrouterd import __version__
from llmrouterd.benchmarks.providers import parquet
from llmrouterd.benchmarks.providers.base import Fetched, Provider, ProviderError, Resource
from llmrouterd.benchmarks.status import Mark
from llmrouterd.benchmarks.web import Access, FetchError, Pace, Visitor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp.abc import AbstractResolver

MAX_BODY = 64 * 1024 * 1024
PAGE = 100
_MAX_PAGES = 1000
_MAX_STAGES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came. unchanged: nothing is new since the marks that were given, and `fetched` is
    empty. marks: by URL, for the next time. http_status: of the last answer."""

    fetched: tuple[Fetched, ...] = ()
    unchanged: bool = False
    marks: Mapping[str, Mark] = field(default_factory=dict)
    http_status: int | None = None


class Fetcher:
    """`most_bytes` limits every body; `resolver` replaces the system's look-up of names."""

    def __init__(
        self,
        pace: Pace | None = None,
        *,
        most_bytes: int = MAX_BODY,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._pace = pace or Pace()
        self._most_bytes = most_bytes
        self._resolver = resolver

    async def fetch(
        self, provider: Provider, access: Access, marks: Mapping[str, Mark] | None = None
    ) -> Outcome:
        """All that the provider needs. marks: of the last time; without them all is anew.

        Raises FetchError, also when a listing does not name what it should.
        """
        pace = self._pace
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=pace.connect, sock_read=pace.silence
        )
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=self._resolver, limit_per_host=2),
            timeout=timeout,
            headers={"User-Agent": f"llmrouterd/{__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=True,
        ) as session:
            visitor = Visitor(session, pace, access, self._most_bytes)
            try:
                async with asyncio.timeout(access.budget_seconds):
                    return await _Source(visitor, marks or {}).all(provider)
            except TimeoutError:
                message = f"not done within {access.budget_seconds:g} s"
                raise FetchError(message, visitor.http_status, visitor.retry_after) from None
            except ProviderError as error:
                raise FetchError(str(error), visitor.http_status) from None


class _Source:
    """One source, once. last: the marks of the last time."""

    def __init__(self, visitor: Visitor, last: Mapping[str, Mark]) -> None:
        self._visitor = visitor
        self._last = last
        self._marks: dict[str, Mark] = {}

    async def all(self, provider: Provider) -> Outcome:
        """Conditional where that will do; whole where some of it has changed."""
        fetched: list[Fetched] = []
        same = bool(self._last)
        wanted = provider.resources(())
        # What names further resources is needed itself, whether it has changed or not.
        listing = bool(self._last.keys() - {url for one in wanted for url in _urls(one)})
        for stage in range(_MAX_STAGES):
            conditional = same and (stage > 0 or not listing)
            found = [await self._resource(one, conditional) for one in wanted]
            if conditional and not any(found):
                return self._unchanged_outcome()
            for one, resource in zip(found, wanted, strict=True):
                whole = one or await self._resource(resource, False)
                if whole is not None:
                    fetched.append(whole)
            same = same and all(map(self._is_unchanged, wanted))
            wanted = provider.resources(fetched)
            if not wanted:
                break
        else:
            raise ProviderError("it asks for one thing after another without an end")
        if same:
            return self._unchanged_outcome()
        status = self._visitor.http_status
        return Outcome(fetched=tuple(fetched), marks=self._marks, http_status=status)

    def _unchanged_outcome(self) -> Outcome:
        return Outcome(unchanged=True, marks=self._marks, http_status=self._visitor.http_status)

    def _is_unchanged(self, resource: Resource) -> bool:
        """Whether its body is that of the last time."""
        used = [url for url in _urls(resource) if url in self._marks]
        return bool(used) and all(
            url in self._last and self._last[url].digest == self._marks[url].digest for url in used
        )

    async def _resource(self, resource: Resource, conditional: bool) -> Fetched | None:
        """The resource or the first of its alternatives that can be had; None if unchanged."""
        choices = [
            choice
            for choice in (resource, *resource.alternatives)
            if choice.kind != "parquet" or parquet.AVAILABLE
        ]
        if not choices:
            raise FetchError("Parquet needs pyarrow: pip install 'llmrouterd[parquet]'")
        errors: list[FetchError] = []
        for choice in choices:
            try:
                return await self._choice(resource.key, choice, conditional)
            except FetchError as error:
                errors.append(error)
        raise FetchError(
            "; ".join(map(str, errors)),
            next((one.http_status for one in errors if one.http_status is not None), None),
            max((one.retry_after for one in errors if one.retry_after is not None), default=None),
        )

    async def _choice(self, key: str, choice: Resource, conditional: bool) -> Fetched | None:
        etag = modified = ""
        if choice.kind == "rows":
            parts = await self._pages(choice)
        else:
            known = self._last.get(choice.url, Mark()) if conditional else Mark()
            answer = await self._visitor.get(choice.url, choice.auth, known.etag)
            if answer.status == 304:
                self._marks[choice.url] = known
                return None
            parts, etag, modified = (answer.body,), answer.etag, answer.modified
        self._marks[choice.url] = Mark(etag=etag, digest=_digest(parts))
        name = URL(choice.url).name
        return Fetched(key=key, kind=choice.kind, name=name, parts=parts, modified=modified)

    async def _pages(self, resource: Resource) -> tuple[bytes, ...]:
        """Every page of a `/rows` resource."""
        parts: list[bytes] = []
        offset, total = 0, 1
        while offset < total:
            if len(parts) >= _MAX_PAGES:
                raise FetchError(f"more than {_MAX_PAGES} pages", 200)
            url = f"{resource.url}&offset={offset}&length={PAGE}"
            body = (await self._visitor.get(url, resource.auth, check=_page)).body
            rows, whole = _page(body)
            if parts and whole != total:
                raise FetchError(f"the rows changed while being read: {total}, then {whole}", 200)
            if not rows and offset < whole:
                raise FetchError(f"no rows from {offset} on, of {whole}", 200)
            total = whole
            parts.append(body)
            offset += rows
        return tuple(parts)


def _urls(resource: Resource) -> list[str]:
    return [resource.url, *(choice.url for choice in resource.alternatives)]


def _digest(parts: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:32]


def _page(body: bytes) -> tuple[int, int]:
    """(rows of this page, rows in all). Raises FetchError for what is no page."""
    try:
        page: Any = orjson.loads(body)
        rows, total = page["rows"], page["num_rows_total"]
    except (ValueError, KeyError, TypeError):
        rows, total = None, None
    if not isinstance(rows, list) or not isinstance(total, int) or total < 0:
        raise FetchError("a page of rows is not what it should be", 200, again=True)
    return len(rows), total
