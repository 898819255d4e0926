"""The measure "final": the whole recipe, calibrated on validation, judged once on the official test split."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.experiments.declaration import DeclarationError
from analysis.experiments.laboratory import Laboratory
from analysis.experiments.measures.calibration import honesty
from analysis.experiments.measures.training import Figures, judge_probabilities
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training_settings import TrainingSettings, read
from models.probabilities import softmax

TEST = "test"
COVERAGE = 0.99
SEEDS = 5
"""Of the final study: networks that answer together are those of a seed and the ones after it, round and round."""


def check(settings: dict[str, Any]) -> None:
    """Raises DeclarationError for a number of networks that there are not, or a network that cannot be trained."""
    own = dict(settings)
    if (together := own.pop("together", 1)) not in range(1, SEEDS + 1):
        raise DeclarationError(
            f"So many networks do not answer together. Expected: together from 1 to {SEEDS}. Received: {together}"
        )
    read(own)


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Trains as the settings say, and judges what would be served; `together` averages the answers of as many seeds."""
    from models.calibration import calibrate
    from models.studied.conformal import measure_sets, prediction_sets

    own = dict(settings)
    members = [(seed - 1 + place) % SEEDS + 1 for place in range(own.pop("together", 1))]
    network = read(own)
    known, asked = (_answers(laboratory, network, members, split) for split in (VALIDATION, TEST))
    calibration = calibrate(known, laboratory.garments[VALIDATION], laboratory.membership, COVERAGE)
    outcome = judge_probabilities(calibration.garment_probabilities(asked), laboratory, TEST)
    groups = calibration.group_probabilities(asked)
    sets = measure_sets(prediction_sets(groups, calibration.thresholds), outcome.truth)
    names = laboratory.taxonomy.groups
    promised: Figures = [
        (TEST, "coverage", sets.coverage),
        (TEST, "set_size", sets.mean_size),
        (TEST, "single", sets.single),
        (TEST, "train_seconds", sum(laboratory.train(network, member).seconds for member in members)),
        *((name, "coverage", float(share)) for name, share in zip(names, sets.coverage_by_group, strict=True)),
    ]
    figures = [*outcome.figures, *honesty(groups, outcome, TEST), *promised]
    return Outcome(figures, outcome.truth, outcome.predicted)


def _answers(
    laboratory: Laboratory, settings: TrainingSettings, members: list[int], split: str
) -> npt.NDArray[np.float64]:
    """Returns logits [N, garments]: one network's own, or the logarithm of the mean of several networks' answers."""
    logits = [laboratory.logits(settings, member, split).astype(np.float64) for member in members]
    if len(logits) == 1:
        return logits[0]
    return np.log(np.maximum(np.mean([softmax(answer) for answer in logits], axis=0), 1e-30))
