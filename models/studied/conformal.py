"""Conformal predictors that experiments compare with the shipped one, and the quality of prediction sets.

Split conformal prediction (Vovk, Gammerman and Shafer, 2005): thresholds come from examples that neither trained nor
calibrated the model. **Conformity** says how well a group suits an image, in 0..1; a set holds the groups whose
conformity reaches the threshold. The calibrated probabilities are one conformity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.calibration import conformal_threshold
from models.logit_scaling import Doubles, stratified_folds
from models.probabilities import Floats, Integers

Sets = NDArray[np.bool_]
Thresholds = Callable[[Floats, Integers, float], Doubles]
"""From conformity [N, groups], true groups int [N] and the nominal coverage, to a threshold per group."""


@dataclass(frozen=True)
class SetQuality:
    """The quality of prediction sets.

    Attributes:
        coverage: The share of the sets that hold the true group.
        coverage_by_group: The same among the examples of each true group, [groups]; NaN for a group without any.
        mean_size: Mean number of groups in a set.
        empty: The share of the sets that hold no group.
        single: The share that holds exactly one group, so that the model does not abstain.
        single_error: The error rate among the sets of exactly one group; NaN without any.
    """

    coverage: float
    coverage_by_group: Doubles
    mean_size: float
    empty: float
    single: float
    single_error: float


def prediction_sets(conformity: Floats, thresholds: Floats) -> Sets:
    """Returns the groups of each set, bool [N, groups].

    A set is empty where no group conforms; many are when the nominal coverage is below the accuracy.

    Args:
        conformity: [N, groups], the probabilities for instance.
        thresholds: One, or one for each group, [groups].
    """
    return np.asarray(conformity >= thresholds)


def marginal_thresholds(conformity: Floats, groups: Integers, coverage: float) -> Doubles:
    """Returns one threshold for all groups, as float64 [groups]: of all sets, `coverage` hold the true group.

    For probabilities: Sadinle, Lei and Wasserman, "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels",
    2019. The rank ceil((n + 1) * coverage) is Vovk's.

    Args:
        conformity: [N, groups].
        groups: int [N], the true groups.
        coverage: In (0, 1).
    """
    true = conformity[np.arange(len(groups)), groups]
    return np.full(conformity.shape[1], conformal_threshold(true, coverage))


def cross_fit_sets(
    fit: Thresholds, conformity: Floats, groups: Integers, coverage: float, folds: int = 5, seed: int = 0
) -> Sets:
    """Returns each example's set, bool [N, groups], by thresholds from the other folds (stratified by group).

    Args:
        fit: `marginal_thresholds` or `models.calibration.group_thresholds`.
        conformity: [N, groups]; of probabilities that are themselves cross-fitted.
        groups: int [N], the true groups.
        coverage: In (0, 1).
        folds: Number of parts. Defaults to 5.
        seed: Seed of the parts.
    """
    fold_of = stratified_folds(groups, folds, seed)
    sets = np.empty(conformity.shape, np.bool_)
    for fold in range(folds):
        rest = fold_of != fold
        sets[~rest] = prediction_sets(conformity[~rest], fit(conformity[rest], groups[rest], coverage))
    return sets


def measure_sets(sets: Sets, groups: Integers) -> SetQuality:
    """Measures prediction sets, bool [N, groups], by the true groups, int [N]."""
    covered, sizes = sets[np.arange(len(groups)), groups], sets.sum(axis=1)
    single = sizes == 1
    return SetQuality(
        coverage=float(covered.mean()),
        coverage_by_group=np.array([_mean_or_nan(covered[groups == group]) for group in range(sets.shape[1])]),
        mean_size=float(sizes.mean()),
        empty=float((sizes == 0).mean()),
        single=float(single.mean()),
        single_error=_mean_or_nan(~covered[single]),
    )


def _mean_or_nan(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")
