"""Brings the figures of a source up to date, from the internet or from local files.

The former figures stay until new ones have passed every gate; then all are replaced at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmrouterd.benchmarks import status as statuses
from llmrouterd.benchmarks.fetch import Fetcher
from llmrouterd.benchmarks.providers import PROVIDERS, gates
from llmrouterd.benchmarks.providers.base import (
    Fetched,
    Parsed,
    Provider,
    ProviderError,
    local_file,
)
from llmrouterd.benchmarks.web import Access, FetchError
from llmrouterd.policy import ProviderSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from llmrouterd.benchmarks.figures import Figures
    from llmrouterd.benchmarks.status import Status
    from llmrouterd.policy import Benchmarks

_SYNC_BUDGETS = 4.0


def is_used(provider: Provider, settings: Benchmarks) -> bool:
    """Whether the figures of a source count: what the owner says, else what the source says,
    else whether its key is there."""
    given = settings.providers.get(provider.about.name, ProviderSpec())
    if not settings.enabled or given.enabled is False:
        return False
    return bool(given.enabled or provider.about.default or given.api_key)


def why_not_asked(provider: Provider, settings: Benchmarks) -> str:
    """Why a source cannot be fetched; "" when it can."""
    name = provider.about.name
    if not settings.enabled:
        return "benchmarks.enabled is false"
    if not is_used(provider, settings):
        return f"it is off; benchmarks.providers.{name}.enabled switches it on"
    if provider.about.needs_key and not settings.providers.get(name, ProviderSpec()).api_key:
        return f"it needs a key, benchmarks.providers.{name}.api_key"
    return ""


def describe(provider: Provider, figures: Figures, settings: Benchmarks) -> dict[str, Any]:
    """A source, who is behind it, and how it is doing, ready for JSON."""
    about = provider.about
    status = figures.status_of(about.name)
    if not is_used(provider, settings):
        status = replace(status, status=statuses.OFF, detail=why_not_asked(provider, settings))
    return {
        **statuses.shown(status),
        "title": about.title,
        "home": about.home,
        "licence": about.licence,
        "attribution": about.attribution,
        "rows": len(figures.rows.get(about.name, ())),
        "facts": len(figures.facts.get(about.name, ())),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Brought:
    """What a try brought. parsed: None when nothing has changed."""

    parsed: Parsed | None
    http_status: int | None
    marks: Mapping[str, statuses.Mark]


class Sync:
    """`providers` by name. `on_event(event, fields)` is the log."""

    def __init__(
        self,
        figures: Figures,
        on_event: Callable[[str, dict[str, Any]], None],
        *,
        fetcher: Fetcher | None = None,
        providers: Mapping[str, Provider] = PROVIDERS,
    ) -> None:
        self.providers = providers
        self._figures = figures
        self._on_event = on_event
        self._fetcher = fetcher or Fetcher()

    async def fetch_all(
        self,
        sources: Iterable[str],
        settings: Benchmarks,
        on_source: Callable[[str], None] = lambda _: None,
    ) -> list[Status]:
        """Fetch one source after the other, within the time of all. `on_source(name)` is called
        before each one. Returns their status."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SYNC_BUDGETS * settings.budget_seconds
        found: list[Status] = []
        for name in sources:
            on_source(name)
            found.append(await self.fetch(name, settings, deadline - loop.time()))
        return found

    async def fetch(self, source: str, settings: Benchmarks, most_seconds: float) -> Status:
        """Fetch one source, replace its figures if that went well, and say how it went."""
        provider = self.providers[source]
        before = self._figures.status_of(source)
        try:
            brought = await self._bring(
                provider, settings, min(settings.budget_seconds, most_seconds)
            )
        except FetchError as error:
            return await self._failed(before, str(error), error)
        now = time.time()
        frozen = provider.about.frozen
        next_at = statuses.next_sync(now, settings.every_hours, frozen, random.random())
        status = statuses.succeeded(
            replace(before, marks=brought.marks),
            now,
            before.detail if brought.parsed is None else brought.parsed.detail,
            http_status=brought.http_status,
            next_at=next_at,
        )
        return await self._take(status, brought.parsed)

    async def read_folder(self, source: str, folder: Path) -> Status | None:
        """The figures of a source from local files; None when there are no files of its own."""
        provider = self.providers[source]
        before = self._figures.status_of(source)
        try:
            fetched = await asyncio.to_thread(_local_files, provider, folder)
            if not fetched:
                return None
            parsed = await asyncio.to_thread(_read, provider, fetched, self._former(source))
        except (OSError, ProviderError) as error:
            return await self._failed(before, str(error), error, later=False)
        detail = "; ".join(part for part in (parsed.detail, f"from {folder}") if part)
        status = statuses.succeeded(
            replace(before, marks={}),
            time.time(),
            detail,
            http_status=None,
            next_at=before.next_at,
        )
        return await self._take(status, parsed)

    async def _bring(self, provider: Provider, settings: Benchmarks, seconds: float) -> _Brought:
        """What the provider's addresses give. Raises FetchError."""
        source = provider.about.name
        reason = why_not_asked(provider, settings)
        if reason:
            raise FetchError(reason)
        if seconds <= 0:
            raise FetchError("the time of this sync was used up by other sources")
        given = settings.providers.get(source, ProviderSpec())
        access = Access(
            budget_seconds=seconds,
            url=given.url,
            hf_token=str(settings.hf_token),
            api_key=str(given.api_key),
        )
        marks = self._figures.status_of(source).marks
        outcome = await self._fetcher.fetch(provider, access, marks)
        parsed = None
        if not outcome.unchanged:
            try:
                parsed = await asyncio.to_thread(
                    _read, provider, outcome.fetched, self._former(source)
                )
            except ProviderError as error:
                raise FetchError(str(error), outcome.http_status) from None
        return _Brought(parsed=parsed, http_status=outcome.http_status, marks=outcome.marks)

    def _former(self, source: str) -> int:
        """How many figures there are, as the gate counts them."""
        figures = self._figures
        return len(figures.rows.get(source, ())) or len(figures.facts.get(source, ()))

    async def _take(self, status: Status, parsed: Parsed | None) -> Status:
        if parsed is None:
            await self._figures.note(status)
        else:
            status = replace(status, rows=gates.figures(parsed), published=parsed.published)
            await self._figures.put(status, parsed.rows, parsed.facts)
        fields = {"rows": status.rows, "published": status.published, "new": parsed is not None}
        self._on_event("benchmarks.synced", {"source": status.source, **fields})
        return status

    async def _failed(
        self, before: Status, detail: str, error: Exception, *, later: bool = True
    ) -> Status:
        now = time.time()
        asked = getattr(error, "retry_after", None)
        retry = statuses.next_retry(now, before.failures + 1, asked, random.random())
        status = statuses.failed(
            before,
            now,
            detail,
            http_status=getattr(error, "http_status", None),
            next_at=retry if later else before.next_at,
        )
        await self._figures.note(status)
        fields = {"detail": detail, "http_status": status.http_status}
        self._on_event("benchmarks.failed", {"source": before.source, **fields})
        return status


def _read(provider: Provider, fetched: Sequence[Fetched], former: int) -> Parsed:
    """The figures after every gate. Raises ProviderError whatever is wrong with the bodies."""
    try:
        parsed = provider.parse(fetched)
    except ProviderError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # What was served has a shape that nobody thought of.
        raise ProviderError(f"cannot be read: {type(error).__name__}: {error}") from error
    gates.check(provider, parsed, former)
    return parsed


def _local_files(provider: Provider, folder: Path) -> list[Fetched]:
    """The files of a folder that are the provider's own. Raises OSError."""
    found: list[Fetched] = []
    for path in sorted(folder.iterdir()):
        # The name decides, so that nothing is read in vain.
        if path.is_file() and local_file(provider, path.name, b"") is not None:
            one = local_file(provider, path.name, path.read_bytes())
            found += [one] if one is not None else []
    return found
