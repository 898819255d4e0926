"""How an arm is run, by the name that a declaration gives; each measure is one module."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from analysis.experiments.declaration import DeclarationError, Experiment
from analysis.experiments.laboratory import Laboratory
from analysis.experiments.results import Outcome

Measure = Callable[[dict[str, Any], int, Laboratory], Outcome]

MEASURES = ("calibration", "deployment", "final", "ladder", "robustness", "strangers", "text", "training", "why")
"""Modules of this package; each has a function `measure(settings, seed, laboratory)`."""


def check(experiments: Iterable[Experiment]) -> None:
    """Reads the settings of every network that is to be trained, so that a mistake is found before the first run.

    Raises:
        DeclarationError: A measure or a setting is unknown, or a value is not of its type.
    """
    from analysis.experiments.training_settings import read

    for experiment in experiments:
        measure_of(experiment.measure)
        for arm in experiment.arms:
            settings = experiment.of_arm(arm)
            trained = settings.get("network", None if experiment.measure == "ladder" else settings)
            if trained is not None:
                read({name: value for name, value in trained.items() if name not in ("deployed", "together")})


def measure_of(name: str) -> Measure:
    """Returns a measure.

    Raises:
        DeclarationError: There is none of that name.
    """
    if name not in MEASURES:
        raise DeclarationError(f"There is no measure {name!r}. Expected: {', '.join(MEASURES)}. Received: {name}")
    found: Measure = import_module(f"analysis.experiments.{name}").measure
    return found
