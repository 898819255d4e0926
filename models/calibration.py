"""Makes probabilities honest: temperature scaling, conformal prediction sets, and how far from honest they are.

Everything is fitted on the validation split and works on plain arrays.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Calibration:
    """What the exported model applies to its logits.

    Attributes:
        temperature: The garment logits are divided by it.
        threshold: A group belongs to the prediction set when its calibrated probability is at least this.
        coverage: The share of prediction sets that shall hold the true group.
    """

    temperature: float
    threshold: float
    coverage: float

    def to_json(self) -> dict[str, float]:
        """Returns the three numbers by name."""
        return asdict(self)


def calibrate(logits: Floats, garments: Integers, membership: Floats, coverage: float) -> Calibration:
    """Fits the temperature and the conformal threshold on validation.

    Args:
        logits: [N, garments].
        garments: int [N], the true garments.
        membership: [garments, groups] of 0 and 1.
        coverage: The share of prediction sets that shall hold the true group, in (0, 1).
    """
    temperature = fit_temperature(logits, garments)
    groups = softmax(logits / temperature) @ membership
    true = membership[garments].argmax(axis=1)
    return Calibration(temperature, conformal_threshold(groups, true, coverage), coverage)


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Returns probabilities [N, classes] for logits [N, classes]."""
    shifted = np.asarray(logits, np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def fit_temperature(logits: Floats, classes: Integers) -> float:
    """Returns the temperature that minimises the negative log-likelihood.

    Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2. One number cannot change which class is
    the most probable.

    Args:
        logits: [N, classes].
        classes: int [N].
    """

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits / np.exp(log_temperature))
        return float(-np.log(np.maximum(probabilities[np.arange(len(classes)), classes], 1e-300)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))


def conformal_threshold(probabilities: Floats, classes: Integers, coverage: float) -> float:
    """Returns the probability from which a class belongs to the prediction set.

    Split conformal prediction with the score 1 - p(true class): Sadinle, Lei and Wasserman, "Least Ambiguous Set-Valued
    Classifiers with Bounded Error Levels", 2019; the finite-sample rank ceil((n + 1) * coverage) is Vovk's. On
    exchangeable data the sets hold the true class with at least this probability.

    Args:
        probabilities: [N, classes], calibrated.
        classes: int [N], the true classes.
        coverage: In (0, 1).
    """
    scores = np.sort(1.0 - probabilities[np.arange(len(classes)), classes])
    rank = int(np.ceil((len(scores) + 1) * coverage))
    # Too few examples for the coverage asked for: only the full set is sure to hold the true class.
    return 0.0 if rank > len(scores) else float(1.0 - scores[rank - 1])


def expected_calibration_error(confidence: Floats, correct: NDArray[np.bool_], bins: int = 15) -> float:
    """Returns the mean gap between confidence and accuracy over bins of equal width, weighted by their sizes.

    Guo et al., 2017, section 2, with their 15 bins.

    Args:
        confidence: [N], the probability of the predicted class.
        correct: bool [N].
        bins: How many bins. Defaults to 15.
    """
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(index, weights=confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))
