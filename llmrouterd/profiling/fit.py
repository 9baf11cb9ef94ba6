"""Straight lines through measured points, and averages that forget. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ROUNDS = 8
# Of the range of lengths, how far two points must be apart to say something of the slope.
_APART = 0.1
# Tukey's bisquare in units of the residuals' median deviation: 95 % efficient without outliers.
_TUKEY = 4.685 * 1.4826
# How far a live sample may be from what is expected, as a share and in seconds, to count fully.
_USUAL_SHARE, _USUAL_SECONDS = 0.25, 0.05
# The slope that was known counts like this much spread of the samples (tokens squared).
_SLOPE_STRENGTH = 100.0**2


class Line(NamedTuple):
    """seconds = base + slope * tokens; neither is negative."""

    base: float
    slope: float

    def at(self, tokens: float) -> float:
        """Seconds for so many tokens."""
        return self.base + self.slope * tokens


def fit_line(points: Sequence[tuple[float, float]]) -> Line | None:
    """Least squares through (tokens, seconds), outliers weighed down, nothing negative.

    None without points. With one length alone everything is base.
    """
    known = [(x, y) for x, y in points if _usable(x, y)]
    if not known:
        return None
    line = _middle_line(known)
    for _ in range(_ROUNDS):
        off = [abs(y - line.at(x)) for x, y in known]
        # Rounding, and points that lie on a line, leave no deviation to weigh by.
        scale = _TUKEY * max(median(off), 1e-3 * median(y for _, y in known), 1e-9)
        weights = [max(0.0, 1.0 - (miss / scale) ** 2) ** 2 for miss in off]
        found = _weighted_line(known, weights)
        if found == line:
            break
        line = found
    return line


def fit_rate(points: Iterable[tuple[float, float]]) -> float | None:
    """Seconds per token through the origin, the same way; None without usable points."""
    known = [(x, y) for x, y in points if _usable(x, y) and x > 0 and y > 0]
    if not known:
        return None
    rate = _weighted_median([(y / x, x) for x, y in known])
    for _ in range(_ROUNDS):
        off = [abs(y / x - rate) for x, y in known]
        scale = _TUKEY * max(median(off), 1e-3 * rate, 1e-12)
        weights = [max(0.0, 1.0 - (miss / scale) ** 2) ** 2 for miss in off]
        top = sum(w * x * y for (x, y), w in zip(known, weights, strict=True))
        bottom = sum(w * x * x for (x, _), w in zip(known, weights, strict=True))
        if bottom <= 0.0:
            break
        rate = top / bottom
    return rate


def _usable(x: float, y: float) -> bool:
    return math.isfinite(x) and math.isfinite(y) and x >= 0 and y >= 0


def _middle_line(points: Sequence[tuple[float, float]]) -> Line:
    """Theil and Sen's line: the median slope of all pairs that are far enough apart to have one,
    so that a point counts in few pairs only, however far out it is."""
    ordered = sorted(points)
    apart = max(1.0, _APART * (ordered[-1][0] - ordered[0][0]))
    slopes = [
        (y2 - y1) / (x2 - x1)
        for at, (x1, y1) in enumerate(ordered)
        for x2, y2 in ordered[at + 1 :]
        if x2 - x1 >= apart
    ]
    slope = max(0.0, median(slopes)) if slopes else 0.0
    return Line(max(0.0, median(y - slope * x for x, y in points)), slope)


def _weighted_line(points: Sequence[tuple[float, float]], weights: Sequence[float]) -> Line:
    total = sum(weights)
    mean_x = sum(w * x for (x, _), w in zip(points, weights, strict=True)) / total
    mean_y = sum(w * y for (_, y), w in zip(points, weights, strict=True)) / total
    spread = together = squares = crossed = 0.0
    for (x, y), w in zip(points, weights, strict=True):
        spread += w * (x - mean_x) ** 2
        together += w * (x - mean_x) * (y - mean_y)
        squares += w * x * x
        crossed += w * x * y
    if spread < 1e-6:
        return Line(mean_y, 0.0)
    return _non_negative(mean_x, mean_y, together / spread, crossed / squares)


def _non_negative(mean_x: float, mean_y: float, slope: float, through_origin: float) -> Line:
    """The best line that is allowed, given the best of all and the best through the origin."""
    if slope <= 0.0:
        return Line(max(0.0, mean_y), 0.0)
    base = mean_y - slope * mean_x
    return Line(base, slope) if base >= 0.0 else Line(0.0, max(0.0, through_origin))


def _weighted_median(values: Sequence[tuple[float, float]]) -> float:
    """The value below which half of the weight lies; (value, weight) pairs."""
    half = sum(weight for _, weight in values) / 2.0
    passed = 0.0
    ordered = sorted(values)
    for value, weight in ordered:
        passed += weight
        if passed >= half:
            return value
    return ordered[-1][0]


@dataclass(slots=True)
class Fading:
    """A line through samples that lose weight with every further one and with time.

    It starts from a known line that counts like `strength` samples. An outlier pulls as hard as
    a sample at the edge of what is usual, so one of them changes little and a lasting change is
    followed.
    """

    known: Line
    weight: float
    x: float
    y: float
    xx: float
    xy: float

    @classmethod
    def begin(cls, known: Line, strength: float, length: float) -> Fading:
        """Start from a line as if it was measured at no tokens and at `length` tokens."""
        half = strength / 2.0
        y0, y1 = known.at(0.0), known.at(length)
        return cls(
            known=known,
            weight=strength,
            x=half * length,
            y=half * (y0 + y1),
            xx=half * length * length,
            xy=half * length * y1,
        )

    def add(self, tokens: float, seconds: float, keep: float) -> None:
        """Take a sample in; what was there before is multiplied by `keep` (0 to 1)."""
        expected = self.line().at(tokens)
        miss = seconds - expected
        usual = 3.0 * (_USUAL_SHARE * expected + _USUAL_SECONDS)
        if miss > usual:
            seconds = expected + usual
        elif miss < -usual:
            seconds = expected - usual
        self.weight = self.weight * keep + 1.0
        self.x = self.x * keep + tokens
        self.y = self.y * keep + seconds
        self.xx = self.xx * keep + tokens * tokens
        self.xy = self.xy * keep + tokens * seconds

    def line(self) -> Line:
        """The line now. Where all samples have one length, the known slope stays."""
        mean_x, mean_y = self.x / self.weight, self.y / self.weight
        spread = self.xx / self.weight - mean_x * mean_x
        together = self.xy / self.weight - mean_x * mean_y
        pull = _SLOPE_STRENGTH / self.weight
        slope = (together + pull * self.known.slope) / (max(0.0, spread) + pull)
        origin = self.xy / self.xx if self.xx > 0.0 else 0.0
        return _non_negative(mean_x, mean_y, slope, origin)


@dataclass(slots=True)
class FadingRate:
    """Seconds per token, as the ratio of two sums that fade; outliers are cut to four times, or
    a quarter of, what is expected."""

    tokens: float
    seconds: float

    @classmethod
    def begin(cls, seconds_per_token: float, strength: float) -> FadingRate:
        """Start from a known rate that counts like `strength` tokens."""
        return cls(strength, strength * seconds_per_token)

    def add(self, tokens: float, seconds: float, keep: float) -> None:
        """Take a sample in; what was there before is multiplied by `keep` (0 to 1)."""
        expected = tokens * self.seconds / self.tokens
        seconds = min(max(seconds, expected / 4.0), expected * 4.0)
        self.tokens = self.tokens * keep + tokens
        self.seconds = self.seconds * keep + seconds

    @property
    def rate(self) -> float:
        """Seconds per token now."""
        return self.seconds / self.tokens


def kept_share(half_samples: float, half_seconds: float, passed: float) -> float:
    """What a sample's weight is multiplied by after one further sample and `passed` seconds."""
    return float(0.5 ** (1.0 / half_samples + max(0.0, passed) / half_seconds))
