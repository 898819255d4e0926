"""Judges confidence: the error left when the least confident are set aside, and how far from honest it is.

A network that is right in 98.5% of 6,000 answers leaves so few errors to a bin that the plain calibration error of even
a perfectly honest one is not 0; hence the debiased estimates, and `honest_draws` to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from models.probabilities import expected_calibration_error

Doubles = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Correct = NDArray[np.bool_]
Measure = Callable[[Floats, Correct], float]
BINS = 15


@dataclass(frozen=True)
class RiskCoverage:
    """The risk-coverage curve of a classifier that may abstain (El-Yaniv and Wiener, 2010, section 3).

    Attributes:
        coverage: k / N for k of 1 to N, [N].
        risk: The error among the k most confident, [N].
        area: AURC, the mean risk: Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", 2017.
        excess_area: AURC above that of the best order, with all errors last: Geifman, Uziel and El-Yaniv,
            "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", 2019, section 3.
    """

    coverage: Doubles
    risk: Doubles
    area: float
    excess_area: float

    def error_left(self, abstained: float) -> float:
        """Returns the error among the answered when this share, in [0, 1), is set aside (rounded to examples)."""
        answered = max(len(self.risk) - round(abstained * len(self.risk)), 1)
        return float(self.risk[answered - 1])


def risk_coverage(confidence: Floats, correct: Correct) -> RiskCoverage:
    """Returns the curve; examples of equal confidence count in random order, on average.

    Args:
        confidence: [N].
        correct: bool [N].
    """
    _, tie, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    ends, errors = np.cumsum(sizes), np.cumsum(np.bincount(tie, weights=~correct))
    kept = np.arange(1, len(confidence) + 1)
    risk = np.interp(kept, np.append(0, ends), np.append(0.0, errors)) / kept
    best = np.maximum(kept - correct.sum(), 0) / kept
    return RiskCoverage(kept / len(kept), risk, float(risk.mean()), float((risk - best).mean()))


def adaptive_calibration_error(confidence: Floats, correct: Correct, bins: int = BINS) -> float:
    """Returns the mean gap between confidence and accuracy over bins of equal size (equal confidence stays together).

    Nixon et al., "Measuring Calibration in Deep Learning", 2019, section 3, for the predicted class alone.

    Args:
        confidence: [N], the probability of the predicted class.
        correct: bool [N].
        bins: How many bins. Defaults to 15.
    """
    gaps, shares, _, _ = _bins(confidence, correct, bins)
    return float((shares * np.abs(gaps)).sum())


def debiased_calibration_error(confidence: Floats, correct: Correct, bins: int = BINS) -> float:
    """Returns `adaptive_calibration_error` less the bias that its bins' finite sizes give it; may be below 0.

    Kumar, Liang and Ma, "Verified Uncertainty Calibration", 2019: the estimate of their published code for the absolute
    error, which takes the accuracy of a bin as normal. It adds sampling noise once more and takes off what that adds;
    instead of resampling, the mean of the folded normal distribution is written down.

    Args:
        confidence: [N], the probability of the predicted class.
        correct: bool [N].
        bins: How many bins. Defaults to 15.
    """
    gaps, shares, accuracy, sizes = _bins(confidence, correct, bins)
    spread = np.sqrt(np.maximum(accuracy * (1 - accuracy) / sizes, 1e-300))
    ratio = gaps / spread
    folded = spread * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + gaps * (2 * ndtr(ratio) - 1)
    return float((shares * (2 * np.abs(gaps) - folded)).sum())


def honest_draws(
    confidence: Floats, measure: Measure = expected_calibration_error, draws: int = 500, seed: int = 0
) -> Doubles:
    """Returns what a measure gives, float64 [draws], when every confidence is exactly the chance of being right.

    Consistency resampling of Bröcker and Smith, "Increasing the Reliability of Reliability Diagrams", 2007.

    Args:
        confidence: [N], the probability of the predicted class.
        measure: From confidence and correct to a number. Defaults to `expected_calibration_error`.
        draws: How many. Defaults to 500.
        seed: Of the draws.
    """
    random = np.random.default_rng(seed)
    return np.array([measure(confidence, random.random(len(confidence)) < confidence) for _ in range(draws)])


@dataclass(frozen=True)
class Honesty:
    """How honest confidence is, beside what chance alone gives an honest one.

    Attributes:
        error: `expected_calibration_error`.
        adaptive: `adaptive_calibration_error`.
        debiased: `debiased_calibration_error`.
        honest_error: The mean `error` of an honest model with these confidences.
        honest_limit: What 95% of the honest models stay under.
        excess: `error` less `honest_error`: what chance does not explain; about 0 for an honest model.
        p_value: The share of the honest models whose error is at least this one's.
    """

    error: float
    adaptive: float
    debiased: float
    honest_error: float
    honest_limit: float
    excess: float
    p_value: float


def judge_honesty(confidence: Floats, correct: Correct, draws: int = 500, seed: int = 0) -> Honesty:
    """Measures confidence [N] against correct, bool [N], and against that many honest models."""
    error = expected_calibration_error(confidence, correct)
    honest = honest_draws(confidence, draws=draws, seed=seed)
    return Honesty(
        error=error,
        adaptive=adaptive_calibration_error(confidence, correct),
        debiased=debiased_calibration_error(confidence, correct),
        honest_error=float(honest.mean()),
        honest_limit=float(np.quantile(honest, 0.95)),
        excess=float(error - honest.mean()),
        p_value=float((1 + (honest >= error).sum()) / (1 + draws)),
    )


def errors_left(confidence: Floats, correct: Correct, abstained: Sequence[float] = (0.0, 0.01, 0.02, 0.05)) -> Doubles:
    """Returns the errors left, float64 [shares], when these shares of the least confident are set aside."""
    curve = risk_coverage(confidence, correct)
    return np.array([curve.error_left(share) for share in abstained])


def _bins(confidence: Floats, correct: Correct, bins: int) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Of each bin: confidence less accuracy, share of the examples, accuracy, size."""
    edges = np.unique(np.quantile(confidence, np.arange(1, bins) / bins))
    _, index = np.unique(np.searchsorted(edges, confidence), return_inverse=True)
    sizes = np.bincount(index).astype(np.float64)
    accuracy = np.bincount(index, weights=correct) / sizes
    return np.bincount(index, weights=confidence) / sizes - accuracy, sizes / len(confidence), accuracy, sizes
