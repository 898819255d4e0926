"""Calibration: turns a network's logits into honest probabilities, and these into sets that hold the true group.

Fitted on the validation split with NumPy; `models.export` computes the same inside the exported graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from models.affine_scaling import Affine, Doubles, fit_dirichlet
from models.conformal import group_thresholds
from models.level_scaling import Levels, fit_levels
from models.probabilities import Floats, Integers, softmax
from models.scaling import cross_fitted

FIT = partial(fit_levels, fit_dirichlet)
"""How the default scaling is fitted: Dirichlet scaling between the groups, a temperature inside them. The experiment
`calibration` chose it: it has the lowest log loss of the groups."""


@dataclass(frozen=True)
class Calibration:
    """What the exported model applies to its logits.

    Attributes:
        scaling: Between the groups an affine map of their log-probabilities, inside them one temperature.
        thresholds: float64 [groups]; a group belongs to the prediction set when its calibrated probability is at least
            its own threshold.
        coverage: The share of each group's prediction sets that shall hold it.
    """

    scaling: Levels
    thresholds: Doubles
    coverage: float

    def garment_probabilities(self, logits: Floats) -> Doubles:
        """Returns float64 [N, garments] for logits [N, garments]."""
        return softmax(self.scaling.apply(logits))

    def group_probabilities(self, logits: Floats) -> Doubles:
        """Returns float64 [N, groups], the sums of the garments', for logits [N, garments]."""
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
            ValueError: A name is missing, as in files of models trained before there were two levels.
        """
        names = ("between", "within", "membership", "thresholds", "coverage")
        if not set(names) <= set(values):
            raise ValueError(f"No calibration of two levels. Expected: {', '.join(names)}. Received: {list(values)}.")
        between = Affine(np.array(values["between"]["weights"]), np.array(values["between"]["intercept"]), True)
        scaling = Levels(between, values["within"], np.array(values["membership"]))
        return cls(scaling, np.array(values["thresholds"]), values["coverage"])


def calibrate(logits: Floats, garments: Integers, membership: Floats, coverage: float) -> Calibration:
    """Fits the scaling and, on what it makes of the groups, a conformal threshold for each.

    The experiment `calibration` chose the scaling (`FIT`) and the thresholds: one for each group
    (`conformal.group_thresholds`) keeps the coverage in all of them, where a single one leaves One piece short.

    The scaling that serves is fitted on all examples. The thresholds come from probabilities that each example got by a
    scaling fitted without it (five folds), because on the examples of its own fit a scaling looks a little better than
    on others; a half held out instead would leave too few of the small groups. This is cross-conformal prediction
    (Vovk, "Cross-conformal predictors", 2015): close to its coverage in practice, though split conformal prediction
    alone proves it. And the split has chosen the recipe before. So the coverage is aimed at, and the Evaluator measures
    what comes of it.

    A group with fewer than coverage / (1 - coverage) examples, 99 for 0.99, has no threshold that keeps the promise: it
    gets 0 and belongs to every set.

    Args:
        logits: [N, garments], of at least two examples.
        garments: int [N], the true garments.
        membership: [garments, groups] of 0 and 1.
        coverage: The share of each group's prediction sets that shall hold it, in (0, 1).
    """
    groups = cross_fitted(FIT, logits, garments, membership) @ membership
    thresholds = group_thresholds(groups, membership[garments].argmax(axis=1), coverage)
    return Calibration(FIT(logits, garments, membership), thresholds, coverage)
