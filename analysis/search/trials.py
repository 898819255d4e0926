"""Trials of the hyperparameter search: proposed by Keras Tuner, kept in a journal, listed in TensorBoard."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.errors import FailedTrialError, FatalError
from numpy.typing import NDArray
from tensorboard.plugins.hparams import api as hparams

from analysis.search.oracles import OBJECTIVE, Algorithm, Budget, make_oracle
from analysis.search.space import SearchSpace, searched_values
from models.recipe import Recipe
from models.training import Plan, Task, TrainingError, train
from pipeline.contract.files import write_json

METRICS = {OBJECTIVE: "validation macro F1", "val_group_accuracy": "validation accuracy", "loss": "training loss"}
LOG_PREFIX = "trial-"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a finished trial.

    Attributes:
        trial: Keras Tuner's number of the trial, "00" for the first.
        values: The recipe's values that the search varies.
        epochs: Epochs of the training.
        seed: Seed of the training.
        seconds: Duration of the training, when it ran.
        score: Macro F1 over groups on validation after the last epoch; None when the training diverged.
        history: An entry an epoch, as of `models.training.Trained`.
        message: Why the trial failed; empty when it completed.
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


class TrialJournal:
    """Trains a recipe for some epochs, or reads the outcome where the trial has finished before.

    Every finished trial is one small file, so a search that was killed simply starts again: Keras Tuner makes the same
    proposals from the same outcomes, and reads those of the finished trials. Keras Tuner's own way of resuming is not
    used: it writes several files one after another, any of which a kill may leave half written or behind the others,
    and its Bayesian oracle does not store the state of its random numbers.

    Args:
        task: The images of the search.
        plan: Settings of the trials; its epochs are the maximum of a trial, its seed is that of the search.
        directory: The directory of the files.
    """

    def __init__(self, task: Task, plan: Plan, directory: Path) -> None:
        self._task, self.plan, self._directory = task, plan, directory
        directory.mkdir(parents=True, exist_ok=True)
        arrays = (task.images, task.garments, task.validation_images, task.validation_garments, task.membership)
        self._data = hashlib.sha256(b"".join(hashlib.sha256(a.tobytes()).digest() for a in arrays)).hexdigest()

    def run(self, trial: str, recipe: Recipe, epochs: int) -> Outcome:
        """Returns the outcome of training a recipe; the same call always returns the same outcome."""
        plan = replace(self.plan, epochs=epochs, seed=_hash([self.plan.seed, recipe.to_values(), epochs]) % 2**31)
        file = self._directory / f"{_hash([self._data, recipe.to_values(), asdict(plan)]):x}.json"
        if file.exists():
            return replace(Outcome(**json.loads(file.read_text(encoding="utf-8"))), trial=trial)
        outcome = self._train(trial, recipe, plan)
        write_json(file, asdict(outcome))
        return outcome

    def _train(self, trial: str, recipe: Recipe, plan: Plan) -> Outcome:
        start = time.perf_counter()
        outcome = Outcome(trial, searched_values(recipe), plan.epochs, plan.seed, seconds=0.0, score=None)
        try:
            history = train(recipe, self._task, plan).history
            # The last epoch's score, not the best one: the Trainer keeps the weights of its last epoch as well.
            outcome = replace(outcome, history=history, score=history[-1][OBJECTIVE])
        except TrainingError as error:
            outcome = replace(outcome, message=error.one_line)
        finally:
            _free_memory()
        return replace(outcome, seconds=time.perf_counter() - start)


def search(
    algorithm: Algorithm,
    space: SearchSpace,
    first: Recipe,
    journal: TrialJournal,
    budget: Budget,
    directory: Path,
    report: Callable[[list[Outcome]], None],
) -> list[Outcome]:
    """Searches until the budget or the space is used up.

    Args:
        algorithm: The oracle of Keras Tuner that proposes the trials.
        space: The choices and ranges.
        first: The recipe of the first trial, trained for all epochs.
        journal: Trains the trials.
        budget: Maximum number and duration of the trials.
        directory: For Keras Tuner's own files.
        report: Called after every trial with all outcomes so far.

    Returns:
        The outcomes in order, at least one.
    """
    outcomes: list[Outcome] = []
    oracle = make_oracle(algorithm, space, first, journal.plan, budget, lambda: sum(o.seconds for o in outcomes))
    tuner = _Tuner(oracle, journal, outcomes, report, directory)
    try:
        tuner.search(verbose=0)
    except FatalError as error:
        raise error.__cause__ or error from None
    return outcomes


class _Tuner(BaseTuner):
    """Keras Tuner's loop around a `TrialJournal`."""

    def __init__(
        self,
        oracle: Any,
        journal: TrialJournal,
        outcomes: list[Outcome],
        report: Callable[[list[Outcome]], None],
        directory: Path,
    ) -> None:
        super().__init__(oracle, directory=str(directory), project_name="keras_tuner", overwrite=True)
        self._journal, self._outcomes, self._report = journal, outcomes, report

    def run_trial(self, trial: Any, *fit_args: Any, **fit_kwargs: Any) -> dict[str, float]:
        values = trial.hyperparameters.values
        try:
            epochs = values.get("tuner/epochs", self._journal.plan.epochs)
            outcome = self._journal.run(trial.trial_id, Recipe.from_values(values), epochs)
            self._outcomes.append(outcome)
            self._report(self._outcomes)
        except Exception as error:
            # Keras Tuner would take any exception, even a full disk, for a failed trial, and continue.
            raise FatalError from error
        if outcome.score is None:
            raise FailedTrialError(outcome.message)
        return {OBJECTIVE: outcome.score}


def declare_space(logs: Path, space: SearchSpace, epochs: int) -> None:
    """Declares the search space for TensorBoard's HParams tab, and removes the logs of an earlier start.

    Args:
        logs: The directory that TensorBoard reads.
        space: The choices and ranges.
        epochs: The maximum epochs of a trial.
    """
    for old in [*logs.glob(f"{LOG_PREFIX}*"), *logs.glob("events.out.tfevents.*")]:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    declared = [hparams.HParam(name, hparams.Discrete(list(values))) for name, values in space.choices.items()]
    declared += [hparams.HParam(name, hparams.RealInterval(low, high)) for name, (low, high, _) in space.ranges.items()]
    declared.append(hparams.HParam("epochs", hparams.IntInterval(1, epochs)))
    metrics = [hparams.Metric(tag, display_name=name) for tag, name in METRICS.items()]
    with tf.summary.create_file_writer(str(logs)).as_default():
        hparams.hparams_config(hparams=declared, metrics=metrics)


def log_trial(logs: Path, outcome: Outcome) -> None:
    """Writes a trial's values and the scalars of every epoch to a directory of its own, for TensorBoard."""
    name = f"{LOG_PREFIX}{outcome.trial}"
    # Written when the trial has finished, so that a kill leaves no half of it, and a resumed search has them all.
    with tf.summary.create_file_writer(str(logs / name)).as_default():
        hparams.hparams({**outcome.values, "epochs": outcome.epochs}, trial_id=name)
        for epoch, scores in enumerate(outcome.history):
            for tag, score in scores.items():
                tf.summary.scalar(tag, score, step=epoch)


def stratified_sample(classes: NDArray[np.integer[Any]], count: int, seed: int) -> NDArray[np.int64]:
    """Returns ascending indices of `count` examples, or all, in which every class has its share.

    Args:
        classes: int [N].
        count: Size of the sample.
        seed: Seed of the draw.
    """
    if count >= len(classes):
        return np.arange(len(classes))
    shuffled = np.random.default_rng(seed).permutation(len(classes))
    rank = np.empty(len(classes))
    for each in np.unique(classes):
        members = shuffled[classes[shuffled] == each]
        # Ranks spread evenly in [0, 1): the first ones of all classes are in proportion.
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(np.argsort(rank, kind="stable")[:count])


def _hash(content: Any) -> int:
    return int(hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16], 16)


def _free_memory() -> None:
    # About 10 MB a trial remain: TensorFlow keeps the traced step (keras-team/keras issue 17458).
    policy = keras.config.dtype_policy()
    keras.utils.clear_session()
    keras.config.set_dtype_policy(policy)
    gc.collect()
