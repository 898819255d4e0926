"""Selective classification: the error among the answers of a classifier that may abstain, against how many it answers.

El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification", 2010, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.evaluation.curves import thin

Doubles = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Confidence thresholds of the operating points in `metrics.json`."""


@dataclass(frozen=True)
class RiskCoverage:
    """The risk-coverage curve of a classifier that may abstain.

    Attributes:
        risk: The error among the k most confident predictions for k of 1 to N, [N].
        area: AURC, the mean risk: Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", 2017.
    """

    risk: Doubles
    area: float

    def risk_after_abstaining(self, share: float) -> float:
        """Returns the error among the rest when this share, in [0, 1), abstains (rounded to whole examples)."""
        answered = max(len(self.risk) - round(share * len(self.risk)), 1)
        return float(self.risk[answered - 1])


@dataclass(frozen=True)
class OperatingPoint:
    """A rule for abstaining on N examples.

    Attributes:
        answered: The number of examples that get an answer.
        errors: The number of misclassified examples among these.
        abstained: The number of examples that get none.
        avoided: The number of misclassified examples among those.
    """

    answered: int
    errors: int
    abstained: int
    avoided: int


def risk_coverage(confidence: Floats, correct: Flags) -> RiskCoverage:
    """Returns the curve, averaged over the orders of examples with equal confidence.

    Args:
        confidence: [N].
        correct: bool [N].
    """
    _, tie, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    ends, errors = np.cumsum(sizes), np.cumsum(np.bincount(tie, weights=~correct))
    answered = np.arange(1, len(confidence) + 1)
    risk = np.interp(answered, np.append(0, ends), np.append(0.0, errors)) / answered
    return RiskCoverage(risk, float(risk.mean()))


def operating_point(answered: Flags, correct: Flags) -> OperatingPoint:
    """Returns the counts of a rule that answers the examples `answered`, bool [N]."""
    return OperatingPoint(
        answered=int(answered.sum()),
        errors=int((answered & ~correct).sum()),
        abstained=int((~answered).sum()),
        avoided=int((~answered & ~correct).sum()),
    )


def operating_points(
    confidence: Floats, correct: Flags, thresholds: Sequence[float] = THRESHOLDS
) -> list[tuple[float, OperatingPoint]]:
    """Returns each confidence threshold with the counts of the rule that answers from this confidence on."""
    return [(threshold, operating_point(confidence >= threshold, correct)) for threshold in thresholds]


def thinned_risk_coverage(confidence: Floats, correct: Flags) -> dict[str, list[float]]:
    """Returns points of the curve: the share of examples answered, the error among them, and the confidence needed.

    A point is a confidence that occurs, so examples of equal confidence are answered together.
    """
    values, sizes = np.unique(-confidence, return_counts=True)
    answered = np.cumsum(sizes)
    error = risk_coverage(confidence, correct).risk[answered - 1]
    share = answered / len(confidence)
    chosen = thin(share, error / max(error.max(), 1e-12))
    return {
        "answered": [round(float(value), 5) for value in share[chosen]],
        "error": [round(float(value), 6) for value in error[chosen]],
        "threshold": [round(float(value), 6) for value in -values[chosen]],
    }
