"""What the runs of a study answered wrongly, as confusion counts of the examples or of resamples of them.

Only examples that some run answers wrongly are held one by one. Those that every run answers rightly differ in nothing
but their group, so a resample needs only their number: 2,000 resamples of 6,000 examples in 10 runs take 0.1 seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.evaluation.bootstrap import Counts, Values


class ComparisonError(ValueError):
    """Wrong answers, supports or seeds do not fit together; the message says what was expected and received."""


@dataclass(frozen=True)
class Answers:
    """What several runs answered.

    Attributes:
        truth: Groups of the examples that at least one run answers wrongly, int64 [K].
        predicted: What each run answered to them, int64 [runs, K].
        rest: How many other examples each group has, int64 [groups]; every run answers those rightly.
    """

    truth: Counts
    predicted: Counts
    rest: Counts

    def cells(self) -> Values:
        """Returns the one-hot cell of the confusion matrix of each answer, float64 [K, runs * groups * groups]."""
        runs, groups = len(self.predicted), len(self.rest)
        cell = (self.truth * groups + self.predicted) + np.arange(runs)[:, None] * groups**2
        hot = np.zeros((len(self.truth), runs * groups**2))
        hot[np.arange(len(self.truth)), cell] = 1.0
        return hot

    def confusions(self, weights: Values, rest: Counts) -> Values:
        """Returns the confusion counts [R, runs, groups, groups] under weights [R, K] and others [R, groups]."""
        runs, groups = len(self.predicted), len(self.rest)
        counts = (weights @ self.cells()).reshape(-1, runs, groups, groups)
        diagonal = np.arange(groups)
        counts[:, :, diagonal, diagonal] += rest[:, None, :]
        return counts

    def observed(self) -> Values:
        """Returns the confusion counts of each run, float64 [runs, groups, groups]."""
        return self.confusions(np.ones((1, len(self.truth))), self.rest[None])[0]

    def resampled(self, rng: np.random.Generator, resamples: int) -> Values:
        """Returns confusion counts [resamples, runs, groups, groups]; a resample draws the same examples for all."""
        known = len(self.truth)
        sizes = np.concatenate([[known], self.rest])
        drawn = rng.multinomial(sizes.sum(), sizes / sizes.sum(), size=resamples)
        # Given how many of the K examples are drawn, which ones is uniform; a multinomial over K + groups cells takes
        # several times as long as counting drawn indices.
        row = np.repeat(np.arange(resamples), drawn[:, 0])
        place = row * known + rng.integers(0, max(known, 1), len(row))
        weights = np.bincount(place, minlength=resamples * known).reshape(resamples, known)
        return self.confusions(weights.astype(np.float64), drawn[:, 1:])


def tabulate(errors: pd.DataFrame, supports: Counts, runs: Sequence[tuple[str, int]]) -> Answers:
    """Returns the answers of runs, each an arm and a seed.

    A run without a row in `errors` counts as one without a mistake: ask only for runs that were finished.

    Args:
        errors: The wrong answers: columns arm, seed, example, truth, predicted, the last two group numbers.
        supports: How many examples each group has, right answers included, int64 [groups].
        runs: The arms and seeds to take.

    Raises:
        ComparisonError: No runs; a repeated answer, a right one or a group that is unknown; an example of two true
            groups; more wrong examples in a group than it has.
    """
    if not runs:
        raise ComparisonError("There is nothing to compare. Expected: at least one seed. Received: none")
    arms, seeds = errors["arm"].to_numpy(), errors["seed"].to_numpy()
    rows = [np.flatnonzero((arms == arm) & (seeds == seed)) for arm, seed in runs]
    used = np.unique(np.concatenate(rows))
    numbers = errors[["example", "truth", "predicted"]].to_numpy(np.int64)
    examples, first = np.unique(numbers[used, 0], return_index=True)
    truth = numbers[used[first], 1]
    place = np.searchsorted(examples, numbers[:, 0])
    _check(errors.iloc[used], truth[place[used]], len(supports))
    predicted = np.tile(truth, (len(runs), 1))
    for answers, run in zip(predicted, rows, strict=True):
        answers[place[run]] = numbers[run, 2]
    rest = np.asarray(supports, np.int64) - np.bincount(truth, minlength=len(supports))
    if (rest < 0).any():
        raise ComparisonError(
            f"A group has more wrong examples than examples. Expected: at most {list(map(int, supports))}. "
            f"Received: {np.bincount(truth, minlength=len(supports)).tolist()}"
        )
    return Answers(truth, predicted, rest)


def _check(errors: pd.DataFrame, truth_elsewhere: Counts, groups: int) -> None:
    truth, predicted = errors["truth"].to_numpy(), errors["predicted"].to_numpy()
    troubles = {
        f"a group number from 0 to {groups - 1}": (np.minimum(truth, predicted) < 0)
        | (np.maximum(truth, predicted) >= groups),
        "wrong answers only": truth == predicted,
        "one row for an arm, a seed and an example": errors.duplicated(["arm", "seed", "example"]).to_numpy(),
        "one true group for an example": truth != truth_elsewhere,
    }
    for expected, trouble in troubles.items():
        if trouble.any():
            row = errors[trouble].iloc[0].to_dict()
            raise ComparisonError(f"Wrong answers are not what they should be. Expected: {expected}. Received: {row}")
