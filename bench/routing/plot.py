"""Quality against size: single models, chance, ours under several weights of time, the oracle."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.routing.predicted import TEST_SHARE, Answers, Chosen, catalog_of, kinds_of, measured
from bench.routing.tables import Floats
from llmrouterd.policy import Policy

WEIGHTS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
_WIDTH, _HEIGHT, _EDGE = 760, 440, 50


class Point(NamedTuple):
    """size: mean billions of parameters that answer; score: mean, 0 to 1."""

    label: str
    size: float
    score: float
    color: str


def sizes_of(models: Sequence[str]) -> Floats:
    """Billions of parameters, from the names."""
    return np.array([float(re.findall(r"(\d+(?:\.\d+)?)b", name)[-1]) for name in models])


def points(answers: Answers, policy: Policy) -> tuple[list[Point], list[Point]]:
    """Single points, and our curve from quality alone to time above all; on the first split."""
    test = np.random.RandomState(0).rand(len(answers.datasets)) < TEST_SHARE
    sizes, scores = sizes_of(answers.models), answers.scores[test]
    single = [
        Point(name, float(size), float(score), "#888")
        for name, size, score in zip(answers.models, sizes, scores.mean(axis=0), strict=True)
    ]
    single.append(Point("random", float(sizes.mean()), float(scores.mean()), "#c33"))
    # Of the models that are best for a prompt, the smallest.
    best = [int(np.lexsort((sizes, -row))[0]) for row in scores]
    oracle = float(scores.max(axis=1).mean())
    single.append(Point("oracle", float(sizes[best].mean()), oracle, "#393"))
    evidence = measured(answers.scores[~test], kinds_of(answers, ~test))
    catalog = catalog_of(answers.models, evidence, sizes)
    read = answers.read()
    curve = []
    for weight in WEIGHTS:
        chosen = Chosen(_with_time(policy, weight), catalog, answers.models, {})
        picked = [chosen.model(read[at], answers.forms[at]) for at in np.flatnonzero(test)]
        score = float(scores[np.arange(len(picked)), picked].mean())
        curve.append(Point(f"{weight:g}", float(sizes[picked].mean()), score, "#06c"))
    return single, curve


def _with_time(policy: Policy, weight: float) -> Policy:
    """The policy with this weight of time in every rule and preset."""
    rules = tuple(
        replace(
            rule,
            weights={name: replace(weights, time=weight) for name, weights in rule.weights.items()},
        )
        for rule in policy.rules
    )
    return replace(policy, rules=rules)


def draw(file: Path, title: str, single: Sequence[Point], curve: Sequence[Point]) -> None:
    """Write the plot as SVG."""
    every = [*single, *curve]
    low, high = min(p.score for p in every) - 0.03, max(p.score for p in every) + 0.03
    wide = max(p.size for p in every) * 1.15

    def place(size: float, score: float) -> tuple[float, float]:
        x = _EDGE + size / wide * (_WIDTH - 2 * _EDGE)
        y = _HEIGHT - _EDGE - (score - low) / (high - low) * (_HEIGHT - 2 * _EDGE)
        return round(x, 1), round(y, 1)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_EDGE}" y="24" font-size="14">{title}</text>',
        f'<path d="M{_EDGE} {_EDGE}V{_HEIGHT - _EDGE}H{_WIDTH - _EDGE}" fill="none" '
        'stroke="#000"/>',
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 12}" text-anchor="middle">mean size of the model '
        "that answers, billions of parameters</text>",
        f'<text x="14" y="{_HEIGHT / 2}" transform="rotate(-90 14 {_HEIGHT / 2})" '
        'text-anchor="middle">mean score</text>',
    ]
    for step in range(0, int(wide) + 1, 10):
        x, _ = place(step, low)
        lines.append(f'<text x="{x}" y="{_HEIGHT - _EDGE + 16}" text-anchor="middle">{step}</text>')
    for tenth in range(int(low * 10) + 1, int(high * 10) + 1):
        _, y = place(0, tenth / 10)
        lines.append(f'<text x="{_EDGE - 6}" y="{y + 4}" text-anchor="end">.{tenth}</text>')
    places = [place(point.size, point.score) for point in curve]
    way = " ".join(f"{x},{y}" for x, y in places)
    lines.append(f'<polyline points="{way}" fill="none" stroke="#06c" stroke-width="2"/>')
    for point in every:
        x, y = place(point.size, point.score)
        lines.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{point.color}"/>')
        name = f"ours, time {point.label}" if point in curve else point.label
        lines.append(f'<text x="{x + 6}" y="{y + 4}" fill="{point.color}">{name}</text>')
    file.write_text("\n".join([*lines, "</svg>", ""]))
