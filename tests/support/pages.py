"""Markdown pages as the tests of the documents read them: code texts, sections, tables."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "bench" / "README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
# Those that speak of the daemon; the others are about measuring it.
OURS = [page for page in PAGES if page.parent.name != "bench" and page.name != "performance.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(page: Path | str) -> str:
    """The text of a page, given as a path or by its name from the root."""
    path = page if isinstance(page, Path) else ROOT / page
    return path.read_text(encoding="utf-8")


def prose(page: Path | str) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", read(page))


def codes(text: str) -> set[str]:
    """The texts between single back-ticks."""
    return set(re.findall(r"`([^`\n]+)`", FENCE.sub("", text)))


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next one of its level."""
    text = read(page)
    level = heading.split()[0]
    start = text.index(f"{heading}\n")
    end = re.search(rf"^{level} ", text[start + len(heading) :], re.MULTILINE)
    return text[start : start + len(heading) + end.start()] if end else text[start:]


def tables(text: str) -> list[list[list[str]]]:
    """Every table as rows of cells, without its head."""
    found: list[list[list[str]]] = []
    rows: list[list[str]] = []
    for line in [*FENCE.sub("", text).splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            found.append(rows[2:])
            rows = []
    return found


def bare(cell: str) -> list[str]:
    """The code texts of a cell, in order."""
    return re.findall(r"`([^`]+)`", cell)


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found
