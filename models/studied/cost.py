"""Counts the multiply-adds of a network: what an answer costs, whatever machine gives it.

One multiply-add is one product that is added to a sum. Convolutions, dense layers and attention are counted; what is
done once a number (normalisation, activation, pooling, biases, sums of branches) is not, as in the tables of Howard et
al., "MobileNets", 2017, and of most papers since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from math import prod
from typing import Any

import keras
from keras import layers

from models.studied.convnext import LayerScale
from models.studied.vision_transformer import Positions

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
    Positions,
)
"""Layers with weights of which each number is multiplied or added, and none summed up."""

PRODUCTS = frozenset({"Matmul", "Einsum", "Dot", "Tensordot", "Inner", "Outer", "Vdot", "Conv", "DepthwiseConv"})
"""Names of Keras operations without weights that would be counted if a network had them."""


class CostError(ValueError):
    """A network holds something whose multiply-adds are not known; the message says what."""


def multiply_adds(model: keras.Model) -> int:
    """Counts the multiply-adds of one image's answer.

    A layer or a nested model counts as often as the network calls it.

    Args:
        model: A functional or sequential model; all shapes but the batch's are fixed.

    Raises:
        CostError: The model is not functional, or has a layer with weights of an unknown type.
    """
    try:
        # A model's list of layers names a layer once, however often it is called; only the calls themselves tell.
        calls = keras.Model(model.inputs, model.outputs)._nodes_by_depth.values()
    except (AttributeError, ValueError) as error:
        raise CostError(
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
    raise CostError(
        "The multiply-adds cannot be counted. "
        f"Expected: one of {', '.join(kind.__name__ for kind in (*COUNTS, *ELEMENTWISE))}, or a layer without weights. "
        f"Received: {type(operation).__name__} {operation.name!r}."
    )


def _computes(operation: Any) -> bool:
    return bool(getattr(operation, "weights", ())) or type(operation).__name__ in PRODUCTS


def _places(layer: Any, shape: Shape) -> int:
    """How many pixels an image [batch, ..., channels] has, or [batch, channels, ...] where the layer wants that."""
    return _size(shape[2:] if layer.data_format == "channels_first" else shape[1:-1])


def _size(shape: Sequence[int | None]) -> int:
    if None in shape:
        raise CostError(f"The multiply-adds cannot be counted. Expected: fixed shapes. Received: {tuple(shape)}.")
    return prod(shape)  # type: ignore[arg-type]


def _convolution(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    return _places(layer, output) * prod(layer.kernel.shape)


def _separable(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    return _places(layer, output) * (prod(layer.depthwise_kernel.shape) + prod(layer.pointwise_kernel.shape))


def _dense(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    return _size(inputs[0][1:-1]) * prod(layer.kernel.shape)


def _einsum(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    """Every number of the output is a sum over the letters that the kernel has and the output has not."""
    operands, result = layer.equation.split("->")
    letters = zip(operands.split(",")[1], layer.kernel.shape, strict=True)
    return _size(output[1:]) * prod(size for letter, size in letters if letter not in result)


def _attention(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    """Four projections, every query with every key, and every answer as a mean of all values."""
    asked, told = _size(inputs[0][1:-1]), _size(inputs[1][1:-1])
    projections = asked * (prod(layer.query_dense.kernel.shape) + prod(layer.output_dense.kernel.shape))
    projections += told * (prod(layer.key_dense.kernel.shape) + prod(layer.value_dense.kernel.shape))
    return projections + asked * told * layer.num_heads * (layer.key_dim + layer.value_dim)


COUNTS: dict[type, Callable[[Any, Sequence[Shape], Shape], int]] = {
    layers.SeparableConv2D: _separable,
    layers.DepthwiseConv2D: _convolution,
    layers.Conv2D: _convolution,
    layers.Dense: _dense,
    layers.EinsumDense: _einsum,
    layers.MultiHeadAttention: _attention,
}
"""How the calls of a layer are counted, by its type; of two that fit, the first."""
