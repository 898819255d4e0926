"""Tests of significance: equal to known values, honest about seeds, and no more false alarms than stated."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.evaluation import metrics as group_metrics
from analysis.experiments.significance import detectable, holm, mcnemar, sign_flip, swap
from analysis.experiments.wrong_answers import tabulate
from tests.analysis.experiments import made_up_runs


def advantages(
    count: int,
    seeds: int,
    rng: np.random.Generator,
    bars: tuple[float, float] = (1.2, 1.2),
    shares: tuple[float, float, float] = made_up_runs.SHARES,
) -> np.ndarray:
    """Returns int64 [count, seeds]: 1 where only the first arm is right, -1 where only the second is."""
    mistakes = made_up_runs.wrong(count, list(bars), seeds, rng, shares=shares).astype(np.int64)
    return (mistakes[1] - mistakes[0]).T


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
    held = np.array(differences)
    sums = [abs(np.dot(signs, held)) for signs in product([-1, 1], repeat=len(held))]
    assert sign_flip(held) == pytest.approx(np.mean(np.array(sums) >= abs(held.sum())))


def test_sign_flip_of_one_seed_is_mcnemar():
    """With one seed an example's difference is -1, 0 or 1, and McNemar's test comes out."""
    differences = advantages(2000, 1, np.random.default_rng(0), (1.3, 1.2))[:, 0]
    assert sign_flip(differences) == pytest.approx(mcnemar((differences == 1).sum(), (differences == -1).sum()))


@pytest.mark.parametrize("seeds", [1, 3])
def test_swap_of_accuracy_approaches_sign_flip(seeds):
    """Random swaps give the p-value of all of them within their sampling error."""
    errors, supports = made_up_runs.study(1000, [1.4, 1.3], seeds, 2)
    answers = tabulate(errors, supports, [(arm, seed) for arm in "ab" for seed in range(seeds)])
    right = (answers.predicted == answers.truth).astype(np.int64)
    exact = sign_flip(right[:seeds].sum(axis=0) - right[seeds:].sum(axis=0))
    error = np.sqrt(exact * (1 - exact) / 4000)
    assert swap(answers, group_metrics.accuracy, 4000) == pytest.approx(exact, abs=4 * error + 1 / 4000)


def test_swap_never_claims_more_than_its_flips_can_show():
    """However clear the difference, the observed answers count as one of the swaps."""
    errors, supports = made_up_runs.study(1000, [2.5, 0.5], 1, 2)
    assert swap(tabulate(errors, supports, [("a", 0), ("b", 0)]), group_metrics.macro_f1, 99) == pytest.approx(0.01)


def test_swap_of_the_same_answers_shows_no_difference():
    """Neither do two arms without a mistake."""
    errors, supports = made_up_runs.study(100, [1.4], 2, 4)
    assert swap(tabulate(errors, supports, [("a", 0), ("a", 0)]), group_metrics.macro_f1) == 1
    assert swap(tabulate(errors, supports, [("perfect", 0), ("faultless", 0)]), group_metrics.macro_f1) == 1


def test_swap_hardly_depends_on_its_seed():
    """Near 0.05, where verdicts are made, four seeds agree within half a hundredth."""
    errors, supports = made_up_runs.study(1000, [1.45, 1.3], 3, 4)
    answers = tabulate(errors, supports, [(arm, seed) for arm in "ab" for seed in range(3)])
    found = [swap(answers, group_metrics.macro_f1, seed=seed) for seed in range(4)]
    assert 0.01 < min(found) < 0.1 and max(found) - min(found) < 0.005


def test_false_alarms_of_sign_flip_come_at_the_stated_rate():
    """Between arms of the same quality, p < 0.05 in about 5% of 400 studies of 3 seeds."""
    rng = np.random.default_rng(3)
    alarms = np.mean([sign_flip(advantages(300, 3, rng).sum(axis=1)) < 0.05 for _ in range(400)])
    assert 0.02 <= alarms <= 0.08


def test_pooling_seeds_as_if_they_were_examples_is_too_sure():
    """McNemar's test on the answers of 5 seeds together, arms equal, cries wolf at least twice as often as stated.

    What an arm, unlike the other, finds hard is hard for it in every seed: five answers, but one piece of evidence.
    """
    rng = np.random.default_rng(4)
    pooled, flipped = [], []
    for _ in range(300):
        held = advantages(300, 5, rng, shares=(0.4, 0.4, 0.2))
        pooled.append(mcnemar((held == 1).sum(), (held == -1).sum()) < 0.05)
        flipped.append(sign_flip(held.sum(axis=1)) < 0.05)
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


def test_any_false_alarm_among_six_arms_is_rare_after_holm():
    """Six arms no better than their shared baseline: one p < 0.05 is common before Holm, and in 5% of studies after."""
    rng = np.random.default_rng(5)
    before, after = [], []
    for _ in range(200):
        mistakes = made_up_runs.wrong(300, [1.2] * 7, 2, rng).astype(np.int64)
        p_values = [sign_flip((mistakes[0] - arm).sum(axis=0)) for arm in mistakes[1:]]
        before.append(min(p_values) < 0.05)
        after.append(holm(p_values).min() < 0.05)
    assert np.mean(before) > 0.12
    assert np.mean(after) <= 0.09


@pytest.mark.parametrize(("examples", "seeds"), [(2000, 1), (1000, 3)])
def test_a_detectable_difference_is_detected_in_four_of_five_studies(examples, seeds):
    """Studies with a difference of exactly that size have p < 0.05 in about 80% of 300 cases."""
    rng = np.random.default_rng(6)
    share = 0.06
    size = detectable(examples, share, seeds)
    chances = [(share + size) / 2, (share - size) / 2, 1 - share]
    found = [
        sign_flip(rng.choice([1, -1, 0], size=(examples, seeds), p=chances).sum(axis=1)) < 0.05 for _ in range(300)
    ]
    assert 0.73 <= np.mean(found) <= 0.87


def test_detectable_difference_follows_the_size_of_the_study():
    """Four times the pairs halve it; seeds that all answer alike add nothing; a tiny study sees nothing."""
    once = detectable(6000, 0.015)
    assert detectable(24000, 0.015) == pytest.approx(once / 2, rel=0.01)
    assert detectable(6000, 0.015, 4) == pytest.approx(once / 2, rel=0.01)
    assert detectable(6000, 0.015, 4, correlation=1.0) == pytest.approx(once)
    assert detectable(100, 0.01) == float("inf")
