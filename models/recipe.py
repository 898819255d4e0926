"""The training recipe: optimiser, schedule, weight average, loss and precision, as one set of values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import keras
from keras import ops

from models.families import build

Precision = Literal["auto", "float32", "mixed_bfloat16"]


@dataclass(frozen=True)
class Recipe:
    """What is tuned: the architecture and how it is trained. The defaults are the known good values.

    Attributes:
        family: A name in `models.families.FAMILIES`.
        width: Channels of the second of three stages; the first has half, the third twice as many.
        dropout: Share of the features dropped before the output.
        peak_learning_rate: AdamW's learning rate at the end of the warm-up.
        weight_decay: AdamW's decoupled weight decay.
        label_smoothing: Share of the target spread over all garments.
    """

    family: str = "plain"
    width: int = 64
    dropout: float = 0.1
    peak_learning_rate: float = 3e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.05

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Recipe:
        """Builds a recipe from hyperparameters by name; others than its own are ignored."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})

    def to_values(self) -> dict[str, Any]:
        """Returns the values by name."""
        return asdict(self)


def compile_model(recipe: Recipe, garments: int, steps: int, ema_momentum: float = 0.0) -> keras.Model:
    """Builds a recipe's network and compiles it for a number of training steps.

    Args:
        recipe: The recipe.
        garments: How many garments.
        steps: Steps of the whole training; the learning rate reaches zero after them.
        ema_momentum: Momentum of the weights' exponential moving average; 0 for none. Defaults to 0.

    Returns:
        A model from uint8 images [batch, 28, 28] to garment logits, trained on int garments [batch].
    """
    model = build(recipe.family, garments, width=recipe.width, dropout=recipe.dropout)
    model.compile(
        keras.optimizers.AdamW(
            WarmupCosine(recipe.peak_learning_rate, steps),
            weight_decay=recipe.weight_decay,
            use_ema=ema_momentum > 0,
            ema_momentum=ema_momentum or 0.99,
        ),
        loss=SmoothedCrossEntropy(recipe.label_smoothing),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="garment_accuracy")],
    )
    return model


@keras.saving.register_keras_serializable("fashion")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up over the first tenth of the steps, then half a cosine to zero.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5, without restarts.
    It follows the optimiser's own step counter, and so a resumed training as well. Keras's own CosineDecay with a
    warm-up has the same curve, but puts a conditional into the graph for every variable, which TensorFlow never frees.

    Args:
        peak: The learning rate at the end of the warm-up, which begins at a twentieth of it.
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
        return ops.where(step < warmup, rising, 0.5 * self.peak * (1 + ops.cos(math.pi * done)))

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {"peak": self.peak, "steps": self.steps}


@keras.saving.register_keras_serializable("fashion")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits against integer classes of which a share is spread over all classes.

    Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016, section 7.

    Args:
        smoothing: The share spread, in [0, 1).
    """

    def __init__(self, smoothing: float = 0.0, name: str = "smoothed_cross_entropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.smoothing = smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each example, [batch], for classes int [batch] and logits [batch, classes]."""
        log_probabilities = ops.log_softmax(ops.cast(y_pred, "float32"), axis=-1)
        classes = ops.cast(ops.reshape(y_true, (-1, 1)), "int32")
        likelihood = ops.squeeze(ops.take_along_axis(log_probabilities, classes, axis=-1), -1)
        return -(1 - self.smoothing) * likelihood - self.smoothing * ops.mean(log_probabilities, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "smoothing": self.smoothing}


def resolve_precision(precision: Precision) -> str:
    """Returns the Keras policy: for "auto" bfloat16 where this processor multiplies in it, else float32."""
    if precision != "auto":
        return precision
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "float32"
    return "mixed_bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
