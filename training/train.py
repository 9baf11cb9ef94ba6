"""Makes the category model, measures it on sources kept apart, and writes what is given away.

    python -m training.train             # measure only
    python -m training.train --write     # and write the weights, the manifest and the card's tables

Every family of sources is kept apart in turn: the model that answers for it has seen none of it.
What may not be trained on for its licence is always kept apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import yaml
from scipy.optimize import minimize_scalar

from llmrouterd.classifier.framing import unframed
from llmrouterd.classifier.lexicon import build_lexicons
from llmrouterd.data import RULES
from training.data import CATEGORIES, CHECK, GENERATED, HAND, HERE, Row, own_rows, public_rows
from training.features import Bags
from training.fitting import LEXICON_WEIGHT, Fitted
from training.generate import generated_rows
from training.measures import Measures, measure
from training.report import write_all

ALL = "all sources kept apart"


def lexicon_evidence(rows: Sequence[Row]) -> np.ndarray:
    """Rows x categories: what the shipped lexicons say, in logits."""
    lexicons = build_lexicons(
        {name: yaml.safe_load((RULES / f"{name}.yaml").read_bytes()) for name in CATEGORIES}
    )
    found = np.zeros((len(rows), len(CATEGORIES)))
    for at, row in enumerate(rows):
        for category, value in lexicons.match(row.text).totals:
            found[at, CATEGORIES.index(category)] = value
    return found


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of chances."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def read_rows() -> list[Row]:
    """Everything, in a fixed order, as the classifier reads it."""
    own = [*own_rows(HERE / "prompts", HAND), *own_rows(HERE / "check", CHECK)]
    rows = [*public_rows(), *own, *generated_rows(own)]
    return [replace(row, text=unframed(row.text)) for row in rows]


def kept_apart(rows: Sequence[Row], bags: Bags, lexicon: np.ndarray) -> dict[str, np.ndarray]:
    """family -> logits of its rows by a model that has not seen it, the lexicons included."""
    families: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        if row.source != HAND and not row.source.startswith(GENERATED):
            families.setdefault(row.family, []).append(at)
    may_train = np.array([row.may_train for row in rows])
    found: dict[str, np.ndarray] = {}
    whole: Fitted | None = None
    for family, members in families.items():
        at = np.array(members)
        if may_train[at].any():
            apart = may_train.copy()
            apart[at] = False
            model = Fitted(rows, bags, lexicon, np.flatnonzero(apart))
        else:
            whole = whole or Fitted(rows, bags, lexicon, np.flatnonzero(may_train))
            model = whole
        found[family] = model.logits(at) + LEXICON_WEIGHT * lexicon[at]
        print(f"{family:28} {show(measure(softmax(found[family]), [rows[n] for n in at]))}")
    return found


def show(measures: Measures) -> str:
    """One line of figures."""
    return " ".join(f"{name}={value:.3g}" for name, value in measures._asdict().items())


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What the logits must be divided by so that the labels are likeliest."""

    def loss(value: float) -> float:
        chances = softmax(logits / value)
        return -float(np.log(chances[np.arange(len(labels)), labels] + 1e-12).mean())

    return float(minimize_scalar(loss, bounds=(0.5, 3.0), method="bounded").x)


def main() -> None:
    """Measure, and write what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write weights, manifest and tables")
    options = parser.parse_args()
    rows = read_rows()
    bags = Bags([row.text for row in rows])
    lexicon = lexicon_evidence(rows)
    logits = kept_apart(rows, bags, lexicon)
    by_family = {name: [row for row in rows if row.family == name] for name in logits}
    public = [name for name in logits if name != CHECK]
    everything = np.vstack([logits[name] for name in public])
    flat = [row for name in public for row in by_family[name]]
    for name, values, members in (
        (ALL, everything, flat),
        (CHECK, logits[CHECK], by_family[CHECK]),
    ):
        labels = np.array([CATEGORIES.index(row.category) for row in members])
        best = temperature(values, labels)
        print(f"{name}: {show(measure(softmax(values), members))}")
        print(f"{name} at {best:.2f}: {show(measure(softmax(values / best), members))}")
    if options.write:
        model = Fitted(rows, bags, lexicon, np.flatnonzero([row.may_train for row in rows]))
        results = {name: (softmax(logits[name]), by_family[name]) for name in logits}
        write_all(model.packed(), rows, results)


if __name__ == "__main__":
    main()
