"""Scalings: maps from a network's logits to honest ones, each fitted on a few thousand examples it was not trained on.

All have one shape, so that a study can hold them side by side: a fit takes logits, true garments and the membership
matrix, and returns a `Scaling`, which turns garment logits into calibrated garment logits. `SCALINGS` names them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.affine_scaling import Affine, Doubles, fit_dirichlet, fit_none, fit_temperature_scaling, fit_vector
from models.confidence_scaling import fit_beta, fit_isotonic
from models.level_scaling import fit_group_temperature, fit_levels
from models.probabilities import Floats, Integers, softmax


class Scaling(Protocol):
    """What turns garment logits into calibrated ones."""

    def apply(self, logits: Floats) -> Doubles:
        """Returns calibrated logits, float64 [N, garments], whose softmax are the probabilities."""
        ...


Fit = Callable[[Floats, Integers, Floats], Scaling]
"""From logits [N, garments], true garments int [N] and membership [garments, groups]."""


def _garments_only(fit: Callable[[Floats, Integers], Affine]) -> Fit:
    return lambda logits, garments, membership: fit(logits, garments)


SCALINGS: Mapping[str, Fit] = {
    "none": _garments_only(fit_none),
    "temperature": _garments_only(fit_temperature_scaling),
    "group temperature": fit_group_temperature,
    "vector": _garments_only(fit_vector),
    "dirichlet": _garments_only(fit_dirichlet),
    "levels temperature": partial(fit_levels, fit_temperature_scaling),
    "levels vector": partial(fit_levels, fit_vector),
    "levels dirichlet": partial(fit_levels, fit_dirichlet),
    "beta": fit_beta,
    "isotonic": fit_isotonic,
}
"""By name; "levels ..." scales the groups and, apart from them, the garments inside each."""


def stratified_folds(classes: Integers, folds: int, seed: int) -> NDArray[np.int64]:
    """Returns the fold of each example, int64 [N]; every class is spread evenly over the folds."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    found = np.empty(len(classes), np.int64)
    found[order] = np.arange(len(classes)) % folds
    return found


def cross_fitted(
    fit: Fit, logits: Floats, garments: Integers, membership: Floats, folds: int = 5, seed: int = 0
) -> Doubles:
    """Calibrates each example by a scaling fitted without it, so that one split can both fit and judge.

    Args:
        fit: One of `SCALINGS`.
        logits: [N, garments].
        garments: int [N], the true garments.
        membership: [garments, groups] of 0 and 1.
        folds: How many parts, stratified by garment. Defaults to 5.
        seed: Of the parts.

    Returns:
        Probabilities, float64 [N, garments].
    """
    fold = stratified_folds(garments, folds, seed)
    probabilities = np.empty(logits.shape, np.float64)
    for held in range(folds):
        rest = fold != held
        scaling = fit(logits[rest], garments[rest], membership)
        probabilities[~rest] = softmax(scaling.apply(logits[~rest]))
    return probabilities
