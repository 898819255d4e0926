"""The hyperparameter search: Keras Tuner proposes, our training loop trains, a journal makes it resumable."""

from __future__ import annotations

import gc
import hashlib
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import keras
from keras_tuner import HyperParameters, Objective
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.errors import FailedTrialError, FatalError
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle
from sklearn.exceptions import ConvergenceWarning

from analysis.search_space import SearchSpace
from models.recipe import Recipe
from models.training import Plan, Task, TrainingError, train

Algorithm = Literal["bayesian", "hyperband", "random"]
OBJECTIVE = "val_group_macro_f1"
HYPERBAND_FACTOR = 3


@dataclass(frozen=True)
class Outcome:
    """A trial that has ended.

    Attributes:
        trial: Keras Tuner's number of it, "00" for the first.
        values: The recipe's values.
        epochs: Passes over the search's images.
        seed: Of this training.
        seconds: That the training took, when it was run.
        score: Macro F1 over groups on validation after the last epoch; None when the training diverged.
        history: What `models.training.train` says of every epoch.
        message: Why it failed; empty when it has not.
    """

    trial: str
    values: dict[str, Any]
    epochs: int
    seed: int
    seconds: float
    score: float | None
    history: list[dict[str, float]] = field(default_factory=list)
    message: str = ""

    @property
    def status(self) -> str:
        """Either "completed" or "failed"."""
        return "failed" if self.score is None else "completed"


@dataclass(frozen=True)
class Budget:
    """How long to search.

    Attributes:
        trials: The most trials.
        seconds: No trial is begun after as many seconds of training, besides the first one.
    """

    trials: int
    seconds: float


class Trials:
    """Trains a recipe for some epochs, or knows the outcome already.

    Every finished trial is one small file, so that a search that was killed is simply begun anew: Keras Tuner makes the
    same proposals from the same outcomes, and gets those of the finished trials from the files. Its own way of resuming
    is not used: it writes several files one after another, any of which a kill may leave half written or behind the
    others, and its Bayesian oracle forgets where its random numbers were.

    Args:
        task: The images of the search.
        plan: How a trial is trained; its epochs are the most of a trial, its seed is that of the search.
        journal: The directory of the files.
    """

    def __init__(self, task: Task, plan: Plan, journal: Path) -> None:
        self._task, self.plan, self._journal = task, plan, journal
        journal.mkdir(parents=True, exist_ok=True)
        arrays = (task.images, task.garments, task.validation_images, task.validation_garments, task.membership)
        self._data = hashlib.sha256(b"".join(hashlib.sha256(a.tobytes()).digest() for a in arrays)).hexdigest()

    def run(self, trial: str, recipe: Recipe, epochs: int) -> Outcome:
        """Returns the outcome of training a recipe; the same one whenever it is asked for."""
        plan = replace(self.plan, epochs=epochs, seed=_hash([self.plan.seed, recipe.to_values(), epochs]) % 2**31)
        file = self._journal / f"{_hash([self._data, recipe.to_values(), asdict(plan)]):x}.json"
        if file.exists():
            return replace(Outcome(**json.loads(file.read_text(encoding="utf-8"))), trial=trial)
        outcome = self._train(trial, recipe, plan)
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(asdict(outcome)), encoding="utf-8")
        unfinished.replace(file)
        return outcome

    def _train(self, trial: str, recipe: Recipe, plan: Plan) -> Outcome:
        begun = time.perf_counter()
        outcome = Outcome(trial, recipe.to_values(), plan.epochs, plan.seed, seconds=0.0, score=None)
        try:
            history = train(recipe, self._task, plan).history
            # The last epoch's score, not the best one's: the Trainer keeps the weights of its last epoch as well.
            outcome = replace(outcome, history=history, score=history[-1][OBJECTIVE])
        except TrainingError as error:
            outcome = replace(outcome, message=str(error))
        finally:
            _free_memory()
        return replace(outcome, seconds=time.perf_counter() - begun)


def search(
    algorithm: Algorithm,
    space: SearchSpace,
    first: Recipe,
    trials: Trials,
    budget: Budget,
    directory: Path,
    report: Callable[[list[Outcome]], None],
) -> list[Outcome]:
    """Searches until the budget or the space is used up.

    Args:
        algorithm: Which of Keras Tuner's oracles proposes.
        space: What it may propose.
        first: The recipe of the first trial, trained for all epochs.
        trials: Trains.
        budget: How long.
        directory: For Keras Tuner's own files.
        report: Is called after every trial with all outcomes so far.

    Returns:
        The outcomes in the order they were found, one at least.
    """
    outcomes: list[Outcome] = []
    oracle = _make_oracle(algorithm, space, trials.plan, budget)
    oracle.first = first.to_values() | _hyperband_values(algorithm, trials.plan.epochs)
    oracle.used_up = lambda: sum(outcome.seconds for outcome in outcomes) >= budget.seconds
    tuner = _Tuner(oracle, trials, outcomes, report, directory)
    try:
        tuner.search(verbose=0)
    except FatalError as error:
        raise error.__cause__ or error from None
    return outcomes


class _Tuner(BaseTuner):
    """Keras Tuner's loop around `Trials`."""

    def __init__(
        self,
        oracle: Any,
        trials: Trials,
        outcomes: list[Outcome],
        report: Callable[[list[Outcome]], None],
        directory: Path,
    ) -> None:
        super().__init__(oracle, directory=str(directory), project_name="keras_tuner", overwrite=True)
        self._trials, self._outcomes, self._report = trials, outcomes, report

    def run_trial(self, trial: Any, *fit_args: Any, **fit_kwargs: Any) -> dict[str, float]:
        values = trial.hyperparameters.values
        try:
            outcome = self._trials.run(
                trial.trial_id, Recipe.from_values(values), values.get("tuner/epochs", self._trials.plan.epochs)
            )
            self._outcomes.append(outcome)
            self._report(self._outcomes)
        except Exception as error:
            # Keras Tuner would take any exception, even a full disk, for a bad set of values, and go on.
            raise FatalError from error
        if outcome.score is None:
            raise FailedTrialError(outcome.message)
        return {OBJECTIVE: outcome.score}


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


def _make_oracle(algorithm: Algorithm, space: SearchSpace, plan: Plan, budget: Budget) -> Any:
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


def _hash(content: Any) -> int:
    return int(hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16], 16)


def _free_memory() -> None:
    # What stays are some 10 MB a trial: the traced step is held inside TensorFlow (keras-team/keras issue 17458).
    policy = keras.config.dtype_policy()
    keras.utils.clear_session()
    keras.config.set_dtype_policy(policy)
    gc.collect()
