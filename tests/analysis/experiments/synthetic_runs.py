"""Synthetic runs: misclassified examples with a known true difference between the arms."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

GROUPS = 5
SHARES = (0.6, 0.1, 0.3)


def misclassified(
    count: int,
    bars: list[float],
    seeds: int,
    rng: np.random.Generator,
    of_seed: float = 0.0,
    shares: tuple[float, float, float] = SHARES,
) -> np.ndarray:
    """Returns bool [arms, seeds, count]: misclassified where a standard normal exceeds the arm's bar.

    `shares` of its variance are the example's difficulty for every arm, its difficulty for one arm, and noise of one
    run. Noise that affects all examples of a run comes on top, with the standard deviation `of_seed`.
    """
    of_example, of_arm, of_run = np.sqrt(shares)
    difficulty = of_example * rng.normal(size=(1, 1, count)) + of_arm * rng.normal(size=(len(bars), 1, count))
    noise = of_run * rng.normal(size=(len(bars), seeds, count))
    return difficulty + noise + of_seed * rng.normal(size=(len(bars), seeds, 1)) > np.reshape(bars, (-1, 1, 1))


def true_difference(bars: list[float], of_seed: float = 0.0) -> float:
    """Returns the expected accuracy of the first arm minus that of the second."""
    first, second = stats.norm.cdf(np.array(bars[:2]) / np.sqrt(1 + of_seed**2))
    return float(first - second)


def frame(wrong: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Returns the misclassified examples of arms a, b, ..., each with a random wrong group."""
    arm, seed, example = np.nonzero(wrong)
    answered = (truth[example] + rng.integers(1, GROUPS, len(example))) % GROUPS
    names = np.array(list("abcdefghij"))[arm]
    return pd.DataFrame(
        {"arm": names, "seed": seed, "example": example, "truth": truth[example], "predicted": answered}
    )


def experiment(count: int, bars: list[float], seeds: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Returns the misclassified examples of an experiment and its supports."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, GROUPS, count)
    return frame(misclassified(count, bars, seeds, rng), truth, rng), np.bincount(truth, minlength=GROUPS)
