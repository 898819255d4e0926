"""How an arm is run, by the name that a declaration gives; each measure is one module."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from analysis.experiments.declaration import Experiment, unknown

if TYPE_CHECKING:
    from analysis.experiments.laboratory import Laboratory
    from analysis.experiments.results import Outcome

Measure = Callable[[dict[str, Any], int, "Laboratory"], "Outcome"]

MEASURES = ("calibration", "deployment", "final", "ladder", "robustness", "strangers", "text", "training", "why")
"""Modules of this package; each has a function `measure(settings, seed, laboratory)`.

One with other settings than those of a training has a function `check(settings)` as well.
"""


def check(experiments: Iterable[Experiment]) -> None:
    """Checks the settings of every arm, so that a mistake is found before the first run.

    Raises:
        DeclarationError: A measure or a setting is unknown, or a value is not one that it may have.
    """
    for experiment in experiments:
        check_arm = getattr(_module_of(experiment.measure), "check", _check_training)
        for arm in experiment.arms:
            check_arm(experiment.of_arm(arm))


def _check_training(settings: dict[str, Any]) -> None:
    from analysis.experiments.training_settings import read

    read(settings)


def measure_of(name: str) -> Measure:
    """Returns a measure.

    Raises:
        DeclarationError: There is none of that name.
    """
    found: Measure = _module_of(name).measure
    return found


def _module_of(name: str) -> ModuleType:
    if name not in MEASURES:
        raise unknown("measure", name, MEASURES)
    return import_module(f"analysis.experiments.measures.{name}")
