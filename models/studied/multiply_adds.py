"""Multiply-adds of a network: the cost of a prediction, whatever the machine.

One multiply-add is one product that is added to a sum. Convolutions, dense layers and attention are counted;
elementwise operations (normalisation, activation, pooling, biases, sums of branches) are not, as in the tables of
Howard et al., "MobileNets", 2017, and of most papers since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from math import prod
from typing import Any

import keras
from keras import layers

from models.studied.families import LayerScale, PositionEmbedding

Shape = tuple[int | None, ...]
ELEMENTWISE = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.RMSNormalization,
    layers.Normalization,
    layers.PReLU,
    layers.Embedding,
    LayerScale,
    PositionEmbedding,
)
"""Layers with weights whose operations are elementwise."""

PRODUCTS = frozenset({"Matmul", "Einsum", "Dot", "Tensordot", "Inner", "Outer", "Vdot", "Conv", "DepthwiseConv"})
"""Names of Keras operations without weights that would be counted if a network had them."""


def multiply_adds(model: keras.Model) -> int:
    """Counts the multiply-adds of the prediction for one image.

    A layer or a nested model counts as often as the network calls it.

    Args:
        model: A functional or sequential model; all shapes but the batch's are fixed.

    Raises:
        ValueError: The model is not functional, or has a layer with weights of an unknown type.
    """
    try:
        # A model's list of layers has a layer once, however often it is called, so the calls are counted instead.
        calls = keras.Model(model.inputs, model.outputs)._nodes_by_depth.values()
    except (AttributeError, ValueError) as error:
        raise ValueError(
            "The multiply-adds cannot be counted. Expected: a functional model, or a sequential one that is built. "
            f"Received: {type(model).__name__} {model.name!r}."
        ) from error
    return sum(
        _call(call.operation, [x.shape for x in call.input_tensors], call.output_tensors[0].shape)
        for call in chain.from_iterable(calls)
    )


def _call(operation: Any, inputs: Sequence[Shape], output: Shape) -> int:
    if isinstance(operation, keras.Model):
        return multiply_adds(operation)
    for kind, count in COUNTS.items():
        if isinstance(operation, kind):
            return count(operation, inputs, output)
    if isinstance(operation, ELEMENTWISE) or not _computes(operation):
        return 0
    raise ValueError(
        "The multiply-adds cannot be counted. "
        f"Expected: one of {', '.join(kind.__name__ for kind in (*COUNTS, *ELEMENTWISE))}, or a layer without weights. "
        f"Received: {type(operation).__name__} {operation.name!r}."
    )


def _computes(operation: Any) -> bool:
    return bool(getattr(operation, "weights", ())) or type(operation).__name__ in PRODUCTS


def _pixels(layer: Any, shape: Shape) -> int:
    """Returns the number of pixels of [batch, ..., channels], or of [batch, channels, ...] if channels are first."""
    return _size(shape[2:] if layer.data_format == "channels_first" else shape[1:-1])


def _size(shape: Sequence[int | None]) -> int:
    if None in shape:
        raise ValueError(f"The multiply-adds cannot be counted. Expected: fixed shapes. Received: {tuple(shape)}.")
    return prod(shape)  # type: ignore[arg-type]


def _convolution(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    return _pixels(layer, output) * prod(layer.kernel.shape)


def _separable(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    return _pixels(layer, output) * (prod(layer.depthwise_kernel.shape) + prod(layer.pointwise_kernel.shape))


def _dense(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    return _size(inputs[0][1:-1]) * prod(layer.kernel.shape)


def _einsum(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    """Every number of the output is a sum over the indices that the kernel has and the output does not have."""
    operands, result = layer.equation.split("->")
    letters = zip(operands.split(",")[1], layer.kernel.shape, strict=True)
    return _size(output[1:]) * prod(size for letter, size in letters if letter not in result)


def _attention(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    """Four projections, the product of every query with every key, and the weighted means of the values."""
    queries, values = _size(inputs[0][1:-1]), _size(inputs[1][1:-1])
    projections = queries * (prod(layer.query_dense.kernel.shape) + prod(layer.output_dense.kernel.shape))
    projections += values * (prod(layer.key_dense.kernel.shape) + prod(layer.value_dense.kernel.shape))
    return projections + queries * values * layer.num_heads * (layer.key_dim + layer.value_dim)


COUNTS: dict[type, Callable[[Any, Sequence[Shape], Shape], int]] = {
    layers.SeparableConv2D: _separable,
    layers.DepthwiseConv2D: _convolution,
    layers.Conv2D: _convolution,
    layers.Dense: _dense,
    layers.EinsumDense: _einsum,
    layers.MultiHeadAttention: _attention,
}
"""The count of a layer's call by its type; the first type that fits applies."""
