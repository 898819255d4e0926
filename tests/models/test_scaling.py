"""Scalings take planted distortions off again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, check_grad

from models.affine_scaling import (
    Affine,
    AffineLoss,
    fit_dirichlet,
    fit_none,
    fit_temperature_scaling,
    fit_vector,
    likelihood_loss,
)
from models.confidence_scaling import fit_beta
from models.level_scaling import fit_group_temperature, fit_levels, group_logits
from models.probabilities import softmax
from models.scaling import SCALINGS, Fit, Scaling, cross_fitted, stratified_folds

MEMBERSHIP = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]])


def drawn(count: int, seed: int, honest: Scaling | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Logits [count, 5], and garments drawn from their softmax or from that of what a scaling makes of them."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2.0, (count, 5))
    true = logits if honest is None else honest.apply(logits)
    return logits, (true + random.gumbel(size=logits.shape)).argmax(axis=1)


def log_loss(scaling: Scaling, logits: np.ndarray, garments: np.ndarray) -> float:
    """The mean negative log-likelihood of the garments."""
    probabilities = softmax(scaling.apply(logits))
    return float(-np.log(probabilities[np.arange(len(garments)), garments]).mean())


@pytest.mark.parametrize("fit", SCALINGS.values(), ids=SCALINGS)
def test_no_scaling_spoils_honest_logits_and_all_but_none_mend_boasts(fit: Fit) -> None:
    """On fresh honest examples the groups' log loss stays, and that of logits three times too large falls."""
    (logits, garments), (fresh, truth) = drawn(6000, 0), drawn(6000, 1)
    groups = MEMBERSHIP[truth].argmax(axis=1)

    def loss(factor: float, scaling: Scaling) -> float:
        probabilities = softmax(scaling.apply(factor * fresh)) @ MEMBERSHIP
        return float(-np.log(probabilities[np.arange(len(groups)), groups]).mean())

    honest = loss(1.0, fit_none(logits, garments))
    assert loss(1.0, fit(logits, garments, MEMBERSHIP)) == pytest.approx(honest, abs=0.01)
    mended = fit(3 * logits, garments, MEMBERSHIP)
    boast = loss(3.0, fit_none(logits, garments))
    assert fit is SCALINGS["none"] or loss(3.0, mended) < honest + 0.5 * (boast - honest)


@pytest.mark.parametrize("planted", [0.5, 3.0])
@pytest.mark.parametrize("name", ["temperature", "group temperature"])
def test_planted_temperature_is_found(name: str, planted: float) -> None:
    """Garments as well as their groups alone tell the factor that honest logits were multiplied by."""
    logits, garments = drawn(20_000, 0)
    found = SCALINGS[name](logits * planted, garments, MEMBERSHIP)
    assert np.allclose(found.apply(logits * planted), logits, rtol=0.08)


@pytest.mark.parametrize(("fit", "normalised"), [(fit_vector, False), (fit_dirichlet, True)])
def test_planted_distortion_of_classes_is_undone_where_a_temperature_cannot(
    fit: Callable[[np.ndarray, np.ndarray], Affine], normalised: bool
) -> None:
    """A factor and a shift of each class's own are found, so that fresh examples lose as little as they can."""
    factors, shifts = np.array([0.5, 1.0, 1.5, 1.2, 1.0]), np.array([1.0, -1.0, 0.0, 1.5, 0.0])
    planted = Affine(np.diag(factors), shifts, normalised)
    (logits, garments), (fresh, truth) = drawn(5000, 2, planted), drawn(5000, 3, planted)
    best = log_loss(planted, fresh, truth)
    assert log_loss(fit(logits, garments), fresh, truth) == pytest.approx(best, abs=0.01)
    assert log_loss(fit_temperature_scaling(logits, garments), fresh, truth) > best + 0.05


def test_vector_finds_the_planted_weights_and_shifts() -> None:
    """Weight by weight, and the shifts but for what all share."""
    factors, shifts = np.array([0.5, 1.0, 1.5, 1.2, 1.0]), np.array([1.0, -1.0, 0.0, 1.5, 0.0])
    found = fit_vector(*drawn(8000, 2, Affine(np.diag(factors), shifts)))
    assert np.diag(found.weights) == pytest.approx(factors, abs=0.15)
    assert found.intercept - found.intercept.mean() == pytest.approx(shifts - shifts.mean(), abs=0.15)


def test_dirichlet_undoes_mixed_classes_where_a_vector_cannot() -> None:
    """Logits that lean on one another need weights off the diagonal."""
    planted = Affine(np.eye(5) + 0.6 * np.roll(np.eye(5), 1, axis=1), np.zeros(5), normalised=True)
    (logits, garments), (fresh, truth) = drawn(5000, 4, planted), drawn(5000, 5, planted)
    best = log_loss(planted, fresh, truth)
    assert log_loss(fit_dirichlet(logits, garments), fresh, truth) == pytest.approx(best, abs=0.01)
    assert log_loss(fit_vector(logits, garments), fresh, truth) > best + 0.05


def test_penalty_pulls_dirichlet_towards_weights_on_the_diagonal() -> None:
    """A heavy penalty leaves nothing beside the diagonal and no intercept."""
    logits, garments = drawn(1000, 5)
    found = fit_dirichlet(logits + np.arange(5), garments, penalty=1e4)
    assert np.abs(found.weights[~np.eye(5, dtype=bool)]).max() < 1e-3 and np.abs(found.intercept).max() < 1e-3


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.floats(0.0, 2.0))
def test_derivatives_are_those_of_the_loss(seed: int, diagonal: bool, penalty: float) -> None:
    """Finite differences agree with the gradient and with the Hessian, for all weights and for the diagonal alone."""
    logits, garments = drawn(20, seed)
    free = np.vstack([np.eye(5, dtype=bool) | (not diagonal), np.ones(5, bool)])
    inputs, hits = np.hstack([logits, np.ones((20, 1))]), garments[:, None] == np.arange(5)
    loss = AffineLoss(inputs, hits, free, penalty * np.random.default_rng(seed).random(free.shape))
    place = np.random.default_rng(seed).normal(0, 0.5, int(free.sum()))
    assert check_grad(lambda p: loss.gradient(p)[0], lambda p: loss.gradient(p)[1], place) < 1e-5
    slopes = approx_fprime(place, lambda p: loss.gradient(p)[1])
    assert np.allclose(loss.curvature(place), slopes, atol=1e-5)


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


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5.0))
def test_a_temperature_keeps_the_garment(seed: int, factor: float) -> None:
    """Whatever the temperature, the most probable garment stays."""
    logits, garments = drawn(200, seed)
    for scaling in (
        fit_temperature_scaling(factor * logits, garments),
        fit_group_temperature(factor * logits, garments, MEMBERSHIP),
    ):
        assert (scaling.apply(logits).argmax(axis=1) == logits.argmax(axis=1)).all()


def test_levels_undo_different_boasts_between_groups_and_inside_them() -> None:
    """Groups three times too sure and garments inside them half as sure as they should be are both mended."""
    logits, garments = drawn(20_000, 6)
    owner = MEMBERSHIP.argmax(axis=1)
    groups = group_logits(logits, MEMBERSHIP)
    inside = 0.5 * (logits - groups[:, owner])
    boasting = 3 * groups[:, owner] + inside - group_logits(inside, MEMBERSHIP)[:, owner]
    found = fit_levels(fit_temperature_scaling, boasting, garments, MEMBERSHIP)
    assert found.within == pytest.approx(0.5, rel=0.05)
    assert np.allclose(softmax(found.apply(boasting)), softmax(logits), atol=0.02)


def test_beta_keeps_all_proportions_but_that_of_the_confidence() -> None:
    """Inside the predicted group, and among the other garments, ratios of probabilities stay."""
    logits, garments = drawn(500, 7)
    before, after = softmax(3 * logits), softmax(fit_beta(3 * logits, garments, MEMBERSHIP).apply(3 * logits))
    inside = MEMBERSHIP[:, (before @ MEMBERSHIP).argmax(axis=1)].T > 0
    ratio = np.log(after) - np.log(before)
    for part in (inside, ~inside):
        spread = np.where(part, ratio, -np.inf).max(axis=1) - np.where(part, ratio, np.inf).min(axis=1)
        assert np.abs(spread).max() < 1e-8


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
        return fit_none(logits, garments)

    probabilities = cross_fitted(fit, logits, garments, MEMBERSHIP, folds=3)
    folds = stratified_folds(garments, 3, seed=0)
    assert all(tuple(row) not in seen[fold] for row, fold in zip(logits, folds, strict=True))
    assert np.allclose(probabilities, softmax(logits))
