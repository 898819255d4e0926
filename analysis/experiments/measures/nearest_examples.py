"""The nearest training images of an image, by features of a network or by pixels.

The network has learned its features, so that they reflect its decisions; pixels are independent of it.
"""

from __future__ import annotations

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


def nearest_groups(queries: Floats, known: Floats, known_groups: Indices, k: int = 10) -> Indices:
    """Returns the groups of the k nearest training images of each image, int64 [N, k], the nearest first.

    Args:
        queries: float32 [N, F], features of images that are not training images.
        known: float32 [M, F], features of the training images.
        known_groups: int64 [M].
        k: Number of neighbours, at most M. Defaults to 10.
    """
    rows, _ = search(queries, known, k)
    return known_groups[rows]


def nearest_donors(
    queries: Floats,
    known: Floats,
    known_images: Images,
    known_groups: Indices,
    target: Indices,
) -> Images:
    """Returns the nearest training image of the target group for each image, uint8 [N, height, width].

    Args:
        queries: float32 [N, F], features or pixels of the images.
        known: float32 [M, F], the same of the training images.
        known_images: uint8 [M, height, width].
        known_groups: int64 [M]; -1 excludes an image. Exclude those that the network itself misclassifies: they are
            often the nearest, and no part of such a donor changes a prediction.
        target: int64 [N], the wanted groups; the training images have some of each.
    """
    donors = np.empty((len(queries), *known_images.shape[1:]), np.uint8)
    for group in np.unique(target):
        wanted, members = np.flatnonzero(target == group), np.flatnonzero(known_groups == group)
        rows, _ = search(queries[wanted], known[members], 1)
        donors[wanted] = known_images[members[rows[:, 0]]]
    return donors
