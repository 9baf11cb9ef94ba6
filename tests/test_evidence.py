"""What a model is worth: sources combined by precision, with their names kept."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.benchmarks.rows import BenchmarkRow
from llmrouterd.catalog import Evidence, Finding
from llmrouterd.config.figures import FiguresError, read_figures
from llmrouterd.data import EVIDENCE
from llmrouterd.evidence import OVERALL, build_evidence
from llmrouterd.evidence.combination import combine
from llmrouterd.evidence.findings import convert, degraded
from llmrouterd.evidence.prior import prior_finding
from llmrouterd.evidence.subject import Figure, Relative, Subject, year_of
from tests.support.policies import policy

FIGURES = read_figures()[0]
CATEGORIES = policy().categories
BOARDS = sorted(FIGURES.scales)
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
ROWS = st.builds(
    lambda board, value, votes, date: BenchmarkRow(
        model="m", board=board, value=value, votes=votes, date=date
    ),
    board=st.sampled_from(BOARDS),
    value=st.floats(0, 100),
    votes=st.integers(1, 10**6) | st.none(),
    date=st.sampled_from(["", "2024-05", "2025-12-11", "2026-07-01"]),
)
KNOWN = st.lists(st.builds(Figure, ROWS, st.sampled_from(sorted(FIGURES.grade_sd))), max_size=6)


def figure(board: str, value: float, grade: str = "exact", **more: Any) -> Figure:
    return Figure(BenchmarkRow(model="m", board=board, value=value, **more), grade)


def build(*known: Figure, **more: Any) -> dict[str, Evidence]:
    subject = Subject(**{"size_b": 7.0, "released": 2025.0, "figures": known, **more})
    return build_evidence(subject, CATEGORIES, FIGURES)


def chance(evidence: Evidence) -> float:
    return 1 / (1 + math.exp(-evidence.mean))


@given(FINDINGS, st.randoms())
def test_the_order_does_not_matter(findings: list[Finding], random: Any) -> None:
    shuffled = list(findings)
    random.shuffle(shuffled)
    found, other = combine(findings), combine(shuffled)
    assert (found.mean, found.sd) == (other.mean, other.sd)


@given(KNOWN, st.randoms())
def test_the_order_of_the_sources_does_not_matter(known: list[Figure], random: Any) -> None:
    shuffled = list(known)
    random.shuffle(shuffled)
    for category, found in build(*known).items():
        other = build(*shuffled)[category]
        assert (found.mean, found.sd) == pytest.approx((other.mean, other.sd), rel=1e-12)


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
    assert math.fsum(found.weights) == pytest.approx(1.0)


@given(KNOWN, st.integers(1, 10**5), st.integers(1, 10**5))
def test_more_votes_never_widen(known: list[Figure], some: int, more: int) -> None:
    def sds(votes: int) -> list[float]:
        row = figure("lmarena/coding", 1300.0, votes=votes)
        return [found.sd for found in build(*known, row).values()]

    few, many = sds(min(some, more)), sds(max(some, more))
    assert all(a >= b - 1e-12 for a, b in zip(few, many, strict=True))


@given(KNOWN, st.sampled_from([None, "Q4_K_M", "Q2_K", "F16"]))
def test_any_figures_give_finite_evidence_for_every_category(
    known: list[Figure], quantization: str | None
) -> None:
    found = build(*known, quantization=quantization)
    assert set(found) == {OVERALL, *CATEGORIES}
    for evidence in found.values():
        assert math.isfinite(evidence.mean)
        assert 0 < evidence.sd < 1.0
        assert evidence.sources


def test_without_any_source_there_is_the_prior_and_never_zero() -> None:
    prior = prior_finding(Subject(size_b=7.0, released=2025.0), FIGURES)
    for category, evidence in build().items():
        assert evidence.sources == (prior,)
        assert evidence.mean == pytest.approx(prior.mean)
        assert evidence.sd >= prior.sd
        assert (evidence.sd == pytest.approx(prior.sd)) == (category == OVERALL)
        assert 0.1 < chance(evidence) < 0.9


def test_adding_evidence_never_turns_an_unknown_model_into_a_zero() -> None:
    for board in BOARDS:
        for found in build(figure(board, 0.0 if "lmarena" not in board else 900.0)).values():
            assert chance(found) > 0.05


@given(st.floats(1, 2000) | st.none(), st.floats(2022, 2028) | st.none())
def test_the_prior_is_wider_the_less_is_known(size: float | None, year: float | None) -> None:
    def sd(size: float | None, year: float | None) -> float:
        return prior_finding(Subject(size_b=size, released=year), FIGURES).sd

    assert sd(1.0, 2025.0) <= sd(size, year) <= sd(None, None)
    # No public rating is of so small a model.
    assert sd(0.5, 2025.0) > sd(1.0, 2025.0)


@given(st.floats(0.1, 500), st.floats(0.1, 500), st.floats(2023, 2027), st.floats(2023, 2027))
def test_the_prior_grows_with_size_and_date(a: float, b: float, c: float, d: float) -> None:
    small = Subject(size_b=min(a, b), released=min(c, d))
    large = Subject(size_b=max(a, b), released=max(c, d))
    assert prior_finding(small, FIGURES).mean <= prior_finding(large, FIGURES).mean


def test_other_sizes_of_the_line_come_before_size_and_date() -> None:
    def relatives(*sizes: float) -> tuple[Relative, ...]:
        return tuple(
            Relative(f"line-{size:g}b", size, (figure("lmarena/overall", 1250 + 20 * size),))
            for size in sizes
        )

    alone = build(size_b=8.0)[OVERALL]
    one = build(size_b=8.0, relatives=relatives(4.0))[OVERALL]
    two = build(size_b=8.0, relatives=relatives(4.0, 16.0))[OVERALL]
    assert alone.sources[0].source.startswith("prior: size 8B")
    assert one.sources[0].source == "prior: its line (line-4b)"
    assert two.sources[0].source.startswith("prior: its line (line-")
    assert two.sd < one.sd < alone.sd
    # 4B has 1330: one doubling above it, the slope of size adds 18.7.
    assert one.mean == pytest.approx(FIGURES.logits(1330 + FIGURES.size.per_log2_b))
    many = build(size_b=8.0, relatives=relatives(*(8.0 + step / 10 for step in range(1, 30))))
    assert many[OVERALL].sd >= FIGURES.line_sd * math.log(10) / 400  # shared, never averaged out
    assert build(size_b=None, relatives=relatives(4.0))[OVERALL].sources[0].source == (
        "prior: size not known"
    )


def test_a_category_starts_from_what_is_known_overall() -> None:
    plain, known = build(), build(figure("lmarena/overall", 1450.0))
    for category in (OVERALL, *CATEGORIES):
        assert known[category].mean > plain[category].mean + 0.3
    assert known["coding"].sd > known[OVERALL].sd
    coding = build(figure("lmarena/overall", 1450.0), figure("lmarena/coding", 1200.0))
    assert coding["coding"].mean < known["coding"].mean - 0.5
    assert coding["math"].mean == known["math"].mean
    assert "overall (" in " ".join(source.source for source in coding["coding"].sources)


def test_the_boards_of_one_source_do_not_count_as_many() -> None:
    def rows(*names: str) -> list[Figure]:
        return [figure(f"open_llm_leaderboard/{name}", 40.0) for name in names]

    one = build(*rows("bbh"))["reasoning"]
    both = build(*rows("bbh", "musr"))["reasoning"]
    assert both.sd > 0.95 * one.sd
    headline = build(*rows("average"))[OVERALL]
    assert build(*rows("average", "bbh", "gpqa"))[OVERALL] == headline


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ({"low": 1399, "high": 1401}, {"low": 1300, "high": 1500}),
        ({"votes": 20_000}, {"votes": 100}),
        ({"date": "2026-07-01"}, {"date": "2023-07-01"}),
        ({"grade": "exact"}, {"grade": "alias"}),
        ({"grade": "alias"}, {"grade": "canonical"}),
        ({"grade": "canonical"}, {"grade": "revision"}),
    ],
)
def test_what_makes_a_figure_less_certain(narrow: Any, wide: Any) -> None:
    def sd(given: Any) -> float:
        return build(figure("lmarena/coding", 1400.0, **given), newest="2026-07-01")["coding"].sd

    assert sd(narrow) < sd(wide)


def test_a_board_that_nobody_knows_is_no_evidence() -> None:
    row = figure("homemade/board", 99.0)
    assert convert(row, FIGURES, "") is None
    assert build(row) == build()


def test_quantisation_and_a_short_context_take_from_what_was_measured_elsewhere() -> None:
    known = figure("lmarena/overall", 1400.0)
    order = ["F16", "Q8_0", "Q6_K", "Q4_K_M", "Q3_K_M", "Q2_K", "IQ1_S"]
    means = [build(known, quantization=name)["coding"].mean for name in order]
    assert means == sorted(means, reverse=True)
    assert means[0] == means[1] > means[-1]
    assert build(known, quantization="MXFP4") == build(known)
    assert build(known, quantization="never-seen") == build(known)
    short, long = build(known, context=2048), build(known, context=32768)
    assert short["coding"].mean < long["coding"].mean
    assert short["chat"] == long["chat"] == build(known)["chat"]
    # What the probes saw here was quantised already.
    seen = build(abilities={"coding": (0.5, 0.3)}, quantization="Q2_K")["coding"].sources
    assert next(s for s in seen if s.source.startswith("probes")).mean == 0.5


@given(st.floats(-6, 6), st.sampled_from(sorted(FIGURES.quantization)))
def test_a_penalty_never_makes_better(mean: float, quantization: str) -> None:
    before = Finding(source="x", mean=mean, sd=0.5)
    after = degraded(before, Subject(quantization=quantization), FIGURES, "coding")
    assert after.mean <= before.mean
    assert after.sd == before.sd
    factor = FIGURES.quantization[quantization]
    assert 1 / (1 + math.exp(-after.mean)) == pytest.approx(
        factor / (1 + math.exp(-mean)), abs=0.001
    )


def test_probes_and_thumbs_are_weak_but_move_an_unknown_model() -> None:
    plain = build()["coding"]
    good = build(abilities={"coding": (2.0, 0.3)}, feedback={"coding": (20, 20.0)})["coding"]
    bad = build(abilities={"coding": (-3.0, 0.3)}, feedback={"coding": (20, -20.0)})["coding"]
    assert bad.mean < plain.mean < good.mean
    known = figure("lmarena/coding", 1300.0, votes=50_000)
    moved = (
        build(known, feedback={"coding": (3, -3.0)})["coding"].mean - build(known)["coding"].mean
    )
    assert -0.15 < moved < 0
    assert any("feedback: 20 with mean +1.00" in s.source for s in good.sources)


def test_a_judge_is_heard_where_nothing_can_be_verified() -> None:
    plain = build()["creative"]
    found = build(judged={"creative": ("box/big", 0.95, 12)})["creative"]
    assert found.mean > plain.mean
    assert "judged by box/big: 0.95" in [source.source for source in found.sources]
    more = build(judged={"creative": ("box/big", 0.95, 60)})["creative"]
    assert more.sd < found.sd


@given(st.integers(1, 500), st.floats(-1, 1))
def test_thumbs_stay_within_reason(number: int, mean: float) -> None:
    once = build(feedback={"chat": (number, number * mean)})["chat"]
    more = build(feedback={"chat": (number + 5, (number + 5) * mean)})["chat"]
    assert math.isfinite(once.mean)
    assert more.sd <= once.sd < build()["chat"].sd


def test_the_owner_is_believed_nearly_whole() -> None:
    found = build(estimates={"coding": 0.9})
    assert chance(found["coding"]) == pytest.approx(0.9, abs=0.05)
    assert any(source.source == "owner: 0.9" for source in found["coding"].sources)
    assert found["math"] == build()["math"]
    overall = build(estimates={OVERALL: 0.8})
    assert overall["math"].mean == pytest.approx(overall[OVERALL].mean)
    assert overall["math"].mean > build()[OVERALL].mean
    both = build(estimates={OVERALL: 0.8, "math": 0.2})
    assert both["math"].mean < both["coding"].mean


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("2025", 2025.5383),
        ("2025-01", 2025.0383),
        ("2025-01-01", 2025.0),
        ("2025-04-17T10:00:00Z", 2025.2938),
        ("", None),
        ("soon", None),
        ("2025-13-01", None),
        ("2025-04-99", None),
        ("20", None),
        ("२०२५", None),
    ],
)
def test_dates(text: str, year: float | None) -> None:
    assert year_of(text) == (None if year is None else pytest.approx(year, abs=0.001))


def test_the_bits_of_a_file_tell_its_quantisation() -> None:
    assert FIGURES.nearest_quantization(int(4.89e9), 8.03e9) in ("Q4_K_M", "Q4_K")
    assert FIGURES.nearest_quantization(None, 8e9) is None
    assert FIGURES.nearest_quantization(10**12, 8e9) is None


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"anchor": "high"}, "$.anchor"),
        ({"surprise": 1}, "surprise"),
        ({"quantization": {"source": "", "factors": {"Q8_0": 2}, "bits_per_weight": {}}}, "Q8_0"),
        ({"line": {"sd": 0, "sd_per_log2_b": 1}}, "$.line.sd"),
    ],
)
def test_a_file_of_the_owners_is_checked(tmp_path: Path, change: Any, place: str) -> None:
    file = tmp_path / "evidence.json"
    file.write_text(json.dumps({**json.loads(EVIDENCE.read_bytes()), **change}))
    with pytest.raises(FiguresError) as caught:
        read_figures(file)
    assert place in str(caught.value)
    assert str(file) in str(caught.value)


def test_the_owners_file_is_used(tmp_path: Path) -> None:
    file = tmp_path / "evidence.json"
    content = json.loads(EVIDENCE.read_bytes())
    content["prior"]["base"] += 100
    file.write_text(json.dumps(content))
    higher = read_figures(file)[0]
    subject = Subject(size_b=7.0)
    assert prior_finding(subject, higher).mean > prior_finding(subject, FIGURES).mean
    for broken in ("{", "[]", ""):
        file.write_text(broken)
        with pytest.raises(FiguresError):
            read_figures(file)
