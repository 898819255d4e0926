"""Scores that shall tell known images from strangers, and how well they do.

Every score is higher for what looks known. Energy, entropy and probabilities need the logits alone; the distance needs
the features of the training images as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import entr, logsumexp

from analysis.exploration.neighbours import search
from models.probabilities import softmax

Floats = npt.NDArray[np.floating[Any]]
Scores = npt.NDArray[np.float64]

REFUSED = 20
"""Of as many known images one may be refused, so that 95% pass."""


@dataclass(frozen=True)
class Detection:
    """How well a score tells known images from strangers.

    Attributes:
        auroc: The chance that a known image scores higher than a stranger, ties being half: 0.5 is no use, 1 perfect.
        fpr95: The share of strangers that pass a threshold which at least 95% of the known images pass.
    """

    auroc: float
    fpr95: float


def detection(known: Floats, unknown: Floats) -> Detection:
    """Measures a score.

    Args:
        known: [K], the scores of known images, higher meaning more like the training.
        unknown: [U], those of strangers.

    Raises:
        ValueError: one of them is empty, of another rank, or holds NaN.
    """
    for which, scores in (("known", known), ("unknown", unknown)):
        if scores.ndim != 1 or not len(scores) or np.isnan(scores).any():
            text = f"shape {list(scores.shape)}, {int(np.isnan(scores).sum())} of them NaN"
            raise ValueError(f"Scores of {which} images cannot be ranked. Expected: [N] numbers. Received: {text}")
    ascending = np.sort(unknown)
    below = np.searchsorted(ascending, known, "left")
    not_above = np.searchsorted(ascending, known, "right")
    # The largest score that enough known images reach; what ties with it passes, known or not.
    threshold = np.sort(known)[len(known) // REFUSED]
    return Detection(float((below + not_above).mean() / 2 / len(unknown)), float((unknown >= threshold).mean()))


def garment_confidence(logits: Floats, membership: Floats) -> Scores:
    """Returns the highest garment probability, [N].

    Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks",
    2017, section 3.

    Args:
        logits: [N, garments].
        membership: [garments, groups] of 0 and 1, which this score does not need.
    """
    return softmax(logits).max(axis=1)


def group_confidence(logits: Floats, membership: Floats) -> Scores:
    """Returns the highest group probability, [N]: what the served model calls its confidence.

    Args:
        logits: [N, garments].
        membership: [garments, groups] of 0 and 1.
    """
    return (softmax(logits) @ membership).max(axis=1)


def certainty(logits: Floats, membership: Floats) -> Scores:
    """Returns minus the entropy of the garment probabilities in nats, [N].

    Args:
        logits: [N, garments].
        membership: [garments, groups] of 0 and 1, which this score does not need.
    """
    return -entr(softmax(logits)).sum(axis=1)


def negative_energy(logits: Floats, membership: Floats, temperature: float = 1.0) -> Scores:
    """Returns minus the energy -T logsumexp(logits / T), [N].

    Liu, Wang, Owens and Li, "Energy-based Out-of-distribution Detection", 2020, section 3.

    Args:
        logits: [N, garments].
        membership: [garments, groups] of 0 and 1, which this score does not need.
        temperature: T. Defaults to 1, the authors' choice.
    """
    return temperature * logsumexp(np.asarray(logits, np.float64) / temperature, axis=1)


def nearness(features: Floats, training_features: Floats, k: int = 50) -> Scores:
    """Returns minus the distance to the k-th nearest training image among features scaled to length 1, [N].

    Sun, Ming, Zhu and Li, "Out-of-Distribution Detection with Deep Nearest Neighbors", 2022, section 3.

    Args:
        features: [N, F], for example of the layer before the logits.
        training_features: [M, F] with M at least k.
        k: Which neighbour. Defaults to 50, the authors' for a training set of 50,000.

    Raises:
        ValueError: k is not from 1 to M.
    """
    if not 1 <= k <= len(training_features):
        raise ValueError(f"There is no such neighbour. Expected: 1 to {len(training_features)}. Received: {k}")
    _, squared = search(_unit(features), _unit(training_features), k)
    # Rounding can leave a copy at slightly less than no distance.
    return -np.sqrt(squared[:, k - 1].clip(0).astype(np.float64))


SCORES: dict[str, Callable[[Floats, Floats], Scores]] = {
    "garment_confidence": garment_confidence,
    "group_confidence": group_confidence,
    "certainty": certainty,
    "negative_energy": negative_energy,
}
"""The scores of logits [N, garments] and membership [garments, groups]."""


def _unit(features: Floats) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.ascontiguousarray(features / np.maximum(lengths, 1e-12), np.float32)
