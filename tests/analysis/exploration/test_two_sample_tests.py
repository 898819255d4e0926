"""Two-sample tests: they agree with the definitions, pass one distribution and find two."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from sklearn.metrics.pairwise import rbf_kernel

from analysis.exploration.two_sample_tests import Outcome, classifier_test, discrepancy_test, holm, kolmogorov_smirnov

values = st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=40).map(np.array)


def samples(shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Float32 [900, 5], of which the 300 of the second sample are shifted along one column."""
    rng = np.random.default_rng(seed)
    second = rng.permutation(900) < 300
    rows = rng.normal(size=(900, 5))
    rows[second, 2] += shift
    return rows.astype(np.float32), second


@given(values, values)
def test_the_distance_is_scipys(one: np.ndarray, two: np.ndarray) -> None:
    """The largest distance of the distribution functions equals scipy's, whatever ties there are."""
    distance, p = kolmogorov_smirnov(np.sort(one), two)
    assert distance == pytest.approx(ks_2samp(one, two, method="asymp").statistic)
    assert 0 <= p <= 1


def test_p_is_scipys_for_large_samples() -> None:
    """For thousands of values the asymptotic p-value is scipy's to a few percent."""
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=6000), rng.normal(0.05, size=3000)
    assert kolmogorov_smirnov(np.sort(one), two)[1] == pytest.approx(ks_2samp(one, two, method="asymp").pvalue, rel=0.1)


def test_holm_multiplies_and_never_decreases() -> None:
    """Holm's own kind of example: the smallest counts three times, the next twice, the last once."""
    assert holm(np.array([0.03, 0.01, 0.04])).tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]
    assert holm([0.01, 0.04, 0.001, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.004, 0.06])


def test_p_counts_the_sample_itself_and_ties() -> None:
    """Of 3 permutations one is larger and one equal: (1 + 2) / (1 + 3); the threshold is the 95% quantile."""
    outcome = Outcome(2.0, np.array([1.0, 2.0, 3.0]))
    assert outcome.p == 0.75 and outcome.threshold == pytest.approx(2.9)


def test_an_empty_sample_differs_from_nothing() -> None:
    """Without values there is no distance, and p is 1."""
    some, none = np.arange(3.0), np.empty(0)
    assert kolmogorov_smirnov(some, none) == kolmogorov_smirnov(none, some) == (0.0, 1.0)


def test_the_classifier_finds_a_shifted_mean_and_a_wider_spread() -> None:
    """Both beat every permutation; the same distribution does not reach the level 0.05."""
    rows, second = samples(0.0)
    wider = rows.copy()
    wider[second, 0] *= 2
    assert classifier_test(samples(0.7)[0], second, 39, seed=0).p == pytest.approx(1 / 40)
    assert classifier_test(wider, second, 39, seed=0).p == pytest.approx(1 / 40)
    assert classifier_test(rows, second, 39, seed=0).p > 0.05


def test_the_classifier_is_cross_validated() -> None:
    """With columns of noise alone its area stays near 0.5: no row is scored by a fit on it."""
    rng = np.random.default_rng(2)
    outcome = classifier_test(rng.normal(size=(400, 150)).astype(np.float32), np.arange(400) < 200, 19, seed=0)
    assert 0.4 < outcome.statistic < 0.6


@pytest.mark.parametrize(
    "test",
    [
        lambda rows, second, seed: classifier_test(rows, second, 19, seed),
        lambda rows, second, seed: discrepancy_test(rows, second, 60, 19, seed),
    ],
    ids=["classifier", "discrepancy"],
)
def test_p_is_uniform_without_a_shift(test: Callable[[np.ndarray, np.ndarray, int], Outcome]) -> None:
    """Of 60 samples from one distribution, about one in ten has p up to 0.1."""
    p = [test(*samples(0.0, seed), seed).p for seed in range(60)]
    assert 1 <= sum(value <= 0.1 for value in p) <= 14


def test_the_discrepancy_is_gretton_and_others_sum() -> None:
    """It equals the definition, summed pair by pair over scikit-learn's kernel."""
    rows, second = samples(1.0)[0][:40], np.arange(40) < 15
    order = _subsample_order(second, seed=3)
    squares = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    kernel = rbf_kernel(rows.astype(float), gamma=1 / (2 * np.median(squares[order][::7])))
    one, two = kernel[:15, :15], kernel[15:, 15:]
    expected = (one.sum() - 15) / (15 * 14) + (two.sum() - 25) / (25 * 24) - 2 * kernel[:15, 15:].mean()
    assert discrepancy_test(rows, second, 40, 19, seed=3).statistic == pytest.approx(expected, rel=1e-3)


def _subsample_order(second: np.ndarray, seed: int) -> np.ndarray:
    """Returns the rows in the order in which the test draws them, which decides the kernel's width."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(members)) for members in (second, ~second)])


def test_the_discrepancy_finds_a_shift() -> None:
    """A shifted mean beats every permutation; the same distribution does not reach the level 0.05."""
    rows, second = samples(1.0)
    assert discrepancy_test(rows, second, 300, 39, seed=0).p == pytest.approx(1 / 40)
    assert discrepancy_test(samples(0.0)[0], second, 300, 39, seed=0).p > 0.05
