"""Our vectorised figures are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from analysis.evaluation import metrics as group_metrics
from analysis.evaluation.bootstrap import confusion

CLASSES = 4
LABELS = list(range(CLASSES))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=60))
def test_figures_of_a_confusion_matrix_are_scikit_learns(pairs):
    """Precision, recall and F1 of every class that scikit-learn defines."""
    truth, predicted = np.array(pairs).T
    counts = confusion(truth, predicted, CLASSES)
    expected = sklearn.precision_recall_fscore_support(truth, predicted, labels=LABELS, zero_division=0)
    ours = [metric(counts) for metric in (group_metrics.precision, group_metrics.recall, group_metrics.f1)]
    for mine, theirs in zip(ours, expected, strict=False):
        defined = ~np.isnan(mine)
        assert mine[defined] == pytest.approx(theirs[defined])
        assert (theirs[~defined] == 0).all()
    assert group_metrics.accuracy(counts) == pytest.approx(sklearn.accuracy_score(truth, predicted))


def test_means_over_the_classes_are_scikit_learns():
    """Macro F1, precision and recall, and balanced accuracy, with all classes present."""
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, CLASSES, 300), rng.integers(0, CLASSES, 300)
    counts = confusion(truth, predicted, CLASSES)
    theirs = sklearn.precision_recall_fscore_support(truth, predicted, average="macro")
    mine = [
        group_metrics.macro_precision(counts),
        group_metrics.balanced_accuracy(counts),
        group_metrics.macro_f1(counts),
    ]
    assert mine == pytest.approx(theirs[:3])
    assert mine[1] == pytest.approx(sklearn.balanced_accuracy_score(truth, predicted))


def test_a_class_that_is_never_predicted_has_precision_zero():
    """A model cannot raise its mean precision by never naming its hardest class."""
    counts = np.array([[5, 0], [5, 0]])
    assert group_metrics.precision(counts).tolist() == [0.5, 0.0]


def test_what_the_examples_do_not_define_is_nan_and_leaves_the_means():
    """An absent class that is predicted has no recall; one that is neither present nor predicted has no figure."""
    counts = np.array([[6, 0, 2, 0], [2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    nan = pytest.approx(np.nan, nan_ok=True)
    assert group_metrics.recall(counts).tolist() == [0.75, 0, nan, nan]
    assert group_metrics.precision(counts).tolist() == [0.75, 0, 0, nan]
    assert group_metrics.f1(counts).tolist() == [0.75, 0, 0, nan]
    means = {name: float(metric(counts)) for name, metric in group_metrics.OVERALL.items()}
    assert means == pytest.approx(
        {
            "accuracy": 0.6,
            "balanced_accuracy": 0.375,
            "macro_f1": 0.25,
            "macro_precision": 0.25,
            "macro_recall": 0.375,
        }
    )
    assert np.isnan(group_metrics.accuracy(np.zeros((2, 2))))


def test_metrics_of_a_class_are_under_their_names():
    """Of twenty answers: precision 4/5, recall 4/8, F1 8/13 of the second class."""
    counts = np.array([[11, 1], [4, 4]])
    found = {name: float(group_metrics.of_class(m, 1)(counts)) for name, m in group_metrics.PER_CLASS.items()}
    assert found == pytest.approx({"precision": 0.8, "recall": 0.5, "f1": 8 / 13})


def test_a_probability_of_zero_has_a_finite_loss():
    """It counts as 1e-7, and certainty as none."""
    losses = group_metrics.log_losses(np.array([0, 0, 1]), np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]))
    assert losses.tolist() == pytest.approx([-np.log(1e-7), 0, np.log(2)])


def test_leading_axes_are_kept():
    """A stack of confusion matrices gives a stack of figures."""
    stack = np.random.default_rng(1).integers(0, 9, (7, 3, CLASSES, CLASSES))
    assert group_metrics.macro_f1(stack).shape == (7, 3)
    assert group_metrics.recall(stack).shape == (7, 3, CLASSES)


@pytest.mark.parametrize("digits", [1, 12], ids=["many ties", "no ties"])
def test_areas_under_the_curve_are_scikit_learns(digits):
    """One against the rest, also where many scores are equal, and with the weights of a resample."""
    rng = np.random.default_rng(2)
    truth = rng.integers(0, CLASSES, 400)
    scores = np.round(rng.random((400, CLASSES)) + np.eye(CLASSES)[truth] * 0.3, digits)
    weights = rng.multinomial(400, np.full(400, 1 / 400), 3).astype(float)
    found = group_metrics.areas_under_curve(truth, scores)(weights)
    expected = [[sklearn.roc_auc_score(truth == c, scores[:, c], sample_weight=row) for c in LABELS] for row in weights]
    assert found == pytest.approx(np.array(expected))


def test_log_loss_is_scikit_learns():
    """The mean of the examples' losses."""
    rng = np.random.default_rng(3)
    truth, scores = rng.integers(0, CLASSES, 200), rng.dirichlet(np.ones(CLASSES), 200)
    expected = sklearn.log_loss(truth, scores, labels=LABELS)
    assert group_metrics.log_losses(truth, scores).mean() == pytest.approx(expected)


def test_calibration_error_is_the_gap_between_stated_and_right():
    """Ten answers at 0.95 of which eight are right are off by 0.15; ten at 0.55 of which five are right, by 0.05."""
    confidence = np.repeat([0.95, 0.55], 10)
    correct = np.r_[np.ones(8), np.zeros(2), np.ones(5), np.zeros(5)].astype(bool)
    weights = np.stack([np.ones(20), np.r_[np.ones(10), np.zeros(10)], np.r_[np.zeros(8), 3, 3, np.zeros(10)]])
    error = group_metrics.calibration_error(correct, confidence)(weights)
    assert error == pytest.approx([0.10, 0.15, 0.95])


def test_reliability_points_count_every_example():
    """Each bin that holds examples is one point, and the points hold all examples."""
    rng = np.random.default_rng(4)
    points = group_metrics.reliability(rng.random(500) < 0.5, rng.random(500))
    assert sum(point["count"] for point in points) == 500
    confidence, correct = np.array([0.1, 0.15, 0.9, 1.0]), np.array([False, True, True, True])
    assert group_metrics.reliability(correct, confidence, 4) == [
        {"confidence": pytest.approx(0.125), "accuracy": 0.5, "count": 2},
        {"confidence": pytest.approx(0.95), "accuracy": 1.0, "count": 2},
    ]
    assert all(0 <= point["accuracy"] <= 1 for point in points)


def test_wilson_intervals_are_the_published_ones():
    """0 of 10 and 5 of 10, as Brown, Cai and DasGupta (2001) compute them; of nothing there is no interval."""
    low, high = group_metrics.wilson_interval([0, 5, 0], [10, 10, 0])
    assert low == pytest.approx([0.0, 0.2366, np.nan], abs=1e-4, nan_ok=True)
    assert high == pytest.approx([0.2775, 0.7634, np.nan], abs=1e-4, nan_ok=True)
