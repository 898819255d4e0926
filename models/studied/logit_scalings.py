"""The calibration maps that the experiment `calibration` compares: `SCALINGS` by name, each a fit of one signature.

A fit takes garment logits, true garments and the membership matrix, and returns a `models.logit_scaling.Scaling`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize, minimize_scalar
from scipy.special import expit, log_expit, log_softmax

from models.logit_scaling import (
    NEGATIVE_LOGIT,
    Affine,
    Doubles,
    Fit,
    fit_affine,
    fit_dirichlet,
    fit_level_scaling,
    group_logits,
    likelihood_loss,
)
from models.probabilities import Floats, Integers, fit_temperature


def divided_by(temperature: float, classes: int) -> Affine:
    """Returns the map that divides the logits by a temperature."""
    return Affine(np.eye(classes) / temperature, np.zeros(classes))


def fit_identity(logits: Floats, classes: Integers) -> Affine:
    """Returns the map that changes nothing."""
    return divided_by(1.0, logits.shape[1])


def fit_temperature_scaling(logits: Floats, classes: Integers) -> Affine:
    """Divides the logits by the temperature that maximises the likelihood of the true classes (`fit_temperature`)."""
    return divided_by(fit_temperature(logits, classes), logits.shape[1])


def fit_group_temperature(logits: Floats, garments: Integers, membership: Floats) -> Affine:
    """Divides the logits by the temperature that maximises the likelihood of the true groups."""
    members = membership[:, membership[garments].argmax(axis=1)].T > 0

    def loss(log_temperature: float) -> float:
        return float(likelihood_loss(logits / np.exp(log_temperature), members)[0])

    best = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x
    return divided_by(float(np.exp(best)), logits.shape[1])


def fit_vector(logits: Floats, classes: Integers) -> Affine:
    """Vector scaling: a weight and an intercept for every class (Guo et al., 2017, section 4.2)."""
    count = logits.shape[1]
    free = np.vstack([np.eye(count, dtype=bool), np.ones(count, bool)])
    return fit_affine(logits, classes, free, np.zeros(free.shape), normalised=False)


@dataclass(frozen=True)
class BetaConfidence:
    """Calibrated log-odds of the confidence c are `rise * log(c) - fall * log(1 - c) + intercept`."""

    rise: float
    fall: float
    intercept: float
    membership: Floats

    def apply(self, logits: Floats) -> Doubles:
        """Returns float64 [N, garments] for [N, garments]."""
        odds, _ = group_odds(logits, self.membership)
        calibrated = self.rise * log_expit(odds) - self.fall * log_expit(-odds) + self.intercept
        return with_confidence(logits, calibrated, self.membership)


@dataclass(frozen=True)
class IsotonicConfidence:
    """Calibrated log-odds of the confidence by linear interpolation between knots.

    Attributes:
        knots: Ascending log-odds, [knots].
        values: Calibrated log-odds, not descending, [knots].
        membership: [garments, groups] of 0 and 1.
    """

    knots: Doubles
    values: Doubles
    membership: Floats

    def apply(self, logits: Floats) -> Doubles:
        """Returns float64 [N, garments] for [N, garments]."""
        odds, _ = group_odds(logits, self.membership)
        return with_confidence(logits, np.interp(odds, self.knots, self.values), self.membership)


def fit_beta(logits: Floats, garments: Integers, membership: Floats) -> BetaConfidence:
    """Beta calibration of the confidence (Kull, Silva Filho and Flach, "Beta calibration", 2017, section 3).

    Args:
        logits: [N, garments].
        garments: int [N], the true garments.
        membership: [garments, groups] of 0 and 1.
    """
    odds, predicted = group_odds(logits, membership)
    correct = predicted == membership[garments].argmax(axis=1)
    inputs = np.stack([log_expit(odds), -log_expit(-odds), np.ones(len(odds))], axis=1)

    def loss(parameters: Doubles) -> tuple[float, Doubles]:
        calibrated = inputs @ parameters
        value = -log_expit(np.where(correct, calibrated, -calibrated)).mean()
        return float(value), inputs.T @ (expit(calibrated) - correct) / len(calibrated)

    # Neither slope below 0: the map must keep the order.
    bounds = [(0, None), (0, None), (None, None)]
    rise, fall, intercept = minimize(loss, np.array([1.0, 1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return BetaConfidence(float(rise), float(fall), float(intercept), membership)


def fit_isotonic(logits: Floats, garments: Integers, membership: Floats) -> IsotonicConfidence:
    """Isotonic calibration of the confidence, with the knots in the middle of each step.

    Zadrozny and Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates", 2002,
    section 3. A step of n correct predictions gets (n + 1) / (n + 2) instead of 1, so that no later error costs an
    infinite loss.

    Args:
        logits: [N, garments].
        garments: int [N], the true garments.
        membership: [garments, groups] of 0 and 1.
    """
    odds, predicted = group_odds(logits, membership)
    correct = predicted == membership[garments].argmax(axis=1)
    order = np.argsort(odds, kind="stable")
    found = isotonic_regression(correct[order].astype(np.float64))
    sizes = np.diff(found.blocks)
    shares = np.clip(found.x[found.blocks[:-1]], 1 / (sizes + 2), (sizes + 1) / (sizes + 2))
    knots = np.add.reduceat(odds[order], found.blocks[:-1]) / sizes
    values = np.maximum.accumulate(np.log(shares) - np.log1p(-shares))
    return IsotonicConfidence(knots, values, membership)


def group_odds(logits: Floats, membership: Floats) -> tuple[Doubles, NDArray[np.integer[Any]]]:
    """Returns the log-odds of the most probable group, float64 [N], and the group, int [N]."""
    groups = group_logits(logits, membership)
    top = groups.argmax(axis=1)
    best = np.take_along_axis(groups, top[:, None], axis=1)[:, 0]
    others = groups.copy()
    np.put_along_axis(others, top[:, None], NEGATIVE_LOGIT, axis=1)
    return best - np.logaddexp.reduce(others, axis=1), top


def with_confidence(logits: Floats, odds: Doubles, membership: Floats) -> Doubles:
    """Returns garment logits, float64 [N, garments], whose most probable group has the log-odds `odds`, [N].

    All other probabilities keep their proportions.
    """
    old, top = group_odds(logits, membership)
    inside = membership[:, top].T > 0
    move = np.where(inside, (log_expit(odds) - log_expit(old))[:, None], (log_expit(-odds) - log_expit(-old))[:, None])
    return np.asarray(log_softmax(np.asarray(logits, np.float64), axis=1) + move)


def _of_garments(fit: Callable[[Floats, Integers], Affine]) -> Fit:
    return lambda logits, garments, membership: fit(logits, garments)


SCALINGS: Mapping[str, Fit] = {
    "none": _of_garments(fit_identity),
    "temperature": _of_garments(fit_temperature_scaling),
    "group temperature": fit_group_temperature,
    "vector": _of_garments(fit_vector),
    "dirichlet": _of_garments(fit_dirichlet),
    "levels temperature": partial(fit_level_scaling, fit_between=fit_temperature_scaling),
    "levels vector": partial(fit_level_scaling, fit_between=fit_vector),
    "levels dirichlet": fit_level_scaling,
    "beta": fit_beta,
    "isotonic": fit_isotonic,
}
"""By name; "levels ..." scales the groups and, apart from them, the garments inside each group."""
