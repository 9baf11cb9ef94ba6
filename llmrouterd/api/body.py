"""A request's body, within limits of size and time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from llmrouterd.errors import BadRequest, BodyTooLarge, RequestTimeout, UnsupportedEncoding

if TYPE_CHECKING:
    from aiohttp import web

    from llmrouterd.request_schema import Limits


async def read_body(request: web.Request, limits: Limits) -> bytes:
    """The whole body. Raises BodyTooLarge, UnsupportedEncoding, RequestTimeout, BadRequest."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedEncoding("Compressed request bodies are not taken; send plain JSON.")
    length = request.content_length
    if length is not None and length > limits.body_bytes:
        raise _too_large(limits)
    content = request.content
    if content.is_eof():  # all of it came with the headers
        body = content.read_nowait(-1)
    else:
        try:
            async with asyncio.timeout(limits.body_seconds):
                body = await _read(request, limits)
        except TimeoutError:
            raise RequestTimeout(
                f"The body did not arrive within {limits.body_seconds:g} s."
            ) from None
    if len(body) > limits.body_bytes:
        raise _too_large(limits)
    if not body:
        raise BadRequest("The body is empty; send a JSON object.")
    return body


async def _read(request: web.Request, limits: Limits) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await request.content.readany():
        parts.append(part)
        size += len(part)
        if size > limits.body_bytes:
            raise _too_large(limits)
    return b"".join(parts)


def _too_large(limits: Limits) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limits.body_bytes} bytes.")
