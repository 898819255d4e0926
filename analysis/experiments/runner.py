"""Runs what is missing of an experiment, run by run, within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable

from analysis.experiments.laboratory import Laboratory
from analysis.experiments.measures.registry import measure_of
from analysis.experiments.place import here
from analysis.experiments.results import Results

Tell = Callable[[str, int, int, int], None]


def run(
    results: Results, laboratory: Laboratory, seconds: float, tell: Tell = lambda arm, seed, done, total: None
) -> list[str]:
    """Makes the missing runs of an experiment, a seed of all arms before the next seed.

    A training that diverges is passed over: its run stays missing, and the others are made. So is a run that another
    process has made meanwhile.

    Args:
        results: The experiment's results; each run is added to them.
        laboratory: The images and the networks.
        seconds: No run is begun after as many.
        tell: Is called before every run with its arm, its seed, how many runs there are already, and how many in all.

    Returns:
        What failed, a line each.
    """
    from models.training import TrainingError

    experiment, begun, failures = results.experiment, time.monotonic(), []
    measure, total = measure_of(experiment.measure), len(experiment.arms) * len(experiment.seeds)
    for arm, seed in results.missing():
        if time.monotonic() - begun > seconds:
            break
        results.reread()
        if (arm, seed) not in results.missing():
            continue
        tell(arm, seed, total - len(results.missing()), total)
        try:
            outcome = measure(experiment.of_arm(arm), seed, laboratory)
        except TrainingError as error:
            failures.append(f"{arm}, seed {seed}: {error.one_line}")
            continue
        results.add(arm, seed, outcome, outcome.place or here())
    return failures
