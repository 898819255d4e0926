"""Tables for the terminal: all experiments with their answers, and two arms of one experiment side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis.experiments import declaration
from analysis.experiments.comparison import mcnemar, mean_over_seeds
from analysis.experiments.declaration import STUDIES, DeclarationError, Experiment
from analysis.experiments.judgement import Judgement, judge
from analysis.experiments.links import without_links
from analysis.experiments.misclassifications import tabulate
from analysis.experiments.report import summary
from analysis.experiments.reported_metrics import format_p_value, scale_of
from analysis.experiments.results import Results

WIDTH = 100
Rows = Sequence[Sequence[str]]


def table_text(directory: Path = STUDIES) -> str:
    """Returns the table of all experiments: name, title, finished runs, and below them the answer in a sentence."""
    heads, answers = [("experiment", "title", "runs")], []
    for name in declaration.names(directory):
        experiment = declaration.load(name, directory)
        judgement = judge(experiment, Results(experiment, directory))
        total = len(experiment.arms) * len(experiment.seeds)
        finished = total - len(judgement.results.missing())
        heads.append((name, experiment.title, f"{finished}/{total}"))
        answers.append(
            textwrap.fill(
                without_links(summary(judgement, directory)), WIDTH, initial_indent="    ", subsequent_indent="    "
            )
        )
    first, *others = _aligned(heads).splitlines()
    return "\n".join([first, *(f"{head}\n{text}" for head, text in zip(others, answers, strict=True))])


def compare_text(experiment: Experiment, results: Results, a: str, b: str) -> str:
    """Returns two arms of an experiment side by side: every metric, and the examples that only one gets right.

    Raises:
        DeclarationError: The arms have no seed in common.
    """
    judgement = judge(experiment, results)
    seeds = judgement.seeds(a, b)
    if not seeds:
        raise DeclarationError(
            "The arms have no seed in common.",
            expected="a finished run of each",
            received=", ".join(judgement.arms) or "no runs",
            next_step=f"fashion experiment run {experiment.name}",
        )
    head = f"A: {a}\nB: {b}\n{experiment.title}, seeds {', '.join(map(str, seeds))}\n"
    table = _aligned([("", "A", "B", "A − B [95%]", "p"), *_metric_rows(judgement, a, b)])
    return "\n".join([head, table, "", _disagreements(judgement, a, b, seeds)]).rstrip() + "\n"


def _metric_rows(judgement: Judgement, a: str, b: str) -> list[tuple[str, ...]]:
    figures = judgement.results.figures
    rows = []
    for metric in dict.fromkeys(figures["metric"][figures["subset"] == judgement.whole]):
        values = [judgement.values(arm, metric) for arm in (a, b)]
        if all(values):
            rows.append(_metric_row(judgement, a, b, metric, metric, values))
    if judgement.supports is not None:
        for group in judgement.taxonomy.groups:
            values = [judgement.values(arm, "f1", group) for arm in (a, b)]
            if all(values):
                rows.append(_metric_row(judgement, a, b, group, "f1", values))
    return rows


def _metric_row(
    judgement: Judgement, a: str, b: str, compared: str, metric: str, values: Sequence[Sequence[float]]
) -> tuple[str, ...]:
    scale, found = scale_of(metric), judgement.difference(a, b, compared)
    name = scale.heading if compared == metric else f"{scale.heading} of {compared}"
    spreads = [scale.spread(*mean_over_seeds(each)) for each in values]
    change = f"{scale.change(found.value)} {scale.interval(found.low, found.high)}".strip()
    return (name, *spreads, change, "" if found.low != found.low else format_p_value(found.p_value))


def _disagreements(judgement: Judgement, a: str, b: str, seeds: Sequence[int]) -> str:
    if judgement.supports is None:
        return ""
    predictions = tabulate(
        judgement.results.errors, judgement.supports, [(arm, seed) for arm in (a, b) for seed in seeds]
    )
    right = predictions.predicted == predictions.truth
    right_a, right_b = right[: len(seeds)], right[len(seeds) :]
    lines: list[Sequence[str]] = [("seed", "only A is right", "only B is right", "McNemar's p")]
    for seed, one, other in zip(seeds, right_a, right_b, strict=True):
        counts = int(np.sum(one & ~other)), int(np.sum(other & ~one))
        lines.append((str(seed), *map(str, counts), format_p_value(mcnemar(*counts))))
    always = (
        int(np.sum(right_a.all(axis=0) & ~right_b.any(axis=0))),
        int(np.sum(right_b.all(axis=0) & ~right_a.any(axis=0))),
    )
    lines.append(("every", *map(str, always), ""))
    note = f"Of {judgement.supports.sum():,} examples. The p-values are not corrected for other comparisons."
    return f"{_aligned(lines)}\n\n{note}"


def _aligned(table: Rows) -> str:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    return "\n".join(line.rstrip() for line in lines)
