"""The fitted temperature is the planted one, and the scores are those of the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax as scipy_softmax
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from models.probabilities import (
    accuracy,
    calibration_bins,
    calibration_gaps,
    expected_calibration_error,
    fit_temperature,
    group_confusion,
    group_probabilities,
    macro_f1,
    softmax,
)


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_planted_temperature_is_found(planted: float) -> None:
    """Logits whose softmax drew the classes, multiplied by a factor, are divided by it again."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2.0, (20_000, 4))
    classes = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    assert fit_temperature(logits * planted, classes) == pytest.approx(planted, rel=0.05)


def test_probabilities_of_groups_are_sums_of_their_garments() -> None:
    """Logits of garments are summed by group after the softmax; logits of groups are taken as they are."""
    membership = np.array([[1.0, 0], [0, 1], [1, 0]])
    odds = np.log([[1.0, 2, 5], [8, 1, 1]])
    assert group_probabilities(odds, membership) == pytest.approx(np.array([[0.75, 0.25], [0.9, 0.1]]))
    assert group_probabilities(np.log([[1.0, 3]]), membership) == pytest.approx(np.array([[0.25, 0.75]]))


def test_softmax_is_scipys_for_any_logits() -> None:
    """Also of logits whose exponentials are no numbers, and of float32."""
    logits = np.array([[1e4, 1e4 - 1, -1e4], [-800, -801, -802], [0, 0, 0]], np.float32)
    found = softmax(logits)
    assert found == pytest.approx(scipy_softmax(logits.astype(np.float64), axis=1)) and found.dtype == np.float64


def test_the_temperature_of_hopeless_and_perfect_logits_is_at_a_bound() -> None:
    """Between 1/20 and 20: logits that are always wrong say nothing, those that are always right cannot be too sure."""
    classes = np.arange(30) % 3
    right = np.eye(3)[classes]
    assert fit_temperature(-10 * right, classes) == pytest.approx(np.exp(3), rel=0.01)
    assert fit_temperature(10 * right, classes) <= 1


def test_honest_confidence_has_no_calibration_error_and_a_boast_has_its_size() -> None:
    """A model that is sure and right half of the time is off by a half."""
    correct = np.arange(1000) % 2 == 0
    assert expected_calibration_error(np.full(1000, 0.5), correct) == pytest.approx(0)
    assert expected_calibration_error(np.ones(1000), correct) == pytest.approx(0.5)


def test_calibration_error_is_the_sum_over_the_bins() -> None:
    """The gaps of a bin's examples add up before their size counts; a confidence of 1 is in the last bin."""
    confidence, correct = np.array([0.1, 0.15, 0.9, 1.0]), np.array([False, True, True, True])
    assert calibration_bins(confidence, 4).tolist() == [0, 0, 3, 3]
    gaps = calibration_gaps(correct, confidence, 4)
    assert gaps.sum(axis=0) == pytest.approx([0.75, 0, 0, 0.1])
    assert expected_calibration_error(confidence, correct, 4) == pytest.approx(0.85 / 4)
    # Fifteen bins by default: 14/15 begins the last one, so these two gaps do not cancel.
    assert expected_calibration_error(np.array([0.93, 0.94]), np.array([True, False])) == pytest.approx(0.505)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 200))
def test_scores_equal_scikit_learns(seed: int, count: int) -> None:
    """Accuracy and macro F1 from the confusion matrix are those of the reference, for any predictions."""
    random = np.random.default_rng(seed)
    probabilities, true = random.dirichlet(np.ones(5), count), random.integers(0, 5, count)
    confusion, predicted = group_confusion(probabilities, true), probabilities.argmax(axis=1)
    assert confusion.tolist() == confusion_matrix(true, predicted, labels=range(5)).tolist()
    assert accuracy(confusion) == pytest.approx(accuracy_score(true, predicted))
    expected = f1_score(true, predicted, average="macro", labels=range(5), zero_division=0)
    assert macro_f1(confusion) == pytest.approx(expected)
