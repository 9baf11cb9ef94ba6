"""JSON over HTTP to one backend: the one place where connections' errors become ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from llmrouterd.backends.connection import (
    CannotConnect,
    ConnectionBroken,
    ConnectionPool,
    Response,
)
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

MAX_JSON = 64 * 1024 * 1024
_MAX_ERROR = 256 * 1024
_ERROR_SECONDS = 10.0
_SHORTEST_SECRET = 8  # shorter texts are words that may well stand in an error


class HttpClient:
    """Requests to one backend's base URL. `pooled`: keep connections for the next request."""

    def __init__(self, spec: BackendSpec, *, pooled: bool) -> None:
        self.name = spec.name
        headers = {
            "user-agent": "llmrouterd",
            "accept-encoding": "identity",
            "connection": "keep-alive" if pooled else "close",
        }
        if spec.api_key:
            headers["authorization"] = f"Bearer {spec.api_key}"
        headers |= {name.lower(): str(text) for name, text in spec.headers}
        secrets = (spec.api_key, *(text for _, text in spec.headers))
        self._secrets = [str(text).encode() for text in secrets if len(text) >= _SHORTEST_SECRET]
        self._pool = ConnectionPool(
            spec.url, headers, kept=pooled, connect_seconds=spec.timeouts.connect or None
        )

    async def post(self, path: str, body: Mapping[str, Any]) -> Response:
        """POST JSON; returns when a status 200 is there. The caller limits the time."""
        return await self._request("POST", path, orjson.dumps(body))

    async def get(self, path: str) -> Response:
        """GET; returns when a status 200 is there. The caller limits the time."""
        return await self._request("GET", path, None)

    async def get_json(self, path: str, *, timeout: float = 10.0) -> dict[str, Any]:
        """GET a JSON object."""
        return self._object(await self._exchange("GET", path, None, timeout))

    async def get_list(self, path: str, *, timeout: float = 10.0) -> list[Any]:
        """GET a JSON list."""
        data = await self._exchange("GET", path, None, timeout)
        if not isinstance(data, list):
            raise UpstreamInvalid(f"{self.name} sent JSON that is not a list.")
        return data

    async def post_json(
        self, path: str, body: Mapping[str, Any], *, timeout: float | None
    ) -> dict[str, Any]:
        """POST JSON and read a JSON object back."""
        return self._object(await self._exchange("POST", path, orjson.dumps(body), timeout))

    async def read_json(self, response: Response) -> dict[str, Any]:
        """The body as a JSON object; UpstreamInvalid if it is none or too large."""
        return self._object(await self._read_value(response))

    async def read_block(self, response: Response, timeout: float | None) -> bytes:
        """The bytes that have come, b"" at the end of the body."""
        try:
            if timeout is None:
                return await response.read()
            async with asyncio.timeout(timeout):
                return await response.read()
        except TimeoutError as error:
            raise UpstreamTimeout(f"{self.name} sent nothing for {timeout:g} s.") from error
        except ConnectionBroken as error:
            raise UpstreamInterrupted(f"{self.name} broke the answer off: {error}.") from error

    def release(self, response: Response, *, ending: bool = False) -> None:
        """Give a response's connection back; see `ConnectionPool.release`."""
        self._pool.release(response, ending=ending)

    async def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()

    async def _exchange(
        self, method: str, path: str, body: bytes | None, timeout: float | None
    ) -> Any:
        response: Response | None = None
        try:
            async with asyncio.timeout(timeout):
                response = await self._request(method, path, body)
                return await self._read_value(response)
        except TimeoutError as error:
            raise UpstreamTimeout(
                f"{self.name} did not answer {method} {path} in {timeout:g} s."
            ) from error
        finally:
            if response is not None:
                self._pool.release(response)

    async def _request(self, method: str, path: str, body: bytes | None) -> Response:
        try:
            response = await self._pool.request(method, path, body)
        except CannotConnect as error:
            raise UpstreamUnreachable(f"{self.name} cannot be reached: {error}.") from error
        except ConnectionBroken as error:
            raise UpstreamInvalid(f"{self.name} did not answer properly: {error}.") from error
        if response.status == 200:
            return response
        try:
            raise await self._status_error(response)
        finally:
            self._pool.release(response)

    async def _read_value(self, response: Response) -> Any:
        body = await self._read_all(response, MAX_JSON)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise UpstreamInvalid(f"{self.name} sent JSON that is not valid: {error}") from error

    def _object(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise UpstreamInvalid(f"{self.name} sent JSON that is not an object.")
        return data

    async def _read_all(self, response: Response, most: int) -> bytes:
        parts, size = [], 0
        try:
            while part := await response.read():
                parts.append(part)
                size += len(part)
                if size > most:
                    response.close()
                    raise UpstreamInvalid(f"{self.name} sent more than {most} bytes.")
        except ConnectionBroken as error:
            raise UpstreamInvalid(f"{self.name} broke its answer off: {error}.") from error
        return b"".join(parts)

    async def _status_error(self, response: Response) -> UpstreamError:
        """The error behind a status that is not 200, with the upstream's own words."""
        status = response.status
        try:
            async with asyncio.timeout(_ERROR_SECONDS):
                text = await self._read_all(response, _MAX_ERROR)
        except (TimeoutError, UpstreamInvalid):
            text = b""
        for secret in self._secrets:  # some repeat the key that they refuse
            text = text.replace(secret, b"***")
        if status < 400:
            return UpstreamInvalid(f"{self.name} answered with status {status}; not followed.")
        return status_error(self.name, status, text, response.headers.get("retry-after"))


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
