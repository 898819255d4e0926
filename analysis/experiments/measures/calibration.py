"""The measure "calibration": a scaling of a trained network, judged on the folds of validation it was not fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.experiments.declaration import check_settings
from analysis.experiments.laboratory import Laboratory
from analysis.experiments.measures.training import Figures, judge_probabilities
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training_settings import read

COVERAGE = 0.99
ABSTAINED = (0.0, 0.01, 0.02, 0.05)
DRAWS = 200


def check(settings: dict[str, Any]) -> None:
    """Raises DeclarationError for an unknown scaling, or a network that cannot be trained."""
    from models.studied.scalings import SCALINGS

    check_settings(settings, {"scaling": SCALINGS}, ["network"])
    read(settings["network"])


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Judges `settings["scaling"]`, a name of `models.scaling.SCALINGS`, on the network of `settings["network"]`."""
    from models.scaling import cross_fit
    from models.studied.scalings import SCALINGS

    logits = laboratory.logits(read(settings["network"]), seed)
    garments = laboratory.garments[VALIDATION]
    probabilities = cross_fit(SCALINGS[settings["scaling"]], logits, garments, laboratory.membership)
    outcome = judge_probabilities(probabilities, laboratory, VALIDATION)
    groups = probabilities @ laboratory.membership
    figures = [
        *outcome.figures,
        *honesty(groups, outcome),
        *promises(groups, outcome.truth, laboratory.taxonomy.groups),
    ]
    return Outcome(figures, outcome.truth, outcome.predicted)


def honesty(groups: npt.NDArray[np.float64], outcome: Outcome, split: str = VALIDATION) -> Figures:
    """Returns how honest the confidence is beside what chance gives an honest one, and what abstaining leaves."""
    from analysis.experiments.measures.selective import errors_left, judge_honesty, risk_coverage

    confidence, right = groups.max(axis=1), outcome.predicted == outcome.truth
    found = judge_honesty(confidence, right, draws=DRAWS)
    curve = risk_coverage(confidence, right)
    return [
        (split, "debiased_calibration_error", found.debiased),
        (split, "honest_calibration_error", found.honest_error),
        (split, "aurc", curve.area),
        *(
            (f"abstain {share:.0%}", "risk", float(risk))
            for share, risk in zip(ABSTAINED, errors_left(confidence, right, ABSTAINED), strict=True)
        ),
    ]


def promises(groups: npt.NDArray[np.float64], truth: npt.NDArray[np.int64], names: tuple[str, ...]) -> Figures:
    """Returns the coverage and the size of prediction sets by one threshold, and by one a group."""
    from models.calibration import group_thresholds
    from models.studied.conformal import cross_fit_sets, marginal_thresholds, measure_sets

    figures: Figures = []
    for suffix, thresholds in (("", marginal_thresholds), ("_by_group", group_thresholds)):
        found = measure_sets(cross_fit_sets(thresholds, groups, truth, COVERAGE), truth)
        figures += [
            (VALIDATION, f"coverage{suffix}", found.coverage),
            (VALIDATION, f"set_size{suffix}", found.mean_size),
            (VALIDATION, f"single{suffix}", found.single),
            *((name, f"coverage{suffix}", float(c)) for name, c in zip(names, found.coverage_by_group, strict=True)),
        ]
    return figures
