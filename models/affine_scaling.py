"""Scalings that are affine maps of logits or log-probabilities: temperature, vector and Dirichlet scaling.

They know classes only; these may be garments or groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from models.probabilities import Floats, Integers, fit_temperature

Doubles = NDArray[np.float64]
SLIGHT = 1e-6
"""A penalty too small to matter, but where the examples do not tell, as when all are right, it bounds the weights."""


@dataclass(frozen=True)
class Affine:
    """Calibrated logits are `inputs @ weights + intercept`.

    Attributes:
        weights: [classes, classes].
        intercept: [classes].
        normalised: Whether the inputs are log-probabilities instead of the raw logits.
    """

    weights: Doubles
    intercept: Doubles
    normalised: bool = False

    def apply(self, logits: Floats) -> Doubles:
        """Returns float64 [N, classes] for [N, classes]."""
        return _inputs(logits, self.normalised) @ self.weights + self.intercept


def tempered(temperature: float, classes: int) -> Affine:
    """Returns the scaling that divides the logits by a temperature."""
    return Affine(np.eye(classes) / temperature, np.zeros(classes))


def fit_none(logits: Floats, garments: Integers) -> Affine:
    """Returns the scaling that changes nothing."""
    return tempered(1.0, logits.shape[1])


def fit_temperature_scaling(logits: Floats, garments: Integers) -> Affine:
    """Divides the logits by the temperature most likely to give the true garments (`probabilities.fit_temperature`)."""
    return tempered(fit_temperature(logits, garments), logits.shape[1])


def fit_vector(logits: Floats, garments: Integers) -> Affine:
    """Vector scaling: a weight and an intercept for every class (Guo et al., 2017, section 4.2)."""
    classes = logits.shape[1]
    free = np.vstack([np.eye(classes, dtype=bool), np.ones(classes, bool)])
    return _fit_affine(logits, garments, free, np.zeros(free.shape), normalised=False)


def fit_dirichlet(logits: Floats, garments: Integers, penalty: float = 0.1) -> Affine:
    """Dirichlet scaling: an affine map of the log-probabilities, regularised off the diagonal and at the intercept.

    Kull et al., "Beyond temperature scaling: Obtaining well-calibrated multi-class probabilities with Dirichlet
    calibration", 2019, sections 3 and 4 (ODIR).

    Args:
        logits: [N, classes].
        garments: int [N], the true classes.
        penalty: Factor of the mean square off the diagonal and of that of the intercept, in nats. Defaults to 0.1.
    """
    classes = logits.shape[1]
    off_diagonal = (1 - np.eye(classes)) * penalty / (classes * (classes - 1))
    penalties = np.vstack([off_diagonal + SLIGHT * np.eye(classes), np.full(classes, penalty / classes)])
    return _fit_affine(logits, garments, np.ones(penalties.shape, bool), penalties, normalised=True)


def likelihood_loss(logits: Floats, hits: NDArray[np.bool_]) -> tuple[float, Doubles]:
    """Returns the mean negative log-likelihood of "one of the hits", and its gradient [N, classes] by the logits.

    Args:
        logits: [N, classes].
        hits: bool [N, classes]: the true class, or all garments of the true group.
    """
    every, all_log = _exponentials(logits)
    true, true_log = _exponentials(np.where(hits, logits, -np.inf))
    return float((all_log - true_log).mean()), (every - true) / len(logits)


@dataclass(frozen=True)
class AffineLoss:
    """The regularised loss of an affine map and its derivatives by those parameters that are free.

    Attributes:
        inputs: [N, classes + 1], the last column of ones.
        hits: bool [N, classes], the true classes.
        free: bool [classes + 1, classes]: weights and, as last row, the intercept; the others are 0.
        penalties: [classes + 1, classes], the factor of each parameter's square.
    """

    inputs: Doubles
    hits: NDArray[np.bool_]
    free: NDArray[np.bool_]
    penalties: Doubles

    def rows(self, parameters: Doubles) -> Doubles:
        """Returns all parameters, [classes + 1, classes], from the free ones."""
        rows = np.zeros(self.free.shape)
        rows[self.free] = parameters
        return rows

    def gradient(self, parameters: Doubles) -> tuple[float, Doubles]:
        """Returns the loss and its gradient, [free]."""
        rows = self.rows(parameters)
        value, slope = likelihood_loss(self.inputs @ rows, self.hits)
        gradient = self.inputs.T @ slope + 2 * self.penalties * rows
        return value + float((self.penalties * rows**2).sum()), gradient[self.free]

    def curvature(self, parameters: Doubles) -> Doubles:
        """Returns the Hessian, [free, free]."""
        inputs, share = self.inputs, _exponentials(self.inputs @ self.rows(parameters))[0]
        count, classes = share.shape
        mixed = (inputs[:, :, None] * share[:, None, :]).reshape(count, -1)
        whole = (-mixed.T @ mixed).reshape(classes + 1, classes, classes + 1, classes)
        for one in range(classes):
            whole[:, one, :, one] += inputs.T @ (inputs * share[:, one, None])
        found = whole.reshape(mixed.shape[1], -1) / count + np.diag(2 * self.penalties.ravel())
        return np.asarray(found[np.ix_(self.free.ravel(), self.free.ravel())])


def _inputs(logits: Floats, normalised: bool) -> Doubles:
    return log_softmax(np.asarray(logits, np.float64), axis=1) if normalised else np.asarray(logits, np.float64)


def _exponentials(logits: Floats) -> tuple[Doubles, Doubles]:
    """Softmax, [N, classes], and log of the sum, [N]; SciPy's two functions for them take three times as long."""
    top = logits.max(axis=1, keepdims=True)
    exponentials = np.exp(logits - top)
    total = exponentials.sum(axis=1, keepdims=True)
    return exponentials / total, (np.log(total) + top)[:, 0]


def _fit_affine(
    logits: Floats, garments: Integers, free: NDArray[np.bool_], penalties: Doubles, normalised: bool
) -> Affine:
    inputs = np.hstack([_inputs(logits, normalised), np.ones((len(logits), 1))])
    loss = AffineLoss(inputs, garments[:, None] == np.arange(logits.shape[1]), free, penalties)
    start = np.eye(*free.shape)[free] / fit_temperature(logits, garments)
    # The inputs depend on one another so much that L-BFGS took over 500 steps of 110 parameters, Newton's takes five.
    found = minimize(loss.gradient, start, jac=True, hess=loss.curvature, method="trust-exact", options={"gtol": 1e-6})
    rows = loss.rows(found.x)
    return Affine(rows[:-1], rows[-1], normalised)
