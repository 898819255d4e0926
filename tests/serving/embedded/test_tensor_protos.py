"""Any TensorProto that a client sends over gRPC is read, or refused as the client's fault."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.embedded.errors import ServingError
from serving.embedded.signatures import Signature, TensorSpec
from serving.embedded.tensor_protos import FIELDS, as_proto, read_request_inputs, type_name

TYPES = [tf.string, *(tf.dtypes.as_dtype(name) for name in FIELDS if name != "object")]
NUMBERS = ["uint8", "int32", "int64", "uint64", "float16", "float32", "float64", "bool"]


def signature(kind: str) -> Signature:
    """A signature with one input of a type."""
    return Signature("serving_default", "", {"x": TensorSpec(kind, None)}, {}, {})


@st.composite
def tensors(draw: st.DrawFn, types: Sequence[tf.DType] = TYPES) -> TensorProto:
    """Tensors of some types whose shape and values need not fit each other."""
    kind = draw(st.sampled_from(types))
    proto = TensorProto(dtype=kind.as_datatype_enum)
    proto.tensor_shape.unknown_rank = draw(st.sampled_from([False] * 9 + [True]))
    for size in draw(st.lists(st.sampled_from([-1, 0, 1, 2, 3, 28, 2**40, 2**62]), max_size=4)):
        proto.tensor_shape.dim.add(size=size)
    field = FIELDS["object" if kind == tf.string else kind.name]
    proto.tensor_content = draw(st.sampled_from([b"", b"", b"1", bytes(28 * 28)]))
    values = {
        "string_val": st.binary(max_size=3),
        "bool_val": st.booleans(),
        "float_val": st.floats(width=32),
        "double_val": st.floats(),
        "int64_val": st.integers(-(2**63), 2**63 - 1),
        "uint32_val": st.integers(0, 2**32 - 1),
        "uint64_val": st.integers(0, 2**64 - 1),
    }.get(field, st.integers(-(2**31), 2**31 - 1))
    getattr(proto, field).extend(draw(st.lists(values, max_size=4)))
    return proto


@given(proto=tensors())
def test_any_tensor_is_read_or_refused(proto: TensorProto) -> None:
    """A tensor is read with its stated shape and type, or refused as the client's fault."""
    refusal = ""
    try:
        found = read_request_inputs({"x": proto}, signature(type_name(proto.dtype)))["x"]
    except ServingError as error:
        refusal = f"{error.code.name}: {error.message}"
    if refusal:
        assert refusal == "INVALID_ARGUMENT: tensor parsing error: x"
    else:
        assert found.shape == tuple(dim.size for dim in proto.tensor_shape.dim)
        assert found.dtype == tf.dtypes.as_dtype(proto.dtype).as_numpy_dtype


def test_a_pixel_out_of_range_is_refused() -> None:
    """300 is not a uint8, the same as over REST."""
    proto = TensorProto(dtype=tf.uint8.as_datatype_enum, int_val=[300])
    with pytest.raises(ServingError, match="tensor parsing error: x"):
        read_request_inputs({"x": proto}, signature("uint8"))


@given(data=st.data(), as_content=st.booleans())
def test_written_arrays_are_read_back(data: st.DataObject, as_content: bool) -> None:
    """Arrays are the same after a conversion to a TensorProto and back, bit by bit."""
    kind = data.draw(st.sampled_from(NUMBERS))
    array = data.draw(arrays.arrays(kind, arrays.array_shapes(min_dims=0, min_side=0, max_side=4)))
    proto = as_proto(array, as_content)
    found = read_request_inputs({"x": proto}, signature(type_name(proto.dtype)))["x"]
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
