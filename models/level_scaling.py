"""Scalings that know which garments make up a group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

from models.affine_scaling import Affine, Doubles, likelihood_loss, tempered
from models.probabilities import Floats, Integers, fit_temperature

NEVER = -1e9
"""The logit of what cannot be: finite, so that it can be divided and summed."""


def fit_group_temperature(logits: Floats, garments: Integers, membership: Floats) -> Affine:
    """Divides the logits by the temperature most likely to give the true groups, the sums of their garments."""
    members = membership[:, membership[garments].argmax(axis=1)].T > 0

    def loss(log_temperature: float) -> float:
        return float(likelihood_loss(logits / np.exp(log_temperature), members)[0])

    return tempered(float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x)), logits.shape[1])


@dataclass(frozen=True)
class Levels:
    """Calibrates the groups, and apart from them the garments inside each group.

    p(garment) = p(group) p(garment | group), so the log-likelihood is a sum of two that share no parameter.

    Attributes:
        between: Applied to the groups' log-probabilities.
        within: The temperature of the garments inside a group.
        membership: [garments, groups] of 0 and 1.
    """

    between: Affine
    within: float
    membership: Floats

    def apply(self, logits: Floats) -> Doubles:
        """Returns float64 [N, garments] for [N, garments]."""
        owner = self.membership.argmax(axis=1)
        inside = np.asarray(logits, np.float64) / self.within
        groups = log_softmax(group_logits(logits, self.membership), axis=1)
        between = log_softmax(self.between.apply(groups), axis=1)
        return (between - group_logits(inside, self.membership))[:, owner] + inside


def fit_levels(
    fit: Callable[[Floats, Integers], Affine], logits: Floats, garments: Integers, membership: Floats
) -> Levels:
    """Fits a scaling to the groups and a temperature to the garments inside them."""
    owner = membership.argmax(axis=1)
    inside = np.where(owner == owner[garments][:, None], logits, NEVER)
    between = fit(log_softmax(group_logits(logits, membership), axis=1), owner[garments])
    return Levels(between, fit_temperature(inside, garments), membership)


def group_logits(logits: Floats, membership: Floats) -> Doubles:
    """Returns logits of the groups, float64 [N, groups]: the log of the sum of their garments' exponentials."""
    masked = np.where(membership.T[None] > 0, np.asarray(logits, np.float64)[:, None, :], NEVER)
    return np.asarray(logsumexp(masked, axis=2))
