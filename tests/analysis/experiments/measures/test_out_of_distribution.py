"""Scores for out-of-distribution detection, and their AUROC and FPR95 against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from analysis.experiments.measures.out_of_distribution import (
    SCORES,
    Detection,
    detection,
    negative_energy,
    negative_neighbour_distance,
)
from models.taxonomy import Taxonomy

MEMBERSHIP = np.array(Taxonomy.load().membership())
few_values = st.lists(st.integers(-4, 4), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(few_values, few_values)
def test_agrees_with_scikit_learn_among_many_ties(known: list[int], unknown: list[int]) -> None:
    """Both figures are those of scikit-learn's curve, ties included."""
    truth, scores = np.repeat([1, 0], [len(known), len(unknown)]), np.array([*known, *unknown], float)
    found = detection(scores[truth == 1], scores[truth == 0])
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert found.auroc == pytest.approx(roc_auc_score(truth, scores))
    assert found.fpr95 == pytest.approx(false[np.argmax(true >= 0.95 - 1e-12)])


def test_extremes() -> None:
    """A score that parts them is perfect, one that turns them round is as bad as can be, a constant is no use."""
    low, high = np.arange(10.0), np.arange(10.0) + 20
    assert detection(high, low) == Detection(1.0, 0.0)
    assert detection(low, high) == Detection(0.0, 1.0)
    assert detection(np.ones(10), np.ones(7)) == Detection(0.5, 1.0)


@pytest.mark.parametrize("bad", [np.zeros(0), np.zeros((3, 2)), np.array([1.0, np.nan])])
def test_refuses_scores_that_cannot_be_ranked(bad: np.ndarray) -> None:
    """Empty, tabular or undefined scores are named, known and unknown alike."""
    with pytest.raises(ValueError, match="Scores of known images cannot be ranked. Expected: .N. numbers. Received: "):
        detection(bad, np.ones(3))
    with pytest.raises(ValueError, match="Scores of unknown images"):
        detection(np.ones(3), bad)


@pytest.mark.parametrize("name", SCORES)
def test_sure_answers_score_higher(name: str) -> None:
    """A large logit for one garment scores above logits that are all the same."""
    score = SCORES[name](np.stack([10 * np.eye(10)[3], np.zeros(10)]), MEMBERSHIP)
    assert score.shape == (2,) and score[0] > score[1]


def test_scores_of_known_logits() -> None:
    """For ten equal logits the scores are those of the uniform distribution."""
    equal = np.full((1, 10), 2.0)
    largest = MEMBERSHIP.sum(axis=0).max()
    expected = {"garment_confidence": 0.1, "group_confidence": largest / 10, "negative_entropy": -np.log(10)}
    assert {name: SCORES[name](equal, MEMBERSHIP)[0] for name in expected} == pytest.approx(expected)
    assert negative_energy(equal, MEMBERSHIP)[0] == pytest.approx(2 + np.log(10))
    assert negative_energy(equal, MEMBERSHIP, temperature=5)[0] == pytest.approx(2 + 5 * np.log(10))


def test_confidence_cannot_tell_what_energy_can() -> None:
    """Adding a constant to all logits changes no probability, but the energy: which is why it is a separate score."""
    logits = np.random.default_rng(0).normal(size=(5, 10))
    for name, score in SCORES.items():
        moved = score(logits + 7, MEMBERSHIP) - score(logits, MEMBERSHIP)
        assert moved == pytest.approx(7 if name == "negative_energy" else 0)


def test_large_logits_overflow_nowhere() -> None:
    """Logits of float32 in the thousands give finite scores."""
    logits = np.array([[5000, -5000, *[0] * 8]], np.float32)
    assert all(np.isfinite(score(logits, MEMBERSHIP)).all() for score in SCORES.values())


def test_neighbour_distance_is_that_of_directions() -> None:
    """It is minus the k-th smallest distance between features of length 1, whatever their lengths were."""
    rng = np.random.default_rng(1)
    features, training = rng.normal(size=(20, 8)), rng.normal(size=(100, 8))
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (features, training)]
    direct = np.sort(np.linalg.norm(units[0][:, None] - units[1][None], axis=2), axis=1)
    for k in (1, 7, 100):
        assert negative_neighbour_distance(3 * features, training, k) == pytest.approx(-direct[:, k - 1], abs=1e-3)
    assert negative_neighbour_distance(training[:5] * 2, training, 1) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("k", [0, 11])
def test_there_is_no_such_neighbour(k: int) -> None:
    """Neighbours are counted from 1 to the number of training images."""
    with pytest.raises(ValueError, match=f"There is no such neighbour. Expected: 1 to 10. Received: {k}"):
        negative_neighbour_distance(np.ones((2, 3)), np.ones((10, 3)), k)
