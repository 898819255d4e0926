"""Intervals: what they centre on, how often they hold the truth, and that pairing narrows them."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.evaluation import bootstrap
from analysis.evaluation import metrics as group_metrics

CLASSES = 5


def answers(count: int, share_right: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns true and answered classes, the given share of them right and the rest by chance."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, count)
    return truth, np.where(rng.random(count) < share_right, truth, rng.integers(0, CLASSES, count))


def test_value_is_that_of_the_examples_and_lies_in_its_interval():
    """The figure itself is not resampled."""
    truth, predicted = answers(2000, 0.9, 0)
    counts = bootstrap.confusion(truth, predicted, CLASSES)
    found = bootstrap.from_confusion(group_metrics.OVERALL, counts, 1000, 0)
    assert found["accuracy"].value == pytest.approx((truth == predicted).mean())
    assert all(estimate.low < estimate.value < estimate.high for estimate in found.values())


def test_resampled_cells_are_distributed_as_resampled_examples():
    """Drawing the cells of the table gives the interval that drawing the examples one by one gives."""
    truth, predicted = answers(1000, 0.8, 1)
    rng = np.random.default_rng(2)
    draws = rng.integers(0, 1000, (2000, 1000))
    slow = [group_metrics.macro_f1(bootstrap.confusion(truth[d], predicted[d], CLASSES)) for d in draws]
    counts = bootstrap.confusion(truth, predicted, CLASSES)
    fast = bootstrap.from_confusion({"f1": group_metrics.macro_f1}, counts, 2000, 3)["f1"]
    assert [fast.low, fast.high] == pytest.approx(np.percentile(slow, [2.5, 97.5]), abs=0.003)


def test_interval_holds_the_true_value_as_often_as_it_says():
    """Over many made-up test sets, 95% intervals of the accuracy hold the true accuracy about 95% of the time."""
    rng = np.random.default_rng(4)
    hits = rng.binomial(400, 0.9, 300)
    covered = 0
    for seed, right in enumerate(hits):
        table = np.array([[right, 400 - right], [0, 0]])
        found = bootstrap.from_confusion({"accuracy": group_metrics.accuracy}, table, 500, seed)["accuracy"]
        covered += found.low <= 0.9 <= found.high
    assert 0.91 <= covered / 300 <= 0.98


def test_the_level_widens_every_interval():
    """At 50% an interval is a third as wide as at 95%, as for a normal figure, whichever way it is computed."""
    truth, predicted = answers(1000, 0.9, 7)
    _, others = answers(1000, 0.8, 8)
    counts = bootstrap.confusion(truth, predicted, CLASSES)
    right = (truth == predicted).astype(float)

    def intervals(level: float) -> list[float]:
        found = [
            bootstrap.estimate(0.0, np.linspace(0, 1, 1001), level),
            bootstrap.bias_corrected(5.0, np.random.default_rng(9).normal(5, 1, 4000), level),
            bootstrap.from_confusion({"accuracy": group_metrics.accuracy}, counts, 4000, 0, level)["accuracy"],
            bootstrap.paired_difference(group_metrics.accuracy, truth, predicted, others, CLASSES, 4000, 0, level),
            *bootstrap.from_examples(lambda weights: (weights @ right / 1000)[:, None], 1000, 2000, 0, level),
        ]
        low, high = group_metrics.wilson_interval(900, 1000, level)
        return [*(one.high - one.low for one in found), float(high - low)]

    wide, narrow = intervals(0.95), intervals(0.5)
    assert wide[0] == pytest.approx(0.95) and narrow[0] == pytest.approx(0.5)
    # 0.6745 / 1.9600 standard deviations
    assert [n / w for n, w in zip(narrow[1:], wide[1:], strict=True)] == pytest.approx([0.344] * 5, abs=0.03)


def test_means_of_values_match_the_normal_approximation():
    """For a mean of many values the percentile interval is that of the central limit theorem."""
    values = np.random.default_rng(5).exponential(size=4000)
    found = bootstrap.from_examples(lambda weights: (weights @ values / 4000)[:, None], 4000, 2000, 6)[0]
    margin = 1.96 * values.std() / np.sqrt(4000)
    assert found.value == pytest.approx(values.mean())
    assert [found.low, found.high] == pytest.approx([values.mean() - margin, values.mean() + margin], abs=0.004)


def test_paired_difference_is_narrower_than_unpaired():
    """Two models that agree on most examples differ by less than their own intervals suggest."""
    truth, first = answers(2000, 0.9, 7)
    second = first.copy()
    second[:20] = truth[:20]
    found = bootstrap.paired_difference(group_metrics.accuracy, truth, second, first, CLASSES, 1000, 8)
    own = bootstrap.from_confusion({"a": group_metrics.accuracy}, bootstrap.confusion(truth, first, CLASSES), 1000, 8)[
        "a"
    ]
    assert found.value == pytest.approx((second == truth).mean() - (first == truth).mean())
    assert found.high - found.low < (own.high - own.low) / 2


def test_a_model_differs_from_itself_by_nothing():
    """The paired difference of equal answers is exactly zero in every resample."""
    truth, predicted = answers(500, 0.8, 9)
    found = bootstrap.paired_difference(group_metrics.macro_f1, truth, predicted, predicted, CLASSES, 200, 0)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_same_seed_same_interval():
    """Intervals are a function of the examples and the seed."""
    counts = bootstrap.confusion(*answers(500, 0.8, 10), CLASSES)
    once, again, other = (bootstrap.from_confusion(group_metrics.OVERALL, counts, 200, seed) for seed in (1, 1, 2))
    assert once == again
    assert once != other


def test_resamples_without_a_value_are_left_out():
    """A class that is absent from a resample has no recall there; the interval is that of the others."""
    resampled = np.array([0.1, np.nan, 0.2, 0.3, np.nan, 0.4, 0.5])
    found = bootstrap.estimate(0.3, resampled, 0.5)
    assert (found.value, found.low, found.high) == pytest.approx((0.3, 0.2, 0.4))
    assert np.isnan(bootstrap.estimate(0.3, np.full(5, np.nan)).low)


def test_the_truth_is_down_and_the_prediction_across():
    """Two of class 0 predicted as 1 are in the first row, second column."""
    counts = bootstrap.confusion(np.array([0, 0, 2]), np.array([1, 1, 0]), 3)
    assert counts.tolist() == [[0, 2, 0], [0, 0, 0], [1, 0, 0]]


def test_a_resample_has_as_many_examples_as_the_table():
    """Cells without an example stay empty; a table without any gives tables without any."""
    drawn = bootstrap.resample_cells(np.array([[30, 0], [5, 65]]), 200, 0)
    assert drawn.shape == (200, 2, 2) and (drawn.sum(axis=(1, 2)) == 100).all() and not drawn[:, 0, 1].any()
    assert drawn.mean(axis=0) == pytest.approx(np.array([[30, 0], [5, 65]]), abs=1.5)
    assert bootstrap.resample_cells(np.zeros((2, 2), np.int64), 3, 0).tolist() == [[[0, 0], [0, 0]]] * 3


def test_weights_of_examples_are_counts_of_a_draw_with_replacement():
    """Every resample draws as many examples as there are, in blocks of any size; the seed decides."""
    rows: list[np.ndarray] = []

    def record(weights: np.ndarray) -> np.ndarray:
        rows.append(weights)
        return weights[:, :1]

    bootstrap.from_examples(record, 50, 130, 1)
    drawn = np.concatenate(rows[1:])
    assert drawn.shape == (130, 50) and (drawn.sum(axis=1) == 50).all() and (rows[0] == 1).all()
    assert len(np.unique(drawn, axis=0)) == 130 and drawn.var() == pytest.approx(1, abs=0.1)


def test_the_bias_is_taken_off_once_and_off_the_resamples_twice():
    """A figure of 5 whose resamples average 6 becomes 4, and a resample of 7 becomes 5."""
    found = bootstrap.bias_corrected(5.0, np.array([5.0, 6.0, 7.0]), 1 - 1e-12)
    assert (found.value, found.low, found.high) == pytest.approx((4, 3, 5))


def test_only_the_biased_columns_are_corrected():
    """The second of three columns is, by its position."""
    values = np.random.default_rng(0).exponential(size=200)

    def columns(weights: np.ndarray) -> np.ndarray:
        mean = weights @ values / 200
        return np.stack([mean, np.abs(mean - values.mean()), mean], axis=1)

    plain = bootstrap.from_examples(columns, 200, 300, 0)
    corrected = bootstrap.from_examples(columns, 200, 300, 0, biased={1})
    assert corrected[0] == plain[0] and corrected[2] == plain[2] and corrected[1].high < plain[1].high


def test_what_is_not_defined_is_null():
    """The recall of a class without examples is no number, and JSON has a word for that."""
    counts = np.zeros((2, 2), np.int64)
    counts[0, 0] = 10
    recall = group_metrics.of_class(group_metrics.recall, 1)
    found = bootstrap.from_confusion({"recall": recall}, counts, 100, 0)["recall"]
    assert found.to_json() == {"value": None, "interval": [None, None]}


def calibration_estimates(seed: int) -> tuple[bootstrap.Estimate, bootstrap.Estimate]:
    """Returns the calibration error of 2,000 answers whose true error is 0.03, as it is and less its bias."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.6, 0.97, 2000)
    metric = group_metrics.calibration_error(rng.random(2000) < confidence + 0.03, confidence)

    def column(weights: np.ndarray) -> np.ndarray:
        return metric(weights)[:, None]

    plain, corrected = (bootstrap.from_examples(column, 2000, 300, seed, biased=biased)[0] for biased in ((), {0}))
    return plain, corrected


def test_the_interval_of_a_calibration_error_holds_the_figure_and_the_truth():
    """Corrected for its bias, the figure lies in its interval and near the true error, which the interval holds."""
    found = [calibration_estimates(seed) for seed in range(40)]
    assert all(corrected.low <= corrected.value <= corrected.high for _, corrected in found)
    plain, corrected = (np.mean([pair[which].value for pair in found]) for which in (0, 1))
    assert abs(corrected - 0.03) < abs(plain - 0.03) / 2
    assert sum(corrected.low <= 0.03 <= corrected.high for _, corrected in found) >= 34


def test_a_calibration_error_is_never_negative():
    """Of a perfectly calibrated model the corrected figure and its interval end at zero."""
    resampled = np.random.default_rng(0).uniform(0.02, 0.04, 500)
    found = bootstrap.bias_corrected(0.01, resampled)
    assert (found.value, found.low) == (0.0, 0.0) and found.high >= 0.0
