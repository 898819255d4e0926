"""The measure "robustness": a trained network, evaluated on corrupted validation images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from analysis.experiments.laboratory import Laboratory, predict
from analysis.experiments.measures import training
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training_settings import read

EVERY = 3
"""Every third validation image is corrupted: 80 corruptions of all would take longer than the training."""
SEED = 0


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Trains a network and evaluates it on clean and on corrupted validation images."""
    from analysis.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
    from models.probabilities import group_probabilities

    clean = training.measure(settings, seed, laboratory)
    network = laboratory.train(read(settings), seed).network
    images, truth = laboratory.images[VALIDATION][::EVERY], laboratory.groups(VALIDATION)[::EVERY]

    def accuracy(evaluated: Any) -> float:
        groups = group_probabilities(predict(network, evaluated), laboratory.membership)
        return float((groups.argmax(axis=1) == truth).mean())

    figures = [("clean", "group_accuracy", accuracy(images))]
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            corrupted = corrupt(images, name, severity, SEED)
            figures.append((f"{name}/{severity}", "group_accuracy", accuracy(corrupted)))
    mean = float(np.mean([value for subset, _, value in figures if subset != "clean"]))
    figures = [*clean.figures, *figures, ("corrupted", "group_accuracy", mean)]
    return replace(clean, figures=figures)
