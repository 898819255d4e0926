"""The measure "ladder": simple classifiers, the tutorials' networks and ours, each with its own recipe."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.experiments.declaration import DeclarationError, check_settings, unknown
from analysis.experiments.laboratory import Laboratory, forget, predict
from analysis.experiments.measures import training
from analysis.experiments.measures.training import judge, judge_groups
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training_settings import read

BOOSTING = "gradient boosting"


def check(settings: dict[str, Any]) -> None:
    """Raises DeclarationError unless the settings name one known rung, one known tutorial, or one network."""
    from analysis.evaluation.ladder import RUNGS
    from models.studied.tutorials import TUTORIALS

    choices = {"rung": [*RUNGS, BOOSTING], "tutorial": list(TUTORIALS)}
    if len(settings) != 1:
        raise DeclarationError(
            f"An arm is one step of the ladder. Expected: one of network, {', '.join(choices)}. "
            f"Received: {', '.join(settings) or 'none'}"
        )
    (kind,) = settings
    if kind == "network":
        read(settings[kind])
    elif kind in choices:
        check_settings(settings, {kind: choices[kind]})
    else:
        raise unknown("setting", kind, ["network", *choices])


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Fits a rung of `ladder.RUNGS` or "gradient boosting", a tutorial of `tutorials`, or a network."""
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
    from analysis.evaluation.ladder import RUNGS, unit_pixels
    from analysis.experiments.measures.gradient_histograms import gradient_boosting

    begun = time.perf_counter()
    fit = gradient_boosting if rung == BOOSTING else RUNGS[rung]
    known, asked = (unit_pixels(laboratory.images[split]) for split in ("train", VALIDATION))
    groups = fit(known, laboratory.garments["train"], asked, laboratory.taxonomy)
    return groups, time.perf_counter() - begun


def _follow(name: str, seed: int, laboratory: Laboratory) -> npt.NDArray[np.float32]:
    """Trains a tutorial's network as its page does, and returns its logits for validation."""
    import keras

    from models.studied.tutorials import TUTORIALS

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
