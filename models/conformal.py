"""Prediction sets that hold the true group as often as promised: over all items, or in every group.

Split conformal prediction (Vovk, Gammerman and Shafer, 2005): thresholds come from examples that neither trained nor
calibrated the model. **Conformity** says how well a group suits an image, in 0..1; a set holds the groups whose
conformity reaches the threshold. The probabilities are one conformity, `adaptive_conformity` makes another of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.probabilities import Floats, Integers
from models.scaling import stratified_folds

Doubles = NDArray[np.float64]
Sets = NDArray[np.bool_]
Thresholds = Callable[[Floats, Integers, float], Doubles]
"""From conformity [N, groups], true groups int [N] and the coverage asked for, to a threshold per group."""


@dataclass(frozen=True)
class SetQuality:
    """How good prediction sets are.

    Attributes:
        coverage: The share of the sets that hold the true group.
        coverage_by_group: The same among the examples of each true group, [groups]; NaN for a group without any.
        mean_size: Groups in a set.
        empty: The share of the sets that hold no group.
        single: The share that holds exactly one: no abstention.
        single_error: The share of wrong ones among those that hold exactly one; NaN without any.
    """

    coverage: float
    coverage_by_group: Doubles
    mean_size: float
    empty: float
    single: float
    single_error: float


def prediction_sets(conformity: Floats, thresholds: Floats) -> Sets:
    """Returns which groups belong to each set, bool [N, groups].

    A set is empty where no group conforms; many are when the coverage asked for is below the accuracy.

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
    return np.full(conformity.shape[1], _ranked(true, coverage))


def group_thresholds(conformity: Floats, groups: Integers, coverage: float) -> Doubles:
    """Returns a threshold for each group, float64 [groups]: in every group, `coverage` of the sets hold it.

    The Mondrian (class-conditional) predictor of Vovk, "Conditional validity of inductive conformal predictors", 2012,
    section 4. The price are larger sets where the model is weak.

    Args:
        conformity: [N, groups].
        groups: int [N], the true groups.
        coverage: In (0, 1).
    """
    count = conformity.shape[1]
    return np.array([_ranked(conformity[groups == group, group], coverage) for group in range(count)])


def adaptive_conformity(
    probabilities: Floats, random: np.random.Generator | None = None, penalty: float = 0.0, free: int = 1
) -> Doubles:
    """Returns conformity by the probability mass above a group, float64 [N, groups], for sets that grow with doubt.

    Romano, Sesia and Candès, "Classification with Valid and Adaptive Coverage", 2020 (APS); with a penalty,
    Angelopoulos et al., "Uncertainty Sets for Image Classifiers using Conformal Prediction", 2021 (RAPS).

    Args:
        probabilities: [N, groups].
        random: Counts a random part of the group's own mass, as APS does; None counts all, for sets without chance.
        penalty: RAPS's lambda, for every rank beyond the free ones. Defaults to 0.0, APS.
        free: RAPS's k_reg, the size up to which a set is not penalised. Defaults to 1.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(np.asarray(probabilities, np.float64), order, axis=1)
    part = 1.0 if random is None else random.random((len(ranked), 1))
    steps = penalty * np.maximum(np.arange(1, ranked.shape[1] + 1) - free, 0)
    scores = np.cumsum(ranked, axis=1) - ranked + part * ranked + steps
    conformity = np.empty_like(ranked)
    # Scaled into 0..1, so that the threshold 0 lets every group in, here as for probabilities.
    np.put_along_axis(conformity, order, np.clip(1.0 - scores / (1.0 + steps[-1]), 0.0, 1.0), axis=1)
    return conformity


def cross_fitted_sets(
    fit: Thresholds, conformity: Floats, groups: Integers, coverage: float, folds: int = 5, seed: int = 0
) -> Sets:
    """Returns each example's set, bool [N, groups], by thresholds from the other folds (stratified by group).

    Args:
        fit: `marginal_thresholds` or `group_thresholds`.
        conformity: [N, groups]; of probabilities that are themselves cross-fitted.
        groups: int [N], the true groups.
        coverage: In (0, 1).
        folds: How many parts. Defaults to 5.
        seed: Of the parts.
    """
    fold = stratified_folds(groups, folds, seed)
    sets = np.empty(conformity.shape, np.bool_)
    for held in range(folds):
        rest = fold != held
        sets[~rest] = prediction_sets(conformity[~rest], fit(conformity[rest], groups[rest], coverage))
    return sets


def measure_sets(sets: Sets, groups: Integers) -> SetQuality:
    """Measures prediction sets, bool [N, groups], by the true groups, int [N]."""
    held, sizes = sets[np.arange(len(groups)), groups], sets.sum(axis=1)
    single = sizes == 1
    return SetQuality(
        coverage=float(held.mean()),
        coverage_by_group=np.array([_mean(held[groups == group]) for group in range(sets.shape[1])]),
        mean_size=float(sizes.mean()),
        empty=float((sizes == 0).mean()),
        single=float(single.mean()),
        single_error=_mean(~held[single]),
    )


def _rank(count: int, coverage: float) -> int:
    return int(np.ceil((count + 1) * coverage))


def _ranked(true: Floats, coverage: float) -> float:
    """The threshold from the conformity of the true groups, [n]; 0 when n is too small for the coverage."""
    rank = _rank(len(true), coverage)
    return 0.0 if rank > len(true) else float(np.sort(true)[len(true) - rank])


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")
