"""Trains a recipe on images in memory; a training that was killed goes on and ends with the same weights."""

from __future__ import annotations

import logging
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from models.augmentation import Augmentation
from models.batches import Batches, one_hot
from models.checkpoint import CheckpointError, restore, save
from models.objective import group_probabilities
from models.recipe import Precision, Recipe, build_network, compile_model, resolve_precision
from models.scores import accuracy, group_confusion, macro_f1
from models.training_loop import go_through

Images = NDArray[np.uint8]
Garments = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
Observe = Callable[[int, NDArray[np.float32]], None]
PREDICT_BATCH = 500
logger = logging.getLogger(__name__)


class TrainingError(ValueError):
    """The training cannot go on; the message says what was expected and what was received."""


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Attributes:
        images: uint8 [N, 28, 28], to train on.
        garments: int64 [N].
        validation_images: uint8 [M, 28, 28], to look at after every epoch.
        validation_garments: int64 [M].
        membership: [garments, groups] of 0 and 1.
        targets: float32 [N, garments], distributions to learn in place of the given garments; None for those. Defaults
            to None.
    """

    images: Images
    garments: Garments
    validation_images: Images
    validation_garments: Garments
    membership: NDArray[np.float64]
    targets: NDArray[np.float32] | None = None

    @property
    def validation_groups(self) -> NDArray[np.int64]:
        """int64 [M], the groups of the images to look at."""
        groups: NDArray[np.int64] = self.membership[self.validation_garments].argmax(axis=1)
        return groups

    @property
    def group_shares(self) -> NDArray[np.float64]:
        """[groups], each group's share of the images to train on."""
        shares: NDArray[np.float64] = self.membership[self.garments].mean(axis=0)
        return shares


@dataclass(frozen=True)
class Plan:
    """How it is learned, besides the recipe.

    Attributes:
        epochs: Passes over the images.
        batch_size: Images a step.
        seed: Decides the first weights, the dropout, the order and the augmentation.
        augmentation: What is done to the images. Defaults to flips and shifts of a pixel.
        precision: "auto", "float32" or "mixed_bfloat16".
        balanced: Whether the images of each group are drawn as often as those of any other.
        stop_after: Epochs that are really trained, of those that the schedule is made for; all when None.
    """

    epochs: int
    batch_size: int
    seed: int
    augmentation: Augmentation = field(default_factory=Augmentation)
    precision: Precision = "auto"
    balanced: bool = False
    stop_after: int | None = None


@dataclass
class Trained:
    """A trained network, of policy float32, and what happened on the way.

    Attributes:
        model: From uint8 images [batch, 28, 28] to logits of garments, or of groups where the objective has those.
        history: An entry an epoch: `loss`, `val_group_accuracy`, `val_group_macro_f1`, `seconds`. Where weights are
            averaged, the scores are those of the raw ones.
    """

    model: keras.Model
    history: list[dict[str, float]] = field(default_factory=list)


def train(
    recipe: Recipe,
    task: Task,
    plan: Plan,
    checkpoint: Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    observe: Observe | None = None,
) -> Trained:
    """Trains a recipe, going on from the checkpoint where there is one.

    Args:
        recipe: Architecture, optimiser and loss.
        task: The images.
        plan: Epochs, batch size, seed, precision.
        checkpoint: A file that is written after every epoch; None to keep none. Defaults to None.
        callbacks: Further Keras callbacks; they find the validation scores in the epoch's logs.
        observe: Is called after every epoch with its number, from 0, and the validation logits [M, outputs].

    Raises:
        TrainingError: The loss is no longer a number, or the checkpoint is of another training.
        ValueError: The augmentation resizes the images, and the family takes those of one size alone.
    """
    callbacks = [Epochs(task, history := [], checkpoint, observe), *callbacks]
    with policy(resolve_precision(plan.precision)):
        keras.utils.set_random_seed(plan.seed)
        batches = make_batches(task, plan)
        steps, side = plan.epochs * batches.an_epoch, plan.augmentation.trained_side
        model = compile_model(recipe, task.membership, task.group_shares, steps, side)
        model.optimizer.build(model.trainable_variables)
        history += _resume(checkpoint, model)
        go_through(model, batches, range(len(history), plan.stop_after or plan.epochs), callbacks)
        if recipe.ema_momentum:
            model.optimizer.finalize_variable_values(model.trainable_variables)
    return Trained(in_float32(recipe, model, task.membership, plan.augmentation.last_side), history)


def make_batches(task: Task, plan: Plan) -> Batches:
    """Returns the batches that a training is fed with."""
    targets = one_hot(task.garments, len(task.membership)) if task.targets is None else task.targets
    rarity = 1 / (task.membership @ task.group_shares)[task.garments]
    return Batches(
        task.images,
        targets,
        batch_size=plan.batch_size,
        seed=plan.seed,
        augmentation=plan.augmentation,
        shares=rarity if plan.balanced else None,
        epochs=plan.epochs,
    )


def _resume(checkpoint: Path | None, model: keras.Model) -> list[dict[str, float]]:
    if checkpoint is None or not checkpoint.exists():
        return []
    try:
        return restore(checkpoint, model)
    except CheckpointError as error:
        raise TrainingError(str(error)) from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        logger.warning("The checkpoint %s is damaged; the training begins anew", checkpoint)
        return []


@contextmanager
def policy(name: str) -> Iterator[None]:
    """Sets Keras's precision for a while."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def in_float32(recipe: Recipe, model: keras.Model, membership: Floats, side: int = 28) -> keras.Model:
    """Returns the same network, at a `side`, computing in float32: a server's processor may know no bfloat16."""
    with policy("float32"):
        plain = build_network(recipe, membership, side)
    plain.set_weights(model.get_weights())
    return plain


class Epochs(keras.callbacks.Callback):
    """After every epoch: scores on validation, and the checkpoint.

    Args:
        task: Holds the validation images.
        history: Gets an entry an epoch.
        checkpoint: The file to write; None for none.
        observe: Gets the validation logits.
    """

    def __init__(
        self, task: Task, history: list[dict[str, float]], checkpoint: Path | None, observe: Observe | None
    ) -> None:
        super().__init__()
        self._task, self._history, self._checkpoint, self._observe = task, history, checkpoint, observe

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes the time."""
        self._begun = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Scores, appends to the history and saves."""
        logs = {} if logs is None else logs
        seconds = time.perf_counter() - self._begun
        if not np.isfinite(logs["loss"]):
            raise TrainingError(
                "The training has diverged. Expected: a finite loss. "
                f"Received: {logs['loss']} in epoch {epoch + 1}. A lower peak_learning_rate helps."
            )
        task = self._task
        logits = self.model.predict(task.validation_images, batch_size=PREDICT_BATCH, verbose=0)
        confusion = group_confusion(group_probabilities(logits, task.membership), task.validation_groups)
        logs |= {"val_group_accuracy": accuracy(confusion), "val_group_macro_f1": macro_f1(confusion)}
        self._history.append({name: float(value) for name, value in logs.items()} | {"seconds": seconds})
        if self._observe is not None:
            self._observe(epoch, logits)
        if self._checkpoint is not None:
            save(self._checkpoint, self.model, self._history)
