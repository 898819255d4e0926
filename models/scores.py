"""Scores of group probabilities: what the search looks at and the training reports, on validation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def group_confusion(probabilities: NDArray[np.floating[Any]], groups: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Counts true groups (rows) against predicted ones (columns), int64 [groups, groups].

    Args:
        probabilities: [N, groups].
        groups: int [N], the true groups.
    """
    count = probabilities.shape[1]
    return np.bincount(groups * count + probabilities.argmax(axis=1), minlength=count**2).reshape(count, count)


def accuracy(confusion: NDArray[np.int64]) -> float:
    """Returns the share on the diagonal."""
    return float(np.trace(confusion) / confusion.sum())


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Returns the mean of the groups' F1; a group that is neither there nor predicted counts 0."""
    hits = np.diag(confusion)
    return float(np.mean(2 * hits / np.maximum(confusion.sum(axis=0) + confusion.sum(axis=1), 1)))
