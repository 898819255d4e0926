"""Training of a recipe on images in memory: epochs, validation scores, and checkpoints from which it resumes.

A training that was killed ends with the same weights as an uninterrupted one.
"""

from __future__ import annotations

import json
import logging
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from models.augmentation import Augmentation
from models.batches import Batches, one_hot
from models.probabilities import accuracy, group_confusion, group_probabilities, macro_f1
from models.recipe import Recipe, compile_network
from pipeline.contract.errors import UserError
from pipeline.contract.files import atomic_path
from pipeline.contract.processor import has_bfloat16

Images = NDArray[np.uint8]
Garments = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
Precision = Literal["auto", "float32", "mixed_bfloat16"]
AfterEpoch = Callable[[int, NDArray[np.float32]], None]
"""Receives the number of the epoch, from 0, and the validation logits [M, outputs]."""
PREDICT_BATCH = 500
logger = logging.getLogger(__name__)


class TrainingError(UserError):
    """The training diverged, or its checkpoint belongs to another network."""


@dataclass(frozen=True)
class Task:
    """The images and labels of a training.

    Attributes:
        images: uint8 [N, 28, 28], the training images.
        garments: int64 [N].
        validation_images: uint8 [M, 28, 28], scored after every epoch.
        validation_garments: int64 [M].
        membership: [garments, groups] of 0 and 1.
        targets: float32 [N, garments], distributions to learn instead of the labelled garments; None for those.
            Defaults to None.
    """

    images: Images
    garments: Garments
    validation_images: Images
    validation_garments: Garments
    membership: NDArray[np.float64]
    targets: NDArray[np.float32] | None = None

    @property
    def validation_groups(self) -> NDArray[np.int64]:
        """The groups of the validation images, int64 [M]."""
        groups: NDArray[np.int64] = self.membership[self.validation_garments].argmax(axis=1)
        return groups

    @property
    def group_shares(self) -> NDArray[np.float64]:
        """The share of each group in the training images, [groups]."""
        shares: NDArray[np.float64] = self.membership[self.garments].mean(axis=0)
        return shares


@dataclass(frozen=True)
class Plan:
    """The settings of a training besides its recipe.

    Attributes:
        epochs: Number of epochs.
        batch_size: Images a step.
        seed: Determines the initial weights, the dropout, the order and the augmentation.
        augmentation: The changes to the images. Defaults to flips and shifts of a pixel.
        precision: "auto", "float32" or "mixed_bfloat16".
        balanced: Whether the images of every group are drawn equally often.
    """

    epochs: int
    batch_size: int
    seed: int
    augmentation: Augmentation = field(default_factory=Augmentation)
    precision: Precision = "auto"
    balanced: bool = False


@dataclass
class Trained:
    """A trained network, of policy float32, and the history of its training.

    Attributes:
        model: From uint8 images [batch, 28, 28] to logits of garments, or of groups where the recipe predicts those.
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
    after_epoch: AfterEpoch | None = None,
) -> Trained:
    """Trains a recipe, from the checkpoint on where there is one.

    Args:
        recipe: Network, optimiser and loss.
        task: The images.
        plan: Epochs, batch size, seed, precision.
        checkpoint: A file that is written after every epoch; None for no checkpoint. Defaults to None.
        callbacks: Further Keras callbacks; they find the validation scores in the epoch's logs.
        after_epoch: Called after every epoch with its number, from 0, and the validation logits [M, outputs].

    Raises:
        TrainingError: The loss is no longer finite, or the checkpoint belongs to another network.
        ValueError: The augmentation resizes the images, and the family takes images of one size only.
    """
    callbacks = [EpochRecorder(task, history := [], checkpoint, after_epoch), *callbacks]
    with policy(resolve_precision(plan.precision)):
        keras.utils.set_random_seed(plan.seed)
        batches = make_batches(task, plan)
        steps, side = plan.epochs * batches.steps_per_epoch, plan.augmentation.training_side
        model = compile_network(recipe, task.membership, task.group_shares, steps, side)
        model.optimizer.build(model.trainable_variables)
        history += _resume(checkpoint, model)
        run_epochs(model, batches, range(len(history), plan.epochs), callbacks)
        if model.optimizer.use_ema:
            model.optimizer.finalize_variable_values(model.trainable_variables)
    # A server's processor may not support bfloat16.
    with policy("float32"):
        network = recipe.build_network(task.membership, plan.augmentation.final_side)
    network.set_weights(model.get_weights())
    return Trained(network, history)


def make_batches(task: Task, plan: Plan) -> Batches:
    """Returns the batches of a training."""
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


def run_epochs(
    model: keras.Model, batches: Batches, epochs: range, callbacks: Sequence[keras.callbacks.Callback]
) -> None:
    """Trains a compiled model step by step.

    `Model.fit` would feed the same batches, but at its end TensorFlow's input pipeline waits until its next periodic
    check, 2.56, 5.12, 10.24 s and so on after its start: a third of a training of 10.3 s.

    Args:
        model: The compiled model.
        batches: The training batches.
        epochs: Numbers of the epochs, from 0.
        callbacks: Keras callbacks; they are called as `Model.fit` would call them.
    """
    steps = batches.steps_per_epoch
    calls = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=epochs.stop, steps=steps)
    calls.on_train_begin()
    shape: tuple[int, ...] = ()
    for epoch in epochs:
        model.reset_metrics()
        calls.on_epoch_begin(epoch)
        logs: dict[str, Any] = {}
        for step, batch in enumerate(batches.prefetch(epoch * steps, (epoch + 1) * steps)):
            calls.on_train_batch_begin(step)
            if batch[0].shape != shape:
                # For a second size TensorFlow would trace a function for any size, which rounds differently: a training
                # that was resumed after the first size would not end with the weights of an uninterrupted one.
                model.make_train_function(force=True)
                shape = batch[0].shape
            logs = model.train_on_batch(*batch, return_dict=True)
            calls.on_train_batch_end(step, logs)
        calls.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    calls.on_train_end()


class EpochRecorder(keras.callbacks.Callback):
    """Scores the validation images and writes the checkpoint after every epoch.

    Args:
        task: Has the validation images.
        history: Gets an entry an epoch.
        checkpoint: The file to write; None for none.
        after_epoch: Receives the validation logits.
    """

    def __init__(
        self, task: Task, history: list[dict[str, float]], checkpoint: Path | None, after_epoch: AfterEpoch | None
    ) -> None:
        super().__init__()
        self._task, self._history, self._checkpoint, self._after_epoch = task, history, checkpoint, after_epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Scores, extends the history and writes the checkpoint.

        Raises:
            TrainingError: The loss is not finite.
        """
        logs = {} if logs is None else logs
        seconds = time.perf_counter() - self._start
        if not np.isfinite(logs["loss"]):
            raise TrainingError(
                "The training has diverged.",
                expected="a finite loss",
                received=f"{logs['loss']} in epoch {epoch + 1}",
                next_step="Lower the recipe's peak_learning_rate.",
            )
        task = self._task
        logits = self.model.predict(task.validation_images, batch_size=PREDICT_BATCH, verbose=0)
        confusion = group_confusion(group_probabilities(logits, task.membership), task.validation_groups)
        logs |= {"val_group_accuracy": accuracy(confusion), "val_group_macro_f1": macro_f1(confusion)}
        self._history.append({name: float(value) for name, value in logs.items()} | {"seconds": seconds})
        if self._after_epoch is not None:
            self._after_epoch(epoch, logits)
        if self._checkpoint is not None:
            save_checkpoint(self._checkpoint, self.model, self._history)


def _resume(checkpoint: Path | None, model: keras.Model) -> list[dict[str, float]]:
    if checkpoint is None or not checkpoint.exists():
        return []
    try:
        return restore_checkpoint(checkpoint, model)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        logger.warning("The checkpoint %s is damaged; the training starts from the beginning", checkpoint)
        return []


def save_checkpoint(checkpoint: Path, model: keras.Model, history: list[dict[str, float]]) -> None:
    """Writes weights, optimiser state, random states and history to one file, all of it or nothing."""
    arrays = {f"v{index:04d}": np.asarray(variable) for index, variable in enumerate(_state(model))}
    contents: dict[str, Any] = {**arrays, "history": np.array(json.dumps(history))}
    with atomic_path(checkpoint) as file:
        np.savez(file, **contents)


def restore_checkpoint(checkpoint: Path, model: keras.Model) -> list[dict[str, float]]:
    """Reads what `save_checkpoint` wrote into a compiled model, and returns the history.

    Raises:
        TrainingError: The file was written for another network.
    """
    variables = _state(model)
    with np.load(checkpoint) as content:
        arrays = [content[name] for name in sorted(content.files) if name != "history"]
        history: list[dict[str, float]] = json.loads(str(content["history"]))
    if [a.shape for a in arrays] != [tuple(v.shape) for v in variables]:
        raise TrainingError(
            f"The checkpoint {checkpoint} belongs to another network.",
            expected=f"{len(variables)} variables of the same shapes",
            received=f"{len(arrays)} variables",
            next_step=f"Remove {checkpoint}.",
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return history


def _state(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]


@contextmanager
def policy(name: str) -> Iterator[None]:
    """Sets Keras's dtype policy inside the block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def resolve_precision(precision: Precision) -> str:
    """Returns the Keras policy: for "auto" bfloat16 where this processor multiplies in it, else float32."""
    if precision != "auto":
        return precision
    return "mixed_bfloat16" if has_bfloat16() else "float32"
