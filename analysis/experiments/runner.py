"""Runs experiments: finds a measure by its name, checks every arm's settings, and makes the missing runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from analysis.experiments.declaration import Experiment, unknown
from analysis.experiments.results import Outcome, Results, this_machine

if TYPE_CHECKING:
    from analysis.experiments.laboratory import Laboratory

Measure = Callable[[dict[str, Any], int, "Laboratory"], Outcome]
OnRun = Callable[[str, int, int, int], None]

MEASURES = (
    "calibration",
    "deployment",
    "error_causes",
    "final_evaluation",
    "ladder",
    "out_of_distribution",
    "robustness",
    "text",
    "training",
)
"""Modules of `analysis.experiments.measures`; each has a function `measure(settings, seed, laboratory)`.

A module whose settings differ from those of a training has a function `check(settings)` as well.
"""


def check(experiments: Iterable[Experiment]) -> None:
    """Checks the settings of every arm, so that a mistake is found before the first run.

    Raises:
        DeclarationError: A measure or a setting is unknown, or a value is not allowed.
    """
    from analysis.experiments import training_settings

    for experiment in experiments:
        check_arm = getattr(_module_of(experiment.measure), "check", training_settings.read)
        for arm in experiment.arms:
            check_arm(experiment.settings_of(arm))


def measure_of(name: str) -> Measure:
    """Returns the measure of a name.

    Raises:
        DeclarationError: There is no such measure.
    """
    measure: Measure = _module_of(name).measure
    return measure


def run(
    results: Results, laboratory: Laboratory, seconds: float, on_run: OnRun = lambda arm, seed, done, total: None
) -> list[str]:
    """Makes the missing runs of an experiment: one seed of all arms before the next seed.

    A run whose training diverges is skipped and stays missing; so is a run that another process has finished meanwhile.

    Args:
        results: The experiment's results, to which each run is added.
        laboratory: The images and the trained networks.
        seconds: The time after which no further run starts.
        on_run: Is called before every run with its arm, its seed, the number of finished runs and that of all runs.

    Returns:
        One line for each run that failed.
    """
    from models.training import TrainingError

    experiment, started, failures = results.experiment, time.monotonic(), []
    measure, total = measure_of(experiment.measure), len(experiment.arms) * len(experiment.seeds)
    for arm, seed in results.missing():
        if time.monotonic() - started > seconds:
            break
        results.reread()
        if (arm, seed) not in results.missing():
            continue
        on_run(arm, seed, total - len(results.missing()), total)
        try:
            outcome = measure(experiment.settings_of(arm), seed, laboratory)
        except TrainingError as error:
            failures.append(f"{arm}, seed {seed}: {error.one_line}")
            continue
        results.add(arm, seed, outcome, outcome.machine or this_machine())
    return failures


def _module_of(name: str) -> ModuleType:
    if name not in MEASURES:
        raise unknown("measure", name, MEASURES)
    return import_module(f"analysis.experiments.measures.{name}")
