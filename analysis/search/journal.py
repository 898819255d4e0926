"""The hyperparameter search: Keras Tuner proposes, our training loop trains, a journal makes it resumable."""

from __future__ import annotations

import gc
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.errors import FailedTrialError, FatalError

from analysis.search.oracles import OBJECTIVE, Algorithm, Budget, make_oracle
from analysis.search.space import SearchSpace, searched
from models.recipe import Recipe
from models.training import Plan, Task, TrainingError, train


@dataclass(frozen=True)
class Outcome:
    """A trial that has ended.

    Attributes:
        trial: Keras Tuner's number of it, "00" for the first.
        values: The recipe's values that are searched.
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
        outcome = Outcome(trial, searched(recipe), plan.epochs, plan.seed, seconds=0.0, score=None)
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
    oracle = make_oracle(algorithm, space, first, trials.plan, budget, lambda: sum(o.seconds for o in outcomes))
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


def _hash(content: Any) -> int:
    return int(hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16], 16)


def _free_memory() -> None:
    # What stays are some 10 MB a trial: the traced step is held inside TensorFlow (keras-team/keras issue 17458).
    policy = keras.config.dtype_policy()
    keras.utils.clear_session()
    keras.config.set_dtype_policy(policy)
    gc.collect()
