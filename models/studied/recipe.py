"""The recipe with the options that only experiments vary: optimiser, schedule, weight average and objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import keras
from keras import ops

from models.recipe import Floats, Recipe, WarmUp
from models.studied.families import build
from models.studied.objectives import Objective, hierarchical
from pipeline.contract.image_limits import IMAGE_SIDE

Schedule = Literal["cosine", "linear", "constant"]
OPTIMIZERS: Mapping[str, Callable[..., keras.Optimizer]] = {
    "adamw": keras.optimizers.AdamW,
    "lion": keras.optimizers.Lion,
    "muon": keras.optimizers.Muon,
    "sgd": lambda rate, **rest: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, **rest),
}


@dataclass(frozen=True)
class StudiedRecipe(Recipe):
    """A recipe of any family, shipped or studied. The defaults are those of the shipped recipe.

    Attributes:
        optimizer: A name in `OPTIMIZERS`. In the experiments `recipe` and `twenty_epochs` none is better than AdamW.
        schedule: How the learning rate falls after the warm-up: half a "cosine", "linear", or not at all ("constant").
            In the experiment `recipe` none is better than the cosine.
        ema_momentum: Momentum of the exponential moving average of the weights; 0 for none. In the experiment `recipe`
            an average makes no difference.
        objective: The head and the loss. The experiment `taxonomy` chose them: in-group label smoothing has a higher
            macro F1, the other options make no significant difference.
    """

    optimizer: str = "adamw"
    schedule: Schedule = "cosine"
    ema_momentum: float = 0.0
    objective: Objective = field(default_factory=lambda: Objective(smooth="group"))

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Builds a recipe from values by name, the objective's as a table; unknown names are ignored."""
        objective = values.get("objective")
        return super().from_values(
            {**values, "objective": Objective(**objective)} if isinstance(objective, Mapping) else values
        )

    def to_values(self) -> dict[str, Any]:
        """Returns all values by name."""
        return asdict(self)

    def build_network(self, membership: Floats, side: int | None = IMAGE_SIDE) -> keras.Model:
        """Builds the network: uint8 images [batch, 28, 28] to logits of garments or groups.

        Args:
            membership: [garments, groups] of 0 and 1.
            side: As of `models.studied.families.build`.
        """
        outputs = self.objective.outputs(membership)
        network = build(self.family, outputs, width=self.width, dropout=self.dropout, side=side)
        return hierarchical(network, membership) if self.objective.output == "hierarchy" else network

    def make_optimizer(self, steps: int) -> keras.Optimizer:
        """Returns the optimiser for a training of `steps` steps."""
        return OPTIMIZERS[self.optimizer](
            StudiedWarmUp(self.peak_learning_rate, steps, self.schedule),
            weight_decay=self.weight_decay,
            use_ema=self.ema_momentum > 0,
            ema_momentum=self.ema_momentum or 0.99,
        )

    def make_loss(self, membership: Floats, group_shares: Floats) -> keras.Loss:
        """Returns the objective's loss; see `Recipe.make_loss`."""
        return self.objective.loss(membership, group_shares, self.label_smoothing)


@keras.saving.register_keras_serializable("fashion")
class StudiedWarmUp(WarmUp):
    """A linear warm-up over the first tenth of the steps, then a fall to zero, or none.

    Args:
        peak: Learning rate at the end of the warm-up.
        steps: Steps until zero.
        schedule: "cosine", "linear" or "constant".
    """

    def __init__(self, peak: float, steps: int, schedule: Schedule) -> None:
        super().__init__(peak, steps)
        self.schedule = schedule

    def decay(self, done: Any) -> Any:
        """Returns the share of the peak that is left; see `WarmUp.decay`."""
        if self.schedule == "cosine":
            return super().decay(done)
        return 1 - done if self.schedule == "linear" else ops.ones_like(done)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "schedule": self.schedule}
