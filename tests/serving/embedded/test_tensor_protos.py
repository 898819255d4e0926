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
from serving.embedded.tensor_protos import FIELDS, as_proto, check_outputs, read_request_inputs, type_name

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


def test_a_pixel_out_of_range_wraps() -> None:
    """300 as a uint8 is 44, the same as over REST and in TensorFlow; a short list ends in copies of its last value."""
    proto = TensorProto(dtype=tf.uint8.as_datatype_enum, int_val=[-1, 300])
    proto.tensor_shape.dim.add(size=3)
    assert read_request_inputs({"x": proto}, signature("uint8"))["x"].tolist() == [255, 44, 44]


def test_a_tensor_without_a_type_cannot_be_read() -> None:
    """A TensorProto whose type was forgotten cannot be parsed; one with another type is refused with both names."""
    with pytest.raises(ServingError, match="^tensor parsing error: x$"):
        read_request_inputs({"x": TensorProto(float_val=[1.0])}, signature("float"))
    with pytest.raises(ServingError, match="^Expects arg\\[0\\] to be float but double is provided$"):
        read_request_inputs({"x": tf.make_tensor_proto(1.0, tf.float64)}, signature("float"))


@pytest.mark.parametrize(
    ("sent", "optional", "message"),
    [
        (["z"], [], "Signature input alias: x(feed name: ) not found in request and no default value provided. Inputs "
         "expected to be in the request {z}, or default input alias set: "),
        (["y", "z"], [], "input size does not match signature: 2!=1 len({y,z}) != len({x}). Sent extra: {y,z}. Missing "
         "but required: {x}."),
        ([], [], "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: "
         "{x}."),
        (["z"], ["x"], "Inputs contains invalid name. Used request inputs: , request input: z"),
    ],
)  # fmt: skip
def test_names_that_do_not_fit(sent: list[str], optional: list[str], message: str) -> None:
    """The number of inputs is checked first, then their names."""
    defaults = {name: np.zeros(1, np.float32) for name in optional}
    known = Signature("serving_default", "", {"x": TensorSpec("float", None)}, {}, defaults)
    with pytest.raises(ServingError) as refused:
        read_request_inputs({name: tf.make_tensor_proto(1.0) for name in sent}, known)
    assert refused.value.message == message


def test_output_filters() -> None:
    """The first unknown or repeated name of an output filter is reported."""
    known = Signature("serving_default", "", {}, {name: TensorSpec("float", None) for name in ("a", "b")}, {})
    assert check_outputs([], known) == ["a", "b"] and check_outputs(["b"], known) == ["b"]
    with pytest.raises(ServingError, match="^duplicate output tensor alias: b$"):
        check_outputs(["a", "b", "b", "c"], known)
    with pytest.raises(ServingError, match="^output tensor alias not found in signature: c "):
        check_outputs(["c", "b", "b"], known)


@given(data=st.data(), as_content=st.booleans())
def test_written_arrays_are_read_back(data: st.DataObject, as_content: bool) -> None:
    """Arrays are the same after a conversion to a TensorProto and back, bit by bit."""
    kind = data.draw(st.sampled_from(NUMBERS))
    array = data.draw(arrays.arrays(kind, arrays.array_shapes(min_dims=0, min_side=0, max_side=4)))
    proto = as_proto(array, as_content)
    found = read_request_inputs({"x": proto}, signature(type_name(proto.dtype)))["x"]
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


@pytest.mark.parametrize(("elements", "accepted"), [(2**24, True), (2**24 + 1, False)])
def test_a_stated_shape_fills_at_most_16_million_elements(elements: int, accepted: bool) -> None:
    """Values that are not sent are filled, so the stated shape is bounded; a tensor that has its values is not."""
    proto = TensorProto(dtype=tf.bool.as_datatype_enum, bool_val=[True])
    proto.tensor_shape.dim.add(size=elements)
    if accepted:
        assert read_request_inputs({"x": proto}, signature("bool"))["x"].sum() == elements
    else:
        with pytest.raises(ServingError, match="^tensor parsing error: x$"):
            read_request_inputs({"x": proto}, signature("bool"))
    proto.tensor_content = bytes(elements)
    assert read_request_inputs({"x": proto}, signature("bool"))["x"].shape == (elements,)


@pytest.mark.parametrize(
    ("array", "field", "values"),
    [
        (np.array([1.5], np.float32), "float_val", [1.5]),
        (np.array([1.5], np.float64), "double_val", [1.5]),
        (np.array([1.5], np.float16), "half_val", [0x3E00]),
        (np.array([[200]], np.uint8), "int_val", [200]),
        (np.array([-1], np.int64), "int64_val", [-1]),
        (np.array([2**32 - 1], np.uint32), "uint32_val", [2**32 - 1]),
        (np.array([2**64 - 1], np.uint64), "uint64_val", [2**64 - 1]),
        (np.array([True, False]), "bool_val", [True, False]),
        (np.array([b"a", b""], object), "string_val", [b"a", b""]),
    ],
)
def test_values_are_in_the_field_of_their_type(array: np.ndarray, field: str, values: list[object]) -> None:
    """Clients read the field that fits the type; with `as_content`, all but strings are raw bytes."""
    plain, content = as_proto(array), as_proto(array, as_content=True)
    assert list(getattr(plain, field)) == values and not plain.tensor_content
    assert [dim.size for dim in plain.tensor_shape.dim] == list(array.shape)
    if field == "string_val":
        assert content == plain
    else:
        assert content.tensor_content == array.tobytes() and not getattr(content, field)
    assert content.dtype == plain.dtype == tf.make_tensor_proto(array).dtype
