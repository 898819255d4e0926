"""What to judge a saliency map by: occlusion, Grad-CAM, and the map of a network that forgot."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analysis.saliency import Images, Maps, Pairs, Values, log_odds, odds_tensor

if TYPE_CHECKING:
    import keras

Answer = Callable[[Images], Maps]
"""From images uint8 [M, height, width] to the groups' logits [M, groups]: `group_logits` of some network."""

PATCH = 5
"""Pixels of an occluded square's side: a sleeve is some five pixels wide."""


def occlusion_map(answer: Answer, images: Images, pairs: Pairs, patch: int = PATCH) -> Maps:
    """Returns how many nats the log-odds fall when a square around each pixel is black, float32 [N, height, width].

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014, section 4.2. It needs no gradient.

    Args:
        answer: The network's answers.
        images: uint8 [N, height, width].
        pairs: int64 [N, 2]: the group whose odds they are, and the one that they are against.
        patch: The side of the square, odd; at the border it is cut.
    """
    count, height, width = images.shape
    before = log_odds(answer(images), pairs)
    result = np.empty(images.shape, np.float32)
    half = patch // 2
    for row in range(height):
        covered = np.repeat(images[:, None], width, axis=1)
        for column in range(width):
            covered[:, column, max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1] = 0
        after = log_odds(answer(covered.reshape(-1, height, width)), np.repeat(pairs, width, axis=0))
        result[:, row] = before[:, None] - after.reshape(count, width)
    return result


def grad_cam(
    network: keras.Model, images: Images, membership: npt.ArrayLike, pairs: Pairs, averaged: bool = True
) -> Maps:
    """Returns the last feature map's evidence for the first group, float32 [N, height, width], enlarged bilinearly.

    Selvaraju et al., "Grad-CAM", 2017, section 3, without its ReLU: what speaks for the other group is negative. Its
    unit has no meaning. It takes a channel to mean the same at every place, which is true of networks that average
    their features over the picture; where a dense layer weighs every place by itself, HiResCAM is faithful and Grad-CAM
    is not (Draelos and Carin 2020, arXiv 2011.08891).

    Args:
        network: As of `saliency.float_network`, with a map of features among its own layers.
        images: uint8 [N, height, width].
        membership: [garments, groups] of 0 and 1.
        pairs: int64 [N, 2].
        averaged: Whether gradients are averaged over the picture (Grad-CAM) or not (HiResCAM). Defaults to True.

    Raises:
        ValueError: No layer of the network keeps the picture's two dimensions.
    """
    import keras
    import tensorflow as tf

    # After normalisation and ReLU, where 0 means that there is nothing; before them it is some value like any other.
    found = [layer for layer in network.layers if len(layer.output.shape) == 4 and layer.output.shape[1] > 1]
    if not found:
        raise ValueError(
            "Grad-CAM needs a map of features. Expected: a layer of output [N, rows, columns, channels]. "
            f"Received: {', '.join(layer.name for layer in network.layers)}."
        )
    both = keras.Model(network.inputs[0], [found[-1].output, network.outputs[0]])
    inputs = tf.convert_to_tensor(images.astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        activations, logits = both(inputs, training=False)
        odds = odds_tensor(logits, membership, pairs)
    weights = tape.gradient(odds, activations)
    if averaged:
        weights = tf.reduce_mean(weights, axis=(1, 2), keepdims=True)
    evidence = tf.reduce_sum(weights * activations, axis=3, keepdims=True)
    return np.asarray(tf.image.resize(evidence, images.shape[1:])[..., 0])


def forgetful(network: keras.Model, seed: int) -> keras.Model:
    """Returns a copy whose last layer's weights are shuffled among themselves.

    Adebayo et al., "Sanity Checks for Saliency Maps", 2018, section 3: a map that stays the same when the network knows
    nothing any more shows the image and not the network. Shuffled, the weights keep their distribution.
    """
    import keras

    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    last = [layer for layer in copy.layers if layer.get_weights()][-1]
    rng = np.random.default_rng(seed)
    last.set_weights([rng.permutation(weight.ravel()).reshape(weight.shape) for weight in last.get_weights()])
    return copy


def rank_correlation(one: Maps, other: Maps) -> Values:
    """Returns Spearman's correlation of two maps of each image, float64 [N]; NaN where a map is constant.

    Only pixels where either map is not 0 count: the ground, 0 in both, would make any two maps alike.
    """
    from scipy.stats import rankdata

    return np.array([_correlation(*(rankdata(m) for m in _touched(a, b))) for a, b in zip(one, other, strict=True)])


def _touched(one: Maps, other: Maps) -> tuple[Any, Any]:
    touched = (one != 0) | (other != 0)
    return one[touched], other[touched]


def _correlation(one: Values, other: Values) -> float:
    if len(one) < 2 or not one.std() or not other.std():
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])
