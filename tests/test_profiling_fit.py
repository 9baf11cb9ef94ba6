"""Lines and rates through measured points, and averages that forget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.profiling.fit import Fading, FadingRate, Line, fit_line, fit_rate, kept_share

BASES = st.floats(0, 5)
SLOPES = st.floats(1e-5, 0.5)
TOKENS = st.lists(st.integers(1, 20_000), min_size=2, max_size=12, unique=True)


@given(BASES, SLOPES, TOKENS)
def test_points_on_a_line_give_that_line(base: float, slope: float, tokens: list[int]) -> None:
    found = fit_line([(x, base + slope * x) for x in tokens])
    assert found is not None
    for x in tokens:
        assert found.at(x) == pytest.approx(base + slope * x, rel=1e-3, abs=1e-6)


@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e4)), max_size=20),
    st.floats(0, 1e6),
)
def test_no_line_is_ever_negative(points: list[tuple[float, float]], tokens: float) -> None:
    found = fit_line(points)
    assert (found is None) is (not points)
    if found is not None:
        assert found.base >= 0
        assert found.slope >= 0
        assert found.at(tokens) >= 0


@given(BASES, SLOPES, st.integers(0, 6), st.floats(10, 1000))
def test_one_outlier_changes_next_to_nothing(
    base: float, slope: float, at: int, factor: float
) -> None:
    tokens = [16, 64, 256, 512, 1024, 2048, 4096]
    points = [(float(x), base + slope * x) for x in tokens]
    points[at] = (points[at][0], points[at][1] * factor)
    found = fit_line(points)
    assert found is not None
    for x in tokens:
        assert found.at(x) == pytest.approx(base + slope * x, rel=0.02, abs=1e-6)


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0.9, 1.1)), min_size=3, max_size=10))
def test_noise_is_averaged(points: list[tuple[int, float]]) -> None:
    rate = fit_rate([(float(x), 0.02 * x * noise) for x, noise in points])
    assert rate is not None
    assert 0.018 - 1e-9 <= rate <= 0.022 + 1e-9


def test_one_length_alone_is_all_base() -> None:
    assert fit_line([(64, 0.5), (64, 0.7)]) == Line(pytest.approx(0.6), 0.0)
    assert fit_line([(64, float("nan")), (float("inf"), 1.0), (-1, 1.0)]) is None
    assert fit_rate([]) is None
    assert fit_rate([(0, 1.0), (5, 0.0)]) is None


def test_a_rate_is_not_moved_by_one_answer_that_stalled() -> None:
    points = [(48.0, 2.4), (96.0, 4.8), (16.0, 0.8), (50.0, 60.0)]
    assert fit_rate(points) == pytest.approx(0.05, rel=0.01)


@given(BASES, SLOPES)
def test_what_is_known_stays_until_something_else_is_seen(base: float, slope: float) -> None:
    fading = Fading.begin(Line(base, slope), 20.0, 1024.0)
    assert fading.line() == Line(pytest.approx(base, abs=1e-6), pytest.approx(slope, rel=1e-6))
    for tokens in (10, 500, 3000, 200):
        fading.add(tokens, base + slope * tokens, 0.97)
    line = fading.line()
    assert line.at(800) == pytest.approx(base + slope * 800, rel=1e-4, abs=1e-6)


def test_a_lasting_change_is_followed_and_an_outlier_is_not() -> None:
    old, new, keep = Line(0.2, 0.002), Line(0.4, 0.004), kept_share(20, 1e9, 0)
    fading = Fading.begin(old, 20.0, 1024.0)
    fading.add(500, 300.0, keep)
    assert fading.line().at(500) == pytest.approx(old.at(500), rel=0.1)
    for turn in range(200):
        tokens = 100 + 37 * (turn % 40)
        fading.add(tokens, new.at(tokens), keep)
    for tokens in (100, 500, 1500):
        assert fading.line().at(tokens) == pytest.approx(new.at(tokens), rel=0.02)


def test_samples_of_one_length_keep_the_slope() -> None:
    fading = Fading.begin(Line(0.1, 0.001), 20.0, 1024.0)
    for _ in range(300):
        fading.add(200, 0.6, 0.966)
    line = fading.line()
    assert line.slope == pytest.approx(0.001, rel=0.05)
    assert line.at(200) == pytest.approx(0.6, rel=0.01)


def test_a_fading_rate_follows_and_cuts_outliers() -> None:
    rate = FadingRate.begin(0.02, 2000.0)
    rate.add(100, 1000.0, 1.0)
    assert rate.rate < 0.024
    for _ in range(300):
        rate.add(100, 4.0, 0.9)
    assert rate.rate == pytest.approx(0.04, rel=0.01)


def test_weights_halve_with_samples_and_with_time() -> None:
    assert kept_share(1, 1e12, 0) == pytest.approx(0.5)
    assert kept_share(1e12, 3600, 3600) == pytest.approx(0.5)
    assert kept_share(20, 3600, -5) == pytest.approx(0.5**0.05)
