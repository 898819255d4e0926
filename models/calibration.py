"""Calibration: turns a network's logits into calibrated probabilities and conformal prediction sets.

Fitted on the validation split with NumPy; `models.export` computes the same inside the exported graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.logit_scaling import Affine, Doubles, LevelScaling, cross_fit, fit_level_scaling
from models.probabilities import Floats, Integers, softmax
from pipeline.contract.errors import UserError


@dataclass(frozen=True)
class Calibration:
    """What the exported model applies to its logits.

    Attributes:
        scaling: Between the groups an affine map of their log-probabilities, inside them one temperature.
        thresholds: float64 [groups]; a group belongs to the prediction set when its calibrated probability reaches its
            threshold.
        coverage: Nominal share of each group's prediction sets that hold the true group.
    """

    scaling: LevelScaling
    thresholds: Doubles
    coverage: float

    def garment_probabilities(self, logits: Floats) -> Doubles:
        """Returns float64 [N, garments] for logits [N, garments]."""
        return softmax(self.scaling.apply(logits))

    def group_probabilities(self, logits: Floats) -> Doubles:
        """Returns float64 [N, groups], the sums of the garments' probabilities, for logits [N, garments]."""
        return np.asarray(self.garment_probabilities(logits) @ self.scaling.membership)

    def to_json(self) -> dict[str, Any]:
        """Returns all numbers by name, arrays as lists."""
        between = self.scaling.between
        return {
            "between": {"weights": between.weights.tolist(), "intercept": between.intercept.tolist()},
            "within": self.scaling.within,
            "membership": self.scaling.membership.tolist(),
            "thresholds": self.thresholds.tolist(),
            "coverage": self.coverage,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Calibration:
        """Reads what `to_json` returned.

        Raises:
            UserError: A name is missing, as in files of models trained before there were two levels.
        """
        names = ("between", "within", "membership", "thresholds", "coverage")
        if not set(names) <= set(values):
            raise UserError(
                "The model's calibration comes from an earlier version.",
                expected=", ".join(names),
                received=", ".join(values),
            )
        between = Affine(np.array(values["between"]["weights"]), np.array(values["between"]["intercept"]), True)
        scaling = LevelScaling(between, values["within"], np.array(values["membership"]))
        return cls(scaling, np.array(values["thresholds"]), values["coverage"])


def calibrate(logits: Floats, garments: Integers, membership: Floats, coverage: float) -> Calibration:
    """Fits the scaling and, on the calibrated group probabilities, a conformal threshold for each group.

    The experiment `calibration` chose both: level scaling, and one threshold a group (`group_thresholds`), which keeps
    the coverage in all groups, where a single threshold covers too few of One piece.

    The exported scaling is fitted on all examples. The thresholds come from probabilities that each example got by a
    scaling fitted without it (five folds), because a scaling looks a little better on the examples of its own fit than
    on others; holding out half would leave too few of the small groups. This is cross-conformal prediction (Vovk,
    "Cross-conformal predictors", 2015): in practice close to its nominal coverage, though only split conformal
    prediction guarantees it. The validation split also chose the recipe. So the coverage is nominal, and the Evaluator
    measures the actual one.

    A group with fewer than coverage / (1 - coverage) examples, 99 for 0.99, has no threshold that guarantees the
    coverage: its threshold is 0, and it belongs to every set.

    Args:
        logits: [N, garments], of at least two examples.
        garments: int [N], the true garments.
        membership: [garments, groups] of 0 and 1.
        coverage: Nominal share of each group's prediction sets that hold the true group, in (0, 1).
    """
    groups = cross_fit(fit_level_scaling, logits, garments, membership) @ membership
    thresholds = group_thresholds(groups, membership[garments].argmax(axis=1), coverage)
    return Calibration(fit_level_scaling(logits, garments, membership), thresholds, coverage)


def group_thresholds(conformity: Floats, groups: Integers, coverage: float) -> Doubles:
    """Returns a threshold for each group, float64 [groups]: in every group, `coverage` of the sets hold it.

    The Mondrian (class-conditional) predictor of Vovk, "Conditional validity of inductive conformal predictors", 2012,
    section 4. The price is larger sets where the model is weak.

    Args:
        conformity: [N, groups], how well each group suits each image, in 0..1: the probabilities for instance.
        groups: int [N], the true groups.
        coverage: In (0, 1).
    """
    count = conformity.shape[1]
    return np.array([conformal_threshold(conformity[groups == group, group], coverage) for group in range(count)])


def conformal_threshold(true: Floats, coverage: float) -> float:
    """Returns the threshold from the conformity of the true groups, [n]; 0 when n is too small for the coverage."""
    rank = int(np.ceil((len(true) + 1) * coverage))
    return 0.0 if rank > len(true) else float(np.sort(true)[len(true) - rank])
