"""Multinomial logistic regression with an offset for each row, which scikit-learn's has not.

The offset is what the lexicons say: the model learns only what they do not.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

ITERATIONS = 60


def fit(
    features: csr_matrix,
    labels: np.ndarray,
    weights: np.ndarray,
    offset: np.ndarray,
    penalty: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """(weights of shape features x classes, bias of each class).

    features: rows x features; labels: class numbers; weights: of the rows; offset: rows x
    classes, in logits; penalty: of each feature, for the squares of its weights.
    """
    rows, number = features.shape
    classes = offset.shape[1]
    transposed = features.T.tocsr()
    share = weights / weights.sum()
    each = np.arange(rows)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        table = flat.reshape(number + 1, classes)
        logits = features @ table[:-1] + table[-1] + offset
        logits -= logits.max(axis=1, keepdims=True)
        chances = np.exp(logits)
        whole = chances.sum(axis=1, keepdims=True)
        likelihood = logits[each, labels] - np.log(whole[:, 0])
        chances /= whole
        chances[each, labels] -= 1.0
        chances *= share[:, None]
        slope = np.vstack(
            [transposed @ chances + penalty[:, None] * table[:-1], chances.sum(axis=0)]
        )
        squares = 0.5 * (penalty[:, None] * table[:-1] ** 2).sum()
        return float(squares - share @ likelihood), slope.ravel()

    start = np.zeros((number + 1) * classes)
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS, "maxcor": 8}
    )
    table = found.x.reshape(number + 1, classes)
    return table[:-1], table[-1]
