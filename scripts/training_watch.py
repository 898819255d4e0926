"""Watches a training: the seconds of its steps, and how good it is after how many of them."""

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
SIDES = ("plain", "mirror")


class Clock:
    """Seconds while it goes, and none while it is paused.

    Args:
        now: The time in seconds. Defaults to this machine's.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now, self._counted, self._since = now, 0.0, None

    _since: float | None

    def go(self) -> None:
        """Counts from now on."""
        if self._since is None:
            self._since = self._now()

    def pause(self) -> None:
        """Counts no longer."""
        self._counted, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        """What was counted."""
        return self._counted + (0.0 if self._since is None else self._now() - self._since)


class TimeIsUpError(Exception):
    """Ends a training: our loop and Keras's have no other way in common."""


class Stopwatch(keras.callbacks.Callback):
    """Counts the seconds from the beginning of an epoch to the end of its last step, without what `stepped` takes."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self.clock, self.steps = clock or Clock(), 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Goes on."""
        self.clock.go()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Pauses for `stepped`, and after the epoch's last step until the next epoch."""
        self.clock.pause()
        self.steps += 1
        self.stepped()
        if batch + 1 < self.params["steps"]:
            self.clock.go()

    def stepped(self) -> None:
        """What is done after a step, off the clock."""


@dataclass(frozen=True)
class Look:
    """What validation said after some seconds and steps of training.

    Attributes:
        seconds: Of training.
        steps: Of training.
        plain: Group accuracy of the network.
        mirror: That of its answers averaged with those for the mirror images; None where not looked at.
    """

    seconds: float
    steps: int
    plain: float
    mirror: float | None = None


@dataclass(frozen=True)
class Course:
    """A training, as it was watched.

    Attributes:
        looks: In order, the last one at the end.
        first_step: Seconds of the first step.
        finished: Whether it came to its own end.
    """

    looks: list[Look]
    first_step: float
    finished: bool = True

    @property
    def seconds(self) -> float:
        """Of the whole training."""
        return self.looks[-1].seconds

    @property
    def sides(self) -> list[str]:
        """Which answers were looked at."""
        return [side for side in SIDES if getattr(self.looks[-1], side) is not None]

    def best(self, side: str) -> float:
        """Returns the highest accuracy that was seen."""
        return float(max(getattr(look, side) for look in self.looks))

    def reached(self, level: float, side: str) -> float | None:
        """Returns the seconds at the first look at or above the level; None where there is none."""
        return next((look.seconds for look in self.looks if getattr(look, side) >= level), None)


class Watch(Stopwatch):
    """Looks at validation during a training, and ends it when its time is up.

    Args:
        task: Holds the validation images.
        most_seconds: After which the training is ended.
        mirror: Whether the mirrored answers are looked at as well.
    """

    def __init__(self, task: Task, most_seconds: float, mirror: bool) -> None:
        super().__init__()
        self._task, self._most, self._mirror = task, most_seconds, mirror
        self._looks: list[Look] = []
        self._next, self._first_step, self._finished = EVERY_SECONDS, 0.0, False

    @property
    def course(self) -> Course:
        """What was seen."""
        return Course(self._looks, self._first_step, self._finished)

    def stepped(self) -> None:
        """Looks when it is time to.

        Raises:
            TimeIsUpError: The training has had its seconds.
        """
        seconds = self.clock.seconds
        self._first_step = self._first_step or seconds
        if seconds >= min(self._next, self._most):
            self._look()
            self._next = seconds + max(EVERY_SECONDS, EVERY_SHARE * seconds)
        if seconds >= self._most:
            raise TimeIsUpError

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Looks at what came out."""
        self._finished = True
        if not self._looks or self._looks[-1].steps < self.steps:
            self._look()

    def _look(self) -> None:
        logits = self._logits(self._task.validation_images)
        plain, both = self._accuracy(logits), None
        if self._mirror:
            both = self._accuracy((logits + self._logits(self._task.validation_images[:, :, ::-1])) / 2)
        self._looks.append(Look(self.clock.seconds, self.steps, plain, both))

    def _logits(self, images: np.ndarray) -> np.ndarray:
        parts = [images[start : start + PREDICT_BATCH] for start in range(0, len(images), PREDICT_BATCH)]
        return np.concatenate([self.model.predict_on_batch(part) for part in parts])

    def _accuracy(self, logits: np.ndarray) -> float:
        probabilities = group_probabilities(logits, self._task.membership)
        return accuracy(group_confusion(probabilities, self._task.validation_groups))
