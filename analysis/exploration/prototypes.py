"""Prototypes, images that stand for a group, and critics, images that the prototypes do not explain.

Kim, Khanna and Koyejo, "Examples are not Enough, Learn to Criticize! Criticism for Interpretability", 2016: both are
chosen greedily, by the maximum mean discrepancy between the prototypes and all images of the group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.exploration.data import Indices

Floats = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Exemplars:
    """Of one group: rows int64 of prototypes, the best first, and of critics, the strongest first."""

    prototypes: Indices
    critics: Indices


def choose_exemplars(features: Floats, count: int) -> Exemplars:
    """Chooses prototypes and critics, as many of each.

    The kernel is Gaussian, its width the median distance. Critics lie where the density of all images and that of the
    prototypes differ most, and are kept apart by the determinant of their kernel matrix, as in the paper.

    Args:
        features: float32 [n, F]; n x n values must fit into memory.
        count: How many of each; at most n.
    """
    kernel = _gaussian(features.astype(np.float64))
    count = min(count, len(kernel) // 2)
    prototypes = _prototypes(kernel, count)
    witness = np.abs(kernel.mean(axis=0) - kernel[prototypes].mean(axis=0))
    witness[prototypes] = -np.inf
    return Exemplars(prototypes, _critics(kernel, witness, count))


def _gaussian(features: Values) -> Values:
    lengths = (features**2).sum(axis=1)
    squares = np.maximum(lengths[:, None] + lengths[None] - 2 * features @ features.T, 0)
    return np.exp(-squares / max(float(np.median(squares)), 1e-12))


def _prototypes(kernel: Values, count: int) -> Indices:
    """Adds, one at a time, the image that brings the prototypes' mean embedding closest to that of all images."""
    to_all, to_chosen = kernel.mean(axis=0), np.zeros(len(kernel))
    chosen: list[int] = []
    for size in range(1, count + 1):
        gain = 2 * to_all - (2 * to_chosen + np.diagonal(kernel)) / size
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        to_chosen += kernel[chosen[-1]]
    return np.array(chosen, np.int64)


def _critics(kernel: Values, witness: Values, count: int) -> Indices:
    """Adds, one at a time, the image with the largest witness plus gain in the logarithm of the determinant."""
    chosen: list[int] = []
    left = np.diagonal(kernel).copy()
    factor = np.zeros((0, len(kernel)))
    for _ in range(count):
        gain = witness + np.log(np.maximum(left, 1e-12))
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        row = (kernel[chosen[-1]] - factor[:, chosen[-1]] @ factor) / np.sqrt(max(left[chosen[-1]], 1e-12))
        factor, left = np.vstack([factor, row]), left - row**2
    return np.array(chosen, np.int64)
