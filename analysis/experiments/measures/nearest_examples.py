"""The nearest training images of an image, by features of a network or by pixels.

The network has learned its features, so that they reflect its decisions; pixels are independent of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.exploration.neighbours import search

if TYPE_CHECKING:
    import keras

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

BATCH = 2048


@dataclass(frozen=True)
class NearestExamples:
    """The k training images nearest to each of N images, nearest first.

    Attributes:
        rows: int32 [N, k], of the training images.
        distance: float32 [N, k], Euclidean, in the unit of the features.
        garments: int64 [N, k], their garments.
        groups: int64 [N, k], their groups.
    """

    rows: npt.NDArray[np.int32]
    distance: Floats
    garments: Indices
    groups: Indices


def features(network: keras.Model, images: Images, layer: str = "features") -> Floats:
    """Returns the output of a layer for images uint8 [N, height, width], float32 [N, F].

    Raises:
        ValueError: The network has no layer of that name (Keras's message lists the layers).
    """
    import keras

    embed = keras.Model(network.inputs[0], network.get_layer(layer).output)
    blocks = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    parts = [keras.ops.convert_to_numpy(keras.ops.cast(embed(block, training=False), "float32")) for block in blocks]
    return np.concatenate(parts).reshape(len(images), -1)


def pixels(images: Images) -> Floats:
    """Returns images as features, float32 [N, height x width] in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def nearest_examples(
    queries: Floats, known: Floats, known_garments: Indices, group_of: tuple[int, ...], k: int = 10
) -> NearestExamples:
    """Finds the nearest training images, comparing with all of them.

    Args:
        queries: float32 [N, F], features of images that are not training images.
        known: float32 [M, F], features of the training images.
        known_garments: int64 [M].
        group_of: The group of each garment, as in `Taxonomy`.
        k: Number of neighbours, at most M. Defaults to 10.
    """
    rows, squared = search(queries, known, k)
    garments = known_garments[rows]
    return NearestExamples(rows, np.sqrt(np.maximum(squared, 0)), garments, np.array(group_of, np.int64)[garments])
