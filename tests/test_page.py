"""GET /ui and its files: what is served, under which headers, and what must not be in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from yarl import URL

from llmrouterd.web import ROOT
from tests.conftest import Opener, Scripted
from tests.support.daemon import openai_backend
from tests.support.faults import FaultServer

FILES = sorted(path for path in ROOT.iterdir() if path.suffix in (".css", ".html", ".js", ".svg"))
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
# Ways for a text to become markup or code.
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser"
    r"|createContextualFragment|srcdoc|setHTMLUnsafe"
)
POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_make_no_markup_of_texts(path: Path) -> None:
    assert MARKUP.findall(path.read_text()) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_are_short_and_refer_to_nobody(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= (400 if path.suffix == ".css" else 300)
    assert set(re.findall(r"https?://[^\"' )]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\sstyle=|\son[a-z]+=\"", text)


async def test_every_file_with_its_headers(scripted: Scripted) -> None:
    daemon, _ = await scripted("a")
    types = {".css": "text/css", ".html": "text/html", ".js": "text/javascript"}
    for path in FILES:
        address = "/ui" if path.name == "index.html" else f"/ui/{path.name}"
        answer = await daemon.get(address)
        assert answer.status == 200
        assert answer.body == path.read_bytes()
        kind = types.get(path.suffix, "image/svg+xml")
        assert answer.headers["Content-Type"] == f"{kind}; charset=utf-8"
        assert set(answer.headers["Content-Security-Policy"].split("; ")) == POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        etag = answer.headers["ETag"]
        again = await daemon.get(address, headers={"If-None-Match": f'"other", {etag}'})
        assert (again.status, again.body) == (304, b"")
        assert (await daemon.get(address, headers={"If-None-Match": '"other"'})).status == 200


Colour = tuple[float, ...]


def colours(text: str) -> dict[str, Colour]:
    """The colours among the variables of a block of the style sheet, each channel from 0 to 1."""
    return {
        name: tuple(channel / 255 for channel in bytes.fromhex(code))
        for name, code in re.findall(r"--([a-z0-9-]+): #([0-9a-f]{6});", text)
    }


def contrast(one: Colour, other: Colour) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(colour: Colour) -> float:
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_what_is_written_can_be_read() -> None:
    light, dark = (ROOT / "style.css").read_text().split("@media (prefers-color-scheme: dark)")
    pairs = [(name, ground) for name in ("text", "quiet", "bad") for ground in ("page", "card")]
    pairs += [("quiet", "soft"), ("on-accent", "accent"), ("accent", "card")]
    pairs += [(name, f"{name}-soft") for name in ("ok", "warn", "bad")]
    for block in (light, dark):
        known = colours(block)
        for name, ground in pairs:
            assert contrast(known[name], known[ground]) >= 4.5, (name, ground)
        for part in (name for name in known if re.fullmatch(r"c[0-9]", name)):
            assert contrast(known[part], known["card"]) >= 3, part


def test_every_file_that_is_referred_to_is_there() -> None:
    names = {path.name for path in FILES}
    start = (ROOT / "index.html").read_text()
    assert set(re.findall(r"(?:src|href)=\"ui/([^\"]+)\"", start)) <= names
    for path in SCRIPTS:
        assert set(re.findall(r"from \"\./([^\"]+)\"", path.read_text())) <= names


async def test_other_ways_to_the_page(scripted: Scripted) -> None:
    daemon, _ = await scripted("a")
    for path in ("/", "/ui/"):
        asked = URL(daemon.url + path)
        answer = await daemon.get(path, allow_redirects=False)
        assert answer.status == 302
        assert asked.join(URL(answer.headers["Location"])) == URL(daemon.url + "/ui")
        # The same behind a proxy that puts a path before ours.
        before = URL("https://box.example/router" + path)
        assert before.join(URL(answer.headers["Location"])).path == "/router/ui"
        assert (await daemon.get(path)).body == (ROOT / "index.html").read_bytes()


async def test_there_is_nothing_else(scripted: Scripted) -> None:
    daemon, _ = await scripted("a")
    paths = (
        "/ui/other.js",
        "/ui/__init__.py",
        "/ui/index.html",
        "/ui/..%2fdata",
        "/ui/x/app.js",
    )
    for path in paths:
        assert (await daemon.get(path)).status == 404, path


async def test_the_files_are_open_and_the_hosts_are_checked(open_daemon: Opener) -> None:
    async with FaultServer(("a",)) as server:
        daemon = await open_daemon(
            {"backends": [openai_backend("s", server.url)], "auth": {"admin_key": "a-key"}}
        )
        assert (await daemon.get("/ui")).status == 200
        assert (await daemon.get("/ui/app.js")).status == 200
        assert (await daemon.get("/admin/live")).status == 401
        foreign = {"Host": "rebound.example.com"}
        assert (await daemon.get("/ui", headers=foreign)).status == 403
