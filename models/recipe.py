"""The training recipe: network, optimiser, schedule, weight average and objective, as one set of values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from models.families import build
from models.objective import Objective, hierarchical
from pipeline.contract.processor import has_bfloat16

Floats = NDArray[np.floating[Any]]
Precision = Literal["auto", "float32", "mixed_bfloat16"]
OBJECTIVE = Objective(smooth="group")
Schedule = Literal["cosine", "linear", "constant"]
OPTIMIZERS: dict[str, Callable[..., keras.Optimizer]] = {
    "adamw": keras.optimizers.AdamW,
    "lion": keras.optimizers.Lion,
    "muon": keras.optimizers.Muon,
    "sgd": lambda rate, **rest: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, **rest),
}


@dataclass(frozen=True)
class Recipe:
    """What is learned and how. The defaults are the known good values.

    Attributes:
        family: A name in `models.families.FAMILIES`. The experiment `architecture` chose it.
        width: How wide the network is; a family says what it counts. The experiment `larger` asks what more of it buys.
        dropout: Share of the features dropped before the output. The experiment `recipe` found 0.2 no better.
        peak_learning_rate: The optimiser's learning rate at the end of the warm-up. The experiment `recipe` could not
            tell half and twice of it from it.
        weight_decay: The optimiser's decoupled weight decay. The experiment `recipe` could not tell it from none;
            `ablation` asks again at full length.
        label_smoothing: Share of the target that is spread. The experiments `recipe` and `label_noise` could not tell
            none and 0.15 from it; where it is spread matters more, see `objective`.
        optimizer: A name in `OPTIMIZERS`. The experiments `recipe` and `full_length` found none that is better.
        schedule: How the learning rate falls after the warm-up: half a "cosine", a "linear" fall, or not: "constant".
            The experiment `recipe` found none ahead of the cosine.
        ema_momentum: Momentum of the exponential average of the weights that the trained network has; 0 for none. The
            experiment `recipe` found that one changes nothing.
        objective: The head and the loss. The experiment `taxonomy` chose them: smoothing inside the group is ahead in
            macro F1, everything else is level.
    """

    family: str = "compact"
    width: int = 32
    dropout: float = 0.0
    peak_learning_rate: float = 6e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    optimizer: str = "adamw"
    schedule: Schedule = "cosine"
    ema_momentum: float = 0.0
    objective: Objective = OBJECTIVE

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Recipe:
        """Builds a recipe from hyperparameters by name; others than its own are ignored."""
        names = {field.name for field in fields(cls)}
        known = {name: value for name, value in values.items() if name in names}
        if isinstance(objective := known.get("objective"), Mapping):
            known["objective"] = Objective(**objective)
        return cls(**known)

    def to_values(self) -> dict[str, Any]:
        """Returns the values by name."""
        return asdict(self)


def build_network(recipe: Recipe, membership: Floats, side: int | None = 28) -> keras.Model:
    """Builds a recipe's network: uint8 images [batch, 28, 28] to logits of garments or groups.

    Args:
        recipe: The recipe.
        membership: [garments, groups] of 0 and 1.
        side: As `models.families.build` has it.
    """
    outputs = recipe.objective.outputs(membership)
    network = build(recipe.family, outputs, width=recipe.width, dropout=recipe.dropout, side=side)
    return hierarchical(network, membership) if recipe.objective.output == "hierarchy" else network


def compile_model(
    recipe: Recipe, membership: Floats, group_shares: Floats, steps: int, side: int | None = 28
) -> keras.Model:
    """Builds a recipe's network and compiles it for a number of training steps.

    Args:
        recipe: The recipe.
        membership: [garments, groups] of 0 and 1.
        group_shares: [groups], each group's share of the training images.
        steps: Steps of the whole training; the learning rate reaches zero after them.
        side: As `models.families.build` has it.

    Returns:
        A model that is trained on images uint8 [batch, 28, 28] and targets float32 [batch, garments].
    """
    model = build_network(recipe, membership, side)
    model.compile(
        OPTIMIZERS[recipe.optimizer](
            WarmUp(recipe.peak_learning_rate, steps, recipe.schedule),
            weight_decay=recipe.weight_decay,
            use_ema=recipe.ema_momentum > 0,
            ema_momentum=recipe.ema_momentum or 0.99,
        ),
        loss=recipe.objective.loss(membership, group_shares, recipe.label_smoothing),
    )
    return model


@keras.saving.register_keras_serializable("fashion")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up over the first tenth of the steps, then a fall to zero, or none.

    The cosine is Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5,
    without restarts. The rate follows the optimiser's own step counter, and so a resumed training as well. Keras's own
    CosineDecay with a warm-up has the same curve, but puts a conditional into the graph for every variable, which
    TensorFlow never frees.

    Args:
        peak: The learning rate at the end of the warm-up, which begins at a twentieth of it.
        steps: Steps until zero.
        fall: "cosine", "linear" or "constant". Defaults to "cosine".
    """

    def __init__(self, peak: float, steps: int, fall: Schedule = "cosine") -> None:
        self.peak, self.steps, self.fall = peak, steps, fall

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate of a step, float32 []."""
        warmup = max(1, self.steps // 10)
        step = ops.cast(step, "float32")
        rising = self.peak * (1 / 20 + 19 / 20 * step / warmup)
        done = ops.minimum((step - warmup) / max(1, self.steps - warmup), 1.0)
        falls = {"cosine": 0.5 * (1 + ops.cos(math.pi * done)), "linear": 1 - done, "constant": ops.ones_like(done)}
        return ops.where(step < warmup, rising, self.peak * falls[self.fall])

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {"peak": self.peak, "steps": self.steps, "fall": self.fall}


def resolve_precision(precision: Precision) -> str:
    """Returns the Keras policy: for "auto" bfloat16 where this processor multiplies in it, else float32."""
    if precision != "auto":
        return precision
    return "mixed_bfloat16" if has_bfloat16() else "float32"
