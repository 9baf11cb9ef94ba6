"""What a model is worth: sources combined by precision, with their names kept."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.app import read_prior
from llmrouterd.catalog import Finding
from llmrouterd.evidence import OVERALL, BenchmarkRow, build_evidence, combine
from tests.support.policies import model, policy

PRIOR = read_prior()
CATEGORIES = policy().categories
FINDINGS = st.lists(
    st.builds(
        Finding,
        source=st.text("ab", max_size=3),
        mean=st.floats(-5, 5),
        sd=st.floats(0.05, 5),
    ),
    min_size=1,
    max_size=8,
)


@given(FINDINGS, st.randoms())
def test_the_order_does_not_matter(findings: list[Finding], random: Any) -> None:
    shuffled = list(findings)
    random.shuffle(shuffled)
    found, other = combine(findings), combine(shuffled)
    assert (found.mean, found.sd) == (other.mean, other.sd)


@given(FINDINGS, FINDINGS)
def test_more_evidence_narrows(findings: list[Finding], more: list[Finding]) -> None:
    assert combine(findings + more).sd < combine(findings).sd
    assert combine(findings).sd <= min(finding.sd for finding in findings) + 1e-9


@given(FINDINGS)
def test_the_mean_lies_among_its_sources(findings: list[Finding]) -> None:
    means = [finding.mean for finding in findings]
    found = combine(findings)
    assert min(means) - 1e-9 <= found.mean <= max(means) + 1e-9
    assert len(found.sources) == len(findings)


def build(rows: list[BenchmarkRow] = [], **quality: float) -> dict[str, Any]:  # noqa: B006
    grouped: dict[str, tuple[BenchmarkRow, ...]] = {}
    for row in rows:
        grouped[row.model] = (*grouped.get(row.model, ()), row)
    item = model("box/m", canonical="family-7b", size_b=7.0)
    return build_evidence(item, CATEGORIES, grouped, quality, PRIOR)


def test_without_evidence_there_is_the_prior_and_never_zero() -> None:
    found = build()
    assert set(found) == {OVERALL, *CATEGORIES}
    for evidence in found.values():
        (source,) = evidence.sources
        assert source.source == "prior: size 7B"
        assert evidence.sd > 0.3
        assert 0.05 < 1 / (1 + math.exp(-evidence.mean)) < 0.95


@given(st.floats(0.01, 2000) | st.none())
def test_the_prior_is_finite_and_wider_where_the_size_is_not_known(size: float | None) -> None:
    finding = PRIOR.finding(size)
    assert math.isfinite(finding.mean)
    assert finding.sd <= PRIOR.finding(None).sd
    assert finding.source == (f"prior: size {max(size, 0.05):g}B" if size else finding.source)


@given(st.floats(0.1, 500), st.floats(0.1, 500))
def test_the_prior_grows_with_the_size(a: float, b: float) -> None:
    small, large = sorted((a, b))
    assert PRIOR.finding(small).mean <= PRIOR.finding(large).mean


def test_a_row_counts_for_its_model_or_its_identity_and_nobody_else() -> None:
    plain = build()
    for name in ("box/m", "family-7b"):
        row = BenchmarkRow(model=name, board="lmarena/coding", value=1450.0)
        found = build([row])
        assert found["coding"].mean > plain["coding"].mean
        assert found["coding"].sd < plain["coding"].sd
        assert [s.source for s in found["coding"].sources] == ["lmarena/coding 1450", *PRIOR_NAME]
        assert found["translation"].sources[-1].source == PRIOR_NAME[0]
    for stranger in ("family", "family-7b-instruct", "m", "BOX/M", "box/m2"):
        row = BenchmarkRow(model=stranger, board="lmarena/coding", value=1450.0)
        assert build([row]) == plain


PRIOR_NAME = ["prior: size 7B"]


def test_a_wide_interval_says_less() -> None:
    def sd(low: float, high: float) -> float:
        row = BenchmarkRow(model="box/m", board="lmarena/coding", value=1400.0, low=low, high=high)
        return float(build([row])["coding"].sd)

    assert sd(1399, 1401) < sd(1300, 1500)


def test_a_board_that_nobody_knows_is_no_evidence() -> None:
    row = BenchmarkRow(model="box/m", board="homemade/board", value=99.0)
    assert PRIOR.convert(row) is None
    assert build([row]) == build()


def test_the_owner_is_believed_nearly_whole() -> None:
    found = build(coding=0.9)
    assert 1 / (1 + math.exp(-found["coding"].mean)) == pytest.approx(0.9, abs=0.03)
    assert found["coding"].sources[0].source == "owner: 0.9"
    assert found["math"] == build()["math"]
    overall = build(overall=0.8)
    assert overall["math"].mean == overall[OVERALL].mean > build()[OVERALL].mean
    both = build(overall=0.8, math=0.2)
    assert both["math"].mean < both["coding"].mean
