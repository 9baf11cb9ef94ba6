"""What is particular to each source of figures."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest

from llmrouterd.benchmarks.providers import PROVIDERS, gates
from llmrouterd.benchmarks.providers.base import Parsed, ProviderError, local_file
from llmrouterd.benchmarks.rows import PublishedFacts
from tests.support import benchmark_samples as samples
from tests.support.benchmark_samples import (
    SAMPLES,
    SNAPSHOTS,
    arena_row,
    fetched,
    needs_snapshots,
    page,
    places,
    snapshot_files,
    with_bodies,
)


def value(parsed: Parsed, model: str, board: str) -> float:
    (found,) = [row.value for row in parsed.rows if (row.model, row.board) == (model, board)]
    return found


def facts(parsed: Parsed, model: str) -> PublishedFacts:
    (found,) = [one for one in parsed.facts if one.model == model]
    return found


# Open LLM Leaderboard


def test_the_leaderboard_takes_one_precision_of_a_model_and_nothing_flagged() -> None:
    parsed = PROVIDERS["open_llm_leaderboard"].parse(SAMPLES["open_llm_leaderboard"])
    model = "Qwen/Qwen2.5-Coder-7B-Instruct"
    assert {row.model for row in parsed.rows} == {model}
    assert value(parsed, model, "open_llm_leaderboard/math_lvl_5") == pytest.approx(37.16, abs=0.01)
    assert facts(parsed, model).size_b == 7.616
    assert facts(parsed, model).released == "2024-09-17"
    assert parsed.published == "2024-11-07"
    assert parsed.dropped == 1


def test_the_leaderboard_is_fetched_once() -> None:
    assert [name for name, one in PROVIDERS.items() if one.about.frozen] == ["open_llm_leaderboard"]


@needs_snapshots
def test_the_leaderboards_page_as_recorded() -> None:
    recorded = json.loads((SNAPSHOTS / "fixture_ollb_rows_page.json").read_bytes())
    provider = PROVIDERS["open_llm_leaderboard"]
    whole = recorded | {"num_rows_total": len(recorded["rows"])}
    parsed = provider.parse([fetched("rows", "rows", "rows", whole)])
    gates.check(provider, parsed)
    assert value(parsed, "google/gemma-2-9b-it", "open_llm_leaderboard/bbh") == pytest.approx(
        42.14, abs=0.01
    )
    with pytest.raises(ProviderError, match="6 of 4576 rows"):
        provider.parse([fetched("rows", "rows", "rows", recorded)])


# LMArena


def test_the_arena_renames_categories_and_leaves_filters_out() -> None:
    parsed = PROVIDERS["lmarena"].parse(SAMPLES["lmarena"])
    assert {row.board for row in parsed.rows} == {"lmarena/overall", "lmarena/coding"}
    (row,) = [r for r in parsed.rows if r.board == "lmarena/coding"]
    assert (row.low, row.high, row.votes, row.date) == (1354.9, 1362.9, 5200, "2026-10-02")
    assert parsed.dropped == 1


def test_categories_without_their_names_do_not_all_become_overall() -> None:
    with pytest.raises(ProviderError, match="category"):
        PROVIDERS["lmarena"].parse(with_bodies(SAMPLES["lmarena"], b'"category"', b'"board"'))


def test_plain_ratings_never_enter() -> None:
    text = (
        "model,style_control,category,rating,lower,upper\n"
        "m,0,full,1100,1090,1110\nm,1,full,1150,1140,1160\nn,0,coding,1000,990,1010\n"
    )
    provider = PROVIDERS["lmarena"]
    one = local_file(provider, "lmarena_text_2025-12-11_long.csv", text.encode())
    assert one is not None
    parsed = provider.parse([one])
    assert [(row.model, row.board, row.value) for row in parsed.rows] == [
        ("m", "lmarena/overall", 1150.0)
    ]
    unmarked = text.replace("style_control", "something")
    with pytest.raises(ProviderError, match="style_control"):
        provider.parse([replace(one, parts=(unmarked.encode(),))])


@pytest.mark.parametrize(
    "name",
    [
        "lmarena_text_2025-08-04_with_links.csv",
        "lmarena_vision_2025-12-11_long.csv.gz",
        "lmarena_scatterplot_prices_2025-12.csv",
    ],
)
def test_files_that_hold_other_ratings_are_not_taken(name: str) -> None:
    assert local_file(PROVIDERS["lmarena"], name, b"") is None


def test_every_place_of_the_arena_is_the_style_controlled_one() -> None:
    (resource,) = PROVIDERS["lmarena"].resources(())
    assert len(places(resource)) == 3
    assert all("text_style_control" in place.url for place in places(resource))
    assert all(place.auth == "huggingface" for place in places(resource))


def test_the_newer_rating_of_a_category_is_kept() -> None:
    old = fetched(
        "text_style_control",
        "rows",
        "rows",
        page([arena_row("m", "overall", 1200, leaderboard_publish_date="2025-12-11")]),
    )
    new = fetched(
        "text_style_control",
        "csv",
        "lmarena_text_overall_2026-07-01_style_control.csv",
        b"model,rating,votes\nm,1210,900\n",
    )
    for order in ([old, new], [new, old]):
        (row,) = PROVIDERS["lmarena"].parse(order).rows
        assert (row.value, row.votes, row.date) == (1210.0, 900, "2026-07-01")


@needs_snapshots
def test_the_arenas_wide_and_long_tables_agree() -> None:
    provider = PROVIDERS["lmarena"]
    long, wide = (
        {
            (row.model, row.board): row
            for row in provider.parse(
                [one for one in snapshot_files("lmarena") if part in one.name]
            ).rows
        }
        for part in ("_long", "_wide")
    )
    assert wide
    for key, row in wide.items():
        assert long[key].value == row.value
        if row.low is not None:
            assert long[key].low == pytest.approx(row.low, abs=0.2)


# BigCodeBench


def test_bigcodebench_joins_both_files_and_takes_the_id_behind_the_link() -> None:
    parsed = PROVIDERS["bigcodebench"].parse(SAMPLES["bigcodebench"])
    model = "Qwen/Qwen2.5-Coder-7B-Instruct"
    assert value(parsed, model, "bigcodebench/instruct") == 40.4
    assert value(parsed, model, "bigcodebench/hard_complete") == 20.9
    closed = {row.board for row in parsed.rows if row.model == "GPT-4o-2024-05-13"}
    assert "bigcodebench/instruct" in closed
    assert "bigcodebench/complete" not in closed
    assert facts(parsed, model) == PublishedFacts(
        source="bigcodebench", model=model, size_b=7.6, active_b=7.6, released="2024-09-18"
    )


def test_two_entries_with_one_link_keep_their_names() -> None:
    entry = samples.CODE["Qwen2.5-Coder-7B-Instruct"]
    parsed = PROVIDERS["bigcodebench"].parse(
        [fetched("results", "json", "results.json", {"Phi-3.1": entry, "Phi-3": entry})]
    )
    assert {row.model for row in parsed.rows} == {"Phi-3.1", "Phi-3"}


# LiveBench


def test_livebench_asks_for_the_newest_release_that_is_listed() -> None:
    provider = PROVIDERS["livebench"]
    listing = SAMPLES["livebench"][0]
    urls = [resource.url for resource in provider.resources([listing])]
    assert [url.rpartition("/")[2] for url in urls] == [
        "table_2026_01_08.csv",
        "categories_2026_01_08.json",
    ]
    with pytest.raises(ProviderError, match="table_YYYY_MM_DD"):
        provider.resources([replace(listing, parts=(b'[{"name": "App.js"}]',))])
    with pytest.raises(ProviderError, match="categories_2027_01_01"):
        provider.resources([replace(listing, parts=(b'[{"name": "table_2027_01_01.csv"}]',))])


def test_livebench_averages_whole_categories_only() -> None:
    parsed = PROVIDERS["livebench"].parse(SAMPLES["livebench"])
    assert value(parsed, "qwen3-32b", "livebench/reasoning") == 54.0
    assert value(parsed, "qwen3-32b", "livebench/instruction_following") == 40.25
    assert value(parsed, "qwen3-32b", "livebench/global_average") == 53.08
    phi = {row.board for row in parsed.rows if row.model == "phi-4"}
    assert phi == {"livebench/coding", "livebench/instruction_following"}
    assert parsed.dropped == 1  # The line with too few cells: nobody can tell which are missing.
    assert parsed.published == "2026-01-08"


def test_two_releases_of_livebench_are_never_mixed() -> None:
    provider = PROVIDERS["livebench"]
    older = [
        fetched("table", "csv", "table_2025_11_25.csv", b"model,python\nolder,10.0\n"),
        fetched("categories", "json", "categories_2025_11_25.json", {"Coding": ["python"]}),
    ]
    parsed = provider.parse([*older, *SAMPLES["livebench"]])
    assert {row.date for row in parsed.rows} == {"2026-01-08"}
    assert "older" not in {row.model for row in parsed.rows}
    with pytest.raises(ProviderError, match="no categories of the same release"):
        provider.parse([SAMPLES["livebench"][1], older[1]])


@needs_snapshots
def test_livebenchs_averages_are_the_published_ones() -> None:
    parsed = PROVIDERS["livebench"].parse(snapshot_files("livebench"))
    titles = {"global_average": "global_average", "reasoning": "Reasoning", "coding": "Coding"}
    with (SNAPSHOTS / "livebench_all_releases.csv").open(newline="") as opened:
        published = {
            row["model"]: row for row in csv.DictReader(opened) if row["release"] == "2026-01-08"
        }
    models = {row.model for row in parsed.rows}
    assert len(models) == 126
    for model in models:
        for board, title in titles.items():
            ours = value(parsed, model, f"livebench/{board}")
            assert ours == pytest.approx(float(published[model][title]), abs=0.011)


# BFCL


def test_bfcl_keeps_the_better_mode_of_a_model() -> None:
    parsed = PROVIDERS["bfcl"].parse(SAMPLES["bfcl"])
    assert value(parsed, "Qwen/Qwen3-8B", "bfcl/overall") == 42.57
    assert value(parsed, "Qwen/Qwen3-8B", "bfcl/multi_turn") == 41.8
    boards = {row.board for row in parsed.rows if row.model == "Qwen/Qwen3-8B"}
    assert "bfcl/memory" not in boards
    assert value(parsed, "Mistral-Medium-2505", "bfcl/live") == 70.0
    assert parsed.dropped == 1


# OpenEvals, Artificial Analysis, models.dev


def test_openevals_names_its_boards_and_leaves_the_aggregate_out() -> None:
    parsed = PROVIDERS["openevals"].parse(SAMPLES["openevals"])
    assert {row.board for row in parsed.rows} == {
        "openevals/gpqa",
        "openevals/mmlu_pro",
        "openevals/swe_verified",
    }
    assert facts(parsed, "openai/gpt-oss-20b").size_b == 20.9


def test_artificial_analysis_is_off_and_says_its_index_version() -> None:
    provider = PROVIDERS["artificial_analysis"]
    assert (provider.about.needs_key, provider.about.default) == (True, False)
    (resource,) = provider.resources(())
    assert resource.auth == "x-api-key"
    parsed = provider.parse(SAMPLES["artificial_analysis"])
    model = "Qwen3 8B (Reasoning)"
    assert value(parsed, model, "artificial_analysis/intelligence_index") == 13.2
    assert value(parsed, model, "artificial_analysis/mmlu_pro") == 0.743
    assert facts(parsed, model).price == (0.18, 2.1)
    assert parsed.detail == "index version 4.3"


def test_artificial_analysis_on_two_pages_of_one_version() -> None:
    provider = PROVIDERS["artificial_analysis"]
    first = fetched(
        "models", "json", "models", samples.ANALYSIS | {"pagination": {"total_pages": 2}}
    )
    (second,) = provider.resources([first])
    assert second.url.endswith("?page=2")
    rescaled = samples.ANALYSIS | {"intelligence_index_version": 4.4}
    with pytest.raises(ProviderError, match="several index versions: 4.3, 4.4"):
        provider.parse([first, fetched(second.key, "json", "models", rescaled)])


@needs_snapshots
def test_estimates_by_hand_are_not_figures() -> None:
    parsed = PROVIDERS["artificial_analysis"].parse(snapshot_files("artificial_analysis"))
    assert len(parsed.rows) == 51


def test_models_dev_joins_what_a_model_is_with_what_it_costs() -> None:
    parsed = PROVIDERS["models_dev"].parse(SAMPLES["models_dev"])
    assert facts(parsed, "openai/gpt-4o-mini") == PublishedFacts(
        source="models_dev",
        model="openai/gpt-4o-mini",
        context=128000,
        price=(0.15, 0.6),
        capabilities=frozenset({"chat", "tools", "json", "vision"}),
        released="2024-07-18",
    )
    embedding = facts(parsed, "openai/text-embedding-3-small")
    assert embedding.capabilities == {"embedding"}
    assert "openai/gpt-image-1" not in {one.model for one in parsed.facts}
