"""Scalings of one number, the confidence in the predicted group; all other probabilities keep their proportions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, log_expit, log_softmax

from models.affine_scaling import Doubles
from models.level_scaling import NEVER, group_logits
from models.probabilities import Floats, Integers


@dataclass(frozen=True)
class BetaConfidence:
    """Calibrated log-odds are `rise * log(c) - fall * log(1 - c) + intercept` for the confidence c."""

    rise: float
    fall: float
    intercept: float
    membership: Floats

    def apply(self, logits: Floats) -> Doubles:
        """Returns float64 [N, garments] for [N, garments]."""
        odds, _ = group_odds(logits, self.membership)
        new = self.rise * log_expit(odds) - self.fall * log_expit(-odds) + self.intercept
        return with_confidence(logits, new, self.membership)


@dataclass(frozen=True)
class IsotonicConfidence:
    """Calibrated log-odds by linear interpolation between knots.

    Attributes:
        knots: Ascending log-odds, [knots].
        values: Not descending log-odds, [knots].
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
    odds, correct = _judged(logits, garments, membership)
    inputs = np.stack([log_expit(odds), -log_expit(-odds), np.ones(len(odds))], axis=1)

    def loss(parameters: Doubles) -> tuple[float, Doubles]:
        new = inputs @ parameters
        value = -log_expit(np.where(correct, new, -new)).mean()
        return float(value), inputs.T @ (expit(new) - correct) / len(new)

    # Neither slope below 0: the map must keep the order.
    bounds = [(0, None), (0, None), (None, None)]
    rise, fall, intercept = minimize(loss, np.array([1.0, 1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return BetaConfidence(float(rise), float(fall), float(intercept), membership)


def fit_isotonic(logits: Floats, garments: Integers, membership: Floats) -> IsotonicConfidence:
    """Isotonic calibration of the confidence, with the knots in the middle of each step.

    Zadrozny and Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates", 2002,
    section 3. Steps of n right answers alone get (n + 1) / (n + 2) instead of 1, so that no later mistake costs an
    infinite loss.

    Args:
        logits: [N, garments].
        garments: int [N], the true garments.
        membership: [garments, groups] of 0 and 1.
    """
    odds, correct = _judged(logits, garments, membership)
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
    np.put_along_axis(others, top[:, None], NEVER, axis=1)
    return best - np.logaddexp.reduce(others, axis=1), top


def with_confidence(logits: Floats, odds: Doubles, membership: Floats) -> Doubles:
    """Returns garment logits, float64 [N, garments], whose most probable group has these log-odds, [N]."""
    old, top = group_odds(logits, membership)
    inside = membership[:, top].T > 0
    move = np.where(inside, (log_expit(odds) - log_expit(old))[:, None], (log_expit(-odds) - log_expit(-old))[:, None])
    return np.asarray(log_softmax(np.asarray(logits, np.float64), axis=1) + move)


def _judged(logits: Floats, garments: Integers, membership: Floats) -> tuple[Doubles, NDArray[np.bool_]]:
    odds, top = group_odds(logits, membership)
    return odds, top == membership[garments].argmax(axis=1)
