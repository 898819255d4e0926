"""Confusion counts from misclassified examples alone equal those of all predictions, also under resampling."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.evaluation import bootstrap
from analysis.experiments.misclassifications import ComparisonError, tabulate
from tests.analysis.experiments import synthetic_runs

SEEDS = 2
RUNS = [(arm, seed) for arm in "ab" for seed in range(SEEDS)]


@pytest.fixture(scope="module")
def whole() -> tuple[np.ndarray, np.ndarray, pd.DataFrame, np.ndarray]:
    """Returns true groups [400], predictions [runs, 400], the misclassified examples and the supports."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, synthetic_runs.GROUPS, 400)
    errors = synthetic_runs.frame(synthetic_runs.misclassified(400, [1.2, 1.0], SEEDS, rng), truth, rng)
    predictions = np.tile(truth, (len(RUNS), 1))
    for row in errors.itertuples():
        predictions[RUNS.index((row.arm, row.seed)), row.example] = row.predicted
    return truth, predictions, errors, np.bincount(truth, minlength=synthetic_runs.GROUPS)


def test_observed_counts_are_those_of_all_predictions(whole):
    """Correct predictions need not be listed."""
    truth, predictions, errors, supports = whole
    expected = [bootstrap.confusion(truth, row, synthetic_runs.GROUPS) for row in predictions]
    assert (tabulate(errors, supports, RUNS).observed() == expected).all()


def test_weighted_counts_equal_those_of_repeated_examples(whole):
    """Under any numbers of times that examples are drawn, the counts are those of the drawn predictions one by one."""
    truth, predictions, errors, supports = whole
    drawn = np.random.default_rng(1).multinomial(400, np.full(400, 1 / 400), size=5)
    known = np.unique(errors["example"])
    others = np.setdiff1d(np.arange(400), known)
    rest = np.array([np.bincount(truth[others], row[others], synthetic_runs.GROUPS) for row in drawn]).astype(np.int64)
    found = tabulate(errors, supports, RUNS).confusions(drawn[:, known].astype(np.float64), rest)
    for counts, times in zip(found, drawn, strict=True):
        places = np.repeat(np.arange(400), times)
        expected = [bootstrap.confusion(truth[places], row[places], synthetic_runs.GROUPS) for row in predictions]
        assert (counts == expected).all()


def test_resampled_counts_vary_as_those_of_drawn_examples(whole):
    """Mean and covariance of all cells of all runs are the multinomial's, so runs stay paired."""
    truth, predictions, errors, supports = whole
    found = tabulate(errors, supports, RUNS).resampled(np.random.default_rng(2), 4000)
    assert (found.sum(axis=(2, 3)) == 400).all()
    cells = np.zeros((400, len(RUNS), 25))
    for run, row in enumerate(predictions):
        cells[np.arange(400), run, truth * 5 + row] = 1
    flat = cells.reshape(400, -1)
    assert found.reshape(4000, -1).mean(axis=0) == pytest.approx(flat.sum(axis=0), abs=1.0)
    covariance = 400 * np.cov(flat.T, bias=True)
    assert np.cov(found.reshape(4000, -1).T) == pytest.approx(covariance, abs=6.0)


def test_runs_without_an_error_are_possible(whole):
    """Without any error, every resample is correct throughout."""
    *_, errors, supports = whole
    counts = tabulate(errors[:0], supports, RUNS).resampled(np.random.default_rng(0), 3)
    assert (np.trace(counts, axis1=2, axis2=3) == 400).all()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("a", 0, 1, 0, 0)], "misclassified examples only"),
        ([("a", 0, 1, 0, 5)], "a group number from 0 to 4"),
        ([("a", 0, 1, 0, 2), ("a", 0, 1, 0, 3)], "one row for an arm, a seed and an example"),
        ([("a", 0, 1, 0, 2), ("b", 0, 1, 1, 3)], "one true group for an example"),
        ([("a", 0, 1, 0, 2), ("a", 0, 2, 0, 2)], "at most [1, 1, 1, 1, 1]"),
    ],
)
def test_predictions_that_cannot_be_are_refused(rows, expected):
    """The message says what was expected."""
    errors = pd.DataFrame(rows, columns=["arm", "seed", "example", "truth", "predicted"])
    with pytest.raises(ComparisonError) as refused:
        tabulate(errors, np.ones(5, np.int64), RUNS)
    assert f"Expected: {expected}" in str(refused.value)


def test_no_runs_are_refused(whole):
    """A comparison over no seed is an error."""
    with pytest.raises(ComparisonError, match="at least one seed"):
        tabulate(whole[2], whole[3], [])
