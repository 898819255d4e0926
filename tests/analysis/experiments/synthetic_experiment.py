"""A small experiment that is declared and run at once: random predictions with a given error rate for each arm."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from analysis.evaluation.bootstrap import confusion
from analysis.evaluation.metrics import accuracy, f1, macro_f1
from analysis.experiments.declaration import Experiment, load
from analysis.experiments.results import VALIDATION, Machine, Outcome, Results
from models.taxonomy import Taxonomy

GROUPS = Taxonomy.load().groups
EXAMPLES = 1000
ERRORS = {"plain": 0.05, "better": 0.02, "worse": 0.09, "same": 0.05}
"""Error rates of arms."""
MACHINE = Machine("numpy 1", "abacus, 2 cores")

DECLARED = """
number = {number}
title = "A {name} experiment"
question = "Is b
better than a?"
hypothesis = "No."
measure = "{measure}"
metric = "{metric}"
seeds = [1, 2, 3]
budget_minutes = 1
baseline = "{baseline}"
rule = {{ kind = "{rule}", text = "What is ahead." }}
"""


def declare(
    directory: Path,
    name: str = "colour",
    arms: tuple[str, ...] = ("plain", "better", "worse", "same"),
    metric: str = "macro_f1",
    rule: str = "adopt",
    number: int = 7,
    measure: str = "training",
) -> Experiment:
    """Declares an experiment whose first arm is the baseline."""
    text = DECLARED.format(name=name, metric=metric, rule=rule, number=number, baseline=arms[0], measure=measure)
    text = text.replace('"Is b\nbetter than a?"', '"""Is b\nbetter than a?"""')
    (directory / f"{name}.toml").write_text(text + "".join(f'[arms."{arm}"]\nvariant = "{arm}"\n' for arm in arms))
    return load(name, directory)


def run(experiment: Experiment, directory: Path, errors: dict[str, float], seeds: int = 3) -> Results:
    """Runs some seeds of arms; each arm misclassifies about the given share of the examples."""
    results, rng = Results(experiment, directory), np.random.default_rng(0)
    truth = np.arange(EXAMPLES) % len(GROUPS)
    difficulty = rng.permutation(EXAMPLES) / EXAMPLES
    for arm, share in errors.items():
        for seed in experiment.seeds[:seeds]:
            wrong = difficulty + rng.normal(0, 0.01, EXAMPLES) < share
            predicted = np.where(wrong, (truth + 1) % len(GROUPS), truth)
            results.add(arm, seed, outcome(truth, predicted, 10.0 + seed), MACHINE)
    return results


def outcome(truth: np.ndarray, predicted: np.ndarray, seconds: float) -> Outcome:
    """Returns the figures of predictions, as a training reports them."""
    counts = confusion(truth, predicted, len(GROUPS))
    figures = [
        (VALIDATION, "group_accuracy", float(accuracy(counts))),
        (VALIDATION, "macro_f1", float(macro_f1(counts))),
        (VALIDATION, "train_seconds", seconds),
    ]
    for group, name in enumerate(GROUPS):
        figures += [(name, "f1", float(f1(counts)[group])), (name, "support", float(counts[group].sum()))]
    return Outcome(figures, truth, predicted)


def of_figures(figures: list[tuple[str, str, float]]) -> Outcome:
    """Returns an outcome with figures and one misclassified example."""
    return Outcome(figures, np.array([0]), np.array([1]))
