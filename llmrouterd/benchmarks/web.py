"""One polite request to the public internet. The one place where aiohttp's errors become ours.

Polite: conditional requests, Retry-After, growing pauses with jitter, a limit of time and size.
Careful: a token goes to the host that it is for and to no other, also not by way of a redirect.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.benchmarks.providers.base import Auth

_MAX_REDIRECTS = 8
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_RETRY_AFTER = 86400.0
_CHUNK = 64 * 1024


class FetchError(Exception):
    """Something could not be fetched.

    http_status: of the last answer, None where none came. retry_after: seconds that the server
    asked to be left alone, None where it did not say. again: whether the same request may yet
    succeed.
    """

    def __init__(
        self,
        message: str,
        http_status: int | None = None,
        retry_after: float | None = None,
        *,
        again: bool = False,
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.retry_after = retry_after
        self.again = again


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often and how patiently a request is repeated. Seconds; `attempts` for each request."""

    attempts: int = 5
    first_pause: float = 2.0
    longest_pause: float = 60.0
    connect: float = 20.0
    silence: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How one source is asked. url: a mirror, "" for the source's own hosts. The keys are ""
    where there is none."""

    budget_seconds: float
    url: str = ""
    hf_token: str = ""
    api_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A 200 with its body, or a 304 without one. modified: YYYY-MM-DD or ""."""

    status: int
    body: bytes = b""
    etag: str = ""
    modified: str = ""


class Visitor:
    """Asks for the URLs of one source. `http_status` is that of the last answer."""

    def __init__(
        self, session: aiohttp.ClientSession, pace: Pace, access: Access, most_bytes: int
    ) -> None:
        self._session = session
        self._pace = pace
        self._access = access
        self._most_bytes = most_bytes
        self._deadline = asyncio.get_running_loop().time() + access.budget_seconds
        self.http_status: int | None = None
        self.retry_after: float | None = None

    async def get(
        self,
        url: str,
        auth: Auth,
        etag: str = "",
        check: Callable[[bytes], object] | None = None,
    ) -> Answer:
        """GET until it succeeds, with growing pauses or as the server asks; 304 only with an
        etag. `check` raises FetchError for a body that will not do. Raises FetchError."""
        pause = self._pace.first_pause
        attempt = 1
        while True:
            try:
                answer = await self._once(url, auth, etag)
                if check is not None:
                    check(answer.body)
                return answer
            except FetchError as error:
                self.retry_after = error.retry_after
                wait = max(pause * random.uniform(0.5, 1.5), error.retry_after or 0.0)
                late = asyncio.get_running_loop().time() + wait > self._deadline
                if not error.again or attempt >= self._pace.attempts or late:
                    raise
            await asyncio.sleep(wait)
            attempt += 1
            pause = min(self._pace.longest_pause, 2.0 * pause)

    async def _once(self, url: str, auth: Auth, etag: str) -> Answer:
        """One request and its redirects."""
        self.http_status = None
        try:
            start = at = _based(url, self._access.url)
            for _ in range(_MAX_REDIRECTS):
                headers = {"If-None-Match": etag} if etag else {}
                if at.origin() == start.origin():
                    headers |= self._credentials(auth, at.host or "")
                async with self._session.get(at, headers=headers, allow_redirects=False) as got:
                    self.http_status = got.status
                    if got.status not in _REDIRECTS:
                        return await self._read(got, bool(etag))
                    target = URL(got.headers.get("Location", ""), encoded=True)
                at = at.join(target)
                if at.scheme not in ("http", "https") or not at.host:
                    raise FetchError(f"{_place(url)}: redirected to no web address", got.status)
            raise FetchError(f"{_place(url)}: redirected too often", self.http_status)
        except TimeoutError:
            raise FetchError(
                f"{_place(url)}: no answer in time", self.http_status, again=True
            ) from None
        except aiohttp.ClientError as error:
            words = str(error) or type(error).__name__
            raise FetchError(f"{_place(url)}: {words}", self.http_status, again=True) from None
        except (OSError, ValueError) as error:  # ValueError: of a URL that is none
            raise FetchError(f"{_place(url)}: {error}", self.http_status) from None

    def _credentials(self, auth: Auth, host: str) -> dict[str, str]:
        token, key = self._access.hf_token, self._access.api_key
        if auth == "huggingface" and token and _is_hugging_face(host):
            return {"Authorization": f"Bearer {token}"}
        if auth == "x-api-key" and key:
            return {"x-api-key": key}
        return {}

    async def _read(self, got: aiohttp.ClientResponse, conditional: bool) -> Answer:
        place = _place(str(got.url))
        if got.status == 304 and conditional:
            return Answer(status=304)
        if got.status != 200:
            gated = got.status in (401, 403) and _is_hugging_face(got.url.host or "")
            raise FetchError(
                f"{place}: HTTP {got.status}" + " (it may need benchmarks.hf_token)" * gated,
                got.status,
                retry_after(got.headers.get("Retry-After", "")),
                again=got.status in _TRY_AGAIN,
            )
        parts: list[bytes] = []
        size = 0
        async for part in got.content.iter_chunked(_CHUNK):
            parts.append(part)
            size += len(part)
            if size > self._most_bytes:
                raise FetchError(f"{place}: larger than {self._most_bytes} bytes", got.status)
        return Answer(
            status=200,
            body=b"".join(parts),
            etag=got.headers.get("ETag", ""),
            modified=day(got.headers.get("Last-Modified", "")),
        )


def _based(url: str, base: str) -> URL:
    """The URL, or the same path and query below another address."""
    parts = URL(url, encoded=True)
    return URL(base + parts.raw_path_qs, encoded=True) if base else parts


def _is_hugging_face(host: str) -> bool:
    return host == "huggingface.co" or host.endswith(".huggingface.co")


def _place(url: str) -> str:
    """A URL without its query, which may be a signature."""
    return url.partition("?")[0]


def retry_after(text: str) -> float | None:
    """Seconds of a Retry-After header, a number or a date; at most a day, None for neither."""
    try:
        seconds = float(text)
    except ValueError:
        at = _moment(text)
        seconds = float("nan") if at is None else (at - datetime.now(UTC)).total_seconds()
    return None if seconds != seconds else min(max(0.0, seconds), _LONGEST_RETRY_AFTER)


def day(text: str) -> str:
    """The day of an HTTP date as YYYY-MM-DD, "" for what is none."""
    at = _moment(text)
    return "" if at is None else at.date().isoformat()


def _moment(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
