"""Scores of garment probabilities on groups: what the search looks at and the training reports, on validation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def group_confusion(
    probabilities: NDArray[np.floating[Any]], garments: NDArray[np.integer[Any]], membership: NDArray[np.floating[Any]]
) -> NDArray[np.int64]:
    """Counts true groups (rows) against predicted ones (columns), int64 [groups, groups].

    Args:
        probabilities: [N, garments].
        garments: int [N], the true garments.
        membership: [garments, groups] of 0 and 1.
    """
    groups = membership.shape[1]
    true, predicted = membership[garments].argmax(axis=1), (probabilities @ membership).argmax(axis=1)
    return np.bincount(true * groups + predicted, minlength=groups * groups).reshape(groups, groups)


def accuracy(confusion: NDArray[np.int64]) -> float:
    """Returns the share on the diagonal."""
    return float(np.trace(confusion) / confusion.sum())


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Returns the mean of the groups' F1; a group that is neither there nor predicted counts 0."""
    hits = np.diag(confusion)
    return float(np.mean(2 * hits / np.maximum(confusion.sum(axis=0) + confusion.sum(axis=1), 1)))
