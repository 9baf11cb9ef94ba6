"""The figures that travel with the package, by source."""

from __future__ import annotations

import gzip
from collections import defaultdict
from typing import TYPE_CHECKING

from llmrouterd import data
from llmrouterd.benchmarks.providers import seed
from llmrouterd.benchmarks.providers.base import Parsed
from llmrouterd.naming import make_tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.benchmarks.rows import BenchmarkRow, PublishedFacts
    from llmrouterd.naming import NameTables


def read_packaged() -> Mapping[str, Parsed]:
    """The seed. Raises OSError and ProviderError, which a whole installation never does."""
    folder = data.ROOT / "seed"
    rows: dict[str, list[BenchmarkRow]] = defaultdict(list)
    facts: dict[str, list[PublishedFacts]] = defaultdict(list)
    for row in seed.read_rows((folder / seed.ROWS).read_bytes()):
        rows[row.source].append(row)
    for one in seed.read_facts((folder / seed.FACTS).read_bytes()):
        facts[one.source].append(one)
    return {
        source: Parsed(
            rows=tuple(rows[source]),
            facts=tuple(facts[source]),
            published=max((row.date for row in rows[source]), default=""),
        )
        for source in sorted({*rows, *facts})
    }


def read_name_tables(*, boards: bool = False) -> NameTables:
    """The curated facts about names that travel with the package; with `boards` also the names
    on the large boards, whose figures the seed has only in part. Raises OSError."""
    folder = data.ROOT / "naming"
    return make_tables(
        (folder / "aliases.csv").read_text("utf-8"),
        gzip.decompress((folder / "ollama.txt.gz").read_bytes()).decode(),
        gzip.decompress((folder / "boards.txt.gz").read_bytes()).decode() if boards else "",
    )
