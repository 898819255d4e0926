"""The measure "training": a network is trained and evaluated on validation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.evaluation.bootstrap import confusion
from analysis.evaluation.metrics import accuracy, f1, macro_f1, recall
from analysis.experiments.laboratory import Laboratory, predict
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training_settings import read
from models.probabilities import expected_calibration_error, softmax

Figures = list[tuple[str, str, float]]
ONE_PIECE = 2


def measure(settings: dict[str, object], seed: int, laboratory: Laboratory) -> Outcome:
    """Trains a network and evaluates it on validation."""
    from models.studied.multiply_adds import multiply_adds

    chosen = read(settings)
    trained = laboratory.train(chosen, seed)
    logits = predict(trained.network, laboratory.images["validation"])
    outcome = evaluate_logits(logits, laboratory, "validation")
    images = chosen.epochs * (laboratory.training_size(chosen) // chosen.batch_size) * chosen.batch_size
    cost = [
        (VALIDATION, "train_seconds", trained.seconds),
        (VALIDATION, "images_per_second", images / trained.seconds),
        (VALIDATION, "parameters", float(trained.network.count_params())),
        (VALIDATION, "multiply_adds", float(multiply_adds(trained.network))),
    ]
    return Outcome([*outcome.figures, *cost], outcome.truth, outcome.predicted, machine=trained.machine)


def evaluate_logits(logits: npt.NDArray[np.float32], laboratory: Laboratory, split: str) -> Outcome:
    """Evaluates logits of garments or of groups, [N, outputs], on the images of a split."""
    return evaluate_probabilities(softmax(logits), laboratory, split)


def evaluate_probabilities(probabilities: npt.NDArray[np.float64], laboratory: Laboratory, split: str) -> Outcome:
    """Evaluates probabilities of garments or of groups, [N, outputs], on the images of a split."""
    truth, of_garments = laboratory.groups(split), probabilities.shape[1] == len(laboratory.membership)
    groups = probabilities @ laboratory.membership if of_garments else probabilities
    outcome = evaluate_groups(groups.argmax(axis=1).astype(np.int64), laboratory, split)
    of_truth = groups[np.arange(len(truth)), truth]
    more: Figures = [
        (split, "log_loss", float(-np.log(np.maximum(of_truth, 1e-12)).mean())),
        (split, "calibration_error", expected_calibration_error(groups.max(axis=1), outcome.predicted == truth)),
    ]
    if of_garments:
        correct = probabilities.argmax(axis=1) == laboratory.garments[split]
        more.append((split, "garment_accuracy", float(correct.mean())))
    return Outcome([*outcome.figures, *more], truth, outcome.predicted)


def evaluate_groups(predicted: npt.NDArray[np.int64], laboratory: Laboratory, split: str) -> Outcome:
    """Evaluates predicted groups, int64 [N], on the images of a split."""
    truth, names = laboratory.groups(split), laboratory.taxonomy.groups
    counts = confusion(truth, predicted, len(names))
    by_group, found = f1(counts), recall(counts)
    figures: Figures = [
        (split, "group_accuracy", float(accuracy(counts))),
        (split, "macro_f1", float(macro_f1(counts))),
        (split, "one_piece_f1", float(by_group[ONE_PIECE])),
    ]
    for group, name in enumerate(names):
        figures += [
            (name, "f1", float(by_group[group])),
            (name, "recall", float(found[group])),
            (name, "support", float(counts[group].sum())),
        ]
    return Outcome(figures, truth, predicted)
