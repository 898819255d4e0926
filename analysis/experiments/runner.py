"""Runs what is missing of an experiment, run by run, within a budget."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from analysis.experiments.laboratory import Laboratory
from analysis.experiments.measures import measure_of
from analysis.experiments.results import Place, Results

Tell = Callable[[str, int, int, int], None]


def run(
    results: Results, laboratory: Laboratory, seconds: float, tell: Tell = lambda arm, seed, done, total: None
) -> bool:
    """Makes the missing runs of an experiment, a seed of all arms before the next seed.

    Args:
        results: The experiment's results; each run is added to them.
        laboratory: The images and the networks.
        seconds: No run is begun after as many.
        tell: Is called before every run with its arm, its seed, how many runs there are already, and how many in all.

    Returns:
        Whether the experiment is complete.
    """
    experiment, begun = results.experiment, time.monotonic()
    measure, total = measure_of(experiment.measure), len(experiment.arms) * len(experiment.seeds)
    for arm, seed in results.missing():
        if time.monotonic() - begun > seconds:
            return False
        tell(arm, seed, total - len(results.missing()), total)
        results.add(arm, seed, measure(experiment.of_arm(arm), seed, laboratory), place())
    return True


def place() -> Place:
    """Says what this process computes on."""
    import keras

    backend = keras.backend.backend()
    return Place(f"{backend} {version(backend)}", f"{_processor()}, {len(os.sched_getaffinity(0))} cores")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
