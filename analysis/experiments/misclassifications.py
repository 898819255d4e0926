"""The misclassified examples of runs, as confusion counts of all examples or of bootstrap resamples.

Only examples that some run misclassifies are stored one by one. Those that every run classifies correctly differ only
in their group, so a resample needs only their number: 2,000 resamples of 6,000 examples in 10 runs take 0.1 seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.evaluation.bootstrap import Counts, Values
from pipeline.contract.errors import UserError


class ComparisonError(UserError):
    """Misclassified examples, supports or seeds contradict each other."""


@dataclass(frozen=True)
class Predictions:
    """The predictions of several runs for the same examples.

    Attributes:
        truth: Groups of the examples that at least one run misclassifies, int64 [K].
        predicted: Each run's predicted groups of them, int64 [runs, K].
        rest: Number of the other examples of each group, int64 [groups]; every run classifies them correctly.
    """

    truth: Counts
    predicted: Counts
    rest: Counts

    def cells(self) -> Values:
        """Returns each prediction's one-hot cell of the confusion matrix, float64 [K, runs * groups * groups]."""
        runs, groups = len(self.predicted), len(self.rest)
        cell = (self.truth * groups + self.predicted) + np.arange(runs)[:, None] * groups**2
        hot = np.zeros((len(self.truth), runs * groups**2))
        hot[np.arange(len(self.truth)), cell] = 1.0
        return hot

    def confusions(self, weights: Values, rest: Counts) -> Values:
        """Returns confusion counts [R, runs, groups, groups] for weights [R, K] and numbers of the rest [R, groups]."""
        runs, groups = len(self.predicted), len(self.rest)
        counts = (weights @ self.cells()).reshape(-1, runs, groups, groups)
        diagonal = np.arange(groups)
        counts[:, :, diagonal, diagonal] += rest[:, None, :]
        return counts

    def observed(self) -> Values:
        """Returns the confusion counts of each run, float64 [runs, groups, groups]."""
        return self.confusions(np.ones((1, len(self.truth))), self.rest[None])[0]

    def resampled(self, rng: np.random.Generator, resamples: int) -> Values:
        """Returns confusion counts [resamples, runs, groups, groups]; all runs share the examples of a resample."""
        known = len(self.truth)
        sizes = np.concatenate([[known], self.rest])
        drawn = rng.multinomial(sizes.sum(), sizes / sizes.sum(), size=resamples)
        # Given how many of the K examples are drawn, which ones is uniform; a multinomial over K + groups cells takes
        # several times as long as counting drawn indices.
        row = np.repeat(np.arange(resamples), drawn[:, 0])
        cell = row * known + rng.integers(0, max(known, 1), len(row))
        weights = np.bincount(cell, minlength=resamples * known).reshape(resamples, known)
        return self.confusions(weights.astype(np.float64), drawn[:, 1:])


def tabulate(errors: pd.DataFrame, supports: Counts, runs: Sequence[tuple[str, int]]) -> Predictions:
    """Returns the predictions of runs, each an arm and a seed.

    A run without a row in `errors` counts as one without an error, so all runs must be finished ones.

    Args:
        errors: The misclassified examples: columns arm, seed, example, truth, predicted, the last two group numbers.
        supports: Number of all evaluated examples of each group, int64 [groups].
        runs: The arms and seeds.

    Raises:
        ComparisonError: There are no runs, a row is repeated, correct or of an unknown group, an example has two true
            groups, or a group has more misclassified examples than examples.
    """
    if not runs:
        raise ComparisonError("There is nothing to compare.", expected="at least one seed", received="none")
    arms, seeds = errors["arm"].to_numpy(), errors["seed"].to_numpy()
    rows = [np.flatnonzero((arms == arm) & (seeds == seed)) for arm, seed in runs]
    used = np.unique(np.concatenate(rows))
    numbers = errors[["example", "truth", "predicted"]].to_numpy(np.int64)
    examples, first = np.unique(numbers[used, 0], return_index=True)
    truth = numbers[used[first], 1]
    column = np.searchsorted(examples, numbers[:, 0])
    _check(errors.iloc[used], truth[column[used]], len(supports))
    predicted = np.tile(truth, (len(runs), 1))
    for row, run in zip(predicted, rows, strict=True):
        row[column[run]] = numbers[run, 2]
    rest = np.asarray(supports, np.int64) - np.bincount(truth, minlength=len(supports))
    if (rest < 0).any():
        raise ComparisonError(
            "A group has more misclassified examples than examples.",
            expected=f"at most {list(map(int, supports))}",
            received=str(np.bincount(truth, minlength=len(supports)).tolist()),
        )
    return Predictions(truth, predicted, rest)


def _check(errors: pd.DataFrame, truth_elsewhere: Counts, groups: int) -> None:
    truth, predicted = errors["truth"].to_numpy(), errors["predicted"].to_numpy()
    violations = {
        f"a group number from 0 to {groups - 1}": (np.minimum(truth, predicted) < 0)
        | (np.maximum(truth, predicted) >= groups),
        "misclassified examples only": truth == predicted,
        "one row for an arm, a seed and an example": errors.duplicated(["arm", "seed", "example"]).to_numpy(),
        "one true group for an example": truth != truth_elsewhere,
    }
    for expected, violation in violations.items():
        if violation.any():
            row = errors[violation].iloc[0].to_dict()
            raise ComparisonError("The misclassified examples are invalid.", expected=expected, received=str(row))
