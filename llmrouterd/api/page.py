"""/ui: the page for the owner. Its files hold no data; what it shows it asks /admin for."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from llmrouterd.web import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_START = "index.html"
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _File(NamedTuple):
    body: bytes
    type: str
    etag: str


def _read_files() -> Mapping[str, _File]:
    found = {}
    for path in sorted(ROOT.iterdir()):
        if path.suffix in _TYPES:
            body = path.read_bytes()
            etag = hashlib.sha256(body).hexdigest()[:16]
            found[path.name] = _File(body, _TYPES[path.suffix], etag)
    return found


_FILES = _read_files()
# As a route has it: exactly these names.
NAMES = "|".join(re.escape(name) for name in _FILES if name != _START)


async def page(request: web.Request) -> web.Response:
    """GET /ui: the page itself."""
    return _respond(request, _FILES[_START])


async def way(request: web.Request) -> web.Response:
    """GET / and GET /ui/: the way to the page. Relative, since a proxy may have put a path before
    ours; and not the page itself, whose own addresses are relative to /."""
    target = "ui" if request.path == "/" else "../ui"
    return web.Response(status=302, headers={"Location": target})


async def asset(request: web.Request) -> web.Response:
    """GET /ui/{file}: one of its files."""
    return _respond(request, _FILES[request.match_info["file"]])


def _respond(request: web.Request, file: _File) -> web.Response:
    known = request.if_none_match or ()
    if any(etag.value in (file.etag, "*") for etag in known):
        response = web.Response(status=304, headers=_HEADERS)
    else:
        response = web.Response(
            body=file.body, content_type=file.type, charset="utf-8", headers=_HEADERS
        )
    response.etag = file.etag
    return response
