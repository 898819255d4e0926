"""Calibration undoes planted distortions, covers every group as specified, and works on any data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calibration import Calibration, calibrate, conformal_threshold, group_thresholds
from models.logit_scaling import Affine, LevelScaling, fit_level_scaling, stratified_folds
from models.probabilities import softmax
from pipeline.contract.errors import UserError

MEMBERSHIP = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]])
PLANTED = LevelScaling(Affine(0.6 * np.eye(3) + 0.1, np.array([0.2, 0.0, -0.2])), 2.0, MEMBERSHIP)


def drawn(count: int, seed: int, sharpness: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Overconfident logits [count, 5], and garments drawn from the probabilities of the planted scaling."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, sharpness, (count, 5))
    return logits, (PLANTED.apply(logits) + random.gumbel(size=logits.shape)).argmax(axis=1)


def test_planted_scaling_is_found() -> None:
    """Fresh logits get the probabilities that drew the garments, which they are far from before."""
    found, fresh = calibrate(*drawn(8000, 0), MEMBERSHIP, 0.9), drawn(2000, 1)[0]
    true = softmax(PLANTED.apply(fresh))
    assert np.abs(found.garment_probabilities(fresh) - true).mean() < 0.01 < 0.05 < np.abs(softmax(fresh) - true).mean()
    np.testing.assert_allclose(found.group_probabilities(fresh), found.garment_probabilities(fresh) @ MEMBERSHIP)


def test_fresh_examples_of_every_group_are_covered_as_specified() -> None:
    """Also the group that the network confuses most, and also where a group has 40 examples to fit thresholds on."""
    coverage, fresh, truth = 0.9, *drawn(4000, 99)
    groups = MEMBERSHIP[truth].argmax(axis=1)
    coverages = []
    for seed in range(100):
        found = calibrate(*drawn(300, seed), MEMBERSHIP, coverage)
        covered = (found.group_probabilities(fresh) >= found.thresholds)[np.arange(4000), groups]
        coverages.append([covered[groups == group].mean() for group in range(3)])
    # Exchangeable examples give `coverage` to `coverage + 1 / (n + 1)`; the means have standard errors below 0.005.
    mean = np.mean(coverages, axis=0)
    assert (mean > coverage - 0.01).all() and (mean < coverage + 1 / 40 + 0.005).all(), mean


@pytest.mark.parametrize(
    ("count", "coverage", "threshold"),
    [(19, 0.9, 2), (20, 0.9, 2), (29, 0.9, 3), (9, 0.9, 1), (8, 0.9, 0), (99, 0.99, 1), (98, 0.99, 0), (4, 0.5, 2)],
)
def test_a_threshold_is_the_conformal_quantile(count: int, coverage: float, threshold: int) -> None:
    """Of the values 1 to n the threshold lets ceil((n + 1) coverage) of them pass; too few examples have none."""
    values = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert conformal_threshold(values, coverage) == threshold
    passed = (values >= threshold).sum()
    assert threshold == 0 or passed == int(np.ceil(round((count + 1) * coverage, 9)))


def test_each_group_has_the_threshold_of_its_own_examples() -> None:
    """The values are those of the true group; another group's column and examples do not count."""
    conformity = np.array([[9.0, 100], [7, 100], [8, 100], [100, 3], [100, 1], [100, 2]])
    assert group_thresholds(conformity, np.array([0, 0, 0, 1, 1, 1]), 0.75).tolist() == [7, 1]
    assert group_thresholds(conformity, np.array([0, 0, 0, 1, 1, 1]), 0.5).tolist() == [8, 2]


def test_thresholds_come_from_scalings_that_had_not_seen_the_example() -> None:
    """Each example's conformity is that by the scaling of the other folds; that of its own fit looks too good."""
    logits, garments = drawn(300, 4)
    groups, found = MEMBERSHIP[garments].argmax(axis=1), calibrate(logits, garments, MEMBERSHIP, 0.9)
    folds, held_out = stratified_folds(garments, 5, seed=0), np.empty((300, 3))
    for fold in range(5):
        here, rest = folds == fold, folds != fold
        scaling = fit_level_scaling(logits[rest], garments[rest], MEMBERSHIP)
        held_out[here] = softmax(scaling.apply(logits[here])) @ MEMBERSHIP
    np.testing.assert_allclose(found.thresholds, group_thresholds(held_out, groups, 0.9), rtol=1e-9)
    seen = group_thresholds(found.group_probabilities(logits), groups, 0.9)
    assert (np.abs(found.thresholds - seen) > 1e-3).all()


def test_json_keeps_every_digit() -> None:
    """A calibration that is read from a file predicts as the one that was written."""
    logits, garments = drawn(200, 2)
    found = calibrate(logits, garments, MEMBERSHIP, 0.8)
    read = Calibration.from_json(json.loads(json.dumps(found.to_json())))
    np.testing.assert_array_equal(read.garment_probabilities(logits), found.garment_probabilities(logits))
    np.testing.assert_array_equal(read.thresholds, found.thresholds)
    assert read.coverage == 0.8


def test_a_file_with_one_temperature_is_an_error() -> None:
    """For a model of before the two levels the error lists the missing names."""
    with pytest.raises(UserError, match=r"Expected: between, .*\nReceived: temperature, threshold"):
        Calibration.from_json({"temperature": 1.2, "threshold": 0.3})


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([2, 3, 10, 100]),
    st.sampled_from(["equal", "right", "wrong", "one garment", "extreme", "one image"]),
)
def test_any_data_give_finite_probabilities(seed: int, count: int, kind: str) -> None:
    """Groups without examples, all right or all wrong, no knowledge at all: never NaN, and no weight runs away."""
    random = np.random.default_rng(seed)
    garments = random.integers(0, 1 if kind == "one garment" else 5, count)
    right = np.where(np.eye(5)[garments] > 0, 50.0, -50.0)
    logits = {
        "equal": np.zeros((count, 5)),
        "right": right,
        "wrong": -right,
        "one image": np.repeat(random.normal(0, 5, (1, 5)), count, axis=0),
    }.get(kind, random.normal(0, 50 if kind == "extreme" else 2, (count, 5)))
    found = calibrate(logits.astype(np.float32), garments, MEMBERSHIP, 0.99)
    answers = found.group_probabilities(random.uniform(-50, 50, (50, 5)))
    np.testing.assert_allclose(answers.sum(axis=1), 1)
    assert np.isfinite(found.thresholds).all() and np.abs(found.scaling.between.weights).max() < 1000
    few = np.bincount(MEMBERSHIP[garments].argmax(axis=1), minlength=3) < 99
    assert (found.thresholds[few] == 0).all()
