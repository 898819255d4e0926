"""Percentile intervals by bootstrap over stored per-example outcomes (Efron & Tibshirani 1993, chapter 13).

A resample of N examples is a vector of multinomial weights. Every figure here depends on an example only through its
cell of the confusion matrix, so a resample of the cells' counts has exactly the distribution of a resample of the
examples: 2,000 of them take milliseconds. Figures that need the examples' own values take the weights themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

BLOCK = 100
"""Resamples of the examples at a time: 100 x 10,000 weights are 8 MB, and larger blocks are no faster."""


@dataclass(frozen=True)
class Estimate:
    """A metric on the examples themselves, and its interval over the resamples; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """Returns `{"value": v, "interval": [low, high]}`, with null for what is not defined."""
        return {"value": _null(self.value), "interval": [_null(self.low), _null(self.high)]}


def estimate(value: float, resampled: Values, level: float = 0.95) -> Estimate:
    """Returns the percentile interval of resampled values [resamples]; NaN among them is left out.

    A class that is absent from a resample has no recall there.
    """
    defined = resampled[~np.isnan(resampled)]
    if not len(defined):
        return Estimate(float(value), float("nan"), float("nan"))
    tail = 50 * (1 - level)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return Estimate(float(value), float(low), float(high))


def bias_corrected(value: float, resampled: Values, level: float = 0.95) -> Estimate:
    """Returns a figure that cannot be negative less its bias, and the interval of the corrected figure.

    A calibration error sums absolute gaps, and noise makes a gap larger: the figure of a finite sample is too high, and
    that of a resample is too high twice. The bias is estimated as the mean of the resamples less the figure
    (Efron & Tibshirani 1993, chapter 10), and taken off the figure once and off the resamples twice. So the interval
    lies around the figure, which the percentiles of the resamples themselves would not contain.

    Args:
        value: The figure on the examples.
        resampled: The figure on each resample, float64 [resamples].
        level: Of the interval. Defaults to 0.95.
    """
    bias = float(resampled.mean()) - value
    return estimate(max(value - bias, 0.0), np.maximum(resampled - 2 * bias, 0.0), level)


def confusion(truth: Counts, predicted: Counts, classes: int) -> Counts:
    """Returns the counts int64 [classes, classes], truth down and prediction across."""
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def resample_cells(counts: Counts, resamples: int, seed: int) -> Counts:
    """Returns int64 [resamples, *counts.shape]: the counts of a table after drawing its examples with replacement."""
    total = int(counts.sum())
    if not total:
        return np.zeros((resamples, *counts.shape), np.int64)
    drawn = np.random.default_rng(seed).multinomial(total, counts.ravel() / total, size=resamples)
    return drawn.reshape(resamples, *counts.shape)


def from_confusion(
    metrics: Mapping[str, Callable[[Counts], Values]], counts: Counts, resamples: int, seed: int, level: float = 0.95
) -> dict[str, Estimate]:
    """Estimates figures of a confusion matrix; each metric takes [..., classes, classes] to [...]."""
    drawn = resample_cells(counts, resamples, seed)
    return {name: estimate(float(metric(counts)), metric(drawn), level) for name, metric in metrics.items()}


def paired_difference(
    metric: Callable[[Counts], Values],
    truth: Counts,
    candidate: Counts,
    baseline: Counts,
    classes: int,
    resamples: int,
    seed: int,
    level: float = 0.95,
) -> Estimate:
    """Estimates metric(candidate) minus metric(baseline), both on the same resamples of the same examples.

    The cells are those of truth x candidate x baseline: pairing cancels what the examples have in common, and the
    interval is far narrower than the difference of two independent ones.
    """
    cell = (truth * classes + candidate) * classes + baseline
    cube = np.bincount(cell, minlength=classes**3).reshape(classes, classes, classes)
    drawn = resample_cells(cube, resamples, seed)
    value = metric(cube.sum(axis=2)) - metric(cube.sum(axis=1))
    return estimate(float(value), metric(drawn.sum(axis=3)) - metric(drawn.sum(axis=2)), level)


def from_examples(
    metric: Callable[[Values], Values],
    count: int,
    resamples: int,
    seed: int,
    level: float = 0.95,
    biased: Container[int] = (),
) -> list[Estimate]:
    """Estimates figures that need the examples' own values.

    Args:
        metric: Takes the weights of the examples float64 [R, count]; returns [R, figures].
        count: How many examples there are.
        resamples: How many resamples.
        seed: Of the resamples.
        level: Of the intervals. Defaults to 0.95.
        biased: The columns of `metric` that `bias_corrected` estimates. Defaults to none.

    Returns:
        One estimate a figure.
    """
    values = metric(np.ones((1, count)))[0]
    resampled = np.concatenate([metric(weights) for weights in _weight_blocks(count, resamples, seed)])
    return [
        (bias_corrected if index in biased else estimate)(float(value), column, level)
        for index, (value, column) in enumerate(zip(values, resampled.T, strict=True))
    ]


def _weight_blocks(count: int, resamples: int, seed: int) -> Iterator[Values]:
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, BLOCK):
        rows = min(BLOCK, resamples - start)
        # Counting drawn indices is several times as fast as Generator.multinomial over 10,000 cells.
        drawn = rng.integers(0, count, size=(rows, count), dtype=np.int64)
        drawn += np.arange(rows)[:, None] * count
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def _null(value: float) -> float | None:
    return None if np.isnan(value) else value
