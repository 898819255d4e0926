"""The training recipe: network, optimiser, learning rate schedule and loss, as one set of values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from models.families import build
from pipeline.contract.image_limits import IMAGE_SIDE

Floats = NDArray[np.floating[Any]]
FIXED_VALUES: Mapping[str, Any] = {
    "optimizer": "adamw",
    "schedule": "cosine",
    "ema_momentum": 0.0,
    "objective": {
        "output": "garments",
        "group_loss": 0.0,
        "smooth": "group",
        "class_weights": False,
        "logit_adjustment": 0.0,
        "focal": 0.0,
        "sets": False,
        "trim": 0.0,
    },
}
"""What all shipped recipes have in common, under the names by which `models.studied.recipe` varies it."""


@dataclass(frozen=True)
class Recipe:
    """The values of a training. The defaults are the known good values.

    The optimiser is AdamW and the loss is cross-entropy over the garments with in-group label smoothing; the
    experiments `recipe` and `taxonomy` chose them.

    Attributes:
        family: A name in `models.families.FAMILIES`. The experiment `architecture` chose it.
        width: Width of the network; each family says what it counts. The experiment `network_width` measures what
            more width gains.
        dropout: Share of the features dropped before the output. In the experiment `recipe` 0.2 is not better.
        peak_learning_rate: Learning rate at the end of the warm-up. In the experiment `recipe` half and twice of it are
            not significantly different.
        weight_decay: Decoupled weight decay. In the experiment `recipe` none is not significantly different; `ablation`
            repeats the comparison at twenty epochs.
        label_smoothing: Share of the target that is spread over the garments of the same group. In the experiments
            `recipe` and `label_noise` 0 and 0.15 are not significantly different.
    """

    family: str = "compact"
    width: int = 32
    dropout: float = 0.0
    peak_learning_rate: float = 6e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.05

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Builds a recipe from values by name; unknown names are ignored."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})

    def to_values(self) -> dict[str, Any]:
        """Returns all values by name, those that shipped recipes have in common included."""
        return {**asdict(self), **FIXED_VALUES}

    def build_network(self, membership: Floats, side: int | None = IMAGE_SIDE) -> keras.Model:
        """Builds the network: uint8 images [batch, 28, 28] to garment logits, float32 [batch, garments].

        Args:
            membership: [garments, groups] of 0 and 1.
            side: Pixels a side that the network works at, or None for any; shipped families work at 28 only.

        Raises:
            ValueError: The family is unknown, or a value is out of range.
        """
        if side != IMAGE_SIDE:
            raise ValueError(f"The network works at {IMAGE_SIDE} pixels a side only. Received: {side}.")
        return build(self.family, len(membership), width=self.width, dropout=self.dropout)

    def make_optimizer(self, steps: int) -> keras.Optimizer:
        """Returns the optimiser for a training of `steps` steps; its learning rate reaches zero after them."""
        return keras.optimizers.AdamW(WarmUp(self.peak_learning_rate, steps), weight_decay=self.weight_decay)

    def make_loss(self, membership: Floats, group_shares: Floats) -> keras.Loss:
        """Returns the loss of targets float32 [batch, garments] and the network's logits.

        Args:
            membership: [garments, groups] of 0 and 1.
            group_shares: [groups], the share of each group in the training images.
        """
        targets = smoothed_targets(membership @ membership.T, self.label_smoothing)
        return SmoothedCrossEntropy(targets.tolist())


def compile_network(
    recipe: Recipe, membership: Floats, group_shares: Floats, steps: int, side: int | None = IMAGE_SIDE
) -> keras.Model:
    """Builds a recipe's network and compiles it for a training of `steps` steps.

    Args:
        recipe: The recipe.
        membership: [garments, groups] of 0 and 1.
        group_shares: [groups], the share of each group in the training images.
        steps: Steps of the whole training; the learning rate reaches zero after them.
        side: As of `Recipe.build_network`.

    Returns:
        A model to train on images uint8 [batch, 28, 28] and targets float32 [batch, garments].
    """
    model = recipe.build_network(membership, side)
    model.compile(recipe.make_optimizer(steps), loss=recipe.make_loss(membership, group_shares))
    return model


def smoothed_targets(similar: Floats, label_smoothing: float) -> NDArray[np.float64]:
    """Returns float64 [garments, garments]: for each garment, the distribution that the network learns to predict.

    Args:
        similar: [garments, garments] of 0 and 1: the garments over which each garment's smoothing is spread.
        label_smoothing: The share that is spread.
    """
    spread = similar / similar.sum(axis=1, keepdims=True)
    targets: NDArray[np.float64] = (1 - label_smoothing) * np.eye(len(similar)) + label_smoothing * spread
    return targets


@keras.saving.register_keras_serializable("fashion")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy between logits of the garments and smoothed distributions over them.

    Args:
        targets: [garments, garments], the smoothed distribution of each garment.
    """

    def __init__(self, targets: Sequence[Sequence[float]], name: str = "smoothed_cross_entropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.targets = targets

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each example, [batch], for targets and logits, both [batch, garments]."""
        smoothed = ops.matmul(ops.cast(y_true, "float32"), ops.convert_to_tensor(self.targets, "float32"))
        return -ops.sum(smoothed * ops.log_softmax(ops.cast(y_pred, "float32"), axis=-1), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "targets": self.targets}


@keras.saving.register_keras_serializable("fashion")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up over the first tenth of the steps, then half a cosine down to zero.

    The cosine is Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5,
    without restarts. The rate follows the optimiser's own step counter, so a resumed training continues the schedule.
    Keras's CosineDecay with a warm-up has the same curve, but adds a conditional to the graph for every variable, which
    TensorFlow never frees.

    Args:
        peak: Learning rate at the end of the warm-up, which begins at a twentieth of it.
        steps: Steps until zero.
    """

    def __init__(self, peak: float, steps: int) -> None:
        self.peak, self.steps = peak, steps

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate of a step, float32 []."""
        warmup = max(1, self.steps // 10)
        step = ops.cast(step, "float32")
        rising = self.peak * (1 / 20 + 19 / 20 * step / warmup)
        done = ops.minimum((step - warmup) / max(1, self.steps - warmup), 1.0)
        return ops.where(step < warmup, rising, self.peak * self.decay(done))

    def decay(self, done: Any) -> Any:
        """Returns the share of the peak that is left when the share `done` of the steps after the warm-up is done."""
        return 0.5 * (1 + ops.cos(math.pi * done))

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {"peak": self.peak, "steps": self.steps}
