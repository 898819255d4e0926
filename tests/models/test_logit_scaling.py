"""The shipped calibration map undoes planted distortions, and cross-fitting keeps fit and evaluation apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, check_grad
from scipy.special import log_softmax

from models.logit_scaling import (
    Affine,
    AffineLoss,
    LevelScaling,
    Scaling,
    cross_fit,
    fit_dirichlet,
    fit_level_scaling,
    group_logits,
    likelihood_loss,
    stratified_folds,
)
from models.probabilities import softmax

MEMBERSHIP = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]])


def drawn(count: int, seed: int, honest: Scaling | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Logits [count, 5], and garments drawn from their softmax or from that of what a scaling makes of them."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2.0, (count, 5))
    true = logits if honest is None else honest.apply(logits)
    return logits, (true + random.gumbel(size=logits.shape)).argmax(axis=1)


def test_penalty_pulls_dirichlet_towards_weights_on_the_diagonal() -> None:
    """A heavy penalty leaves nothing beside the diagonal and no intercept."""
    logits, garments = drawn(1000, 5)
    found = fit_dirichlet(logits + np.arange(5), garments, penalty=1e4)
    assert np.abs(found.weights[~np.eye(5, dtype=bool)]).max() < 1e-3 and np.abs(found.intercept).max() < 1e-3


def test_dirichlet_minimises_the_documented_loss() -> None:
    """The mean log loss, 0.1 of the mean square beside the diagonal and 0.1 of that of the intercept."""
    logits, garments = drawn(400, 6)
    found = fit_dirichlet(2 * logits + np.arange(5) / 3, garments)
    inputs = log_softmax(2 * logits + np.arange(5) / 3, axis=1)

    def loss(parameters: np.ndarray) -> float:
        weights, intercept = parameters[:25].reshape(5, 5), parameters[25:]
        likelihood = log_softmax(inputs @ weights + intercept, axis=1)[np.arange(400), garments].mean()
        beside = weights[~np.eye(5, dtype=bool)]
        return float(-likelihood + 0.1 * (beside**2).mean() + 0.1 * (intercept**2).mean())

    slopes = approx_fprime(np.append(found.weights.ravel(), found.intercept), loss)
    assert np.abs(slopes).max() < 1e-4 and found.normalised


def test_levels_are_calibrated_apart() -> None:
    """Inside a group the temperature alone decides, between the groups the map of their log-probabilities."""
    logits, _ = drawn(50, 3)
    between = Affine(np.array([[1.5, 0.1, 0], [0, 0.8, 0.2], [0.1, 0, 1.0]]), np.array([0.3, -0.2, 0.0]), True)
    found = softmax(LevelScaling(between, 2.0, MEMBERSHIP).apply(logits))
    groups = found @ MEMBERSHIP
    np.testing.assert_allclose(found[:, :2] / groups[:, :1], softmax(logits[:, :2] / 2.0), rtol=1e-9)
    np.testing.assert_allclose(found[:, 2:4] / groups[:, 1:2], softmax(logits[:, 2:4] / 2.0), rtol=1e-9)
    of_groups = np.log(softmax(logits) @ MEMBERSHIP)
    np.testing.assert_allclose(groups, softmax(of_groups @ between.weights + between.intercept), rtol=1e-9)
    np.testing.assert_allclose(group_logits(logits, MEMBERSHIP)[:, 0], np.logaddexp(*logits[:, :2].T), rtol=1e-9)


def test_the_temperature_inside_groups_ignores_errors_between_them() -> None:
    """Logits whose group is always wrong still show how certain the network is inside a group."""
    logits, garments = drawn(6000, 7)
    shifted = 3 * logits
    group_of = MEMBERSHIP.argmax(axis=1)
    shifted -= 40 * (group_of == group_of[garments][:, None])
    assert fit_level_scaling(shifted, garments, MEMBERSHIP).within == pytest.approx(3, rel=0.1)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.floats(0.0, 2.0))
def test_derivatives_are_those_of_the_loss(seed: int, diagonal: bool, penalty: float) -> None:
    """Finite differences agree with the gradient and with the Hessian, for all weights and for the diagonal alone."""
    logits, garments = drawn(20, seed)
    free = np.vstack([np.eye(5, dtype=bool) | (not diagonal), np.ones(5, bool)])
    inputs, hits = np.hstack([logits, np.ones((20, 1))]), garments[:, None] == np.arange(5)
    loss = AffineLoss(inputs, hits, free, penalty * np.random.default_rng(seed).random(free.shape))
    point = np.random.default_rng(seed).normal(0, 0.5, int(free.sum()))
    assert check_grad(lambda p: loss.gradient(p)[0], lambda p: loss.gradient(p)[1], point) < 1e-5
    slopes = approx_fprime(point, lambda p: loss.gradient(p)[1])
    assert np.allclose(loss.hessian(point), slopes, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 100.0))
def test_likelihood_of_groups_has_its_gradient(seed: int, sharpness: float) -> None:
    """Of the sum over all garments of the true group, by the logits; sure and wrong ones stay finite."""
    logits, garments = drawn(6, seed)
    hits = MEMBERSHIP[:, MEMBERSHIP[garments].argmax(axis=1)].T > 0
    value, slope = likelihood_loss(sharpness * logits, hits)
    expected = -np.log((softmax(sharpness * logits) * hits).sum(axis=1)).mean()
    assert value == pytest.approx(expected, abs=1e-9)
    slopes = approx_fprime(sharpness * logits.ravel(), lambda z: likelihood_loss(z.reshape(6, 5), hits)[0])
    assert np.allclose(slope.ravel(), slopes, atol=1e-5)


def test_folds_are_even_in_every_class() -> None:
    """Of each class all folds have as many examples, but for one, and another seed gives other folds."""
    classes = np.repeat([0, 1, 2], [100, 53, 7])
    folds = stratified_folds(classes, 5, seed=0)
    counts = np.array([np.bincount(folds[classes == group], minlength=5) for group in range(3)])
    assert (np.ptp(counts, axis=1) <= 1).all()
    assert (folds != stratified_folds(classes, 5, seed=1)).any()


def test_cross_fitting_judges_no_example_by_a_scaling_that_saw_it() -> None:
    """A scaling that repeats the answers it was shown gains nothing."""
    logits, garments = drawn(300, 8)
    seen: list[set[tuple[float, ...]]] = []

    def fit(logits: np.ndarray, garments: np.ndarray, membership: np.ndarray) -> Scaling:
        seen.append({tuple(row) for row in logits})
        return Affine(np.eye(5), np.zeros(5))

    probabilities = cross_fit(fit, logits, garments, MEMBERSHIP, folds=3)
    folds = stratified_folds(garments, 3, seed=0)
    assert all(tuple(row) not in seen[fold] for row, fold in zip(logits, folds, strict=True))
    assert [len(rows) for rows in seen] == [300 - (folds == fold).sum() for fold in range(3)], "all others are used"
    assert np.allclose(probabilities, softmax(logits))
