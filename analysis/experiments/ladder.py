"""The measure "ladder": simple classifiers, the tutorials' networks and ours, each with its own recipe."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.experiments import training
from analysis.experiments.laboratory import Laboratory, forget, predict
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training import judge, judge_groups


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Fits a rung of `analysis.ladder.RUNGS` or "gradient boosting", a tutorial of `models.tutorials`, or a network."""
    if "network" in settings:
        return training.measure(settings["network"], seed, laboratory)
    if "tutorial" in settings:
        begun = time.perf_counter()
        outcome = judge(_follow(settings["tutorial"], seed, laboratory), laboratory, VALIDATION)
        seconds = time.perf_counter() - begun
    else:
        groups, seconds = _climb(settings["rung"], laboratory)
        outcome = judge_groups(groups, laboratory, VALIDATION)
    figures = [*outcome.figures, (VALIDATION, "train_seconds", seconds)]
    return Outcome(figures, outcome.truth, outcome.predicted)


@cache
def _climb(rung: str, laboratory: Laboratory) -> tuple[npt.NDArray[np.int64], float]:
    """Returns the groups that a rung gives validation, the same for every seed, and the seconds that it took."""
    from analysis.gradient_histograms import gradient_boosting
    from analysis.ladder import RUNGS, unit_pixels

    begun = time.perf_counter()
    fit = gradient_boosting if rung == "gradient boosting" else RUNGS[rung]
    known, unknown = (unit_pixels(laboratory.images[split]) for split in ("train", VALIDATION))
    groups = fit(known, laboratory.garments["train"], unknown, laboratory.taxonomy)
    return groups, time.perf_counter() - begun


def _follow(name: str, seed: int, laboratory: Laboratory) -> npt.NDArray[np.float32]:
    """Trains a tutorial's network as its page does, and returns its logits for validation."""
    import keras

    from models.tutorials import TUTORIALS

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
    forget()
    return logits
