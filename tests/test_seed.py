"""The figures that travel with the package: what the README says of them, and their source."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.evidence import make_seed
from llmrouterd.benchmarks.providers import PROVIDERS, gates, seed
from llmrouterd.benchmarks.providers.base import Parsed
from llmrouterd.benchmarks.rows import BenchmarkRow, PublishedFacts
from tests.support.benchmark_samples import SNAPSHOTS, needs_snapshots
from tests.support.openwebui import shared_directory

FOLDER = make_seed.SEED


@pytest.fixture(scope="module")
def rows() -> tuple[BenchmarkRow, ...]:
    return seed.read_rows((FOLDER / seed.ROWS).read_bytes())


@pytest.fixture(scope="module")
def facts() -> tuple[PublishedFacts, ...]:
    return seed.read_facts((FOLDER / seed.FACTS).read_bytes())


def test_it_is_compact() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 400_000


def test_the_readme_counts_what_is_there(
    rows: tuple[BenchmarkRow, ...], facts: tuple[PublishedFacts, ...]
) -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    table = re.findall(
        r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| .* \| (.+) \|$", readme, re.M
    )
    found = {name: tuple(map(int, counts)) for name, *counts, _ in table}
    known = Counter(one.source for one in facts)
    sources = {row.source for row in rows} | known.keys()
    assert found.keys() == sources
    for source in sources:
        own = [row for row in rows if row.source == source]
        models = {row.model for row in own} or {o.model for o in facts if o.source == source}
        boards = {row.board for row in own}
        assert found[source] == (len(own), len(boards), len(models), known[source])


def test_only_sources_with_a_licence_travel(rows: tuple[BenchmarkRow, ...]) -> None:
    sources = {row.source for row in rows}
    assert sources == {"lmarena", "open_llm_leaderboard", "bigcodebench", "bfcl"}
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for source in sources - {"open_llm_leaderboard"}:
        assert f"| {PROVIDERS[source].about.licence} |" in readme


def test_every_source_passes_the_gates(
    rows: tuple[BenchmarkRow, ...], facts: tuple[PublishedFacts, ...]
) -> None:
    for name in make_seed.SOURCES:
        part = Parsed(
            rows=tuple(row for row in rows if row.source == name),
            facts=tuple(one for one in facts if one.source == name),
        )
        gates.check(PROVIDERS[name], part)


def test_popular_models_are_known(
    rows: tuple[BenchmarkRow, ...], facts: tuple[PublishedFacts, ...]
) -> None:
    figures = {(row.model, row.board) for row in rows}
    for model, board in (
        ("llama-3.1-8b-instruct", "lmarena/coding"),
        ("gemma-3-27b-it", "lmarena/creative_writing"),
        ("meta-llama/Llama-3.1-8B-Instruct", "open_llm_leaderboard/ifeval"),
        ("Qwen/Qwen2.5-7B-Instruct", "open_llm_leaderboard/average"),
        ("HuggingFaceTB/SmolLM2-1.7B-Instruct", "open_llm_leaderboard/mmlu_pro"),
        ("Qwen/Qwen3-8B", "bfcl/overall"),
    ):
        assert (model, board) in figures
    sizes = {one.model: one.size_b for one in facts if one.source == "huggingface"}
    assert sizes["Qwen/Qwen3-8B"] == pytest.approx(8.19, abs=0.01)
    assert sizes["mistralai/Mistral-7B-Instruct-v0.3"] == pytest.approx(7.25, abs=0.01)
    dated = [one for one in facts if re.fullmatch(r"20\d\d(-\d\d){0,2}", one.released)]
    assert len(dated) > 0.9 * len(facts)


@needs_snapshots
def test_figures_are_those_of_the_source(rows: tuple[BenchmarkRow, ...]) -> None:
    by_key = {(row.model, row.board): row for row in rows}
    with (SNAPSHOTS / "open_llm_leaderboard_v2_official.csv").open(newline="") as opened:
        official = list(csv.DictReader(opened))
    for row in official[::7]:
        if row["flagged"] == "0":
            ours = by_key[row["fullname"], "open_llm_leaderboard/math_lvl_5"]
            assert ours.value == float(row["math_lvl5"])
    name = "lmarena_text_2025-12-11_wide_style_control.csv"
    with (SNAPSHOTS / name).open(newline="") as opened:
        arena = list(csv.DictReader(opened))
    for row in arena[::7]:
        if row["hard_6"]:
            ours = by_key[row["model"], "lmarena/hard_prompts"]
            assert (ours.value, ours.date) == (float(row["hard_6"]), "2025-12-11")
    with (SNAPSHOTS / "lmarena_text_overall_2026-07-01_style_control.csv").open(
        newline=""
    ) as opened:
        for row in csv.DictReader(opened):
            ours = by_key[row["model"], "lmarena/overall"]
            assert (ours.value, ours.votes) == (float(row["rating"]), int(row["votes"]))
            assert ours.date == "2026-07-01"


@needs_snapshots
def test_building_it_again_gives_the_same(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.evidence.make_seed", str(tmp_path)],
        env={"LLMROUTERD_SHARED": str(shared_directory())},
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert seed.ROWS in done.stdout
    assert seed.read_rows((tmp_path / seed.ROWS).read_bytes()) == seed.read_rows(
        (FOLDER / seed.ROWS).read_bytes()
    )
    for name in (seed.FACTS, "README.md"):
        assert (tmp_path / name).stat().st_size == (FOLDER / name).stat().st_size


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1).map(
    str.strip
)
FIGURES = st.floats(-1e6, 1e6).map(lambda value: float(f"{value:.8g}"))


@given(
    st.lists(
        st.builds(
            BenchmarkRow,
            model=NAMES.filter(bool),
            board=st.sampled_from(["lmarena/overall", "bfcl/live"]),
            value=FIGURES,
            low=st.none() | FIGURES,
            high=st.none() | FIGURES,
            votes=st.none() | st.integers(0, 10**9),
            date=st.sampled_from(["", "2026", "2026-07", "2026-07-01"]),
        ),
        min_size=1,
    )
)
def test_what_is_written_is_read(rows: list[BenchmarkRow]) -> None:
    content = seed.dump_rows(rows)
    assert Counter(seed.read_rows(content)) == Counter(rows)
    assert seed.dump_rows(reversed(rows)) == content or len({r.model for r in rows}) < len(rows)


def test_facts_are_read_as_written() -> None:
    known = [
        PublishedFacts(source="models_dev", model="a/b", context=8192, price=(0.0, 1.5)),
        PublishedFacts(
            source="huggingface",
            model="c, d",
            capabilities=frozenset({"chat", "tools"}),
            size_b=30.532,
            active_b=3.3,
            released="2025-07-29",
        ),
    ]
    assert set(seed.read_facts(seed.dump_facts(known))) == set(known)
