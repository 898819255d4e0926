"""Measures a training while it runs: the seconds of its steps, and validation accuracy over time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from models.probabilities import accuracy, group_confusion, group_probabilities
from models.training import PREDICT_BATCH, Task

EVERY_SECONDS, EVERY_SHARE = 1.0, 0.05
PREDICTORS = {"plain": "plain", "flip_tta": "flip TTA"}
"""The network alone and with horizontal-flip test-time augmentation, with the name that tables use."""


class Clock:
    """A clock that can be paused.

    Args:
        now: Returns the time in seconds. Defaults to this machine's monotonic clock.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now, self._counted, self._since = now, 0.0, None

    _since: float | None

    def start(self) -> None:
        """Counts from now on; does nothing while it runs."""
        if self._since is None:
            self._since = self._now()

    def pause(self) -> None:
        """Stops counting until `start`."""
        self._counted, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        """The seconds counted so far."""
        return self._counted + (0.0 if self._since is None else self._now() - self._since)


class TimeLimitError(Exception):
    """Ends a training, in our loop and in Keras's alike."""


class Stopwatch(keras.callbacks.Callback):
    """Counts the seconds from the start of an epoch to the end of its last step, without those of `after_step`."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self.clock, self.steps = clock or Clock(), 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Continues the clock."""
        self.clock.start()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Pauses for `after_step`, and from the last step of an epoch to the next epoch."""
        self.clock.pause()
        self.steps += 1
        self.after_step()
        if batch + 1 < self.params["steps"]:
            self.clock.start()

    def after_step(self) -> None:
        """Runs after every step while the clock is paused; does nothing here."""


@dataclass(frozen=True)
class Evaluation:
    """The validation accuracy after some seconds and steps of training.

    Attributes:
        seconds: Seconds of training.
        steps: Steps of training.
        plain: Group accuracy of the network alone.
        flip_tta: Group accuracy with flip test-time augmentation; None where it was not measured.
    """

    seconds: float
    steps: int
    plain: float
    flip_tta: float | None = None


@dataclass(frozen=True)
class TrainingCurve:
    """The evaluations of one training.

    Attributes:
        evaluations: In order of time; the last one is at the end of the training.
        first_step: Seconds of the first step.
        finished: Whether the training ended by itself, before the time limit.
    """

    evaluations: list[Evaluation]
    first_step: float
    finished: bool = True

    @property
    def seconds(self) -> float:
        """Seconds of the whole training."""
        return self.evaluations[-1].seconds

    @property
    def predictors(self) -> list[str]:
        """The predictors that were measured."""
        return [predictor for predictor in PREDICTORS if getattr(self.evaluations[-1], predictor) is not None]

    def best(self, predictor: str) -> float:
        """Returns the highest accuracy of a predictor."""
        return float(max(getattr(evaluation, predictor) for evaluation in self.evaluations))

    def reached(self, level: float, predictor: str) -> float | None:
        """Returns the seconds of the first evaluation at or above the level; None if there is none."""
        return next(
            (evaluation.seconds for evaluation in self.evaluations if getattr(evaluation, predictor) >= level), None
        )


class ValidationTimer(Stopwatch):
    """Evaluates the network during a training, and ends the training at the time limit.

    Args:
        task: The task with the validation images.
        limit_seconds: The time limit.
        flip_tta: Whether to evaluate flip test-time augmentation too.
    """

    def __init__(self, task: Task, limit_seconds: float, flip_tta: bool) -> None:
        super().__init__()
        self._task, self._limit, self._flip_tta = task, limit_seconds, flip_tta
        self._evaluations: list[Evaluation] = []
        self._next, self._first_step, self._finished = EVERY_SECONDS, 0.0, False

    @property
    def curve(self) -> TrainingCurve:
        """The evaluations so far."""
        return TrainingCurve(self._evaluations, self._first_step, self._finished)

    def after_step(self) -> None:
        """Evaluates if an evaluation is due.

        Raises:
            TimeLimitError: The time limit is reached.
        """
        seconds = self.clock.seconds
        self._first_step = self._first_step or seconds
        if seconds >= min(self._next, self._limit):
            self._evaluate()
            self._next = seconds + max(EVERY_SECONDS, EVERY_SHARE * seconds)
        if seconds >= self._limit:
            raise TimeLimitError

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Evaluates the final network."""
        self._finished = True
        if not self._evaluations or self._evaluations[-1].steps < self.steps:
            self._evaluate()

    def _evaluate(self) -> None:
        logits = self._logits(self._task.validation_images)
        plain, augmented = self._accuracy(logits), None
        if self._flip_tta:
            augmented = self._accuracy((logits + self._logits(self._task.validation_images[:, :, ::-1])) / 2)
        self._evaluations.append(Evaluation(self.clock.seconds, self.steps, plain, augmented))

    def _logits(self, images: np.ndarray) -> np.ndarray:
        parts = [images[start : start + PREDICT_BATCH] for start in range(0, len(images), PREDICT_BATCH)]
        return np.concatenate([self.model.predict_on_batch(part) for part in parts])

    def _accuracy(self, logits: np.ndarray) -> float:
        probabilities = group_probabilities(logits, self._task.membership)
        return accuracy(group_confusion(probabilities, self._task.validation_groups))
