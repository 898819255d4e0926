"""What a study's results say: each arm against the baseline, the power of the study, and the decision that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.evaluation.bootstrap import Counts
from analysis.experiments.comparison import Difference, compare
from analysis.experiments.decision import Decision, adjusted, beyond_chance, decide
from analysis.experiments.declaration import DeclarationError, Experiment
from analysis.experiments.results import TEST, VALIDATION, Results
from analysis.experiments.scales import Scale, metric_of, scale_of
from analysis.experiments.significance import detectable
from analysis.experiments.wrong_answers import tabulate
from models.taxonomy import Taxonomy

UNDEFINED = Difference(float("nan"), float("nan"), float("nan"), 1.0)


@dataclass(frozen=True)
class Judgement:
    """A study's results, judged; what takes time is computed when it is asked for, once.

    Attributes:
        experiment: The study.
        results: What was found so far.
        taxonomy: The groups.
    """

    experiment: Experiment
    results: Results
    taxonomy: Taxonomy

    @property
    def arms(self) -> list[str]:
        """The arms that have a run, as declared."""
        there = set(self.results.figures["arm"])
        return [arm for arm in self.experiment.arms if arm in there]

    @property
    def whole(self) -> str:
        """The subset of all examples that were judged: validation, or the test images where the study is about them."""
        there = set(self.results.figures["subset"])
        return TEST if VALIDATION not in there and TEST in there else VALIDATION

    @property
    def scale(self) -> Scale:
        """The scale of the study's metric."""
        return scale_of(self.experiment.metric)

    @cached_property
    def supports(self) -> Counts | None:
        """How many examples each group has, int64 [groups]; None where the measure does not judge examples."""
        figures = self.results.figures
        of_support = figures[figures["metric"] == "support"]
        known = set(self.taxonomy.groups) <= set(of_support["subset"])
        return self.results.supports(self.taxonomy.groups) if known else None

    @cached_property
    def differences(self) -> dict[str, Difference]:
        """Of every arm but the baseline, in the study's metric."""
        experiment = self.experiment
        others = [arm for arm in self.arms if arm != experiment.baseline and experiment.baseline in self.arms]
        return {arm: self.difference(arm, experiment.baseline, experiment.metric) for arm in others}

    @cached_property
    def adjusted(self) -> dict[str, float]:
        """The p-values of the differences after Holm's correction for their number."""
        return adjusted(self.differences)

    @property
    def beyond_chance(self) -> list[str]:
        """The arms that differ from the baseline beyond chance."""
        return beyond_chance(self.differences)

    @cached_property
    def decision(self) -> Decision | None:
        """What the declared rule decides; None while runs are missing."""
        if not self.results.complete:
            return None
        return decide(self.experiment.rule, self._oriented, self.experiment.baseline)

    @property
    def best(self) -> str | None:
        """The arm with the best mean of the study's metric; None where no arm has one."""
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

    def counts(self, metric: str) -> bool:
        """Whether a metric follows from the answers to single examples."""
        return metric_of(metric, self.taxonomy) is not None and self.supports is not None

    def table(self, metric: str, subset: str = "") -> pd.DataFrame:
        """Returns a metric's values, a row a seed and a column an arm; of all examples unless a subset is named."""
        return self.results.values(metric, subset or self.whole)

    def values(self, arm: str, metric: str, subset: str = "") -> list[float]:
        """Returns an arm's values, one a seed; none where it was not measured."""
        table = self.table(metric, subset)
        return [float(value) for value in table[arm].dropna()] if arm in table else []

    def seeds(self, arm: str, other: str) -> list[int]:
        """Returns the seeds that both arms have finished."""
        figures = self.results.figures
        both = [set(figures["seed"][figures["arm"] == name]) for name in (arm, other)]
        return [seed for seed in self.experiment.seeds if seed in both[0] & both[1]]

    def difference(self, arm: str, other: str, metric: str) -> Difference:
        """Compares two arms in a metric, or in the F1 of a group by the group's name.

        Over examples and seeds where the metric follows from the answers, otherwise over seeds by Student's t.
        """
        seeds = self.seeds(arm, other)
        if not seeds:
            return UNDEFINED
        measured = metric_of(metric, self.taxonomy)
        if measured is not None and self.supports is not None:
            return compare(self.results.errors, self.supports, arm, other, seeds, measured)
        table = self.table(metric).reindex(columns=[arm, other]).dropna()
        return over_seeds((table[arm] - table[other]).tolist())

    @cached_property
    def least_difference(self) -> float:
        """The least difference in the study's metric that it sees in 80% of cases, uncorrected; NaN where unknown."""
        if self.experiment.metric == "group_accuracy" and self.supports is not None:
            return self._least_accuracy(self.supports)
        half_widths = [(found.high - found.low) / 2 for found in self.differences.values()]
        if not half_widths or np.isnan(half_widths).all():
            return float("nan")
        sure, power = stats.norm.ppf([0.975, 0.8])
        return float(np.nanmedian(half_widths) / sure * (sure + power))

    def _least_accuracy(self, supports: Counts) -> float:
        found = []
        for arm in self.differences:
            seeds = self.seeds(arm, self.experiment.baseline)
            if seeds:
                runs = [(name, seed) for name in (arm, self.experiment.baseline) for seed in seeds]
                answers = tabulate(self.results.errors, supports, runs)
                right = (answers.predicted == answers.truth).astype(np.int64)
                change = right[: len(seeds)] - right[len(seeds) :]
                found.append(_detectable(change, int(supports.sum())))
        return float(np.median(found)) if found else float("nan")


def over_seeds(differences: Sequence[float]) -> Difference:
    """Compares by the paired differences of the seeds alone: Student's t interval and p-value."""
    count = len(differences)
    if not count:
        return UNDEFINED
    mean = float(np.mean(differences))
    error = float(np.std(differences, ddof=1)) / count**0.5 if count > 1 else float("nan")
    # Without a spread, seeds say nothing of chance: sizes and counts are the same in all.
    if not error > 0:
        return Difference(mean, float("nan"), float("nan"), 1.0)
    half = float(stats.t.ppf(0.975, count - 1)) * error
    return Difference(mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, count - 1)))


def judge(experiment: Experiment, results: Results, taxonomy: Taxonomy | None = None) -> Judgement:
    """Judges the results of a study.

    Raises:
        DeclarationError: The measure does not report the study's metric.
    """
    reported = results.figures["metric"].unique()
    if len(reported) and experiment.metric not in reported:
        raise DeclarationError(
            f"The experiment {experiment.name} has no results in its metric. Expected: one of {', '.join(reported)}. "
            f"Received: {experiment.metric}"
        )
    return Judgement(experiment, results, taxonomy or Taxonomy.load())


def _detectable(change: Any, examples: int) -> float:
    """Returns what is detectable, from the change of each example in each seed, int64 [seeds, K]: -1, 0 or 1."""
    seeds = len(change)
    discordant = float((change != 0).sum()) / (seeds * examples)
    mean = float(change.sum()) / (seeds * examples)
    variance = discordant - mean**2
    if seeds == 1 or not variance > 0:
        return detectable(examples, discordant)
    together = float((change.sum(axis=0) ** 2 - (change**2).sum(axis=0)).sum())
    correlation = (together / (seeds * (seeds - 1) * examples) - mean**2) / variance
    return detectable(examples, discordant, seeds, min(max(correlation, 0.0), 1.0))


def ran_on(figures: pd.DataFrame) -> list[str]:
    """Returns the places that runs were made at, the most frequent first."""
    places = figures["backend"] + ", " + figures["hardware"]
    return [str(place) for place in places.value_counts(sort=True).index]
