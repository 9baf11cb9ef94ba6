"""The contract that every source of figures fulfils."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.benchmarks.providers import PROVIDERS, gates
from llmrouterd.benchmarks.providers.base import Fetched, Provider, ProviderError
from tests.support.benchmark_samples import (
    SAMPLES,
    needs_snapshots,
    places,
    snapshot_files,
    with_bodies,
)

every_provider = pytest.mark.parametrize("name", PROVIDERS)
# A column or field of each source's sample without which it cannot be read.
VITAL = {
    "open_llm_leaderboard": "IFEval",
    "lmarena": "rating",
    "bigcodebench": "pass@1",
    "livebench": "zebra_puzzle",
    "bfcl": "Overall Acc",
    "openevals": "model_",
    "artificial_analysis": "evaluations",
    "models_dev": "limit",
}


@every_provider
def test_a_source_is_fetched_in_stages_that_end(name: str) -> None:
    provider: Provider = PROVIDERS[name]
    came: list[Fetched] = []
    stages = 0
    while wanted := provider.resources(came):
        stages += 1
        assert stages < 4
        assert len({resource.key for resource in wanted}) == len(wanted)
        for resource in wanted:
            assert {place.key for place in places(resource)} == {resource.key}
            assert all(place.url.startswith("https://") for place in places(resource))
            # One of the places can be read without pyarrow.
            assert any(place.kind != "parquet" for place in places(resource))
        came += [one for one in SAMPLES[name] if one.key in {resource.key for resource in wanted}]
    assert {one.key for one in came} == {one.key for one in SAMPLES[name]}


@every_provider
def test_a_sample_in_the_sources_own_shape(name: str) -> None:
    provider = PROVIDERS[name]
    parsed = provider.parse(SAMPLES[name])
    gates.check(provider, parsed)
    assert provider.about.name == name
    assert provider.about.licence
    assert provider.about.attribution
    assert all(row.source == name for row in parsed.rows)
    assert all(one.source == name for one in parsed.facts)


@every_provider
def test_a_column_that_changed_its_name_is_named(name: str) -> None:
    vital = VITAL[name]
    changed = with_bodies(SAMPLES[name], vital.encode(), b"renamed")
    # The categories of LiveBench still ask for the task.
    if name == "livebench":
        changed = (*changed[:2], SAMPLES[name][2])
    with pytest.raises(ProviderError, match=vital):
        PROVIDERS[name].parse(changed)


@every_provider
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9])
def test_a_body_cut_off_is_an_error(name: str, share: float) -> None:
    *others, last = SAMPLES[name]
    body = last.parts[-1]
    cut = replace(last, parts=(*last.parts[:-1], body[: int(len(body) * share)]))
    with pytest.raises(ProviderError):
        PROVIDERS[name].parse([*others, cut])


@every_provider
@pytest.mark.parametrize("body", [b"[]", b"{}", b"null", b"<html>Sign in</html>", b"\xff\xfe\x00"])
def test_another_document_is_an_error(name: str, body: bytes) -> None:
    provider = PROVIDERS[name]
    with pytest.raises(ProviderError):
        gates.check(
            provider, provider.parse([replace(one, parts=(body,)) for one in SAMPLES[name]])
        )


@every_provider
@given(body=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(name: str, body: bytes) -> None:
    try:
        parsed = PROVIDERS[name].parse([replace(one, parts=(body,)) for one in SAMPLES[name]])
    except ProviderError:
        return
    assert not parsed.rows or all(row.source == name for row in parsed.rows)


@every_provider
def test_less_than_half_of_the_former_figures_do_not_replace_them(name: str) -> None:
    provider = PROVIDERS[name]
    parsed = provider.parse(SAMPLES[name])
    count = gates.figures(parsed)
    gates.check(provider, parsed, 2 * count)
    with pytest.raises(ProviderError, match="less than half"):
        gates.check(provider, parsed, 2 * count + 1)


@needs_snapshots
@every_provider
def test_the_snapshots_pass_the_gates(name: str) -> None:
    provider = PROVIDERS[name]
    parsed = provider.parse(snapshot_files(name))
    gates.check(provider, parsed)
    assert gates.figures(parsed) >= 50
    assert parsed.published.startswith(("2025-", "2026-"))
