"""Augmentations that only experiments use: change of size, CutMix, and progressive resizing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from models.augmentation import Augmentation, Images, Targets, erase, flip, mix_targets, mixup, rectangles, shift
from pipeline.contract.image_limits import IMAGE_SIDE

SCALES = 7
"""Sizes between the smallest and the largest that `scale` draws from."""


@dataclass(frozen=True)
class StudiedAugmentation(Augmentation):
    """The shipped augmentation with the options of the experiments `recipe`, `robustness` and `resolution`.

    Attributes:
        scale: The largest relative change of size: 0.1 for nine to eleven tenths.
        cutmix: The alpha of the Beta distribution by which a rectangle of one image is put into another; 0 for none.
            Yun et al., "CutMix", 2019.
        side: Pixels a side to which the images are shrunk in the first part of a training.
        side_until: That part, as a share of the steps; after it the images have full size. This is progressive
            resizing: Howard, "Training Imagenet in 3 hours for USD 25", fast.ai, 2018; Tan and Le, "EfficientNetV2",
            2021, section 4, here without a regularisation that grows with the images. With 1, the network itself
            shrinks its input to `side`, in training and afterwards.
    """

    scale: float = 0.0
    cutmix: float = 0.0
    side: int = IMAGE_SIDE
    side_until: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError for a side that no network works at, or a `side_until` that is no share."""
        # Networks halve the resolution twice.
        if not 4 <= self.side <= IMAGE_SIDE or not 0 < self.side_until <= 1:
            raise ValueError(
                "The images cannot be resized. "
                f"Expected: a side of 4 to {IMAGE_SIDE} pixels, and side_until in (0, 1]. "
                f"Received: side {self.side}, side_until {self.side_until}."
            )

    @property
    def training_side(self) -> int | None:
        """Pixels a side that the network is trained at; None where the side changes during the training."""
        return None if self.side < IMAGE_SIDE and self.side_until < 1 else self.final_side

    @property
    def final_side(self) -> int:
        """Pixels a side that the trained network works at."""
        return IMAGE_SIDE if self.side_until < 1 else self.side

    def __call__(
        self, images: Images, targets: Targets, random: np.random.Generator, done: float = 1.0
    ) -> tuple[Images, Targets]:
        """Returns changed images uint8 [N, H, W] and their targets float32 [N, garments]; see `Augmentation`."""
        if self.flip:
            images = flip(images, random)
        if self.shift:
            images = shift(images, self.shift, random)
        if self.scale:
            images = scale(images, self.scale, random)
        if self.erase:
            images = erase(images, self.erase, random)
        if self.mixup:
            images, targets = mixup(images, targets, self.mixup, random)
        if self.cutmix:
            images, targets = cutmix(images, targets, self.cutmix, random)
        if done < self.side_until < 1:
            images = shrink(images, self.side)
        return images, targets


def scale(images: Images, largest_change: float, random: np.random.Generator) -> Images:
    """Enlarges or shrinks each image [N, H, W] around its centre by up to `largest_change`, each axis by itself."""
    count, height, width = images.shape
    rows = _scaling_matrices(height, largest_change)[random.integers(0, SCALES, count)]
    columns = _scaling_matrices(width, largest_change)[random.integers(0, SCALES, count)]
    resized = rows @ images.astype(np.float32) @ columns.transpose(0, 2, 1)
    return np.rint(resized).astype(np.uint8)


@cache
def _scaling_matrices(pixels: int, largest_change: float) -> NDArray[np.float32]:
    """Returns [SCALES, pixels, pixels]: matrices that resize a line of pixels linearly, black beyond its ends."""
    centre, positions = (pixels - 1) / 2, np.arange(pixels)
    scales = np.linspace(1 - largest_change, 1 + largest_change, SCALES)[:, None]
    sources = centre + (positions - centre) / scales
    return np.maximum(0.0, 1.0 - np.abs(sources[:, :, None] - positions)).astype(np.float32)


def cutmix(images: Images, targets: Targets, alpha: float, random: np.random.Generator) -> tuple[Images, Targets]:
    """Puts a rectangle of another image of the batch into each [N, H, W]; the targets follow its area."""
    partner = random.permutation(len(images))
    inside = rectangles(images.shape, 1 - random.beta(alpha, alpha, len(images)), random)
    own_share = 1 - inside.mean(axis=(1, 2), dtype=np.float32)
    return np.where(inside, images[partner], images), mix_targets(targets, partner, own_share)


def shrink(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Returns images uint8 [N, side, side]: each pixel is the mean of the area that it covers, rounded.

    Args:
        images: uint8 [N, H, H].
        side: Pixels a side, at most H; from 28 to 14 the mean of each 2 x 2.
    """
    if side == images.shape[1]:
        return images
    weights = _area_weights(images.shape[1], side)
    smaller = weights @ images.astype(np.float32) @ weights.T
    return np.rint(smaller).astype(np.uint8)


@cache
def _area_weights(pixels: int, side: int) -> NDArray[np.float32]:
    """Returns [side, pixels]: the share of each pixel of a line in each pixel of a shorter line."""
    positions, edges = np.arange(pixels), np.arange(side + 1)[:, None] * pixels / side
    overlap = np.minimum(edges[1:], positions + 1) - np.maximum(edges[:-1], positions)
    return (np.maximum(overlap, 0) * side / pixels).astype(np.float32)


@keras.saving.register_keras_serializable("fashion")
class Shrink(keras.layers.Layer):
    """Shrinks images as `shrink` does, inside a network.

    Args:
        side: Pixels a side.
    """

    def __init__(self, side: int, **kwargs: Any) -> None:
        # bfloat16 would round the means.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.side = side

    def call(self, images: Any) -> Any:
        """Returns float32 [batch, side, side], whole numbers, for uint8 [batch, H, H]."""
        weights = _area_weights(images.shape[1], self.side)
        return ops.round(ops.matmul(ops.matmul(weights, ops.cast(images, "float32")), weights.T))

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "side": self.side}
