"""Makes images smaller by averaging: pixels in memory for the training, and a layer for a network that works on few."""

from __future__ import annotations

from functools import cache
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray


def shrink(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Returns images uint8 [N, side, side]: each pixel is the mean of the area that it covers, rounded.

    Args:
        images: uint8 [N, H, H].
        side: Pixels a side, at most H; of 28 to 14 the mean of each 2 x 2.
    """
    if side == images.shape[1]:
        return images
    weights = _areas(images.shape[1], side)
    smaller = weights @ images.astype(np.float32) @ weights.T
    return np.rint(smaller).astype(np.uint8)


@cache
def _areas(pixels: int, side: int) -> NDArray[np.float32]:
    """Returns [side, pixels]: the share that each of a line's pixels has in each of fewer."""
    places, edges = np.arange(pixels), np.arange(side + 1)[:, None] * pixels / side
    overlap = np.minimum(edges[1:], places + 1) - np.maximum(edges[:-1], places)
    return (np.maximum(overlap, 0) * side / pixels).astype(np.float32)


@keras.saving.register_keras_serializable("fashion")
class Shrink(keras.layers.Layer):
    """Makes images smaller as `shrink` does, inside a network.

    Args:
        side: Pixels a side.
    """

    def __init__(self, side: int, **kwargs: Any) -> None:
        # bfloat16 would lose what the mean of some pixels has beyond a pixel.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.side = side

    def call(self, images: Any) -> Any:
        """Returns float32 [batch, side, side], whole numbers, for uint8 [batch, H, H]."""
        weights = _areas(images.shape[1], self.side)
        return ops.round(ops.matmul(ops.matmul(weights, ops.cast(images, "float32")), weights.T))

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "side": self.side}
