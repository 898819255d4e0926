"""Curves of one class against the rest over all thresholds of its probability: ROC, and precision by recall."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.evaluation.metrics import Metric

Array = npt.NDArray[Any]
Points = dict[str, list[float]]

MAX_POINTS = 200
DIGITS = 5


def roc_curve(positive: Array, scores: Array) -> Points:
    """Returns at most `MAX_POINTS` points of the ROC curve.

    Args:
        positive: Whether each example belongs to the class, bool [N].
        scores: Its probability of the class, [N].

    Returns:
        `{"false_positive_rate", "recall", "threshold"}`, from the highest threshold to the lowest. The first threshold,
        which no probability reaches, counts as 1.
    """
    from sklearn import metrics

    false_positive_rate, recall, threshold = metrics.roc_curve(positive, scores)
    chosen = thin(false_positive_rate, recall)
    threshold = np.minimum(threshold, 1.0)
    return _points(chosen, false_positive_rate=false_positive_rate, recall=recall, threshold=threshold)


def precision_recall_curve(positive: Array, scores: Array) -> Points:
    """Returns at most `MAX_POINTS` points `{"recall", "precision", "threshold"}`, from the lowest threshold up.

    Args:
        positive: Whether each example belongs to the class, bool [N].
        scores: Its probability of the class, [N].
    """
    from sklearn import metrics

    precision, recall, threshold = metrics.precision_recall_curve(positive, scores)
    # The last point, recall 0 and precision 1, has no threshold: no prediction is made there.
    precision, recall = precision[:-1], recall[:-1]
    return _points(thin(recall, precision), recall=recall, precision=precision, threshold=threshold)


def average_precisions(truth: Array, probabilities: Array) -> Metric:
    """Returns a metric: weights [R, N] to the average precision of each class [R, classes], one against the rest.

    It is the area under the precision-recall curve as a sum of steps, without interpolation.

    Args:
        truth: int [N].
        probabilities: [N, classes].
    """
    columns = [_average_precision(truth == index, scores) for index, scores in enumerate(probabilities.T)]
    return lambda weights: np.stack([column(weights) for column in columns], axis=1)


def thin(x: Array, y: Array, count: int = MAX_POINTS) -> Array:
    """Returns the indices of at most `count` points, spread evenly along a curve, with the first and the last.

    Args:
        x: [N], in the unit of the plot: a step of 1 is as long as one of `y`.
        y: [N].
        count: The most points. Defaults to `MAX_POINTS`.
    """
    if len(x) <= count:
        return np.arange(len(x))
    length = np.r_[0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))]
    return np.unique(np.searchsorted(length, np.linspace(0, length[-1], count)).clip(max=len(x) - 1))


def _average_precision(positive: Array, scores: Array) -> Metric:
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], positive[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])

    def average(weights: Array) -> Array:
        gathered = weights[:, order]
        found = np.add.reduceat(gathered * hits, starts, axis=1)
        true_positives = np.cumsum(found, axis=1)
        predicted = np.cumsum(np.add.reduceat(gathered, starts, axis=1), axis=1)
        steps = found * true_positives / np.maximum(predicted, 1)
        with np.errstate(invalid="ignore"):
            return np.asarray(steps.sum(axis=1) / true_positives[:, -1])

    return average


def _points(chosen: Array, **columns: Array) -> Points:
    return {name: [round(float(value), DIGITS) for value in values[chosen]] for name, values in columns.items()}
