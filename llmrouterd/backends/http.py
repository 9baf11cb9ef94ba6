"""HTTP to backends: one place where aiohttp's exceptions become ours.

Connections are asked for plain bytes, redirects are refused, proxies of the environment are not
used. A connection that the server had closed while it was idle is replaced before any byte of
an answer has come: up to RETRIES times, because llama-server closes after every stream.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from llmrouterd.errors import (
    UpstreamError,
    UpstreamInterrupted,
    UpstreamInvalid,
    UpstreamLoading,
    UpstreamStatus,
    UpstreamTimeout,
    UpstreamUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.policy import BackendSpec

RETRIES = 3
_KEPT_SECONDS = 4.0  # less than the five after which common servers close
MAX_JSON = 64 * 1024 * 1024
_MAX_ERROR = 256 * 1024
_DISCONNECTS = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionResetError)


class HttpClient:
    """Requests to one backend's base URL. `pooled`: keep connections for the next request."""

    def __init__(self, spec: BackendSpec, *, pooled: bool) -> None:
        self.name = spec.name
        self._base = spec.url
        self._timeouts = spec.timeouts
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "llmrouterd"}
        if spec.api_key:
            self._headers["Authorization"] = f"Bearer {spec.api_key}"
        self._headers |= {key: str(value) for key, value in spec.headers}
        self._post_headers = {**self._headers, "Content-Type": "application/json"}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_SECONDS)
            if pooled
            else aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=None, sock_connect=spec.timeouts.connect or None
            ),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def post(self, path: str, body: Mapping[str, Any]) -> aiohttp.ClientResponse:
        """POST JSON; returns when a 2xx status is there. The caller limits the time."""
        data = orjson.dumps(body)
        for attempt in range(RETRIES + 1):
            try:
                response = await self._session.post(
                    self._base + path,
                    data=data,
                    headers=self._post_headers,
                    allow_redirects=False,
                )
            except (aiohttp.ClientConnectorError, TimeoutError) as error:
                raise self._unreachable(error) from error
            except _DISCONNECTS as error:
                if attempt == RETRIES:
                    raise self._unreachable(error) from error
                continue
            except (aiohttp.ClientError, ValueError) as error:
                raise self._invalid(error) from error
            if response.status == 200:
                return response
            raise await self._status_error(response)
        raise AssertionError("the loop returns or raises")

    async def get_json(self, path: str, *, timeout: float = 10.0) -> dict[str, Any]:
        """GET a JSON object."""
        try:
            async with (
                asyncio.timeout(timeout),
                self._session.get(
                    self._base + path, headers=self._headers, allow_redirects=False
                ) as response,
            ):
                if response.status != 200:
                    raise await self._status_error(response)
                return await self.read_json(response)
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(error) from error
        except TimeoutError as error:
            raise UpstreamTimeout(
                f"{self.name} did not answer GET {path} in {timeout:g} s."
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._invalid(error) from error

    async def post_json(
        self, path: str, body: Mapping[str, Any], *, timeout: float | None
    ) -> dict[str, Any]:
        """POST JSON and read a JSON object back."""
        response: aiohttp.ClientResponse | None = None
        try:
            async with asyncio.timeout(timeout):
                response = await self.post(path, body)
                return await self.read_json(response)
        except TimeoutError as error:
            raise UpstreamTimeout(f"{self.name} did not answer in {timeout:g} s.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._invalid(error) from error
        finally:
            if response is not None:
                response.close()

    async def read_json(self, response: aiohttp.ClientResponse) -> dict[str, Any]:
        """The body as a JSON object; UpstreamInvalid if it is none or too large."""
        body = await self._bounded(response, MAX_JSON)
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise UpstreamInvalid(f"{self.name} sent JSON that is not valid: {error}") from error
        if not isinstance(data, dict):
            raise UpstreamInvalid(f"{self.name} sent JSON that is not an object.")
        return data

    async def read_block(
        self, response: aiohttp.ClientResponse, timeout: float | None
    ) -> bytes:
        """The bytes that have come, b"" at the end of the body."""
        try:
            if timeout is None:
                return await response.content.readany()
            async with asyncio.timeout(timeout):
                return await response.content.readany()
        except TimeoutError as error:
            raise UpstreamTimeout(f"{self.name} sent nothing for {timeout:g} s.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamInterrupted(f"{self.name} broke the answer off: {_text(error)}") from error

    async def close(self) -> None:
        await self._session.close()

    async def _bounded(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        parts, size = [], 0
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > most:
                response.close()
                raise UpstreamInvalid(f"{self.name} sent more than {most} bytes.")
        return b"".join(parts)

    async def _status_error(self, response: aiohttp.ClientResponse) -> UpstreamError:
        """The error behind a status that is not 200, with the upstream's own words."""
        status = response.status
        try:
            async with asyncio.timeout(10):
                text = await self._bounded(response, _MAX_ERROR)
        except (TimeoutError, aiohttp.ClientError, OSError, UpstreamInvalid):
            text = b""
        finally:
            response.close()
        if status < 400:
            return UpstreamInvalid(f"{self.name} answered with status {status}; not followed.")
        return status_error(self.name, status, text, response.headers.get("Retry-After"))

    def _unreachable(self, error: BaseException) -> UpstreamUnreachable:
        return UpstreamUnreachable(f"{self.name} cannot be reached: {_text(error)}")

    def _invalid(self, error: BaseException) -> UpstreamInvalid:
        return UpstreamInvalid(f"{self.name} did not answer properly: {_text(error)}")


def status_error(name: str, status: int, text: bytes, retry_after: str | None) -> UpstreamError:
    """The error for a status and body. Bodies: OpenAI's object, `{"error": "text"}`, or text."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    detail = error.get("message") if isinstance(error, dict) else error
    if not isinstance(detail, str) or not detail:
        detail = text[:500].decode("utf-8", "replace").strip() or "no message"
    kind = error.get("type") if isinstance(error, dict) else None
    if status == 503 and (kind == "unavailable_error" or detail == "Loading model"):
        return UpstreamLoading(f"{name} is loading its model.", retry_after=2)
    found = UpstreamStatus(
        f"{name}: {detail}",
        upstream_status=status,
        body=body if isinstance(body, dict) else None,
        retry_after=_seconds(retry_after),
    )
    if kind == "exceed_context_size_error":
        found.retryable = True  # another model may have a larger context
    return found


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds <= 3600 else None


def _text(error: BaseException) -> str:
    """An exception in one short line; type alone where it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__
