"""Writes what the training gives away: the weights, the manifest, the model card's tables."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix

from llmrouterd.data import CATEGORY_MODEL, SEMANTIC_MODEL
from training.data import CATEGORIES, CHECK, HERE, PUBLIC, Row
from training.generate import SEED
from training.measures import Measures, measure

MANIFEST = HERE / "manifest.json"
CARD = HERE.parent / "docs" / "model-card.md"
BEGIN, END = "<!-- tables: python -m training.train --write -->", "<!-- end of tables -->"
# family -> chances of its rows kept apart, without and with the sentence encoder, and its rows.
Result = Mapping[str, tuple[np.ndarray, np.ndarray | None, Sequence[Row]]]


class Weights(NamedTuple):
    """The files' bytes; semantic is None where the encoder is not installed."""

    category: bytes
    semantic: bytes | None


def write_all(weights: Weights, rows: Sequence[Row], results: Result) -> None:
    """Write everything; without the sentence encoder its file stays as it is."""
    CATEGORY_MODEL.parent.mkdir(exist_ok=True)
    CATEGORY_MODEL.write_bytes(weights.category)
    if weights.semantic is not None:
        SEMANTIC_MODEL.write_bytes(weights.semantic)
    MANIFEST.write_text(json.dumps(_manifest(rows), indent=2) + "\n")
    head, _, rest = CARD.read_text(encoding="utf-8").partition(BEGIN)
    tables = "\n\n".join([_figures(results), _classes(results), _sources(rows)])
    tail = rest.partition(END)[2]
    CARD.write_text(f"{head}{BEGIN}\n\n{tables}\n\n{END}{tail}", encoding="utf-8")
    print(f"weights {len(weights.category) / 1e6:.2f} MB, sha256 {_digest(CATEGORY_MODEL)[:16]}")


def _manifest(rows: Sequence[Row]) -> dict[str, object]:
    used = Counter((row.source, row.licence) for row in rows if row.may_train)
    return {
        "weights": [
            {"file": file.name, "sha256": _digest(file), "bytes": file.stat().st_size}
            for file in (CATEGORY_MODEL, SEMANTIC_MODEL)
        ],
        "seed": SEED,
        "public data": {"file": PUBLIC.name, "sha256": _digest(PUBLIC)},
        "trained on": [
            {"source": source, "licence": licence, "rows": number}
            for (source, licence), number in sorted(used.items())
        ],
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _figures(results: Result) -> str:
    public = [name for name in results if name != CHECK]
    members = [row for name in public for row in results[name][2]]
    lines = [
        "| kept apart | prompts | 12 classes | macro-F1 | English | other languages | 4 classes "
        "| ECE | p >= .6 covers | and is right |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, added in enumerate(("", ", with the extra `semantic`")):
        found = [results[name][kind] for name in public]
        check = results[CHECK][kind]
        if check is None:
            continue
        lines += [
            _line(f"**the check set**{added}", measure(check, results[CHECK][2])),
            _line(f"**every public source in turn**{added}", measure(np.vstack(found), members)),
        ]
    for name in sorted(public):
        lines.append(_line(name, measure(results[name][0], results[name][2])))
    return "\n".join(lines)


def _line(name: str, found: Measures) -> str:
    cells = ["–" if np.isnan(value) else f"{value:.3f}".lstrip("0") for value in found[1:]]
    return f"| {name} | {found.rows:,} | {' | '.join(cells)} |"


def _classes(results: Result) -> str:
    lines = [
        "| category | F1, check set | taken for | F1, sources kept apart | taken for |",
        "|---|---|---|---|---|",
    ]
    check = _matrix([(results[CHECK][0], results[CHECK][2])])
    public = _matrix([(plain, kept) for name, (plain, _, kept) in results.items() if name != CHECK])
    for at, category in enumerate(CATEGORIES):
        cells = [cell for matrix in (check, public) for cell in _class_cells(matrix, at)]
        lines.append(f"| {category} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _matrix(parts: Sequence[tuple[np.ndarray, Sequence[Row]]]) -> np.ndarray:
    told = np.concatenate([chances.argmax(axis=1) for chances, _ in parts])
    labels = [CATEGORIES.index(row.category) for _, rows in parts for row in rows]
    return np.asarray(confusion_matrix(labels, told, labels=range(len(CATEGORIES))))


def _class_cells(matrix: np.ndarray, at: int) -> tuple[str, str]:
    f1 = 2 * matrix[at, at] / max(1, matrix[at].sum() + matrix[:, at].sum())
    wrong = matrix[at].copy()
    wrong[at] = 0
    most = [other for other in wrong.argsort()[::-1][:2] if wrong[other]]
    total = max(1, matrix[at].sum())
    told = ", ".join(f"{CATEGORIES[other]} {wrong[other] / total:.0%}" for other in most)
    return f"{f1:.2f}".lstrip("0"), told or "–"


def _sources(rows: Sequence[Row]) -> str:
    lines = ["| trained on | licence | prompts |", "|---|---|---|"]
    used = Counter((row.family, row.licence) for row in rows if row.may_train)
    lines += [
        f"| {family} | {licence} | {number:,} |"
        for (family, licence), number in sorted(used.items())
    ]
    return "\n".join(lines)
