"""The studied calibration maps undo planted distortions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.logit_scaling import Affine, Fit, Scaling, fit_dirichlet, fit_level_scaling, group_logits
from models.probabilities import softmax
from models.studied.logit_scalings import (
    SCALINGS,
    fit_beta,
    fit_group_temperature,
    fit_identity,
    fit_temperature_scaling,
    fit_vector,
)
from tests.models.test_logit_scaling import MEMBERSHIP, drawn


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

    honest = loss(1.0, fit_identity(logits, garments))
    assert loss(1.0, fit(logits, garments, MEMBERSHIP)) == pytest.approx(honest, abs=0.01)
    calibrated = fit(3 * logits, garments, MEMBERSHIP)
    boast = loss(3.0, fit_identity(logits, garments))
    assert fit is SCALINGS["none"] or loss(3.0, calibrated) < honest + 0.5 * (boast - honest)


@pytest.mark.parametrize("planted", [0.5, 3.0])
@pytest.mark.parametrize("name", ["temperature", "group temperature"])
def test_planted_temperature_is_found(name: str, planted: float) -> None:
    """Garments as well as their groups alone tell the factor that honest logits were multiplied by."""
    logits, garments = drawn(20_000, 0)
    found = SCALINGS[name](logits * planted, garments, MEMBERSHIP)
    assert np.allclose(found.apply(logits * planted), logits, rtol=0.08)


def test_vector_finds_the_planted_weights_and_shifts() -> None:
    """Weight by weight, and the shifts but for what all share."""
    factors, shifts = np.array([0.5, 1.0, 1.5, 1.2, 1.0]), np.array([1.0, -1.0, 0.0, 1.5, 0.0])
    found = fit_vector(*drawn(8000, 2, Affine(np.diag(factors), shifts)))
    assert np.diag(found.weights) == pytest.approx(factors, abs=0.15)
    assert found.intercept - found.intercept.mean() == pytest.approx(shifts - shifts.mean(), abs=0.15)


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


def test_dirichlet_undoes_mixed_classes_where_a_vector_cannot() -> None:
    """Logits that lean on one another need weights off the diagonal."""
    planted = Affine(np.eye(5) + 0.6 * np.roll(np.eye(5), 1, axis=1), np.zeros(5), normalised=True)
    (logits, garments), (fresh, truth) = drawn(5000, 4, planted), drawn(5000, 5, planted)
    best = log_loss(planted, fresh, truth)
    assert log_loss(fit_dirichlet(logits, garments), fresh, truth) == pytest.approx(best, abs=0.01)
    assert log_loss(fit_vector(logits, garments), fresh, truth) > best + 0.05


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


def test_beta_keeps_all_proportions_but_that_of_the_confidence() -> None:
    """Inside the predicted group, and among the other garments, ratios of probabilities stay."""
    logits, garments = drawn(500, 7)
    before, after = softmax(3 * logits), softmax(fit_beta(3 * logits, garments, MEMBERSHIP).apply(3 * logits))
    inside = MEMBERSHIP[:, (before @ MEMBERSHIP).argmax(axis=1)].T > 0
    ratio = np.log(after) - np.log(before)
    for part in (inside, ~inside):
        spread = np.where(part, ratio, -np.inf).max(axis=1) - np.where(part, ratio, np.inf).min(axis=1)
        assert np.abs(spread).max() < 1e-8


def test_levels_undo_different_overconfidence_between_groups_and_inside_them() -> None:
    """Groups three times too sure and garments inside them half as sure as they should be are both corrected."""
    logits, garments = drawn(20_000, 6)
    group_of = MEMBERSHIP.argmax(axis=1)
    groups = group_logits(logits, MEMBERSHIP)
    inside = 0.5 * (logits - groups[:, group_of])
    overconfident = 3 * groups[:, group_of] + inside - group_logits(inside, MEMBERSHIP)[:, group_of]
    found = fit_level_scaling(overconfident, garments, MEMBERSHIP, fit_temperature_scaling)
    assert found.within == pytest.approx(0.5, rel=0.05)
    assert np.allclose(softmax(found.apply(overconfident)), softmax(logits), atol=0.02)
