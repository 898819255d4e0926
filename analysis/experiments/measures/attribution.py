"""Attribution of a decision between two groups to pixels and regions of the image, by integrated gradients.

It uses TensorFlow's gradient tape; the networks are Keras's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analysis.data.slicing_features import FOREGROUND_THRESHOLD
from analysis.exploration.image_features import SIDE

if TYPE_CHECKING:
    import keras

Images = npt.NDArray[np.uint8]
Pairs = npt.NDArray[np.int64]
Maps = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]

BATCH = 2048
"""Images per forward pass: their activations in a small network take some 100 MB."""

NEVER = -1e9
"""The logit of a garment outside the group; minus infinity would make its gradient undefined."""


def float_network(network: keras.Model) -> keras.Model:
    """Returns a copy of a network that takes float32 pixels in [0, 255] and computes in float32.

    Keras converts the inputs of a functional model to its declared type: float pixels would be truncated to integers,
    without a gradient. Nested networks are copied in the same way.

    Args:
        network: A functional model of one input, uint8 [N, height, width].
    """
    import keras

    copies: dict[int, Any] = {}

    def copy(layer: Any) -> Any:
        if id(layer) not in copies:
            copies[id(layer)] = _copied(layer)
        return copies[id(layer)]

    # Wrapped, because cloning compiles a compiled model again, with losses that Keras may not know by name.
    plain = keras.Model(network.inputs, network.outputs)
    image = keras.Input(network.input_shape[1:], dtype="float32", name="image")
    copied = keras.models.clone_model(plain, input_tensors=[image], clone_function=copy)
    for layer in network.layers:
        if id(layer) in copies and not isinstance(layer, keras.Model):
            copies[id(layer)].set_weights(layer.get_weights())
    return keras.Model(copied.inputs[0], copied.outputs[0], name=network.name)


def _copied(layer: Any) -> Any:
    import keras

    if isinstance(layer, keras.Model):
        return float_network(layer)
    if not isinstance(layer, keras.layers.Layer):
        return layer
    return type(layer).from_config({**layer.get_config(), "dtype": "float32"})


def group_logits(network: keras.Model, images: npt.NDArray[Any], membership: npt.ArrayLike) -> Maps:
    """Returns the logarithms of the groups' unnormalised probabilities, float32 [N, groups].

    Args:
        network: From images to logits [N, garments].
        images: [N, height, width], of the network's type.
        membership: [garments, groups] of 0 and 1, as `Taxonomy.membership` returns it.
    """
    from keras import ops

    blocks = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    return np.concatenate(
        [ops.convert_to_numpy(_by_group(network(block, training=False), membership)) for block in blocks]
    )


def integrated_gradients(
    network: keras.Model,
    images: Images,
    membership: npt.ArrayLike,
    pairs: Pairs,
    baselines: Images,
    steps: int,
) -> Maps:
    """Attributes the log-odds of two groups to the pixels (Sundararajan et al. 2017, arXiv 1703.01365, section 3).

    The gradient is averaged along the straight line from a baseline to the image, at the middles of equal steps. A
    black baseline, the background of the data set, attributes exactly 0 to every black pixel, so that missing sleeves
    cannot contribute to a dress. With images of the other group as baselines they can; the mean over several baselines
    is the expected gradients of Erion et al. 2021 (arXiv 1906.10670).

    Args:
        network: As from `float_network`: float32 pixels to logits [N, garments].
        images: uint8 [N, height, width].
        membership: [garments, groups] of 0 and 1.
        pairs: int64 [N, 2]: the odds are those of the first group against the second.
        baselines: uint8 [B, height, width].
        steps: Points on each path.

    Returns:
        float32 [N, height, width], in nats; positive values favour the first group of the pair.
    """
    pixels = images.astype(np.float32)
    values = np.zeros(pixels.shape, np.float32)
    for baseline in baselines.astype(np.float32):
        values += _along_paths(network, pixels, baseline, membership, pairs, steps) / np.float32(len(baselines))
    return values


def gradient(network: keras.Model, pixels: Maps, membership: npt.ArrayLike, pairs: Pairs) -> Maps:
    """Returns the gradient of the log-odds by the pixels, float32 [N, height, width], in nats per grey level."""
    import tensorflow as tf

    inputs = tf.convert_to_tensor(pixels)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        odds = odds_tensor(network(inputs, training=False), membership, pairs)
    return np.asarray(tape.gradient(odds, inputs))


def odds_tensor(logits: Any, membership: npt.ArrayLike, pairs: Pairs) -> Any:
    """Returns the log-odds of each pair's first group against its second as a differentiable tensor [N], in nats."""
    from keras import ops

    matrix = np.asarray(membership, np.float32).T
    first, second = (_within(logits, matrix[side]) for side in pairs.T)
    return ops.logsumexp(first, axis=1) - ops.logsumexp(second, axis=1)


def _along_paths(
    network: keras.Model, pixels: Maps, baseline: Maps, membership: npt.ArrayLike, pairs: Pairs, steps: int
) -> Maps:
    positions = ((np.arange(steps, dtype=np.float32) + 0.5) / steps)[:, None, None, None]
    batch = max(BATCH // steps, 1)
    parts = []
    for start in range(0, len(pixels), batch):
        difference = pixels[start : start + batch] - baseline
        path = (baseline + positions * difference).reshape(-1, *baseline.shape)
        repeated = np.tile(pairs[start : start + batch], (steps, 1))
        slopes = gradient(network, path, membership, repeated).reshape(steps, *difference.shape)
        parts.append(slopes.mean(axis=0) * difference)
    return np.concatenate(parts)


def _by_group(logits: Any, membership: npt.ArrayLike) -> Any:
    from keras import ops

    return ops.logsumexp(_within(logits[:, None, :], np.asarray(membership, np.float32).T[None]), axis=2)


def _within(logits: Any, members: Maps) -> Any:
    from keras import ops

    return ops.where(members > 0, ops.cast(logits, "float32"), NEVER)


def regions(images: Images) -> dict[str, Masks]:
    """Returns masks bool [N, height, width] by name, in three sets that each cover the image once.

    Upper, middle and lower third; sides and centre; the silhouette's edge (one pixel to either side of the border), the
    interior of the garment and the background.

    Args:
        images: uint8 [N, height, width].
    """
    from scipy.ndimage import binary_dilation, binary_erosion

    foreground = images >= FOREGROUND_THRESHOLD
    around = np.ones((1, 3, 3), bool)
    inner = binary_erosion(foreground, around, border_value=1)
    outer = ~binary_dilation(foreground, around)
    height, width = images.shape[1:]
    row, column = np.arange(height)[:, None] * 3 // height, np.arange(width)[None]
    sides = (column < SIDE) | (column >= width - SIDE)
    flat = {
        "upper third": row == 0,
        "middle third": row == 1,
        "lower third": row == 2,
        "sides": sides,
        "centre": ~sides,
    }
    whole = {name: np.broadcast_to(mask, images.shape) for name, mask in flat.items()}
    return {**whole, "silhouette edge": ~inner & ~outer, "interior": inner, "background": outer}


def attribution_by_region(maps: Values, images: Images) -> dict[str, Values]:
    """Returns the signed sum of each map over each region, float64 [N], in the map's unit.

    Args:
        maps: [N, height, width], such as attributions in nats of the odds.
        images: uint8 [N, height, width], for the silhouettes.
    """
    return {name: np.where(mask, maps, 0).sum(axis=(1, 2)) for name, mask in regions(images).items()}
