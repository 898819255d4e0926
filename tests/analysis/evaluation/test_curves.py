"""The curves over all thresholds are scikit-learn's, also after thinning and with weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics as sklearn

from analysis.evaluation import curves

COUNT = 3000
Sample = tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]


@pytest.fixture(scope="module")
def sample() -> Sample:
    """A tenth of 3,000 examples belong to the class, and their scores are higher; many scores are equal."""
    generator = np.random.default_rng(0)
    positive = generator.random(COUNT) < 0.1
    return positive, np.round(np.clip(generator.normal(0.3 + 0.4 * positive, 0.15), 0, 1), 3)


def test_average_precision_is_scikit_learns(sample: Sample) -> None:
    """With one weight for all, and with the weights of a resample, also where scores are equal."""
    positive, scores = sample
    weights = np.random.default_rng(1).multinomial(COUNT, np.full(COUNT, 1 / COUNT), size=3).astype(float)
    weights = np.concatenate([np.ones((1, COUNT)), weights])
    found = curves.average_precisions(positive.astype(int), np.column_stack([1 - scores, scores]))(weights)
    expected = [
        [
            sklearn.average_precision_score(positive == value, column, sample_weight=row)
            for value, column in ((False, 1 - scores), (True, scores))
        ]
        for row in weights
    ]
    assert found == pytest.approx(np.array(expected))


def test_a_class_without_examples_has_no_average_precision() -> None:
    """It is NaN, which `metrics.json` shows as null."""
    found = curves.average_precisions(np.array([0, 0]), np.array([[0.7, 0.3], [0.6, 0.4]]))(np.ones((1, 2)))
    assert found[0, 0] == 1 and np.isnan(found[0, 1])


def test_thinned_curves_keep_their_areas(sample: Sample) -> None:
    """Under 200 points, the area under the ROC curve differs from the exact one by less than a thousandth."""
    positive, scores = sample
    points = curves.roc_curve(positive, scores)
    assert all(len(column) <= curves.MAX_POINTS for column in points.values())
    area = np.trapezoid(points["recall"], points["false_positive_rate"])
    assert area == pytest.approx(sklearn.roc_auc_score(positive, scores), abs=1e-3)


def test_points_are_those_of_their_threshold(sample: Sample) -> None:
    """Each point of both curves is what predicting the class from its threshold on gives."""
    positive, scores = sample
    roc, precision_recall = curves.roc_curve(positive, scores), curves.precision_recall_curve(positive, scores)
    for index, threshold in list(enumerate(roc["threshold"]))[1::20]:
        predicted = scores >= threshold - 1e-9
        assert roc["recall"][index] == pytest.approx((predicted & positive).sum() / positive.sum(), abs=1e-5)
        assert roc["false_positive_rate"][index] == pytest.approx(
            (predicted & ~positive).sum() / (~positive).sum(), abs=1e-5
        )
    for index, threshold in list(enumerate(precision_recall["threshold"]))[::20]:
        predicted = scores >= threshold - 1e-9
        assert precision_recall["precision"][index] == pytest.approx(
            sklearn.precision_score(positive, predicted), abs=1e-5
        )


def test_short_curves_have_every_point() -> None:
    """From the highest threshold, which counts as 1, to the lowest; the precision-recall curve from the lowest up."""
    positive, scores = np.array([True, False, True, False]), np.array([0.9, 0.8, 0.6, 0.2])
    assert curves.roc_curve(positive, scores) == {
        "false_positive_rate": [0, 0, 0.5, 0.5, 1],
        "recall": [0, 0.5, 0.5, 1, 1],
        "threshold": [1, 0.9, 0.8, 0.6, 0.2],
    }
    assert curves.precision_recall_curve(positive, scores) == {
        "recall": [1, 1, 0.5, 0.5],
        "precision": [0.5, 0.66667, 0.5, 1],
        "threshold": [0.2, 0.6, 0.8, 0.9],
    }


def test_thinning_keeps_the_ends_and_spreads_the_points() -> None:
    """Points lie where the curve moves, not where there are many."""
    x = np.concatenate([np.linspace(0, 0.01, 900), np.linspace(0.02, 1, 100)])
    chosen = curves.thin(x, x, 50)
    assert len(chosen) <= 50 and chosen[0] == 0 and chosen[-1] == 999
    assert (chosen > 900).sum() > 40
