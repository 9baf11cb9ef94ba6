"""The linear model on sentence embeddings, for the extra `semantic`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from llmrouterd.classifier.features import ends
from llmrouterd.classifier.semantic import SHARE
from llmrouterd.config.weights import sentence_encoder
from training.data import CATEGORIES, Row
from training.fitting import row_weights
from training.softmax import fit

PENALTY = 3e-5


def embeddings(rows: Sequence[Row]) -> np.ndarray | None:
    """Rows x numbers; None where the encoder is not installed."""
    encode = sentence_encoder()
    if encode is None:
        return None
    return np.array([encode(ends(row.text) or " ") for row in rows])


def head(rows: Sequence[Row], vectors: np.ndarray, on: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(weights of shape numbers x categories, bias) fitted on some rows."""
    labels = np.array([CATEGORIES.index(rows[at].category) for at in on])
    nothing = np.zeros((len(on), len(CATEGORIES)))
    penalty = np.full(vectors.shape[1], PENALTY)
    return fit(csr_matrix(vectors[on]), labels, row_weights(rows, on), nothing, penalty)


def blended(plain: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Both opinions' logits, rows x categories, as BlendedModel adds them."""
    return np.asarray(SHARE * _normalised(told) + (1.0 - SHARE) * _normalised(plain))


def _normalised(logits: np.ndarray) -> np.ndarray:
    top = logits.max(axis=1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))


def packed(weights: np.ndarray, bias: np.ndarray) -> bytes:
    """The file that `llmrouterd.classifier.semantic.blend` reads."""
    data = {
        "categories": list(CATEGORIES),
        "weights": [[round(float(value), 3) for value in row] for row in weights.T],
        "bias": [round(float(value), 3) for value in bias],
    }
    return json.dumps(data, separators=(",", ":")).encode()
