"""The measure "final_evaluation": the whole recipe, calibrated on validation, evaluated on the official test split."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.experiments.declaration import DeclarationError
from analysis.experiments.laboratory import Laboratory
from analysis.experiments.measures.calibration import calibration_figures
from analysis.experiments.measures.training import Figures, evaluate_probabilities
from analysis.experiments.results import TEST, VALIDATION, Outcome
from analysis.experiments.training_settings import TrainingSettings, read
from models.probabilities import softmax

COVERAGE = 0.99
SEEDS = 5
"""Seeds of the experiment. The members of an ensemble are those of a seed and the following ones, cyclically."""


def check(settings: dict[str, Any]) -> None:
    """Raises DeclarationError for an ensemble of an impossible size or invalid settings of the network."""
    own = dict(settings)
    if (size := own.pop("ensemble", 1)) not in range(1, SEEDS + 1):
        raise DeclarationError(
            "The ensemble has an impossible size.", expected=f"ensemble from 1 to {SEEDS}", received=str(size)
        )
    read(own)


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Trains a network and evaluates what would be served; `ensemble` averages the predictions of that many seeds."""
    from models.calibration import calibrate
    from models.studied.conformal import measure_sets, prediction_sets

    own = dict(settings)
    members = [(seed - 1 + offset) % SEEDS + 1 for offset in range(own.pop("ensemble", 1))]
    network = read(own)
    validation, test = (_logits(laboratory, network, members, split) for split in (VALIDATION, TEST))
    calibration = calibrate(validation, laboratory.garments[VALIDATION], laboratory.membership, COVERAGE)
    outcome = evaluate_probabilities(calibration.garment_probabilities(test), laboratory, TEST)
    groups = calibration.group_probabilities(test)
    sets = measure_sets(prediction_sets(groups, calibration.thresholds), outcome.truth)
    names = laboratory.taxonomy.groups
    set_figures: Figures = [
        (TEST, "coverage", sets.coverage),
        (TEST, "set_size", sets.mean_size),
        (TEST, "single", sets.single),
        (TEST, "train_seconds", sum(laboratory.train(network, member).seconds for member in members)),
        *((name, "coverage", float(share)) for name, share in zip(names, sets.coverage_by_group, strict=True)),
    ]
    figures = [*outcome.figures, *calibration_figures(groups, outcome, TEST), *set_figures]
    return Outcome(figures, outcome.truth, outcome.predicted)


def _logits(
    laboratory: Laboratory, settings: TrainingSettings, members: list[int], split: str
) -> npt.NDArray[np.float64]:
    """Returns one network's logits [N, garments], or the logarithm of the members' mean probabilities."""
    logits = [laboratory.logits(settings, member, split).astype(np.float64) for member in members]
    if len(logits) == 1:
        return logits[0]
    return np.log(np.maximum(np.mean([softmax(member) for member in logits], axis=0), 1e-30))
