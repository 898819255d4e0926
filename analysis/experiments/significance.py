"""Whether two arms differ by more than chance: exact tests over examples, their correction, and what they can see."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt

import numpy as np
from scipy import stats

from analysis.evaluation.bootstrap import Counts, Values
from analysis.evaluation.metrics import Metric
from analysis.experiments.wrong_answers import Answers

FLIPS = 20_000
"""Random swaps: near p = 0.05 one p-value in twenty is off by more than 0.003; with 2,000 it is 0.01."""
BLOCK = 1000
"""Swaps at a time: with 3,000 examples and 3 seeds they take some 20 MB."""


def mcnemar(only_arm_right: int, only_baseline_right: int) -> float:
    """Returns the exact two-sided p-value of McNemar's test; 1 if no example tells two classifiers apart.

    Where exactly one of them is right it is either with probability 1/2 (McNemar 1947; Dietterich 1998, Approximate
    Statistical Tests for Comparing Supervised Classification Learning Algorithms, section 3.1).
    """
    return sign_flip(np.repeat([1, -1], [only_arm_right, only_baseline_right]))


def sign_flip(differences: Counts) -> float:
    """Returns the exact two-sided p-value of a sign-flip test over examples: McNemar's test carried to several seeds.

    It assumes that examples are independent, and that without a difference between the arms an example's d is as
    likely to be +d as -d. What seeds change in an example is part of its d, so that an example which five seeds
    answer alike counts once, where McNemar's test on the pooled answers counts it five times. Noise that moves all
    examples of a run together is not covered; Jordan 2023 (https://arxiv.org/abs/2304.01910) finds little of it.

    Args:
        differences: Seeds in which the arm alone is right less those in which the baseline alone is, int64 [examples].
    """
    observed = abs(int(differences.sum()))
    # The distribution of the sum of those that keep their sign, one convolution for each size of d: exact for any
    # number of examples, so there is no need for drawn flips.
    distribution = np.ones(1)
    for size, count in zip(*np.unique(np.abs(differences[differences != 0]), return_counts=True), strict=True):
        kernel = np.zeros(size * count + 1)
        kernel[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        distribution = np.convolve(distribution, kernel)
    sums = 2 * np.arange(len(distribution)) - (len(distribution) - 1)
    return min(1.0, float(distribution[np.abs(sums) >= observed].sum()))


def swap(answers: Answers, metric: Metric, flips: int = FLIPS, seed: int = 0) -> float:
    """Returns the two-sided p-value of any metric's difference when arms swap their answers to random examples.

    An example's answers of all seeds are swapped together; assumptions are those of `sign_flip`, which it approaches
    for accuracy (Noreen 1989; Yeh 2000, More accurate tests for the statistical significance of result differences).

    Args:
        answers: Of the arm's runs, then of the baseline's in the same order of seeds.
        metric: Takes confusion counts [..., groups, groups] to [...].
        flips: How many random swaps; the least p-value is 1 / (flips + 1), and 1 where no answer differs.
            Defaults to 20,000.
        seed: Of the swaps. Defaults to 0.
    """
    counts, half = answers.observed(), len(answers.predicted) // 2
    if (answers.predicted[:half] == answers.predicted[half:]).all():
        return 1.0
    arm, baseline = np.split(answers.cells().reshape(len(answers.truth), 2, half, *counts.shape[1:]), 2, axis=1)
    change = (baseline - arm).reshape(len(answers.truth), -1)
    # Sums of counts are exact in float32 as well, and take half the time.
    useful, rng = change[change.any(axis=1)].astype(np.float32), np.random.default_rng([seed, 1])
    observed = abs((metric(counts[:half]) - metric(counts[half:])).mean())
    smaller = 0
    for begin in range(0, flips, BLOCK):
        drawn = rng.integers(0, 2, (min(BLOCK, flips - begin), len(useful)), np.int8).astype(np.float32)
        moved = (drawn @ useful).reshape(len(drawn), half, *counts.shape[1:]).astype(np.float64)
        swapped = (metric(counts[:half] + moved) - metric(counts[half:] - moved)).mean(axis=-1)
        # Written so that a figure which is not defined speaks for no difference.
        smaller += int((np.abs(swapped) < observed - 1e-12).sum())
    return (flips - smaller + 1) / (flips + 1)


def holm(p_values: Sequence[float]) -> Values:
    """Returns p-values float64 [comparisons] adjusted for their number, in the order given.

    Holm 1979, A simple sequentially rejective multiple test procedure: whatever the dependence between them, the chance
    of any false alarm among those below alpha is at most alpha.
    """
    given = np.asarray(p_values, np.float64)
    order = np.argsort(given)
    stepped = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def detectable(examples: int, discordant_share: float, seeds: int = 1, correlation: float = 0.0) -> float:
    """Returns the least difference in accuracy that a study sees at 5%, two-sided, with 80% power.

    The normal approximation for paired proportions (Connor 1987, Sample size for testing differences in proportions
    for the paired-sample design), with examples x seeds pairs over Kish's design effect.

    Args:
        examples: How many examples.
        discordant_share: Share of them on which one run of each arm disagree about being right, 0 to 1.
        seeds: How many seeds. Defaults to 1.
        correlation: Of an example's differences in two seeds; 0 between arms that are the same. Defaults to 0.

    Returns:
        The difference as a share, infinite if even a completely one-sided disagreement would be too small.
    """
    pairs = examples * seeds / (1 + (seeds - 1) * correlation)
    sure, power = stats.norm.ppf([0.975, 0.8])
    # It solves difference * sqrt(pairs) = sure * sqrt(share) + power * sqrt(share - difference^2).
    root = power * sqrt(max(pairs + power**2 - sure**2, 0.0))
    difference = float(sqrt(discordant_share) * (sqrt(pairs) * sure + root) / (pairs + power**2))
    return difference if difference <= discordant_share else inf
