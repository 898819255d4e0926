"""Arms of a study compared over examples and seeds: figures and paired differences with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.evaluation.bootstrap import Counts, Estimate, Values, estimate
from analysis.evaluation.metrics import Metric, accuracy
from analysis.experiments.significance import FLIPS, sign_flip, swap
from analysis.experiments.wrong_answers import tabulate


@dataclass(frozen=True)
class Difference:
    """An arm's figure minus the baseline's, its 95% interval, and the p-value before any correction."""

    value: float
    low: float
    high: float
    p_value: float


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

    The interval is that of a crossed bootstrap: examples and seeds are drawn independently, each draw shared by both
    arms, the examples' by all seeds too (Owen 2007, The pigeonhole bootstrap, https://arxiv.org/abs/0712.1111). By
    Owen's theorem it counts the noise of one example in one run up to three times, and covered 98% in place of 95%, a
    third too wide; its deviations are scaled to the sum of the three sources of noise, each counted once.
    Where luck moves all examples of a run together, as much as the choice of examples does, 3 to 5 seeds are few: it
    then covers 91 to 93%. With one seed it says nothing of other seeds.

    The p-value is `sign_flip`'s if the metric is `group_metrics.accuracy`, and `swap`'s otherwise.

    Args:
        errors: The wrong answers, see `tabulate`.
        supports: How many examples each group has, int64 [groups].
        arm: The arm's name.
        baseline: The name of the arm that it is compared with.
        seeds: Seeds that both arms have finished.
        metric: Takes confusion counts [..., groups, groups] to [...]; more is better.
        resamples: Of the bootstrap. Defaults to 2000.
        seed: Of the resamples and the swaps. Defaults to 0.
        flips: Of `swap`. Defaults to 20,000.

    Raises:
        ComparisonError: See `tabulate`.
    """
    answers = tabulate(errors, supports, [(name, run) for name in (arm, baseline) for run in seeds])
    count = len(seeds)

    def differences(counts: Values) -> Values:
        figures = metric(counts)
        return figures[..., :count] - figures[..., count:]

    rng = np.random.default_rng(seed)
    found = _crossed(differences(answers.observed()), differences(answers.resampled(rng, resamples)), rng)
    if metric is accuracy:
        right = answers.predicted == answers.truth
        p_value = sign_flip(right[:count].sum(axis=0) - right[count:].sum(axis=0))
    else:
        p_value = swap(answers, metric, flips, seed)
    return Difference(found.value, found.low, found.high, p_value)


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
    answers = tabulate(errors, supports, [(arm, run) for run in seeds])
    rng = np.random.default_rng(seed)
    return _crossed(metric(answers.observed()), metric(answers.resampled(rng, resamples)), rng)


def mean_over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the standard deviation between seeds (S - 1 below); NaN for that of a single seed."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), deviation


def _crossed(observed: Values, resampled: Values, rng: np.random.Generator) -> Estimate:
    """Estimates a mean over seeds from each seed's figure [S] and its figures in resamples of the examples [R, S]."""
    picks = rng.integers(0, len(observed), resampled.shape)
    drawn = np.take_along_axis(resampled, picks, axis=1).mean(axis=1)
    value = observed.mean()
    return estimate(float(value), value + (drawn - value) * _scale(observed, resampled, drawn))


def _scale(observed: Values, resampled: Values, drawn: Values) -> float:
    """Returns the standard error as a share of that of the crossed resamples, from three bootstrap variances.

    Of examples alone: e + i; of seeds alone: (s + i) f; of both: e + i + (s + 2i) f; e, s and i are what examples,
    seeds and their interaction add to the variance of the mean, and f = (S - 1) / S. Wanted is e + i + s.
    """
    seeds = len(observed)
    held = ~np.isnan(resampled).any(axis=1)
    if seeds == 1 or not held.any() or np.isnan(observed).any():
        return 1.0
    of_examples, of_seeds = resampled[held].mean(axis=1).var(), observed.var() / seeds
    of_both = drawn[held].var()
    if not of_both:
        return 1.0
    share = (seeds - 1) / seeds
    interaction = max(of_both - of_examples - of_seeds, 0.0) / share
    return float(np.sqrt((of_examples + max(of_seeds / share - interaction, 0.0)) / of_both))
