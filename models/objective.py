"""What the network predicts, garments or groups, and the loss that it is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from models.probabilities import softmax

Floats = NDArray[np.floating[Any]]
Output = Literal["garments", "groups", "hierarchy"]


@dataclass(frozen=True)
class Objective:
    """The head and the loss of a network. The defaults are plain cross-entropy over the garments.

    The experiments `taxonomy`, `imbalance`, `label_noise` and `fine_labels` compare them with the other values; only
    `smooth` = "group" was ahead, and it is the recipe's.

    Attributes:
        output: "garments" has one output a garment, and a group's probability is the sum over its garments; "groups"
            has one a group; "hierarchy" has both, P(garment) = P(group) P(garment | group), and answers with the
            logarithms of P(garment).
        group_loss: Weight of a second cross-entropy, over the groups that the garments sum up to.
        smooth: Over what label smoothing spreads its share: "all" garments, or those of the same "group".
        class_weights: Whether each group weighs alike in the loss, however many images it has.
        logit_adjustment: Times the logarithm of its group's share of the images is added to a garment's logit in the
            loss: Menon et al., "Long-tail learning via logit adjustment", 2021, equation 10; 0 for none, 1 is theirs.
        focal: The exponent of the focal loss: Lin et al., "Focal Loss for Dense Object Detection", 2017, equation 4.
        sets: Whether a target names garments of which one is right, not how probable each is: the loss is then minus
            the logarithm of what they sum up to, unsmoothed. Jin and Ghahramani, "Learning with Multiple Labels", 2002.
        trim: Share of each batch, those with the highest losses, that is not learned from: Shen and Sanghavi,
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
        """Raises ValueError for a set loss that is also focal: it has no probability of one target to weigh by."""
        if self.sets and self.focal:
            raise ValueError("sets and focal do not go together. Expected: one of them. Received: both")

    def outputs(self, membership: Floats) -> int:
        """Returns how many outputs the network's last layer has."""
        garments, groups = membership.shape
        return {"garments": garments, "groups": groups, "hierarchy": garments + groups}[self.output]

    def to_groups(self, membership: Floats) -> Floats:
        """Returns the matrix [answers, groups] that sums what the network answers up to groups."""
        return np.eye(membership.shape[1]) if self.output == "groups" else membership

    def loss(self, membership: Floats, group_shares: Floats, label_smoothing: float) -> GroupedCrossEntropy:
        """Returns the loss of targets float [batch, garments] and the network's logits.

        Args:
            membership: [garments, groups] of 0 and 1.
            group_shares: [groups], each group's share of the training images.
            label_smoothing: The share of a target that is spread.
        """
        shares = membership @ group_shares
        answers = self.to_groups(membership)
        garments = np.eye(len(membership)) if len(answers) == len(membership) else membership
        spread = membership @ membership.T if self.smooth == "group" else np.ones((len(membership), len(membership)))
        spread = spread / spread.sum(axis=1, keepdims=True)
        smoothed = ((1 - label_smoothing) * np.eye(len(membership)) + label_smoothing * spread) @ garments
        weights = 1 / (len(group_shares) * shares) if self.class_weights else np.ones(len(shares))
        of_answers = group_shares if self.output == "groups" else shares
        return GroupedCrossEntropy(
            targets=smoothed.tolist(),
            groups=answers.tolist(),
            weights=weights.tolist(),
            adjustment=(self.logit_adjustment * np.log(of_answers)).tolist(),
            group_loss=self.group_loss,
            focal=self.focal,
            sets=self.sets,
            trim=self.trim,
        )


def group_probabilities(logits: Floats, membership: Floats) -> NDArray[np.float64]:
    """Returns [N, groups] for logits of garments [N, garments] or of groups [N, groups]."""
    probabilities = softmax(logits)
    return probabilities if logits.shape[1] == membership.shape[1] else probabilities @ membership


def hierarchical(network: keras.Model, membership: Floats) -> keras.Model:
    """Returns a network whose garment logits are log P(group) + log P(garment | group).

    Args:
        network: To logits [batch, garments + groups], the garments first.
        membership: [garments, groups] of 0 and 1.
    """
    answer = Hierarchy(membership.tolist(), name="hierarchy", dtype="float32")(network.output)
    return keras.Model(network.input, answer, name=f"hierarchical_{network.name}")


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
        within, between = logits[:, : len(self.membership)], logits[:, len(self.membership) :]
        # A large number instead of infinity: its difference from itself is a number.
        of_group = ops.logsumexp(ops.expand_dims(within, 1) + (member - 1.0) * 1e9, axis=2)
        return within + ops.matmul(ops.log_softmax(between, axis=-1) - of_group, member)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "membership": self.membership}


@keras.saving.register_keras_serializable("fashion")
class GroupedCrossEntropy(keras.losses.Loss):
    """Cross-entropy between distributions over garments and logits of garments or groups; see `Objective`.

    Args:
        targets: [garments, answers], what is aimed at for each garment, smoothed.
        groups: [answers, groups] of 0 and 1, which answers make which group.
        weights: [garments], how much an image of each garment counts; 1 on average.
        adjustment: [answers], added to the logits.
        group_loss: Weight of the cross-entropy over groups.
        focal: Exponent of the focal loss.
        sets: Whether targets are sets of garments.
        trim: Share of the batch, the highest losses, that counts nothing.
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
        """Returns the loss of each example, [batch], for targets [batch, garments] and logits [batch, answers]."""
        given = ops.cast(y_true, "float32")
        logits = ops.cast(y_pred, "float32") + ops.convert_to_tensor(self.adjustment, "float32")
        aimed = ops.matmul(given, ops.convert_to_tensor(self.targets, "float32"))
        log_probabilities = ops.log_softmax(logits, axis=-1)
        each = aimed * log_probabilities
        if self.focal:
            each = each * (1.0 - ops.exp(log_probabilities)) ** self.focal
        loss = -ops.sum(each, axis=-1)
        if self.sets:
            named = ops.sum(given * ops.exp(log_probabilities), axis=-1)
            loss = -ops.log(ops.maximum(named, 1e-12))
        if self.group_loss:
            loss = loss + self.group_loss * self._of_groups(aimed, log_probabilities)
        if self.trim:
            loss = loss * self._kept(loss)
        # A set of garments counts as one example, whatever its size.
        weights = ops.matmul(given, ops.convert_to_tensor(self.weights, "float32")) / ops.sum(given, axis=-1)
        return loss * weights

    def _of_groups(self, aimed: Any, log_probabilities: Any) -> Any:
        groups = ops.convert_to_tensor(self.groups, "float32")
        summed = ops.matmul(ops.exp(log_probabilities), groups)
        return -ops.sum(ops.matmul(aimed, groups) * ops.log(ops.maximum(summed, 1e-12)), axis=-1)

    def _kept(self, loss: Any) -> Any:
        # A weight, not a choice of rows: the size of the batch stays what it is.
        limit = ops.quantile(loss, 1.0 - self.trim)
        return ops.cast(ops.stop_gradient(loss <= limit), "float32")

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        names = ("targets", "groups", "weights", "adjustment", "group_loss", "focal", "sets", "trim")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
