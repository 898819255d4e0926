"""Objectives that only experiments use: heads for groups and hierarchies, and losses for imbalance and label noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from models.recipe import Floats, smoothed_targets

Output = Literal["garments", "groups", "hierarchy"]


@dataclass(frozen=True)
class Objective:
    """The head and the loss of a network. The defaults are plain cross-entropy over the garments.

    The experiments `taxonomy`, `imbalance`, `label_noise` and `fine_labels` compare the options; of them only `smooth`
    = "group" is better, and the shipped recipe uses it.

    Attributes:
        output: "garments" has one output a garment, and a group's probability is the sum over its garments; "groups"
            has one a group; "hierarchy" has both, P(garment) = P(group) P(garment | group), and returns the logarithms
            of P(garment).
        group_loss: Weight of a second cross-entropy, over the groups that the garments sum up to.
        smooth: The garments over which label smoothing spreads its share: "all", or those of the same "group".
        class_weights: Whether each group has the same weight in the loss, however many images it has.
        logit_adjustment: Times the logarithm of its group's share of the images is added to a garment's logit in the
            loss: Menon et al., "Long-tail learning via logit adjustment", 2021, equation 10; 0 for none, 1 is theirs.
        focal: The exponent of the focal loss: Lin et al., "Focal Loss for Dense Object Detection", 2017, equation 4.
        sets: Whether a target names garments of which one is right, not how probable each is: the loss is then minus
            the logarithm of their sum, without smoothing. Jin and Ghahramani, "Learning with Multiple Labels", 2002.
        trim: Share of each batch, the images with the highest losses, that does not count: Shen and Sanghavi,
            "Learning with Bad Training Data via Iterative Trimmed Loss Minimization", 2019, batch by batch.
    """

    output: Output = "garments"
    group_loss: float = 0.0
    smooth: Literal["all", "group"] = "all"
    class_weights: bool = False
    logit_adjustment: float = 0.0
    focal: float = 0.0
    sets: bool = False
    trim: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError for a set loss that is also focal: it has no probability of one target to weight by."""
        if self.sets and self.focal:
            raise ValueError("A loss cannot use both sets and focal. Expected: one of them.")

    def outputs(self, membership: Floats) -> int:
        """Returns the number of outputs of the network's last layer."""
        garments, groups = membership.shape
        return {"garments": garments, "groups": groups, "hierarchy": garments + groups}[self.output]

    def to_groups(self, membership: Floats) -> Floats:
        """Returns the matrix [outputs, groups] that sums the network's probabilities up to groups."""
        return np.eye(membership.shape[1]) if self.output == "groups" else membership

    def loss(self, membership: Floats, group_shares: Floats, label_smoothing: float) -> GroupedCrossEntropy:
        """Returns the loss of targets float [batch, garments] and the network's logits.

        Args:
            membership: [garments, groups] of 0 and 1.
            group_shares: [groups], the share of each group in the training images.
            label_smoothing: The share of a target that is spread.
        """
        shares = membership @ group_shares
        outputs_to_groups = self.to_groups(membership)
        garments = np.eye(len(membership)) if len(outputs_to_groups) == len(membership) else membership
        similar = membership @ membership.T if self.smooth == "group" else np.ones((len(membership), len(membership)))
        smoothed = smoothed_targets(similar, label_smoothing) @ garments
        weights = 1 / (len(group_shares) * shares) if self.class_weights else np.ones(len(shares))
        output_shares = group_shares if self.output == "groups" else shares
        return GroupedCrossEntropy(
            targets=smoothed.tolist(),
            groups=outputs_to_groups.tolist(),
            weights=weights.tolist(),
            adjustment=(self.logit_adjustment * np.log(output_shares)).tolist(),
            group_loss=self.group_loss,
            focal=self.focal,
            sets=self.sets,
            trim=self.trim,
        )


def hierarchical(network: keras.Model, membership: Floats) -> keras.Model:
    """Returns a network whose garment logits are log P(group) + log P(garment | group).

    Args:
        network: To logits [batch, garments + groups], the garments first.
        membership: [garments, groups] of 0 and 1.
    """
    logits = Hierarchy(membership.tolist(), name="hierarchy", dtype="float32")(network.output)
    return keras.Model(network.input, logits, name=f"hierarchical_{network.name}")


@keras.saving.register_keras_serializable("fashion")
class Hierarchy(keras.layers.Layer):
    """Turns logits of the garments within their group, and of the groups, into logarithms of P(garment).

    Args:
        membership: [garments, groups] of 0 and 1.
    """

    def __init__(self, membership: Sequence[Sequence[float]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.membership = membership

    def call(self, logits: Any) -> Any:
        """Returns [batch, garments] for logits [batch, garments + groups]."""
        member = ops.transpose(ops.convert_to_tensor(self.membership, "float32"))
        garments, groups = logits[:, : len(self.membership)], logits[:, len(self.membership) :]
        # A large number instead of infinity, whose difference from itself is NaN.
        sums = ops.logsumexp(ops.expand_dims(garments, 1) + (member - 1.0) * 1e9, axis=2)
        return garments + ops.matmul(ops.log_softmax(groups, axis=-1) - sums, member)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "membership": self.membership}


@keras.saving.register_keras_serializable("fashion")
class GroupedCrossEntropy(keras.losses.Loss):
    """Cross-entropy between distributions over garments and logits of garments or groups; see `Objective`.

    Args:
        targets: [garments, outputs], the smoothed distribution that the network learns for each garment.
        groups: [outputs, groups] of 0 and 1, the outputs of each group.
        weights: [garments], the weight of an image of each garment; 1 on average.
        adjustment: [outputs], added to the logits.
        group_loss: Weight of the cross-entropy over groups.
        focal: Exponent of the focal loss.
        sets: Whether targets are sets of garments.
        trim: Share of the batch, the highest losses, that does not count.
    """

    def __init__(
        self,
        targets: Sequence[Sequence[float]],
        groups: Sequence[Sequence[float]],
        weights: Sequence[float],
        adjustment: Sequence[float],
        group_loss: float = 0.0,
        focal: float = 0.0,
        sets: bool = False,
        trim: float = 0.0,
        name: str = "grouped_cross_entropy",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.targets, self.groups, self.weights, self.adjustment = targets, groups, weights, adjustment
        self.group_loss, self.focal, self.sets, self.trim = group_loss, focal, sets, trim

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each example, [batch], for targets [batch, garments] and logits [batch, outputs]."""
        targets = ops.cast(y_true, "float32")
        logits = ops.cast(y_pred, "float32") + ops.convert_to_tensor(self.adjustment, "float32")
        smoothed = ops.matmul(targets, ops.convert_to_tensor(self.targets, "float32"))
        log_probabilities = ops.log_softmax(logits, axis=-1)
        terms = smoothed * log_probabilities
        if self.focal:
            terms = terms * (1.0 - ops.exp(log_probabilities)) ** self.focal
        loss = -ops.sum(terms, axis=-1)
        if self.sets:
            in_set = ops.sum(targets * ops.exp(log_probabilities), axis=-1)
            loss = -ops.log(ops.maximum(in_set, 1e-12))
        if self.group_loss:
            groups = ops.convert_to_tensor(self.groups, "float32")
            summed = ops.matmul(ops.exp(log_probabilities), groups)
            of_groups = -ops.sum(ops.matmul(smoothed, groups) * ops.log(ops.maximum(summed, 1e-12)), axis=-1)
            loss = loss + self.group_loss * of_groups
        if self.trim:
            # A weight instead of a choice of rows, so that the size of the batch does not change.
            limit = ops.quantile(loss, 1.0 - self.trim)
            loss = loss * ops.cast(ops.stop_gradient(loss <= limit), "float32")
        # A set of garments counts as one example, whatever its size.
        weights = ops.matmul(targets, ops.convert_to_tensor(self.weights, "float32")) / ops.sum(targets, axis=-1)
        return loss * weights

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        names = ("targets", "groups", "weights", "adjustment", "group_loss", "focal", "sets", "trim")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
