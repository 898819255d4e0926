"""Arms of an experiment compared: exact tests, power, and paired differences with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np
import pandas as pd
from scipy import stats

from analysis.evaluation.bootstrap import Counts, Estimate, Values, estimate
from analysis.evaluation.metrics import Metric, accuracy
from analysis.experiments.misclassifications import Predictions, tabulate

FLIPS = 20_000
"""Random swaps: near p = 0.05 one p-value in twenty is off by more than 0.003; with 2,000 swaps it is 0.01."""
BLOCK = 1000
"""Swaps per batch: with 3,000 examples and 3 seeds they take some 20 MB."""


def mcnemar(only_arm_right: int, only_baseline_right: int) -> float:
    """Returns the exact two-sided p-value of McNemar's test; 1 if two classifiers are right on the same examples.

    Under the null hypothesis each is equally likely to be the only one that is right (McNemar 1947; Dietterich 1998,
    Approximate Statistical Tests for Comparing Supervised Classification Learning Algorithms, section 3.1).
    """
    return sign_flip(np.repeat([1, -1], [only_arm_right, only_baseline_right]))


def sign_flip(differences: Counts) -> float:
    """Returns the exact two-sided p-value of a sign-flip test over examples: McNemar's test for several seeds.

    It assumes that examples are independent, and that under the null hypothesis an example's difference d is as likely
    to be +d as -d. The variation between seeds is part of d, so that an example with the same result in five seeds
    counts once, whereas McNemar's test on pooled predictions counts it five times. Noise that affects all examples of
    a run together is not covered; Jordan 2023 (https://arxiv.org/abs/2304.01910) finds little of it.

    Args:
        differences: Number of seeds in which only the arm is right minus those in which only the baseline is, int64
            [examples].
    """
    observed = abs(int(differences.sum()))
    # The exact distribution of the sum of those that keep their sign, by one convolution for each size of d.
    distribution = np.ones(1)
    for size, count in zip(*np.unique(np.abs(differences[differences != 0]), return_counts=True), strict=True):
        kernel = np.zeros(size * count + 1)
        kernel[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        distribution = np.convolve(distribution, kernel)
    sums = 2 * np.arange(len(distribution)) - (len(distribution) - 1)
    return min(1.0, float(distribution[np.abs(sums) >= observed].sum()))


def swap(predictions: Predictions, metric: Metric, flips: int = FLIPS, seed: int = 0) -> float:
    """Returns the two-sided p-value of any metric's difference by swapping the arms' predictions of random examples.

    The predictions of all seeds are swapped together; the assumptions are those of `sign_flip`, whose p-value it
    approximates for accuracy (Noreen 1989; Yeh 2000, More accurate tests for the statistical significance of result
    differences).

    Args:
        predictions: Those of the arm's runs, then of the baseline's in the same order of seeds.
        metric: From confusion counts [..., groups, groups] to [...].
        flips: Number of random swaps; the smallest possible p-value is 1 / (flips + 1). Defaults to 20,000.
        seed: Seed of the swaps. Defaults to 0.
    """
    counts, half = predictions.observed(), len(predictions.predicted) // 2
    if (predictions.predicted[:half] == predictions.predicted[half:]).all():
        return 1.0
    arm, baseline = np.split(predictions.cells().reshape(len(predictions.truth), 2, half, *counts.shape[1:]), 2, axis=1)
    change = (baseline - arm).reshape(len(predictions.truth), -1)
    # Sums of counts are exact in float32, which takes half the time.
    useful, rng = change[change.any(axis=1)].astype(np.float32), np.random.default_rng([seed, 1])
    observed = abs((metric(counts[:half]) - metric(counts[half:])).mean())
    smaller = 0
    for begin in range(0, flips, BLOCK):
        drawn = rng.integers(0, 2, (min(BLOCK, flips - begin), len(useful)), np.int8).astype(np.float32)
        moved = (drawn @ useful).reshape(len(drawn), half, *counts.shape[1:]).astype(np.float64)
        swapped = (metric(counts[:half] + moved) - metric(counts[half:] - moved)).mean(axis=-1)
        # Written so that NaN counts as no difference.
        smaller += int((np.abs(swapped) < observed - 1e-12).sum())
    return (flips - smaller + 1) / (flips + 1)


def minimum_detectable_difference(
    examples: int, discordant_share: float, seeds: int = 1, correlation: float = 0.0
) -> float:
    """Returns the minimum detectable difference in accuracy at 5%, two-sided, with 80% power.

    The normal approximation for paired proportions (Connor 1987, Sample size for testing differences in proportions
    for the paired-sample design), with examples x seeds pairs over Kish's design effect.

    Args:
        examples: Number of examples.
        discordant_share: Share of them on which exactly one of two arms is right, 0 to 1.
        seeds: Number of seeds. Defaults to 1.
        correlation: Correlation of an example's differences in two seeds. Defaults to 0.

    Returns:
        The difference as a share; infinite if even a completely one-sided disagreement would be too small.
    """
    pairs = examples * seeds / (1 + (seeds - 1) * correlation)
    significance, power = stats.norm.ppf([0.975, 0.8])
    # It solves difference * sqrt(pairs) = significance * sqrt(share) + power * sqrt(share - difference^2).
    root = power * sqrt(max(pairs + power**2 - significance**2, 0.0))
    difference = float(sqrt(discordant_share) * (sqrt(pairs) * significance + root) / (pairs + power**2))
    return difference if difference <= discordant_share else inf


@dataclass(frozen=True)
class Difference:
    """An arm's figure minus the baseline's, its 95% interval, and the p-value before any correction.

    The 90% interval is that of two one-sided tests at 5%; NaN where it is unknown.
    """

    value: float
    low: float
    high: float
    p_value: float
    interval_90: tuple[float, float] = (nan, nan)


def compare(
    errors: pd.DataFrame,
    supports: Counts,
    arm: str,
    baseline: str,
    seeds: Sequence[int],
    metric: Metric,
    resamples: int = 2000,
    seed: int = 0,
    flips: int = FLIPS,
) -> Difference:
    """Compares an arm with the baseline: the mean over seeds of metric(arm) minus metric(baseline).

    The interval is that of a crossed bootstrap: it draws examples and seeds independently; both arms share each draw,
    and all seeds share the examples (Owen 2007, The pigeonhole bootstrap, https://arxiv.org/abs/0712.1111). By Owen's
    theorem it counts the noise of one example in one run up to three times: it covered 98% instead of 95% and was a
    third too wide. So its deviations are scaled to the sum of the three sources of noise, each counted once. Where
    noise affects all examples of a run together, as much as the choice of examples does, 3 to 5 seeds are few: it then
    covers 91 to 93%. With one seed it does not cover other seeds.

    The p-value is from `sign_flip` if the metric is `metrics.accuracy`, and from `swap` otherwise.

    Args:
        errors: The misclassified examples, see `tabulate`.
        supports: Number of examples of each group, int64 [groups].
        arm: The arm's name.
        baseline: The name of the arm that it is compared with.
        seeds: Seeds that both arms have finished.
        metric: From confusion counts [..., groups, groups] to [...]; more is better.
        resamples: Number of bootstrap resamples. Defaults to 2000.
        seed: Seed of the resamples and the swaps. Defaults to 0.
        flips: Number of swaps. Defaults to 20,000.

    Raises:
        ComparisonError: See `tabulate`.
    """
    predictions = tabulate(errors, supports, [(name, run) for name in (arm, baseline) for run in seeds])
    count = len(seeds)

    def differences(counts: Values) -> Values:
        figures = metric(counts)
        return figures[..., :count] - figures[..., count:]

    rng = np.random.default_rng(seed)
    value, drawn = _crossed(
        differences(predictions.observed()), differences(predictions.resampled(rng, resamples)), rng
    )
    found, inner = estimate(value, drawn), estimate(value, drawn, 0.9)
    if metric is accuracy:
        right = predictions.predicted == predictions.truth
        p_value = sign_flip(right[:count].sum(axis=0) - right[count:].sum(axis=0))
    else:
        p_value = swap(predictions, metric, flips, seed)
    return Difference(value, found.low, found.high, p_value, (inner.low, inner.high))


def summarise(
    errors: pd.DataFrame,
    supports: Counts,
    arm: str,
    seeds: Sequence[int],
    metric: Metric,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Returns an arm's mean figure over seeds, with the interval of the same crossed bootstrap as `compare`."""
    predictions = tabulate(errors, supports, [(arm, run) for run in seeds])
    rng = np.random.default_rng(seed)
    return estimate(*_crossed(metric(predictions.observed()), metric(predictions.resampled(rng, resamples)), rng))


def mean_over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the standard deviation between seeds (S - 1 below); NaN for that of a single seed."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), deviation


def _crossed(observed: Values, resampled: Values, rng: np.random.Generator) -> tuple[float, Values]:
    """Returns the mean of the seeds' figures [S], and its draws [R] from their figures in resamples [R, S]."""
    picks = rng.integers(0, len(observed), resampled.shape)
    drawn = np.take_along_axis(resampled, picks, axis=1).mean(axis=1)
    value = float(observed.mean())
    return value, value + (drawn - value) * _scale(observed, resampled, drawn)


def _scale(observed: Values, resampled: Values, drawn: Values) -> float:
    """Returns the standard error as a share of that of the crossed resamples, from three bootstrap variances.

    Resampling examples alone has the variance e + i, seeds alone (s + i) f, and both e + i + (s + 2i) f, where e, s and
    i are the parts of examples, seeds and their interaction in the variance of the mean, and f = (S - 1) / S. The
    variance to estimate is e + i + s.
    """
    seeds = len(observed)
    valid = ~np.isnan(resampled).any(axis=1)
    if seeds == 1 or not valid.any() or np.isnan(observed).any():
        return 1.0
    of_examples, of_seeds = resampled[valid].mean(axis=1).var(), observed.var() / seeds
    of_both = drawn[valid].var()
    if not of_both:
        return 1.0
    share = (seeds - 1) / seeds
    interaction = max(of_both - of_examples - of_seeds, 0.0) / share
    return float(np.sqrt((of_examples + max(of_seeds / share - interaction, 0.0)) / of_both))
