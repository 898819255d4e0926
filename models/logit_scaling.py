"""The shipped calibration map of logits: Dirichlet scaling between the groups, a temperature inside each group.

`LevelScaling` is the map, `fit_level_scaling` fits it, and `cross_fit` calibrates every example by a map that was
fitted without it. `models.studied.logit_scalings` has the maps that the experiment `calibration` compares with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp

from models.probabilities import Floats, Integers, fit_temperature, softmax

Doubles = NDArray[np.float64]
SMALL_PENALTY = 1e-6
"""Too small to matter, but it bounds weights that the examples do not determine, as when all are correct."""
NEGATIVE_LOGIT = -1e9
"""The logit of an impossible class: finite, so that it can be divided and summed."""


class Scaling(Protocol):
    """A map from garment logits to calibrated garment logits."""

    def apply(self, logits: Floats) -> Doubles:
        """Returns calibrated logits, float64 [N, garments], whose softmax are the probabilities."""
        ...


Fit = Callable[[Floats, Integers, Floats], Scaling]
"""From logits [N, garments], true garments int [N] and membership [garments, groups]."""


@dataclass(frozen=True)
class Affine:
    """An affine map: calibrated logits are `inputs @ weights + intercept`.

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
        return _affine_inputs(logits, self.normalised) @ self.weights + self.intercept


@dataclass(frozen=True)
class LevelScaling:
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
        group_of = self.membership.argmax(axis=1)
        inside = np.asarray(logits, np.float64) / self.within
        groups = log_softmax(group_logits(logits, self.membership), axis=1)
        between = log_softmax(self.between.apply(groups), axis=1)
        return (between - group_logits(inside, self.membership))[:, group_of] + inside


def group_logits(logits: Floats, membership: Floats) -> Doubles:
    """Returns logits of the groups, float64 [N, groups]: the log of the sum of their garments' exponentials."""
    masked = np.where(membership.T[None] > 0, np.asarray(logits, np.float64)[:, None, :], NEGATIVE_LOGIT)
    return np.asarray(logsumexp(masked, axis=2))


def fit_dirichlet(logits: Floats, classes: Integers, penalty: float = 0.1) -> Affine:
    """Dirichlet scaling: an affine map of the log-probabilities, regularised off the diagonal and at the intercept.

    Kull et al., "Beyond temperature scaling: Obtaining well-calibrated multi-class probabilities with Dirichlet
    calibration", 2019, sections 3 and 4 (ODIR).

    Args:
        logits: [N, classes].
        classes: int [N], the true classes.
        penalty: Factor of the mean square off the diagonal and of that of the intercept, in nats. Defaults to 0.1.
    """
    count = logits.shape[1]
    off_diagonal = (1 - np.eye(count)) * penalty / (count * (count - 1))
    penalties = np.vstack([off_diagonal + SMALL_PENALTY * np.eye(count), np.full(count, penalty / count)])
    return fit_affine(logits, classes, np.ones(penalties.shape, bool), penalties, normalised=True)


def fit_affine(
    logits: Floats, classes: Integers, free: NDArray[np.bool_], penalties: Doubles, normalised: bool
) -> Affine:
    """Fits an affine map by regularised maximum likelihood, from the best temperature on.

    Args:
        logits: [N, classes].
        classes: int [N], the true classes.
        free: bool [classes + 1, classes]: the parameters that are fitted; the others are 0. The last row is the
            intercept.
        penalties: [classes + 1, classes], the factor of each parameter's square.
        normalised: Whether the map is applied to log-probabilities instead of logits.
    """
    inputs = np.hstack([_affine_inputs(logits, normalised), np.ones((len(logits), 1))])
    loss = AffineLoss(inputs, classes[:, None] == np.arange(logits.shape[1]), free, penalties)
    start = np.eye(*free.shape)[free] / fit_temperature(logits, classes)
    # The inputs are so correlated that L-BFGS needs over 500 steps for 110 parameters, Newton's method five.
    found = minimize(loss.gradient, start, jac=True, hess=loss.hessian, method="trust-exact", options={"gtol": 1e-6})
    parameters = loss.all_parameters(found.x)
    return Affine(parameters[:-1], parameters[-1], normalised)


@dataclass(frozen=True)
class AffineLoss:
    """The regularised loss of an affine map and its derivatives by the free parameters.

    Attributes:
        inputs: [N, classes + 1], the last column of ones.
        hits: bool [N, classes], the true classes.
        free: As of `fit_affine`.
        penalties: As of `fit_affine`.
    """

    inputs: Doubles
    hits: NDArray[np.bool_]
    free: NDArray[np.bool_]
    penalties: Doubles

    def all_parameters(self, free_parameters: Doubles) -> Doubles:
        """Returns all parameters, [classes + 1, classes], from the free ones."""
        parameters = np.zeros(self.free.shape)
        parameters[self.free] = free_parameters
        return parameters

    def gradient(self, free_parameters: Doubles) -> tuple[float, Doubles]:
        """Returns the loss and its gradient, [free]."""
        parameters = self.all_parameters(free_parameters)
        value, slope = likelihood_loss(self.inputs @ parameters, self.hits)
        gradient = self.inputs.T @ slope + 2 * self.penalties * parameters
        return value + float((self.penalties * parameters**2).sum()), gradient[self.free]

    def hessian(self, free_parameters: Doubles) -> Doubles:
        """Returns the Hessian, [free, free]."""
        inputs, probabilities = self.inputs, _softmax_and_log_sum(self.inputs @ self.all_parameters(free_parameters))[0]
        count, classes = probabilities.shape
        mixed = (inputs[:, :, None] * probabilities[:, None, :]).reshape(count, -1)
        hessian = (-mixed.T @ mixed).reshape(classes + 1, classes, classes + 1, classes)
        for one in range(classes):
            hessian[:, one, :, one] += inputs.T @ (inputs * probabilities[:, one, None])
        penalised = hessian.reshape(mixed.shape[1], -1) / count + np.diag(2 * self.penalties.ravel())
        return np.asarray(penalised[np.ix_(self.free.ravel(), self.free.ravel())])


def likelihood_loss(logits: Floats, hits: NDArray[np.bool_]) -> tuple[float, Doubles]:
    """Returns the mean negative log-likelihood of "one of the hits", and its gradient [N, classes] by the logits.

    Args:
        logits: [N, classes].
        hits: bool [N, classes]: the true class, or all garments of the true group.
    """
    every, all_log = _softmax_and_log_sum(logits)
    true, true_log = _softmax_and_log_sum(np.where(hits, logits, -np.inf))
    return float((all_log - true_log).mean()), (every - true) / len(logits)


def fit_level_scaling(
    logits: Floats,
    garments: Integers,
    membership: Floats,
    fit_between: Callable[[Floats, Integers], Affine] = fit_dirichlet,
) -> LevelScaling:
    """Fits a map to the groups and a temperature to the garments inside them.

    Args:
        logits: [N, garments].
        garments: int [N], the true garments.
        membership: [garments, groups] of 0 and 1.
        fit_between: Fits the map of the groups. Defaults to `fit_dirichlet`, which has the lowest log loss of the
            groups in the experiment `calibration`.
    """
    group_of = membership.argmax(axis=1)
    inside = np.where(group_of == group_of[garments][:, None], logits, NEGATIVE_LOGIT)
    groups = log_softmax(group_logits(logits, membership), axis=1)
    between = fit_between(groups, group_of[garments])
    return LevelScaling(between, fit_temperature(inside, garments), membership)


def stratified_folds(classes: Integers, folds: int, seed: int) -> NDArray[np.int64]:
    """Returns the fold of each example, int64 [N]; every class is spread evenly over the folds."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    fold_of = np.empty(len(classes), np.int64)
    fold_of[order] = np.arange(len(classes)) % folds
    return fold_of


def cross_fit(
    fit: Fit, logits: Floats, garments: Integers, membership: Floats, folds: int = 5, seed: int = 0
) -> Doubles:
    """Calibrates each example by a map fitted without it, so that one split can both fit and evaluate.

    Args:
        fit: `fit_level_scaling`, or one of `models.studied.logit_scalings.SCALINGS`.
        logits: [N, garments].
        garments: int [N], the true garments.
        membership: [garments, groups] of 0 and 1.
        folds: Number of parts, stratified by garment. Defaults to 5.
        seed: Seed of the parts.

    Returns:
        Probabilities, float64 [N, garments].
    """
    fold_of = stratified_folds(garments, folds, seed)
    probabilities = np.empty(logits.shape, np.float64)
    for fold in range(folds):
        rest = fold_of != fold
        scaling = fit(logits[rest], garments[rest], membership)
        probabilities[~rest] = softmax(scaling.apply(logits[~rest]))
    return probabilities


def _affine_inputs(logits: Floats, normalised: bool) -> Doubles:
    return log_softmax(np.asarray(logits, np.float64), axis=1) if normalised else np.asarray(logits, np.float64)


def _softmax_and_log_sum(logits: Floats) -> tuple[Doubles, Doubles]:
    """Softmax, [N, classes], and log of the sum, [N]; SciPy's two functions for them take three times as long."""
    top = logits.max(axis=1, keepdims=True)
    exponentials = np.exp(logits - top)
    total = exponentials.sum(axis=1, keepdims=True)
    return exponentials / total, (np.log(total) + top)[:, 0]
