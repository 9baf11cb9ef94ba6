"""Builds the two packed lists of names that travel with the package.

    LLMROUTERD_SHARED=../shared python -m bench.evidence.make_names

reads $LLMROUTERD_SHARED/data/benchmarks and writes llmrouterd/data/naming/*.gz; the table of facts
beside them, aliases.csv, is written by hand.
"""

from __future__ import annotations

import csv
import gzip
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from llmrouterd import data

NAMES = data.ROOT / "naming"
TAGS = "ollama_tags_2026-08-21.csv.gz"
BOARDS = {
    "open_llm_leaderboard": {"open_llm_leaderboard_v2_full.csv.gz": "fullname"},
    "lmarena": {
        "lmarena_text_2025-12-11_wide_style_control.csv": "model",
        "lmarena_text_overall_2026-07-01_style_control.csv": "model",
    },
}


def tag_lines(rows: Iterable[dict[str, str]]) -> Iterator[str]:
    """Libraries in order; of each its digests, with all their tags, the fullest first."""
    libraries: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        digests = libraries.setdefault(row["model"], {})
        digests.setdefault(row["digest"], []).append(row["tag"])
    for library, digests in sorted(libraries.items()):
        yield library
        for digest, tags in digests.items():
            if digest:
                yield " ".join([digest, *sorted(tags, key=_fullest_first)])


def _fullest_first(tag: str) -> tuple[bool, int, str]:
    return tag == "latest", -len(tag), tag


def board_lines(folder: Path) -> Iterator[str]:
    """A line `#source`, then the names of its models in order."""
    for source, files in BOARDS.items():
        yield f"#{source}"
        names = {row[column] for file, column in files.items() for row in _table(folder / file)}
        yield from sorted(names)


def _table(path: Path) -> list[dict[str, str]]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return list(csv.DictReader(text.splitlines()))


def main() -> int:
    """Write both files; the same snapshots give the same bytes."""
    folder = Path(os.environ.get("LLMROUTERD_SHARED", "../shared")) / "data" / "benchmarks"
    lists = {
        "ollama.txt.gz": tag_lines(_table(folder / TAGS)),
        "boards.txt.gz": board_lines(folder),
    }
    for name, lines in lists.items():
        content = gzip.compress(("\n".join(lines) + "\n").encode(), 9, mtime=0)
        (NAMES / name).write_bytes(content)
        print(f"{NAMES / name}: {len(content)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
