"""Comparisons of arms: exact tests, Holm's correction, power, and paired differences with their intervals."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.evaluation import bootstrap
from analysis.evaluation import metrics as group_metrics
from analysis.experiments.comparison import (
    compare,
    mcnemar,
    mean_over_seeds,
    minimum_detectable_difference,
    sign_flip,
    summarise,
    swap,
)
from analysis.experiments.misclassifications import tabulate
from analysis.exploration.two_sample_tests import holm
from tests.analysis.experiments import synthetic_runs


def advantages(
    count: int,
    seeds: int,
    rng: np.random.Generator,
    bars: tuple[float, float] = (1.2, 1.2),
    shares: tuple[float, float, float] = synthetic_runs.SHARES,
) -> np.ndarray:
    """Returns int64 [count, seeds]: 1 where only the first arm is right, -1 where only the second is."""
    wrong = synthetic_runs.misclassified(count, list(bars), seeds, rng, shares=shares).astype(np.int64)
    return (wrong[1] - wrong[0]).T


@given(st.integers(0, 400), st.integers(0, 400))
@settings(max_examples=50, deadline=None)
def test_mcnemar_is_the_exact_binomial_test(first, second):
    """Its p-value is that of a fair coin, and it does not matter which arm is called the baseline."""
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected) == pytest.approx(mcnemar(second, first))


def test_mcnemar_of_known_tables():
    """Worked by hand: 2 (1 + 6) / 2^6 for 1 against 5, 2 / 2^10 for 0 against 10, and 1 for a draw."""
    assert mcnemar(1, 5) == pytest.approx(14 / 64)
    assert mcnemar(10, 0) == pytest.approx(2 / 1024)
    assert mcnemar(4, 4) == pytest.approx(1)
    assert mcnemar(0, 0) == 1


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
@settings(max_examples=50, deadline=None)
def test_sign_flip_counts_every_flip(differences):
    """The p-value is the share of all assignments of signs whose sum is at least as far from zero."""
    values = np.array(differences)
    sums = [abs(np.dot(signs, values)) for signs in product([-1, 1], repeat=len(values))]
    assert sign_flip(values) == pytest.approx(np.mean(np.array(sums) >= abs(values.sum())))


def test_sign_flip_of_one_seed_is_mcnemar():
    """With one seed an example's difference is -1, 0 or 1, and McNemar's test comes out."""
    differences = advantages(2000, 1, np.random.default_rng(0), (1.3, 1.2))[:, 0]
    assert sign_flip(differences) == pytest.approx(mcnemar((differences == 1).sum(), (differences == -1).sum()))


@pytest.mark.parametrize("seeds", [1, 3])
def test_swap_of_accuracy_approaches_sign_flip(seeds):
    """Random swaps give the p-value of all of them within their sampling error."""
    errors, supports = synthetic_runs.experiment(1000, [1.4, 1.3], seeds, 2)
    predictions = tabulate(errors, supports, [(arm, seed) for arm in "ab" for seed in range(seeds)])
    right = (predictions.predicted == predictions.truth).astype(np.int64)
    exact = sign_flip(right[:seeds].sum(axis=0) - right[seeds:].sum(axis=0))
    error = np.sqrt(exact * (1 - exact) / 4000)
    assert swap(predictions, group_metrics.accuracy, 4000) == pytest.approx(exact, abs=4 * error + 1 / 4000)


def test_swap_never_claims_more_than_its_flips_can_show():
    """Even for a clear difference, the observed predictions count as one of the swaps."""
    errors, supports = synthetic_runs.experiment(1000, [2.5, 0.5], 1, 2)
    assert swap(tabulate(errors, supports, [("a", 0), ("b", 0)]), group_metrics.macro_f1, 99) == pytest.approx(0.01)


def test_swap_of_equal_predictions_shows_no_difference():
    """Neither do two arms without an error."""
    errors, supports = synthetic_runs.experiment(100, [1.4], 2, 4)
    assert swap(tabulate(errors, supports, [("a", 0), ("a", 0)]), group_metrics.macro_f1) == 1
    assert swap(tabulate(errors, supports, [("perfect", 0), ("the same", 0)]), group_metrics.macro_f1) == 1


def test_swap_hardly_depends_on_its_seed():
    """Near 0.05, where decisions are made, four seeds agree within 0.005."""
    errors, supports = synthetic_runs.experiment(1000, [1.45, 1.3], 3, 4)
    predictions = tabulate(errors, supports, [(arm, seed) for arm in "ab" for seed in range(3)])
    found = [swap(predictions, group_metrics.macro_f1, seed=seed) for seed in range(4)]
    assert 0.01 < min(found) < 0.1 and max(found) - min(found) < 0.005


def test_sign_flip_has_the_stated_rate_of_false_positives():
    """Between arms of equal quality, p < 0.05 in about 5% of 400 experiments with 3 seeds."""
    rng = np.random.default_rng(3)
    alarms = np.mean([sign_flip(advantages(300, 3, rng).sum(axis=1)) < 0.05 for _ in range(400)])
    assert 0.02 <= alarms <= 0.08


def test_pooling_seeds_as_examples_has_too_many_false_positives():
    """McNemar's test on pooled predictions of 5 seeds has at least twice the stated rate of false positives.

    An example that is hard for one arm is hard for it in every seed: five predictions, but one piece of evidence.
    """
    rng = np.random.default_rng(4)
    pooled, flipped = [], []
    for _ in range(300):
        differences = advantages(300, 5, rng, shares=(0.4, 0.4, 0.2))
        pooled.append(mcnemar((differences == 1).sum(), (differences == -1).sum()) < 0.05)
        flipped.append(sign_flip(differences.sum(axis=1)) < 0.05)
    assert np.mean(pooled) > 0.10
    assert np.mean(flipped) <= 0.08


def test_holm_follows_the_paper_by_hand():
    """The least is multiplied by 4, the next by 3, never below the one before, never above 1, in the order given."""
    assert holm([0.03, 0.005, 0.01, 0.6]) == pytest.approx([0.06, 0.02, 0.03, 0.6])
    assert holm([0.4, 0.3, 0.6]) == pytest.approx([0.9, 0.9, 0.9])
    assert holm([0.02]) == pytest.approx([0.02])
    assert len(holm([])) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_is_between_nothing_and_bonferroni(p_values):
    """Adjusted p-values rise with the given ones, and lie between them and those times their number."""
    given_values, adjusted = np.array(p_values), holm(p_values)
    assert (np.diff(adjusted[np.argsort(given_values)]) >= 0).all()
    assert (given_values <= adjusted).all()
    assert (adjusted <= np.minimum(given_values * len(p_values), 1) + 1e-12).all()


def test_any_false_positive_among_six_arms_is_rare_after_holm():
    """Among six arms equal to their baseline, p < 0.05 is common before Holm and occurs in 5% of experiments after."""
    rng = np.random.default_rng(5)
    before, after = [], []
    for _ in range(200):
        wrong = synthetic_runs.misclassified(300, [1.2] * 7, 2, rng).astype(np.int64)
        p_values = [sign_flip((wrong[0] - arm).sum(axis=0)) for arm in wrong[1:]]
        before.append(min(p_values) < 0.05)
        after.append(holm(p_values).min() < 0.05)
    assert np.mean(before) > 0.12
    assert np.mean(after) <= 0.09


@pytest.mark.parametrize(("examples", "seeds"), [(2000, 1), (1000, 3)])
def test_minimum_detectable_difference_is_detected_with_80_percent_power(examples, seeds):
    """Experiments with a difference of exactly that size have p < 0.05 in about 80% of 300 cases."""
    rng = np.random.default_rng(6)
    share = 0.06
    size = minimum_detectable_difference(examples, share, seeds)
    chances = [(share + size) / 2, (share - size) / 2, 1 - share]
    found = [
        sign_flip(rng.choice([1, -1, 0], size=(examples, seeds), p=chances).sum(axis=1)) < 0.05 for _ in range(300)
    ]
    assert 0.73 <= np.mean(found) <= 0.87


def test_minimum_detectable_difference_follows_the_size_of_the_experiment():
    """Four times the pairs halve it; perfectly correlated seeds do not; a tiny experiment detects nothing."""
    once = minimum_detectable_difference(6000, 0.015)
    assert minimum_detectable_difference(24000, 0.015) == pytest.approx(once / 2, rel=0.01)
    assert minimum_detectable_difference(6000, 0.015, 4) == pytest.approx(once / 2, rel=0.01)
    assert minimum_detectable_difference(6000, 0.015, 4, correlation=1.0) == pytest.approx(once)
    assert minimum_detectable_difference(100, 0.01) == float("inf")


ONE_PIECE = group_metrics.of_class(group_metrics.f1, 2)
METRICS = [group_metrics.accuracy, group_metrics.macro_f1, ONE_PIECE]


@pytest.mark.parametrize("metric", METRICS, ids=["accuracy", "macro F1", "F1 of one group"])
def test_planted_difference_is_found_with_its_sign(metric):
    """An arm that is 5 points better is ahead in every metric, and behind by as much when the roles are swapped."""
    errors, supports = synthetic_runs.experiment(3000, [1.7, 1.3], 3, 0)
    found = compare(errors, supports, "a", "b", range(3), metric, 500)
    assert 0 < found.low < found.value < found.high and found.p_value < 0.01
    turned = compare(errors, supports, "b", "a", range(3), metric, 500)
    assert turned.value == pytest.approx(-found.value) and turned.high < 0 and turned.p_value < 0.01


def test_value_is_the_mean_over_seeds_of_the_difference():
    """Two seeds, counted by hand."""
    errors = pd.DataFrame(
        [("a", 1, 0, 0, 1), ("b", 1, 0, 0, 1), ("b", 1, 7, 1, 0), ("b", 2, 7, 1, 0), ("b", 2, 9, 1, 0)],
        columns=["arm", "seed", "example", "truth", "predicted"],
    )
    found = compare(errors, np.array([5, 5]), "a", "b", [1, 2], group_metrics.accuracy, 50)
    assert found.value == pytest.approx((0.1 + 0.2) / 2)
    assert summarise(errors, np.array([5, 5]), "a", [1, 2], group_metrics.accuracy, 50).value == pytest.approx(0.95)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "of_seed"), [(1, 0.0), (3, 0.0), (3, 0.06)])
def test_interval_has_its_nominal_coverage(seeds, of_seed):
    """Over 200 synthetic experiments, 95% intervals contain the true difference about 95% of the time."""
    rng = np.random.default_rng(seeds)
    bars = [1.3, 1.0]
    true = synthetic_runs.true_difference(bars, of_seed)
    covered = 0
    for number in range(200):
        wrong = synthetic_runs.misclassified(300, bars, seeds, rng, of_seed)
        errors = synthetic_runs.frame(wrong, np.zeros(300, np.int64), rng)
        supports = np.array([300, 0, 0, 0, 0])
        found = compare(errors, supports, "a", "b", range(seeds), group_metrics.accuracy, 200, number)
        covered += found.low <= true <= found.high
    assert 0.91 <= covered / 200 <= 0.98


@pytest.mark.parametrize("metric", METRICS[:2], ids=["accuracy", "macro F1"])
def test_with_one_seed_the_interval_is_that_of_the_paired_bootstrap(metric):
    """One seed leaves only the examples to draw, and the interval of whole answer columns comes out."""
    errors, supports = synthetic_runs.experiment(2000, [1.5, 1.3], 1, 3)
    truth = np.repeat(np.arange(5), supports)
    columns = {}
    for name, rows in errors.groupby("arm"):
        columns[name] = truth.copy()
        # Examples of a group may be put in any order as long as both arms follow it.
        places = _places(errors, supports)
        columns[name][[places[example] for example in rows["example"]]] = rows["predicted"]
    whole = bootstrap.paired_difference(metric, truth, columns["a"], columns["b"], 5, 4000, 0)
    found = compare(errors, supports, "a", "b", [0], metric, 4000)
    assert found.value == pytest.approx(whole.value)
    assert [found.low, found.high] == pytest.approx([whole.low, whole.high], abs=0.001)


@pytest.mark.slow
def test_swap_has_the_stated_rate_of_false_positives():
    """Between two arms of the same quality the swap test of macro F1 is below 0.05 in about 5% of 200 experiments."""
    alarms = 0
    for number in range(200):
        errors, supports = synthetic_runs.experiment(200, [1.2, 1.2], 2, number)
        alarms += compare(errors, supports, "a", "b", range(2), group_metrics.macro_f1, 200, flips=200).p_value < 0.05
    assert 0.01 <= alarms / 200 <= 0.09


def test_an_arm_does_not_differ_from_itself():
    """The same runs on both sides give zero, no width and a p-value of 1."""
    errors, supports = synthetic_runs.experiment(500, [1.5, 1.5], 3, 5)
    for metric in METRICS:
        found = compare(errors, supports, "a", "a", range(3), metric, 100)
        assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_same_seed_same_figures():
    """The same predictions give the same digits again."""
    errors, supports = synthetic_runs.experiment(500, [1.5, 1.4], 2, 6)
    first = compare(errors, supports, "a", "b", range(2), ONE_PIECE, 100, 7)
    shuffled = errors.sample(frac=1, random_state=0)
    assert compare(shuffled, supports, "a", "b", range(2), ONE_PIECE, 100, 7) == first


def test_an_undefined_figure_is_no_evidence():
    """F1 of a group that is neither present nor answered is NaN with a p-value of 1, and warns of nothing."""
    errors, supports = synthetic_runs.experiment(100, [1.5, 1.4], 2, 8)
    supports = np.append(supports, 0)
    found = compare(errors, supports, "a", "b", range(2), group_metrics.of_class(group_metrics.f1, 5), 50)
    assert np.isnan([found.value, found.low, found.high]).all() and found.p_value == 1


def test_mean_over_seeds_has_the_deviation_between_them():
    """The deviation divides by one less than the number of seeds; a single seed has none."""
    assert mean_over_seeds([0.98, 0.99, 1.0]) == pytest.approx((0.99, 0.01))
    assert mean_over_seeds([0.98]) == pytest.approx((0.98, float("nan")), nan_ok=True)


def _places(errors: pd.DataFrame, supports: np.ndarray) -> dict[int, int]:
    """Returns a row among examples sorted by group for each example that is wrong somewhere."""
    starts = np.concatenate([[0], np.cumsum(supports)[:-1]])
    known = errors.drop_duplicates("example")
    rank = known.groupby("truth").cumcount().to_numpy()
    return dict(zip(known["example"], starts[known["truth"]] + rank, strict=True))
