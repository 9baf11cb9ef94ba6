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
from typing import NamedTuple

import numpy as np
import yaml

from llmrouterd.classifier.framing import unframed
from llmrouterd.classifier.lexicon import build_lexicons
from llmrouterd.data import RULES
from training.data import CATEGORIES, CHECK, GENERATED, HAND, HERE, Row, own_rows, public_rows
from training.features import Bags
from training.fitting import LEXICON_WEIGHT, Fitted
from training.generate import generated_rows
from training.measures import Measures, measure
from training.report import Weights, write_all
from training.semantic import blended, embeddings, head, packed

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


class Apart(NamedTuple):
    """Chances of a family's rows by models that have not seen it: without and with the sentence
    encoder (None where it is not installed)."""

    plain: np.ndarray
    semantic: np.ndarray | None


def kept_apart(rows: Sequence[Row], bags: Bags, lexicon: np.ndarray) -> dict[str, Apart]:
    """Every family's chances, the check set among them."""
    families: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        if row.source != HAND and not row.source.startswith(GENERATED):
            families.setdefault(row.family, []).append(at)
    may_train = np.array([row.may_train for row in rows])
    vectors = embeddings(rows)
    found: dict[str, Apart] = {}
    known: dict[bytes, tuple[Fitted, tuple[np.ndarray, np.ndarray] | None]] = {}
    for family, members in families.items():
        at = np.array(members)
        allowed = may_train.copy()
        allowed[at] = False
        # Families that nothing may be trained on leave the same rows.
        key, on = allowed.tobytes(), np.flatnonzero(allowed)
        if key not in known:
            second = None if vectors is None else head(rows, vectors, on)
            known[key] = Fitted(rows, bags, lexicon, on), second
        model, second = known[key]
        said = LEXICON_WEIGHT * lexicon[at]
        plain = model.logits(at)
        semantic = None
        if vectors is not None and second is not None:
            both = blended(plain, vectors[at] @ second[0] + second[1])
            semantic = softmax(both + said)
        found[family] = Apart(softmax(plain + said), semantic)
        print(f"{family:28} {show(measure(found[family].plain, [rows[n] for n in at]))}")
    return found


def show(measures: Measures) -> str:
    """One line of figures."""
    return " ".join(f"{name}={value:.3g}" for name, value in measures._asdict().items())


def main() -> None:
    """Measure, and write what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write weights, manifest and tables")
    options = parser.parse_args()
    rows = read_rows()
    bags = Bags([row.text for row in rows])
    lexicon = lexicon_evidence(rows)
    apart = kept_apart(rows, bags, lexicon)
    members = {name: [row for row in rows if row.family == name] for name in apart}
    every = [name for name in apart if name != CHECK]
    plain = np.vstack([apart[name].plain for name in every])
    print(f"{ALL}: {show(measure(plain, [row for name in every for row in members[name]]))}")
    if options.write:
        on = np.flatnonzero([row.may_train for row in rows])
        vectors = embeddings(rows)
        second = None if vectors is None else packed(*head(rows, vectors, on))
        weights = Weights(Fitted(rows, bags, lexicon, on).packed(), second)
        write_all(weights, rows, {name: (*apart[name], members[name]) for name in apart})


if __name__ == "__main__":
    main()
