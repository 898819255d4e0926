"""Metrics of a classifier from its confusion matrix or its probabilities, vectorised over bootstrap resamples.

Functions of a confusion matrix take [..., classes, classes] (truth down, prediction across) and keep the leading axes;
those of probabilities take weights [R, N] and return [R]. Definitions are scikit-learn's, with NaN where those warn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from models.probabilities import CALIBRATION_BINS, calibration_bins, calibration_gaps

Array = npt.NDArray[Any]
Metric = Callable[[Array], Array]


def accuracy(counts: Array) -> Array:
    """Returns the share of examples on the diagonal."""
    return _ratio(_diagonal(counts).sum(axis=-1), counts.sum(axis=(-2, -1)))


def recall(counts: Array) -> Array:
    """Returns the recall of each class [..., classes]; NaN for a class without examples."""
    return _ratio(_diagonal(counts), counts.sum(axis=-1))


def precision(counts: Array) -> Array:
    """Returns the precision of each class [..., classes]; 0 for one that is present but never predicted, else NaN."""
    # With NaN a model could raise its mean precision by never naming its hardest class.
    missed = (counts.sum(axis=-2) == 0) & (counts.sum(axis=-1) > 0)
    return np.where(missed, 0.0, _ratio(_diagonal(counts), counts.sum(axis=-2)))


def f1(counts: Array) -> Array:
    """Returns the F1 of each class [..., classes]; NaN only for a class neither present nor predicted."""
    return _ratio(2 * _diagonal(counts), counts.sum(axis=-1) + counts.sum(axis=-2))


def balanced_accuracy(counts: Array) -> Array:
    """Returns the mean recall of the classes that are present."""
    return mean_of_defined(recall(counts))


def macro_f1(counts: Array) -> Array:
    """Returns the unweighted mean F1."""
    return mean_of_defined(f1(counts))


def macro_precision(counts: Array) -> Array:
    """Returns the unweighted mean precision."""
    return mean_of_defined(precision(counts))


OVERALL: dict[str, Metric] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "macro_precision": macro_precision,
    "macro_recall": balanced_accuracy,
}
"""Metrics of the whole confusion matrix; macro recall is another name of balanced accuracy."""

PER_CLASS: dict[str, Metric] = {"precision": precision, "recall": recall, "f1": f1}
"""Metrics of one class."""


def of_class(metric: Metric, index: int) -> Metric:
    """Returns the metric of one class [...] from one of every class [..., classes]."""
    return partial(_pick, metric, index)


def areas_under_curve(truth: Array, probabilities: Array) -> Metric:
    """Returns a metric: weights [R, N] to the area under each class's ROC curve [R, classes], one against the rest.

    It is the probability that an example of the class is scored above another, ties counting half (Mann-Whitney).
    """
    orders = [_tied_order(probabilities[:, index]) for index in range(probabilities.shape[1])]

    def areas(weights: Array) -> Array:
        columns = [
            _area(weights[:, order], (truth == index)[order], starts) for index, (order, starts) in enumerate(orders)
        ]
        return np.stack(columns, axis=1)

    return areas


def calibration_error(correct: Array, confidence: Array, bins: int = CALIBRATION_BINS) -> Metric:
    """Returns a metric: weights [R, N] to the expected calibration error [R], in bins of equal width."""
    gaps = calibration_gaps(correct, confidence, bins)
    return lambda weights: np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)


def log_losses(truth: Array, probabilities: Array) -> Array:
    """Returns -ln of the probability of the true class of each example, float64 [N]; probabilities of 0 count 1e-7."""
    of_truth = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return -np.log(np.clip(of_truth, 1e-7, 1.0))


def reliability(correct: Array, confidence: Array, bins: int = CALIBRATION_BINS) -> list[dict[str, float]]:
    """Returns `{"confidence", "accuracy", "count"}` of every bin that holds examples, for a reliability diagram."""
    bin_of = calibration_bins(confidence, bins)
    count = np.bincount(bin_of, minlength=bins)
    hits = np.bincount(bin_of, weights=correct, minlength=bins)
    stated = np.bincount(bin_of, weights=confidence, minlength=bins)
    return [
        {"confidence": stated[b] / count[b], "accuracy": hits[b] / count[b], "count": int(count[b])}
        for b in np.flatnonzero(count)
    ]


def wilson_interval(hits: npt.ArrayLike, count: npt.ArrayLike, level: float = 0.95) -> tuple[Array, Array]:
    """Returns the bounds of Wilson's interval (1927) of shares, which holds near 0 and 1 too.

    Args:
        hits: How many of `count` have the property, int, of any shape.
        count: Of the same shape, or one number for all. Where it is 0, both bounds are NaN.
        level: Of the interval. Defaults to 0.95.

    Returns:
        The lower and the upper bounds, float64 of that shape.
    """
    from scipy.stats import binomtest

    def bounds(one: int, of: int) -> tuple[float, float]:
        interval = binomtest(int(one), int(of)).proportion_ci(level, method="wilson") if of else (np.nan, np.nan)
        return float(interval[0]), float(interval[1])

    low, high = np.vectorize(bounds, otypes=[np.float64, np.float64])(hits, count)
    return low, high


def _pick(metric: Metric, index: int, counts: Array) -> Array:
    return metric(counts)[..., index]


def _tied_order(scores: Array) -> tuple[Array, Array]:
    """Returns the ascending order of the scores, and where in it each run of equal scores starts."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    return order, np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])


def _area(weights: Array, positive: Array, starts: Array) -> Array:
    above = np.add.reduceat(weights * positive, starts, axis=1)
    below = np.add.reduceat(weights * ~positive, starts, axis=1)
    rank = np.cumsum(below, axis=1) - below / 2
    return _ratio((above * rank).sum(axis=1), above.sum(axis=1) * below.sum(axis=1))


def _diagonal(counts: Array) -> Array:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _ratio(numerator: Array, denominator: Array) -> Array:
    denominator = np.asarray(denominator, np.float64)
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator > 0)


def mean_of_defined(values: Array) -> Array:
    """Returns the mean over the last axis of what is not NaN."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))
