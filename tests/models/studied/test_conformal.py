"""Prediction sets keep the coverage they promise, over all items and in every group."""

from __future__ import annotations

import numpy as np
import pytest

from models.calibration import group_thresholds
from models.probabilities import softmax
from models.studied.conformal import (
    Thresholds,
    cross_fit_sets,
    marginal_thresholds,
    measure_sets,
    prediction_sets,
)

COVERAGE = 0.9


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [count, 3] of a model that knows the last group badly, and the groups."""
    random = np.random.default_rng(seed)
    groups = random.choice(3, count, p=[0.5, 0.3, 0.2])
    logits = random.normal(0, 1, (count, 3))
    logits[np.arange(count), groups] += np.array([4.0, 3.0, 0.5])[groups]
    return softmax(logits), groups


def repeated(thresholds: Thresholds, conformity: np.ndarray, groups: np.ndarray, draws: int, size: int) -> np.ndarray:
    """What sets by thresholds from `size` examples cover of the next `size`, over all and by group, [draws, 4]."""
    found = []
    for draw in range(draws):
        here, fresh = (slice((2 * draw + part) * size, (2 * draw + part + 1) * size) for part in (0, 1))
        sets = prediction_sets(conformity[fresh], thresholds(conformity[here], groups[here], COVERAGE))
        quality = measure_sets(sets, groups[fresh])
        found.append([quality.coverage, *quality.coverage_by_group])
    return np.array(found)


def test_thresholds_keep_the_nominal_coverage_over_all_or_by_group() -> None:
    """Over 400 draws of 200 examples the mean coverage lies between the nominal one and 1 / (n + 1) more."""
    draws, size = 400, 200
    conformity, groups = drawn(draws * size * 2, 0)
    overall = repeated(marginal_thresholds, conformity, groups, draws, size)
    by_group = repeated(group_thresholds, conformity, groups, draws, size)
    # Four standard errors of the mean over draws.
    slack = 4 * by_group.std(axis=0) / np.sqrt(draws)
    assert COVERAGE - slack[0] < overall[:, 0].mean() < COVERAGE + 1 / (size + 1) + slack[0]
    # The rarest group has some 40 of the 200 examples, seldom fewer than 25.
    assert (by_group.mean(axis=0) > COVERAGE - slack).all()
    assert (by_group.mean(axis=0) < COVERAGE + 1 / 25 + slack).all()


def test_one_threshold_for_all_leaves_the_weak_group_short() -> None:
    """What the marginal promise hides: the group that the model knows badly is covered less."""
    probabilities, groups = drawn(20_000, 1)
    quality = measure_sets(prediction_sets(probabilities, marginal_thresholds(probabilities, groups, COVERAGE)), groups)
    assert quality.coverage == pytest.approx(COVERAGE, abs=0.001)
    assert quality.coverage_by_group[2] < 0.7 and quality.coverage_by_group[0] > COVERAGE


@pytest.mark.parametrize("thresholds", [marginal_thresholds, group_thresholds])
def test_too_few_examples_keep_every_group(thresholds: Thresholds) -> None:
    """With 8 examples 90% cannot be promised, and the sets hold everything; a group never seen is in every set."""
    probabilities, groups = drawn(8, 0)
    assert prediction_sets(probabilities, thresholds(probabilities, groups, COVERAGE)).all()
    many = drawn(1000, 0)[0]
    assert group_thresholds(many, np.zeros(1000, int), COVERAGE)[1:].tolist() == [0.0, 0.0]


def test_cross_fitted_sets_cover_as_promised() -> None:
    """One split alone tells the coverage, in every group."""
    probabilities, groups = drawn(6000, 3)
    quality = measure_sets(cross_fit_sets(group_thresholds, probabilities, groups, COVERAGE), groups)
    assert quality.coverage_by_group == pytest.approx(np.full(3, COVERAGE), abs=0.01)


def test_sets_are_measured_by_hand() -> None:
    """Coverage, sizes, and the errors among the sets of one group."""
    sets = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0]], bool)
    quality = measure_sets(sets, np.array([0, 0, 1, 0]))
    assert (quality.coverage, quality.mean_size, quality.empty, quality.single) == (0.5, 1.0, 0.25, 0.5)
    assert quality.single_error == 0.5
    assert quality.coverage_by_group == pytest.approx([1 / 3, 1.0, np.nan], nan_ok=True)
