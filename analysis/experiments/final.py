"""The measure "final": the whole recipe, calibrated on validation, judged once on the official test split."""

from __future__ import annotations

from typing import Any

from analysis.experiments.calibration import honesty
from analysis.experiments.laboratory import Laboratory, predict
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training import Figures, judge_probabilities
from analysis.experiments.training_settings import read

TEST = "test"
COVERAGE = 0.99


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Trains as the settings say, and judges what would be served."""
    from models.calibration import calibrate
    from models.conformal import measure_sets, prediction_sets

    trained = laboratory.train(read(settings), seed)
    known, asked = (predict(trained.network, laboratory.images[split]) for split in (VALIDATION, TEST))
    calibration = calibrate(known, laboratory.garments[VALIDATION], laboratory.membership, COVERAGE)
    outcome = judge_probabilities(calibration.garment_probabilities(asked), laboratory, TEST)
    groups = calibration.group_probabilities(asked)
    sets = measure_sets(prediction_sets(groups, calibration.thresholds), outcome.truth)
    names = laboratory.taxonomy.groups
    promised: Figures = [
        (TEST, "coverage", sets.coverage),
        (TEST, "set_size", sets.mean_size),
        (TEST, "single", sets.single),
        (TEST, "train_seconds", trained.seconds),
        *((name, "coverage", float(share)) for name, share in zip(names, sets.coverage_by_group, strict=True)),
    ]
    figures = [*outcome.figures, *honesty(groups, outcome, TEST), *promised]
    return Outcome(figures, outcome.truth, outcome.predicted)
