"""The judgement of an experiment: each arm against the baseline, the power, and the declared rule applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.evaluation.bootstrap import Counts
from analysis.experiments.comparison import Difference, compare, minimum_detectable_difference
from analysis.experiments.declaration import DeclarationError, Experiment, Rule
from analysis.experiments.equivalence import MARGINS, is_equivalent
from analysis.experiments.misclassifications import tabulate
from analysis.experiments.reported_metrics import Scale, confusion_metric, format_p_value, scale_of
from analysis.experiments.results import TEST, VALIDATION, Results
from analysis.exploration.two_sample_tests import holm
from models.taxonomy import Taxonomy

UNDEFINED = Difference(float("nan"), float("nan"), float("nan"), 1.0)
BETTER, WORSE = "significantly better", "significantly worse"
EQUIVALENT, INCONCLUSIVE, CANNOT_TELL, NOT_SIGNIFICANT = "equivalent", "inconclusive", "cannot tell", "not significant"
"""Verdicts on an arm against the baseline.

"Inconclusive" is for arms of which either the corrected p-value or the 95% interval indicates a difference, not both;
"not significant" is for metrics without an equivalence margin.
"""
ALPHA = 0.05
"""The probability that an experiment adopts any arm that is no better than the baseline."""


@dataclass(frozen=True)
class Decision:
    """The chosen arm, and the reason in one clause with figures in points (hundredths)."""

    chosen: str
    reason: str


def decide(rule: Rule, differences: Mapping[str, Difference], baseline: str) -> Decision:
    """Applies the rule of an experiment.

    "adopt" takes the arm with the largest difference if it is `significant`, above zero and at least `least_gain`; it
    never takes the second best instead. Otherwise, and with "report", the baseline stays.

    Args:
        rule: The rule.
        differences: The difference of every arm but the baseline, in a metric of which more is better.
        baseline: The baseline's name.
    """
    defined = [name for name, found in differences.items() if found.value == found.value]
    if not defined:
        return Decision(baseline, "there is no arm to compare")
    best = max(defined, key=lambda name: differences[name].value)
    found = differences[best]
    p_value = format_p_value(adjusted(differences)[best], "p")
    figures = f"{best} is {_describe(found)}, {p_value}{correction(len(differences))}"
    if rule.kind == "report":
        return Decision(baseline, figures)
    if found.value > 0 and found.value >= rule.least_gain and best in significant(differences):
        return Decision(best, figures)
    required = f" by at least {_points(rule.least_gain)} points" if rule.least_gain else ""
    return Decision(baseline, f"no arm is significantly ahead{required} ({figures})")


def adjusted(differences: Mapping[str, Difference]) -> dict[str, float]:
    """Returns the arms' p-values after Holm's correction for their number."""
    p_values = holm([found.p_value for found in differences.values()])
    return dict(zip(differences, map(float, p_values), strict=True))


def significant(differences: Mapping[str, Difference]) -> list[str]:
    """Returns the arms that differ significantly from the baseline, both by the adjusted p-value and by the interval.

    The p-value covers other examples but not other seeds, so that a single failed seed can make it small. The interval
    covers other seeds as well.
    """
    return [
        arm for arm, p_value in adjusted(differences).items() if p_value < ALPHA and excludes_zero(differences[arm])
    ]


def excludes_zero(found: Difference) -> bool:
    """Returns whether the 95% interval of a difference excludes zero; False without an interval."""
    return found.low > 0 or found.high < 0


def correction(comparisons: int) -> str:
    """Returns " after Holm over 5 comparisons", or nothing for a single one."""
    return f" after Holm over {comparisons} comparisons" if comparisons > 1 else ""


def _describe(found: Difference) -> str:
    side = "behind" if found.value < 0 else "ahead"
    size, low, high = abs(found.value), found.low, found.high
    if found.value < 0:
        low, high = -high, -low
    return f"{side} by {_points(size)} points [{_points(low)}, {_points(high)}]"


def _points(share: float) -> str:
    return f"{100 * share:.2f}".replace("-", "−")


@dataclass(frozen=True)
class Judgement:
    """The judgement of an experiment's results; costly figures are computed on first use and cached.

    Attributes:
        experiment: The experiment.
        results: The results so far.
        taxonomy: The groups and their garments.
    """

    experiment: Experiment
    results: Results
    taxonomy: Taxonomy

    @property
    def arms(self) -> list[str]:
        """The arms that have a run, in the order of the declaration."""
        finished = set(self.results.figures["arm"])
        return [arm for arm in self.experiment.arms if arm in finished]

    @property
    def whole(self) -> str:
        """The subset of all evaluated examples: validation, or test in an experiment on the test images."""
        subsets = set(self.results.figures["subset"])
        return TEST if VALIDATION not in subsets and TEST in subsets else VALIDATION

    @property
    def scale(self) -> Scale:
        """The scale of the primary metric."""
        return scale_of(self.experiment.metric)

    @cached_property
    def supports(self) -> Counts | None:
        """Number of examples of each group, int64 [groups]; None if the measure does not classify examples."""
        figures = self.results.figures
        supported = set(figures[figures["metric"] == "support"]["subset"])
        return self.results.supports(self.taxonomy.groups) if set(self.taxonomy.groups) <= supported else None

    @cached_property
    def differences(self) -> dict[str, Difference]:
        """The difference of every arm but the baseline, in the primary metric."""
        experiment = self.experiment
        others = [arm for arm in self.arms if arm != experiment.baseline and experiment.baseline in self.arms]
        return {arm: self.difference(arm, experiment.baseline, experiment.metric) for arm in others}

    @cached_property
    def adjusted(self) -> dict[str, float]:
        """The p-values of the differences after Holm's correction for their number."""
        return adjusted(self.differences)

    @cached_property
    def significant(self) -> list[str]:
        """The arms that differ significantly from the baseline."""
        return significant(self.differences)

    def margin(self, metric: str) -> float | None:
        """Returns the equivalence margin of a metric, or of a group's F1 by its name; None where there is none."""
        if metric == self.experiment.metric and self.experiment.margin is not None:
            return self.experiment.margin
        found = MARGINS.get("f1" if metric in self.taxonomy.groups else metric)
        return found.value if found else None

    @cached_property
    def verdicts(self) -> dict[str, str]:
        """The verdict on every arm but the baseline: "significantly better", "equivalent" and so on."""
        return {arm: self._verdict(arm, found) for arm, found in self.differences.items()}

    def _verdict(self, arm: str, found: Difference) -> str:
        if arm in self.significant:
            return BETTER if (found.value > 0) == self.scale.more_is_better else WORSE
        margin = self.margin(self.experiment.metric)
        if margin is not None and is_equivalent(found, margin):
            return EQUIVALENT
        if self.adjusted[arm] < ALPHA or excludes_zero(found):
            return INCONCLUSIVE
        return NOT_SIGNIFICANT if margin is None else CANNOT_TELL

    def arms_with(self, verdict: str) -> list[str]:
        """Returns the arms with a verdict."""
        return [arm for arm, found in self.verdicts.items() if found == verdict]

    @cached_property
    def decision(self) -> Decision | None:
        """The decision by the declared rule; None while runs are missing."""
        if not self.results.complete:
            return None
        return decide(self.experiment.rule, self._oriented, self.experiment.baseline)

    @property
    def best(self) -> str | None:
        """The arm with the best mean of the primary metric; None if no arm has one."""
        means = self.table(self.experiment.metric).mean()
        if means.empty:
            return None
        return str(means.idxmax() if self.scale.more_is_better else means.idxmin())

    @property
    def _oriented(self) -> Mapping[str, Difference]:
        if self.scale.more_is_better:
            return self.differences
        return {
            arm: replace(found, value=-found.value, low=-found.high, high=-found.low)
            for arm, found in self.differences.items()
        }

    def counts_examples(self, metric: str) -> bool:
        """Whether a metric follows from the predictions for single examples."""
        return confusion_metric(metric, self.taxonomy) is not None and self.supports is not None

    def table(self, metric: str, subset: str = "") -> pd.DataFrame:
        """Returns a metric's values, a row per seed and a column per arm; of all examples unless a subset is named."""
        return self.results.values(metric, subset or self.whole)

    def values(self, arm: str, metric: str, subset: str = "") -> list[float]:
        """Returns an arm's values, one per seed; empty if it was not measured."""
        table = self.table(metric, subset)
        return [float(value) for value in table[arm].dropna()] if arm in table else []

    def seeds(self, arm: str, other: str) -> list[int]:
        """Returns the seeds that both arms have finished."""
        figures = self.results.figures
        both = [set(figures["seed"][figures["arm"] == name]) for name in (arm, other)]
        return [seed for seed in self.experiment.seeds if seed in both[0] & both[1]]

    def difference(self, arm: str, other: str, metric: str) -> Difference:
        """Compares two arms in a metric, or in the F1 of a group by the group's name.

        The comparison is over examples and seeds if the metric counts examples, otherwise over seeds by Student's t.
        """
        seeds = self.seeds(arm, other)
        if not seeds:
            return UNDEFINED
        measured = confusion_metric(metric, self.taxonomy)
        if measured is not None and self.supports is not None:
            return compare(self.results.errors, self.supports, arm, other, seeds, measured)
        table = self.table(metric).reindex(columns=[arm, other]).dropna()
        return over_seeds((table[arm] - table[other]).tolist())

    @cached_property
    def minimum_detectable_difference(self) -> float:
        """The minimum detectable difference in the primary metric at 80% power, uncorrected; NaN if unknown."""
        if self.experiment.metric == "group_accuracy" and self.supports is not None:
            return self._minimum_detectable_accuracy(self.supports)
        half_widths = [(found.high - found.low) / 2 for found in self.differences.values()]
        if not half_widths or np.isnan(half_widths).all():
            return float("nan")
        significance, power = stats.norm.ppf([0.975, 0.8])
        return float(np.nanmedian(half_widths) / significance * (significance + power))

    def _minimum_detectable_accuracy(self, supports: Counts) -> float:
        found = []
        for arm in self.differences:
            seeds = self.seeds(arm, self.experiment.baseline)
            if seeds:
                runs = [(name, seed) for name in (arm, self.experiment.baseline) for seed in seeds]
                predictions = tabulate(self.results.errors, supports, runs)
                right = (predictions.predicted == predictions.truth).astype(np.int64)
                change = right[: len(seeds)] - right[len(seeds) :]
                found.append(_minimum_detectable(change, int(supports.sum())))
        return float(np.median(found)) if found else float("nan")


def over_seeds(differences: Sequence[float]) -> Difference:
    """Compares by the paired differences of the seeds: Student's t interval and p-value."""
    count = len(differences)
    if not count:
        return UNDEFINED
    mean = float(np.mean(differences))
    error = float(np.std(differences, ddof=1)) / count**0.5 if count > 1 else float("nan")
    # Without a spread there is no test: sizes and counts are the same in all seeds.
    if not error > 0:
        return Difference(mean, float("nan"), float("nan"), 1.0)
    inner, half = (float(quantile) * error for quantile in stats.t.ppf([0.95, 0.975], count - 1))
    p_value = float(2 * stats.t.sf(abs(mean) / error, count - 1))
    return Difference(mean, mean - half, mean + half, p_value, (mean - inner, mean + inner))


def judge(experiment: Experiment, results: Results, taxonomy: Taxonomy | None = None) -> Judgement:
    """Judges the results of an experiment.

    Raises:
        DeclarationError: The measure does not report the primary metric.
    """
    reported = results.figures["metric"].unique()
    if len(reported) and experiment.metric not in reported:
        raise DeclarationError(
            f"The experiment {experiment.name} has no results in its metric.",
            expected=f"one of {', '.join(reported)}",
            received=experiment.metric,
        )
    return Judgement(experiment, results, taxonomy or Taxonomy.load())


def _minimum_detectable(change: Any, examples: int) -> float:
    """Returns the minimum detectable accuracy from each example's change in each seed, int64 [seeds, K]: -1, 0 or 1."""
    seeds = len(change)
    discordant = float((change != 0).sum()) / (seeds * examples)
    mean = float(change.sum()) / (seeds * examples)
    variance = discordant - mean**2
    if seeds == 1 or not variance > 0:
        return minimum_detectable_difference(examples, discordant)
    together = float((change.sum(axis=0) ** 2 - (change**2).sum(axis=0)).sum())
    correlation = (together / (seeds * (seeds - 1) * examples) - mean**2) / variance
    return minimum_detectable_difference(examples, discordant, seeds, min(max(correlation, 0.0), 1.0))


def machines(figures: pd.DataFrame) -> list[str]:
    """Returns the backends and hardware of the runs, the most frequent first."""
    combined = figures["backend"] + ", " + figures["hardware"]
    return [str(machine) for machine in combined.value_counts(sort=True).index]
