"""Computes the bounds of the Evaluator's rules from the spread of the default network over seeds.

    python -m scripts.verdict_bounds     # prints the rules for models/fashion.toml and analysis/evaluation/verdict.py

The figures are those of the experiment `final_evaluation` on the official test split. Its three kinds of single
networks have five seeds each. The standard deviation over seeds is pooled over the three, with twelve degrees of
freedom.

A bound is the end of a one-sided prediction interval for one more run (Hahn and Meeker, "Statistical Intervals", 1991,
chapter 4): the mean of the default's five seeds, less `t * s * sqrt(1 + 1/5)`. For the difference of two runs it is
`t * s * sqrt(2)` below zero. `t` is a quantile of Student's distribution at a tail of 0.05, divided by the number of
rules (Bonferroni). So at most 5 of 100 runs that differ from these only in their seed are refused, if figures are
normally distributed. A comparison with the best of ten models divides the tail by ten once more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from scipy.stats import t as student

from analysis.evaluation.history import MODELS
from analysis.evaluation.verdict import DEFAULT_RULES, EVERY_GROUP, Rule, strictest
from analysis.experiments import declaration
from analysis.experiments.results import Results
from models.taxonomy import Taxonomy

EXPERIMENT = "final_evaluation"
DEFAULT = "the default"
NETWORKS = (DEFAULT, "the default without mixup", "full")
"""The arms with a single network. Ensembles share networks from seed to seed, so their spread says little."""

FALSE_REFUSALS = 0.05
"""The share of honest runs that may be refused."""

NEAR_DUPLICATES = 978
"""Official test images with a near-duplicate in training."""


class Spread:
    """The figures of single networks on the official test split: the default's mean, and the spread over seeds.

    Attributes:
        runs: A row a run, indexed by arm and seed, with a column a figure: "accuracy", "recall: Bags".
        rules: The number of rules in a verdict, which share the false refusals.
    """

    def __init__(self, rules: int) -> None:
        """Reads the experiment's results."""
        figures = Results(declaration.load(EXPERIMENT)).figures
        wide = figures[figures["arm"].isin(NETWORKS)].pivot_table(
            index=["arm", "seed"], columns=["subset", "metric"], values="value"
        )
        test = wide["test"]
        columns = {
            "accuracy": test["group_accuracy"],
            "macro_f1": test["macro_f1"],
            "calibration_error": test["debiased_calibration_error"],
            "abstention": 1 - test["single"],
        }
        self._resolution = {}
        for group in Taxonomy.load().groups:
            f1, recall = wide[group]["f1"], wide[group]["recall"]
            shares = {
                "precision": f1 * recall / (2 * recall - f1),
                "recall": recall,
                "coverage": wide[group]["coverage"],
                "f1": f1,
            }
            columns |= {f"{name}: {group}": values for name, values in shares.items()}
            self._resolution |= {f"{name}: {group}": 1 / wide[group]["support"].iloc[0] for name in shares}
        self.runs = pd.DataFrame(columns)
        self.rules = rules

    def deviation(self, figure: str) -> float:
        """Returns the standard deviation over seeds, at least one image: some recalls are the same for five seeds."""
        pooled = math.sqrt(self.runs[figure].groupby("arm").var().mean())
        return max(pooled, self._resolution.get(figure, 0.0))

    def margin(self, figure: str) -> float:
        """Returns how far one more run may lie from the mean of the default's seeds."""
        return self._quantile(1) * self.deviation(figure) * math.sqrt(1 + 1 / len(self.runs.loc[DEFAULT]))

    def least(self, figure: str) -> float:
        """Returns the least value that passes, rounded down."""
        return _down(self.runs.loc[DEFAULT, figure].mean() - self.margin(figure))

    def most(self, figure: str) -> float:
        """Returns the largest value that passes, rounded up."""
        return -_down(-self.runs.loc[DEFAULT, figure].mean() - self.margin(figure))

    def loss(self, figure: str, models: int = 1) -> float:
        """Returns the least difference from the best of so many earlier models that passes; it is negative."""
        return _down(-self._quantile(models) * self.deviation(figure) * math.sqrt(2))

    def _quantile(self, models: int) -> float:
        runs, arms = len(self.runs), len(NETWORKS)
        return float(student.isf(FALSE_REFUSALS / self.rules / models, runs - arms))


def taxonomy_rules(rules: int) -> list[Rule]:
    """Returns the rules of `models/fashion.toml`.

    Args:
        rules: The number of rules in a verdict.
    """
    spread = Spread(rules)
    accuracy = spread.least("accuracy")
    found = [
        Rule(metric="accuracy", at_least=accuracy),
        Rule(metric="macro_f1", at_least=spread.least("macro_f1")),
        # As if all errors that the bound of the accuracy allows were on images without near-duplicates.
        Rule(
            metric="accuracy_without_near_duplicates", at_least=_down(1 - (1 - accuracy) * _without_near_duplicates())
        ),
        Rule(metric="calibration_error", at_most=spread.most("calibration_error")),
        Rule(metric="abstention", at_most=spread.most("abstention")),
    ]
    for group in Taxonomy.load().groups:
        where = f"group:{group}"
        found += [
            Rule(metric=metric, slice=where, at_least=spread.least(f"{metric}: {group}"))
            for metric in ("precision", "recall", "coverage")
        ]
        loss, from_best = (spread.loss(f"recall: {group}", models) for models in (1, MODELS))
        found.append(Rule(metric="recall", slice=where, change_at_least=loss))
        found.append(Rule(metric="recall", slice=where, change_from_best_at_least=from_best))
    return found


def default_rules(rules: int) -> list[Rule]:
    """Returns the default rules whose bounds follow from the spread; without a group's name they take the largest."""
    spread, groups = Spread(rules), Taxonomy.load().groups
    accuracy = spread.loss("accuracy")
    every = {"slice": EVERY_GROUP}
    margin = max(spread.margin(f"f1: {group}") for group in groups)
    precision = min(spread.loss(f"precision: {group}") for group in groups)
    recall, from_best = (min(spread.loss(f"recall: {group}", models) for group in groups) for models in (1, MODELS))
    return [
        Rule(metric="f1_over_nearest_neighbour", **every, at_least=_down(-margin)),
        Rule(metric="accuracy", change_at_least=accuracy),
        Rule(metric="accuracy_without_near_duplicates", change_at_least=_down(accuracy * _without_near_duplicates())),
        Rule(metric="macro_f1", change_at_least=spread.loss("macro_f1")),
        Rule(metric="abstention", change_at_most=-spread.loss("abstention")),
        Rule(metric="precision", **every, change_at_least=precision),
        Rule(metric="recall", **every, change_at_least=recall),
        Rule(metric="accuracy", change_from_best_at_least=spread.loss("accuracy", MODELS)),
        Rule(metric="macro_f1", change_from_best_at_least=spread.loss("macro_f1", MODELS)),
        Rule(metric="recall", **every, change_from_best_at_least=from_best),
    ]


def rules_in_a_verdict(taxonomy: Sequence[Rule]) -> int:
    """Returns the number of lines in a verdict with the default rules and those of the taxonomy's file."""
    return len(strictest((*DEFAULT_RULES, *taxonomy), [f"group:{group}" for group in Taxonomy.load().groups]))


def _without_near_duplicates() -> float:
    """Returns the number of test images per test image without a near-duplicate."""
    return 10_000 / (10_000 - NEAR_DUPLICATES)


def _down(value: float) -> float:
    """Rounds down to four digits; what is written with four digits stays."""
    return math.floor(round(value * 10_000, 6)) / 10_000


def as_toml(rule: Rule) -> str:
    """Returns a rule as a line of the array `rules`."""
    where = f'slice = "{rule.slice}", ' if rule.slice.startswith("group:") else ""
    return f'    {{ metric = "{rule.metric}", {where}{rule.kind} = {rule.bound} }},'


def main() -> None:
    """Prints the rules."""
    count = rules_in_a_verdict(taxonomy_rules(1))
    print("\n".join(["rules = [", *map(as_toml, taxonomy_rules(count)), "]", ""]))
    for rule in default_rules(count):
        print(rule.text())


if __name__ == "__main__":
    main()
