"""The measure "training": a network is trained and judged on validation."""

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
    """Trains as the settings say, and judges the network on validation."""
    from models.studied.cost import multiply_adds

    asked = read(settings)
    trained = laboratory.train(asked, seed)
    logits = predict(trained.network, laboratory.images["validation"])
    outcome = judge(logits, laboratory, "validation")
    images = asked.epochs * (laboratory.learned(asked) // asked.batch_size) * asked.batch_size
    cost = [
        (VALIDATION, "train_seconds", trained.seconds),
        (VALIDATION, "images_per_second", images / trained.seconds),
        (VALIDATION, "parameters", float(trained.network.count_params())),
        (VALIDATION, "multiply_adds", float(multiply_adds(trained.network))),
    ]
    return Outcome([*outcome.figures, *cost], outcome.truth, outcome.predicted, place=trained.place)


def judge(logits: npt.NDArray[np.float32], laboratory: Laboratory, split: str) -> Outcome:
    """Judges logits of garments or of groups [N, outputs] for the images of a split."""
    return judge_probabilities(softmax(logits), laboratory, split)


def judge_probabilities(probabilities: npt.NDArray[np.float64], laboratory: Laboratory, split: str) -> Outcome:
    """Judges probabilities of garments or of groups [N, outputs] for the images of a split."""
    truth, of_garments = laboratory.groups(split), probabilities.shape[1] == len(laboratory.membership)
    groups = probabilities @ laboratory.membership if of_garments else probabilities
    outcome = judge_groups(groups.argmax(axis=1).astype(np.int64), laboratory, split)
    right, given = outcome.predicted == truth, groups[np.arange(len(truth)), truth]
    more: Figures = [
        (split, "log_loss", float(-np.log(np.maximum(given, 1e-12)).mean())),
        (split, "calibration_error", expected_calibration_error(groups.max(axis=1), right)),
    ]
    if of_garments:
        named = probabilities.argmax(axis=1) == laboratory.garments[split]
        more.append((split, "garment_accuracy", float(named.mean())))
    return Outcome([*outcome.figures, *more], truth, outcome.predicted)


def judge_groups(predicted: npt.NDArray[np.int64], laboratory: Laboratory, split: str) -> Outcome:
    """Judges the groups int64 [N] that the images of a split are given."""
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
