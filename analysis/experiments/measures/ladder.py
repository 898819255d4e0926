"""The measure "ladder": simple classifiers, the tutorials' networks and ours, each with its own recipe.

Boosted trees on histograms of oriented gradients are the strongest rung that learns no features: Dalal and Triggs,
"Histograms of Oriented Gradients for Human Detection", 2005, with cells of 7 pixels, unsigned orientations in 8 bins,
and blocks of 2 x 2 cells.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.experiments.declaration import DeclarationError, check_settings, unknown
from analysis.experiments.laboratory import Laboratory, clear_session, predict
from analysis.experiments.measures import training
from analysis.experiments.measures.training import evaluate_groups, evaluate_logits
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training_settings import read
from models.taxonomy import Taxonomy

Floats = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]
CELL, BINS = 7, 8
ROUNDS = 80


def gradient_histograms(images: Floats) -> Floats:
    """Returns float32 [N, features] for square images [N, pixels] whose side is a multiple of 7, of at least 14."""
    side = round(images.shape[1] ** 0.5)
    pixels = images.reshape(-1, side, side)
    down, across = np.gradient(pixels, axis=1), np.gradient(pixels, axis=2)
    magnitude = np.hypot(down, across)
    position = (np.arctan2(down, across) % np.pi) / np.pi * BINS
    lower = np.floor(position).astype(int)
    cells = side // CELL
    histograms = np.zeros((len(images), cells, cells, BINS), np.float32)
    # Each pixel votes for the two bins next to its orientation, in proportion.
    for offset, share in ((0, 1 - (position - lower)), (1, position - lower)):
        for which in range(BINS):
            votes = magnitude * share * ((lower + offset) % BINS == which)
            histograms[..., which] += votes.reshape(-1, cells, CELL, cells, CELL).sum(axis=(2, 4))
    windows = np.lib.stride_tricks.sliding_window_view(histograms, (2, 2), axis=(1, 2))
    blocks = windows.reshape(len(images), (cells - 1) ** 2, -1)
    blocks = np.minimum(blocks / (np.linalg.norm(blocks, axis=2, keepdims=True) + 1e-3), 0.2)
    return np.asarray(blocks / (np.linalg.norm(blocks, axis=2, keepdims=True) + 1e-3)).reshape(len(images), -1)


def gradient_boosting(train: Floats, garments: Classes, test: Floats, taxonomy: Taxonomy) -> Classes:
    """Fits boosted trees to the garments, and predicts the group int64 [M] with the largest summed probability.

    Args:
        train: float32 [N, pixels] in [0, 1].
        garments: int64 [N].
        test: float32 [M, pixels].
        taxonomy: The groups and their garments.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(max_iter=ROUNDS, learning_rate=0.2, early_stopping=False)
    model.fit(gradient_histograms(train), garments)
    membership = np.array(taxonomy.membership())[model.classes_]
    return (model.predict_proba(gradient_histograms(test)) @ membership).argmax(axis=1)


BOOSTING = "gradient boosting"


def check(settings: dict[str, Any]) -> None:
    """Raises DeclarationError unless the settings name one known rung, one known tutorial, or one network."""
    from analysis.evaluation.ladder import RUNGS
    from models.studied.tutorial_networks import TUTORIALS

    choices = {"rung": [*RUNGS, BOOSTING], "tutorial": list(TUTORIALS)}
    if len(settings) != 1:
        raise DeclarationError(
            "An arm is one rung of the ladder.",
            expected=f"one of network, {', '.join(choices)}",
            received=", ".join(settings) or "none",
        )
    (kind,) = settings
    if kind == "network":
        read(settings[kind])
    elif kind in choices:
        check_settings(settings, {kind: choices[kind]})
    else:
        raise unknown("setting", kind, ["network", *choices])


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Fits a rung of `ladder.RUNGS` or "gradient boosting", a network of a tutorial, or a network of ours."""
    if "network" in settings:
        return training.measure(settings["network"], seed, laboratory)
    if "tutorial" in settings:
        started = time.perf_counter()
        outcome = evaluate_logits(_train_tutorial(settings["tutorial"], seed, laboratory), laboratory, VALIDATION)
        seconds = time.perf_counter() - started
    else:
        groups, seconds = _fit_rung(settings["rung"], laboratory)
        outcome = evaluate_groups(groups, laboratory, VALIDATION)
    figures = [*outcome.figures, (VALIDATION, "train_seconds", seconds)]
    return Outcome(figures, outcome.truth, outcome.predicted)


@cache
def _fit_rung(rung: str, laboratory: Laboratory) -> tuple[npt.NDArray[np.int64], float]:
    """Returns a rung's predicted groups of validation, the same for every seed, and its seconds."""
    from analysis.evaluation.ladder import RUNGS, unit_pixels

    started = time.perf_counter()
    fit = gradient_boosting if rung == BOOSTING else RUNGS[rung]
    train, validation = (unit_pixels(laboratory.images[split]) for split in ("train", VALIDATION))
    groups = fit(train, laboratory.garments["train"], validation, laboratory.taxonomy)
    return groups, time.perf_counter() - started


def _train_tutorial(name: str, seed: int, laboratory: Laboratory) -> npt.NDArray[np.float32]:
    """Trains a tutorial's network as its page does, and returns its logits of validation."""
    import keras

    from models.studied.tutorial_networks import TUTORIALS

    tutorial = TUTORIALS[name]
    keras.utils.set_random_seed(seed)
    network = tutorial.build(len(laboratory.taxonomy.garments))
    network.fit(
        laboratory.images["train"],
        laboratory.garments["train"],
        epochs=tutorial.epochs,
        batch_size=tutorial.batch_size,
        verbose=0,
    )
    logits = predict(network, laboratory.images[VALIDATION])
    clear_session()
    return logits
