"""Keras Tuner's oracles, made to begin with known good values and to end when the time is used up."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from keras_tuner import HyperParameters, Objective
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle
from sklearn.exceptions import ConvergenceWarning

from analysis.search.space import SearchSpace, searched
from models.recipe import Recipe
from models.training import Plan

Algorithm = Literal["bayesian", "hyperband", "random"]
OBJECTIVE = "val_group_macro_f1"
HYPERBAND_FACTOR = 3


@dataclass(frozen=True)
class Budget:
    """How long to search.

    Attributes:
        trials: The most trials.
        seconds: No trial is begun after as many seconds of training, besides the first one.
    """

    trials: int
    seconds: float


class _KnownGoodFirst:
    """Makes an oracle begin with given values, and end when the time is used up."""

    first: dict[str, Any]
    used_up: Callable[[], bool]
    trials: dict[str, Any]

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if not self.trials:
            return {"status": "RUNNING", "values": dict(self.first)}
        if self.used_up():
            return {"status": "STOPPED"}
        with warnings.catch_warnings():
            # A Gaussian process on five points ends at the bounds of its length scale, which does no harm.
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
    """Returns one of Keras Tuner's oracles that begins with a given recipe and keeps to the budget.

    Args:
        algorithm: Which oracle.
        space: What it may propose.
        first: The recipe of the first trial.
        plan: Its epochs are the most of a trial, its seed decides the proposals.
        budget: How long.
        spent: Returns the seconds that the trials have taken so far.
    """
    oracle = _plain_oracle(algorithm, space, plan, budget)
    oracle.first = searched(first) | _hyperband_values(algorithm, plan.epochs)
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
        # Its default of three points a dimension, 18, would leave a short search all random.
        return _Bayesian(max_trials=budget.trials, num_initial_points=max(3, budget.trials // 3), **common)
    oracle = _Hyperband(max_epochs=plan.epochs, factor=HYPERBAND_FACTOR, hyperband_iterations=None, **common)
    oracle.max_trials = budget.trials
    return oracle


def _hyperband_values(algorithm: Algorithm, epochs: int) -> dict[str, Any]:
    # The first trial stands outside Hyperband's brackets: in one it might be trained for an epoch and dropped, and the
    # best found would have nothing to be compared with.
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
