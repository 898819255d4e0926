"""The experiments as text for a terminal: a table of all, and two arms of one side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis.experiments import declaration
from analysis.experiments.comparison import mean_over_seeds
from analysis.experiments.declaration import STUDIES, DeclarationError, Experiment
from analysis.experiments.judgement import Judgement, judge
from analysis.experiments.results import Results
from analysis.experiments.scales import probability, scale_of
from analysis.experiments.sentences import verdict
from analysis.experiments.significance import mcnemar
from analysis.experiments.wrong_answers import tabulate

WIDTH = 100
Rows = Sequence[Sequence[str]]


def rows(directory: Path = STUDIES) -> list[tuple[str, str, str, str]]:
    """Returns every experiment's name, title, runs made of all, and answer in a sentence."""
    found = []
    for name in declaration.names(directory):
        experiment = declaration.load(name, directory)
        judgement = judge(experiment, Results(experiment, directory))
        total = len(experiment.arms) * len(experiment.seeds)
        made = total - len(judgement.results.missing())
        found.append((name, experiment.title, f"{made}/{total}", verdict(judgement)))
    return found


def table_text(directory: Path = STUDIES) -> str:
    """Returns the table of all experiments for a terminal, each with its answer in a sentence under it."""
    told = rows(directory)
    heads = _aligned([("experiment", "title", "runs"), *(row[:3] for row in told)]).splitlines()
    answers = [textwrap.fill(row[3], WIDTH, initial_indent="    ", subsequent_indent="    ") for row in told]
    return "\n".join([heads[0], *(f"{head}\n{answer}" for head, answer in zip(heads[1:], answers, strict=True))])


def compare_text(experiment: Experiment, results: Results, a: str, b: str) -> str:
    """Returns two arms of an experiment side by side: every metric, and the examples that only one gets right.

    Raises:
        DeclarationError: The arms have no seed in common.
    """
    judgement = judge(experiment, results)
    seeds = judgement.seeds(a, b)
    if not seeds:
        raise DeclarationError(
            "The arms have no seed in common. Expected: a finished run of each. "
            f"Received: {', '.join(judgement.arms) or 'no runs'}. Next: fashion experiment run {experiment.name}"
        )
    head = f"A: {a}\nB: {b}\n{experiment.title}, seeds {', '.join(map(str, seeds))}\n"
    table = _aligned([("", "A", "B", "A − B [95%]", "p"), *_metrics(judgement, a, b)])
    return "\n".join([head, table, "", _only_one(judgement, a, b, seeds)]).rstrip() + "\n"


def _metrics(judgement: Judgement, a: str, b: str) -> list[tuple[str, ...]]:
    figures = judgement.results.figures
    told = []
    for metric in dict.fromkeys(figures["metric"][figures["subset"] == judgement.whole]):
        values = [judgement.values(arm, metric) for arm in (a, b)]
        if all(values):
            told.append(_metric(judgement, a, b, metric, metric, values))
    if judgement.supports is not None:
        for group in judgement.taxonomy.groups:
            values = [judgement.values(arm, "f1", group) for arm in (a, b)]
            if all(values):
                told.append(_metric(judgement, a, b, group, "f1", values))
    return told


def _metric(
    judgement: Judgement, a: str, b: str, asked: str, metric: str, values: Sequence[Sequence[float]]
) -> tuple[str, ...]:
    scale, found = scale_of(metric), judgement.difference(a, b, asked)
    name = scale.heading if asked == metric else f"{scale.heading} of {asked}"
    shown = [scale.spread(*mean_over_seeds(each)) for each in values]
    change = f"{scale.change(found.value)} {scale.interval(found.low, found.high)}".strip()
    return (name, *shown, change, "" if found.low != found.low else probability(found.p_value))


def _only_one(judgement: Judgement, a: str, b: str, seeds: Sequence[int]) -> str:
    if judgement.supports is None:
        return ""
    answers = tabulate(judgement.results.errors, judgement.supports, [(arm, seed) for arm in (a, b) for seed in seeds])
    right = answers.predicted == answers.truth
    of_a, of_b = right[: len(seeds)], right[len(seeds) :]
    lines: list[Sequence[str]] = [("seed", "only A is right", "only B is right", "McNemar's p")]
    for seed, one, other in zip(seeds, of_a, of_b, strict=True):
        counts = int(np.sum(one & ~other)), int(np.sum(other & ~one))
        lines.append((str(seed), *map(str, counts), probability(mcnemar(*counts))))
    always = int(np.sum(of_a.all(axis=0) & ~of_b.any(axis=0))), int(np.sum(of_b.all(axis=0) & ~of_a.any(axis=0)))
    lines.append(("every", *map(str, always), ""))
    note = f"Of {judgement.supports.sum():,} examples. The p-values are of this comparison alone: not corrected."
    return f"{_aligned(lines)}\n\n{note}"


def _aligned(table: Rows) -> str:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    return "\n".join(line.rstrip() for line in lines)
