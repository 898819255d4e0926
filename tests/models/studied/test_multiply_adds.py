"""Multiply-adds agree with a count by hand and with TensorFlow's profiler."""

from __future__ import annotations

import re
from itertools import pairwise

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from models.families import with_flip_tta
from models.studied.families import FAMILIES, build
from models.studied.multiply_adds import multiply_adds
from models.studied.tutorial_networks import TUTORIALS

CONV, DEPTHWISE = 9 * 3 * 5, 9 * 3
TOKENS = (7, 6)
PLANTED: dict[str, tuple[tuple[int, ...], layers.Layer, int]] = {
    "convolution": ((8, 8, 3), layers.Conv2D(5, 3, padding="same"), 64 * CONV),
    "valid padding": ((8, 8, 3), layers.Conv2D(5, 3), 36 * CONV),
    "strides": ((8, 8, 3), layers.Conv2D(5, 3, strides=2, padding="same"), 16 * CONV),
    "two of a kind": ((8, 8, 4), layers.Conv2D(6, 3, padding="same", groups=2), 64 * 9 * 2 * 6),
    "depthwise": ((8, 8, 3), layers.DepthwiseConv2D(3, padding="same"), 64 * DEPTHWISE),
    "multiplied": ((8, 8, 3), layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2), 64 * DEPTHWISE * 2),
    "separable": ((8, 8, 3), layers.SeparableConv2D(5, 3, strides=2, padding="same"), 16 * (DEPTHWISE + 15)),
    "dense": ((6,), layers.Dense(5), 30),
    "dense on tokens": (TOKENS, layers.Dense(5), 7 * 30),
    "einsum": (TOKENS, layers.EinsumDense("abc,cd->abd", output_shape=(7, 5)), 7 * 30),
    "einsum over both": (TOKENS, layers.EinsumDense("abc,bcd->ad", output_shape=(5,)), 7 * 30),
    "einsum of numbers": (TOKENS, layers.EinsumDense("...c,c->...c", output_shape=TOKENS[1:]), 7 * 6),
    "normalisation": (TOKENS, layers.LayerNormalization(), 0),
    "dropout": (TOKENS, layers.Dropout(0.5), 0),
}


@pytest.mark.parametrize(("shape", "layer", "expected"), PLANTED.values(), ids=PLANTED)
def test_layer_has_the_multiply_adds_counted_by_hand(
    shape: tuple[int, ...], layer: layers.Layer, expected: int
) -> None:
    """One layer, one number."""
    assert multiply_adds(keras.Sequential([keras.Input(shape), layer])) == expected


def test_attention_costs_its_projections_and_its_two_products() -> None:
    """Five queries of 6 numbers, seven values of 4, 2 heads of 3 and of 8 numbers."""
    queries, values = keras.Input((5, 6)), keras.Input((7, 4))
    model = keras.Model([queries, values], layers.MultiHeadAttention(2, 3, 8)(queries, values))
    projections = 5 * 6 * 6 + 7 * 4 * 6 + 7 * 4 * 16 + 5 * 16 * 6
    assert multiply_adds(model) == projections + 2 * 5 * 7 * 3 + 2 * 5 * 7 * 8


def test_nested_and_shared_layers_count_as_often_as_they_are_called() -> None:
    """A network that is called twice costs twice, and a layer's calls in another model do not count."""
    network = build("plain", 10, width=8, dropout=0.1)
    assert multiply_adds(with_flip_tta(network)) == 2 * multiply_adds(network)
    shared, x = layers.Dense(4), keras.Input((4,))
    shared(keras.Input((9, 4)))
    assert multiply_adds(keras.Model(x, shared(shared(x)))) == 32


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=4))
def test_chain_costs_the_sum_of_its_parts(widths: list[int]) -> None:
    """Dense layers one after the other cost the sum of the products of neighbours."""
    model = keras.Sequential([keras.Input((widths[0],)), *map(layers.Dense, widths[1:])])
    assert multiply_adds(model) == sum(a * b for a, b in pairwise(widths))


def test_unknown_layers_and_shapes_are_errors() -> None:
    """An unknown layer with weights, a product without any, an open shape and an unbuilt model are named."""
    x = keras.Input((5, 3))
    with pytest.raises(ValueError, match="Received: LSTM 'memory'"):
        multiply_adds(keras.Model(x, layers.LSTM(4, name="memory")(x)))
    with pytest.raises(ValueError, match="Received: Matmul"):
        multiply_adds(keras.Model(x, ops.matmul(x, ops.transpose(x, (0, 2, 1)))))
    with pytest.raises(ValueError, match="Expected: fixed shapes"):
        multiply_adds(keras.Sequential([keras.Input((None, 3)), layers.Dense(2)]))
    with pytest.raises(ValueError, match="Received: Sequential 'unbuilt'"):
        multiply_adds(keras.Sequential([layers.Dense(2)], name="unbuilt"))


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the profiler reads TensorFlow's graphs")
@pytest.mark.parametrize("name", [*FAMILIES, *TUTORIALS])
def test_count_is_that_of_the_profiler(name: str) -> None:
    """Every network costs half of the floating-point operations of its graph's products."""
    model = TUTORIALS[name].build(10) if name in TUTORIALS else build(name, 10, width=24, dropout=0.1)
    # NumPy gives an Einsum's operations with four digits.
    assert multiply_adds(model) == pytest.approx(graph_operations(model) / 2, rel=1e-3)


def graph_operations(model: keras.Model) -> float:
    """Returns the floating-point operations of one image's convolutions, matrix products and Einsums."""
    import tensorflow as tf
    from tensorflow.python.framework import ops as tf_ops
    from tensorflow.python.profiler.internal import flops_registry

    assert flops_registry
    graph = tf.function(model).get_concrete_function(tf.TensorSpec((1, 28, 28), tf.uint8)).graph
    operations = graph.get_operations()
    wanted = {"Conv2D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2"}
    counted = [tf_ops.get_stats_for_node_def(graph, o.node_def, "flops").value for o in operations if o.type in wanted]
    return sum(counted) + sum(einsum_operations(o) for o in operations if o.type == "Einsum")


def einsum_operations(operation: object) -> float:
    """Returns the operations of an Einsum, of which TensorFlow's profiler knows none, as NumPy counts them."""
    arrays = [np.empty(tensor.shape) for tensor in operation.inputs]  # type: ignore[attr-defined]
    equation = operation.get_attr("equation").decode()  # type: ignore[attr-defined]
    _, text = np.einsum_path(equation, *arrays, optimize=False)
    found = re.search(r"Naive FLOP count:\s+(\S+)", text)
    assert found
    return float(found[1])
