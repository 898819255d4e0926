"""Comparison of arms: planted differences are found, intervals hold the truth, and resamples are those of examples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.evaluation import bootstrap
from analysis.evaluation import metrics as group_metrics
from analysis.experiments.comparison import compare, mean_over_seeds, summarise
from tests.analysis.experiments import made_up_runs

ONE_PIECE = group_metrics.of_class(group_metrics.f1, 2)
METRICS = [group_metrics.accuracy, group_metrics.macro_f1, ONE_PIECE]


@pytest.mark.parametrize("metric", METRICS, ids=["accuracy", "macro F1", "F1 of one group"])
def test_planted_difference_is_found_with_its_sign(metric):
    """An arm that is 5 points better is ahead in every metric, and behind by as much when the roles are changed."""
    errors, supports = made_up_runs.study(3000, [1.7, 1.3], 3, 0)
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


@pytest.mark.parametrize(("seeds", "of_seed"), [(1, 0.0), (3, 0.0), (3, 0.06)])
def test_interval_holds_the_true_difference_as_often_as_it_says(seeds, of_seed):
    """Over 200 made-up studies, 95% intervals hold the true difference about 95% of the time, luck of seeds or not."""
    rng = np.random.default_rng(seeds)
    bars = [1.3, 1.0]
    true = made_up_runs.true_difference(bars, of_seed)
    held = 0
    for number in range(200):
        mistakes = made_up_runs.wrong(300, bars, seeds, rng, of_seed)
        errors = made_up_runs.frame(mistakes, np.zeros(300, np.int64), rng)
        supports = np.array([300, 0, 0, 0, 0])
        found = compare(errors, supports, "a", "b", range(seeds), group_metrics.accuracy, 200, number)
        held += found.low <= true <= found.high
    assert 0.91 <= held / 200 <= 0.98


@pytest.mark.parametrize("metric", METRICS[:2], ids=["accuracy", "macro F1"])
def test_with_one_seed_the_interval_is_that_of_the_paired_bootstrap(metric):
    """One seed leaves only the examples to draw, and the interval of whole answer columns comes out."""
    errors, supports = made_up_runs.study(2000, [1.5, 1.3], 1, 3)
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


def test_no_difference_gives_false_alarms_at_the_stated_rate():
    """Between two arms of the same quality the swap test of macro F1 is below 0.05 in about 5% of 200 studies."""
    alarms = 0
    for number in range(200):
        errors, supports = made_up_runs.study(200, [1.2, 1.2], 2, number)
        alarms += compare(errors, supports, "a", "b", range(2), group_metrics.macro_f1, 200, flips=200).p_value < 0.05
    assert 0.01 <= alarms / 200 <= 0.09


def test_an_arm_does_not_differ_from_itself():
    """The same runs on both sides give zero, no width and a p-value of 1."""
    errors, supports = made_up_runs.study(500, [1.5, 1.5], 3, 5)
    for metric in METRICS:
        found = compare(errors, supports, "a", "a", range(3), metric, 100)
        assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_same_seed_same_figures():
    """A report made again from the same answers has the same digits."""
    errors, supports = made_up_runs.study(500, [1.5, 1.4], 2, 6)
    first = compare(errors, supports, "a", "b", range(2), ONE_PIECE, 100, 7)
    shuffled = errors.sample(frac=1, random_state=0)
    assert compare(shuffled, supports, "a", "b", range(2), ONE_PIECE, 100, 7) == first


def test_a_figure_without_meaning_is_no_evidence():
    """F1 of a group that is neither present nor answered is NaN with a p-value of 1, and warns of nothing."""
    errors, supports = made_up_runs.study(100, [1.5, 1.4], 2, 8)
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
