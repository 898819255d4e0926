"""Keras Tuner's oracles, starting from known good values and stopping when the budget is used up."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from keras_tuner import HyperParameters, Objective
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle
from sklearn.exceptions import ConvergenceWarning

from analysis.search.space import SearchSpace, searched_values
from models.recipe import Recipe
from models.training import Plan

Algorithm = Literal["bayesian", "hyperband", "random"]
OBJECTIVE = "val_group_macro_f1"
HYPERBAND_FACTOR = 3


@dataclass(frozen=True)
class Budget:
    """The budget of a search.

    Attributes:
        trials: Maximum number of trials.
        seconds: Seconds of training after which no trial starts, except the first one.
    """

    trials: int
    seconds: float


class _KnownGoodFirst:
    """Makes an oracle propose the known good values first, and stop when the time is used up."""

    first: dict[str, Any]
    used_up: Callable[[], bool]
    trials: dict[str, Any]

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if not self.trials:
            return {"status": "RUNNING", "values": dict(self.first)}
        if self.used_up():
            return {"status": "STOPPED"}
        with warnings.catch_warnings():
            # A Gaussian process on five points ends at the bounds of its length scale, which is harmless.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return super().populate_space(trial_id)  # type: ignore[misc]


class _Random(_KnownGoodFirst, RandomSearchOracle):
    pass


class _Bayesian(_KnownGoodFirst, BayesianOptimizationOracle):
    pass


class _Hyperband(_KnownGoodFirst, HyperbandOracle):
    pass


def make_oracle(
    algorithm: Algorithm, space: SearchSpace, first: Recipe, plan: Plan, budget: Budget, spent: Callable[[], float]
) -> Any:
    """Returns one of Keras Tuner's oracles that proposes a recipe first and keeps to the budget.

    Args:
        algorithm: The oracle.
        space: The choices and ranges.
        first: The recipe of the first trial.
        plan: Its epochs are the maximum of a trial, its seed determines the proposals.
        budget: Maximum number and duration of the trials.
        spent: Returns the seconds of training so far.
    """
    oracle = _plain_oracle(algorithm, space, plan, budget)
    oracle.first = searched_values(first) | _hyperband_values(algorithm, plan.epochs)
    oracle.used_up = lambda: spent() >= budget.seconds
    return oracle


def _plain_oracle(algorithm: Algorithm, space: SearchSpace, plan: Plan, budget: Budget) -> Any:
    common: dict[str, Any] = {
        "objective": Objective(OBJECTIVE, "max"),
        "hyperparameters": _declare(space),
        # Keras Tuner takes 0 for "any seed".
        "seed": 1 + plan.seed % (2**31 - 1),
        "max_consecutive_failed_trials": budget.trials + 1,
    }
    if algorithm == "random":
        return _Random(max_trials=budget.trials, **common)
    if algorithm == "bayesian":
        # With its default of three points a dimension, 18, a short search would be random only.
        return _Bayesian(max_trials=budget.trials, num_initial_points=max(3, budget.trials // 3), **common)
    oracle = _Hyperband(max_epochs=plan.epochs, factor=HYPERBAND_FACTOR, hyperband_iterations=None, **common)
    oracle.max_trials = budget.trials
    return oracle


def _hyperband_values(algorithm: Algorithm, epochs: int) -> dict[str, Any]:
    # The first trial is outside Hyperband's brackets: inside one it might be trained for an epoch and dropped, and the
    # best trial would have no reference.
    if algorithm != "hyperband":
        return {}
    return {"tuner/epochs": epochs, "tuner/initial_epoch": 0, "tuner/bracket": -1, "tuner/round": 0}


def _declare(space: SearchSpace) -> HyperParameters:
    declared = HyperParameters()
    for name, choices in space.choices.items():
        declared.Choice(name, list(choices))
    for name, (low, high, sampling) in space.ranges.items():
        declared.Float(name, low, high, sampling=sampling)
    return declared
