"""What each pixel looks like and tells, all read off one table: how often it has which value in which class.

Means, medians, deviations and mutual information of any grouping of the classes follow from the counts exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Classes = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

LEVELS = 256
BINS = 16
"""Of 16 grey levels each. The first ends at `slicing_features.INK_THRESHOLD`: it is the ground, the rest is cloth."""
BLOCK = 4096


def count_values(images: Images, classes: Classes, count: int) -> Counts:
    """Returns int64 [count, pixels, 256]: in how many images of a class each pixel has each value.

    Args:
        images: uint8 [N, height, width].
        classes: int64 [N], below `count`.
        count: How many classes.
    """
    flat = images.reshape(len(images), -1)
    table = np.zeros((count, flat.shape[1] * LEVELS), np.int64)
    place = np.arange(flat.shape[1], dtype=np.int64) * LEVELS
    for index in range(count):
        members = np.flatnonzero(classes == index)
        for start in range(0, len(members), BLOCK):
            cells = place + flat[members[start : start + BLOCK]]
            table[index] += np.bincount(cells.ravel(), minlength=table.shape[1])
    return table.reshape(count, -1, LEVELS)


def merge(table: Counts, classes: Sequence[int], count: int) -> Counts:
    """Returns the table of coarser classes: `classes` says for each old class, which of the `count` new it is in."""
    merged = np.zeros((count, *table.shape[1:]), np.int64)
    np.add.at(merged, np.asarray(classes), table)
    return merged


def means(table: Counts) -> Values:
    """Returns the mean of each pixel in each class, [classes, pixels]; 0 for a class without images."""
    return table @ np.arange(LEVELS) / np.maximum(table.sum(axis=-1), 1)


def medians(table: Counts) -> Values:
    """Returns the (lower) median of each pixel in each class, [classes, pixels]."""
    below = table.cumsum(axis=-1)
    return (2 * below >= below[..., -1:]).argmax(axis=-1).astype(np.float64)


def variances(table: Counts) -> Values:
    """Returns the variance of each pixel in each class, [classes, pixels], in squared grey levels."""
    squares = table @ np.arange(LEVELS) ** 2 / np.maximum(table.sum(axis=-1), 1)
    return np.maximum(squares - means(table) ** 2, 0.0)


def explained_variance(table: Counts) -> float:
    """Returns the share of all pixels' variance that lies between the classes: eta squared, in [0, 1]."""
    shares = table.sum(axis=(1, 2)) / max(1, table.sum())
    within = float((shares @ variances(table)).sum())
    total = float(variances(table.sum(axis=0, keepdims=True)).sum())
    return 1 - within / total if total else 0.0


def binned(table: Counts, bins: int = BINS) -> Counts:
    """Returns the counts over `bins` equally wide ranges of grey levels instead of 256 values."""
    return table.reshape(*table.shape[:-1], bins, -1).sum(axis=-1)


def silhouettes(table: Counts) -> Counts:
    """Returns the counts of ground and cloth instead of 256 values."""
    fine = binned(table)
    return np.stack([fine[..., 0], fine[..., 1:].sum(axis=-1)], axis=-1)


def information(table: Counts) -> Values:
    """Returns the mutual information of each pixel's value and the class, in bits, [pixels].

    Cover and Thomas 2006, "Elements of Information Theory", equation 2.45. The plug-in estimate is never below zero
    and too high by about (values - 1)(classes - 1) / (2 N ln 2): compare with that of shuffled classes.
    """
    classes, values = table.sum(axis=-1), table.sum(axis=0)
    return entropy(classes.T) + entropy(values) - entropy(table.transpose(1, 0, 2).reshape(table.shape[1], -1))


def entropy(counts: Counts) -> Values:
    """Returns the entropy of the distribution along the last axis, in bits."""
    from scipy.special import entr

    return entr(counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)).sum(axis=-1) / np.log(2)
