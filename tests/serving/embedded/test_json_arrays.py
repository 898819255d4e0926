"""JSON values become arrays with strict types, and the fast conversion agrees with the exact one."""

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.embedded.errors import HTTP_STATUS, ServingError
from serving.embedded.json_arrays import convert, convert_exactly, decode_base64

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"]
TYPES = [*INTEGERS, "float", "double", "bool", "string", "half", "uint16"]

edges = st.sampled_from([e + d for e in (0, 2**7, 2**8, 2**15, 2**31, 2**32, 2**63) for d in (-1, 0)])
numbers = st.integers(-3, 300) | edges | edges.map(lambda edge: -edge) | st.just(2**64 - 1)
encoded = st.binary(max_size=4).map(lambda value: {"b64": base64.b64encode(value).decode()})
leaves = numbers | st.floats() | st.booleans() | st.none() | st.text(max_size=3) | encoded | st.just({"b64": 1})
ragged = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3), max_leaves=12)


def dense(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Returns nested lists of one shape."""
    shapes = st.lists(st.integers(0, 3), max_size=3)
    return shapes.flatmap(lambda shape: _nested(leaf, shape))


def _nested(leaf: st.SearchStrategy[Any], shape: list[int]) -> st.SearchStrategy[Any]:
    return st.lists(_nested(leaf, shape[1:]), min_size=shape[0], max_size=shape[0]) if shape else leaf


def outcome(read: Any, value: Any, dtype: str) -> Any:
    """Returns the array or the error of a conversion, in a form that can be compared."""
    try:
        array = read(value, dtype)
    except ServingError as error:
        return error.code, error.message
    return array.dtype, array.shape, [repr(element) for element in array.reshape(-1).tolist()]


@given(
    ragged
    | dense(leaves)
    | dense(numbers)
    | dense(st.booleans() | st.integers(0, 1))
    | dense(st.text(max_size=3) | encoded),
    st.sampled_from(TYPES),
)
@example([[1, True], [0, 1]], "uint8")
@example([0.0, 1, False], "float")
@example([1e39, -1e39], "float")
@example(["ab", ["c", "d"]], "string")
@example([[], []], "half")
def test_both_conversions_agree(value: Any, dtype: str) -> None:
    """Converting whole lists gives the same array or error as converting element by element."""
    assert outcome(convert, value, dtype) == outcome(convert_exactly, value, dtype)


@given(st.sampled_from(INTEGERS), st.data())
def test_integers(dtype: str, data: st.DataObject) -> None:
    """Every integer that a type allows is read unchanged."""
    bounds = np.iinfo(dtype)
    value = data.draw(dense(st.integers(int(bounds.min), int(bounds.max))))
    assert convert(value, dtype).tolist() == value


@given(st.sampled_from(["int8", "int16", "uint8"]), st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_small_integers_wrap(dtype: str, values: list[int]) -> None:
    """Of a number of 32 bits, the low bits are kept for a smaller type, as TensorFlow Serving does."""
    modulus, low = 2 ** (8 * np.dtype(dtype).itemsize), int(np.iinfo(dtype).min)
    assert convert(values, dtype).tolist() == [(value - low) % modulus + low for value in values]


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        ([1.5], "int32", "JSON Value: 1.5 Type: Number is not of expected type: int32"),
        ([1.0], "uint8", "JSON Value: 1.0 Type: Number is not of expected type: uint8"),
        ([2**31], "uint8", "JSON Value: 2147483648 Type: Number is not of expected type: uint8"),
        ([-(2**31) - 1], "int16", "JSON Value: -2147483649 Type: Number is not of expected type: int16"),
        ([2147483648], "int32", "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        ([-1], "uint32", "JSON Value: -1 Type: Number is not of expected type: uint32"),
        ([1, True], "int32", "JSON Value: true Type: True is not of expected type: int32"),
        ([False, 0.5], "float", "JSON Value: false Type: False is not of expected type: float"),
        ([None], "float", "JSON Value: null Type: Null is not of expected type: float"),
        ([1], "bool", "JSON Value: 1 Type: Number is not of expected type: bool"),
        ([5], "string", "JSON Value: 5 Type: Number is not of expected type: string"),
        (["a"], "int32", 'JSON Value: "a" Type: String is not of expected type: int32'),
        (
            [{"b64": "aGVsbG8="}],
            "float",
            'JSON Value: {\n    "b64": "aGVsbG8="\n} Type: Object is not of expected type: float',
        ),
        (
            [{"b64": "", "x": 1}],
            "string",
            'JSON Value: {\n    "b64": "",\n    "x": 1\n} not formatted correctly for base64 data',
        ),
        ([[1, 2], [3]], "float", "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        (
            [[1, 2], 3],
            "float",
            "JSON Value: 3 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ([1, [2]], "float", "Encountered list at unexpected level: 1 expected < 1"),
    ],
)
def test_refused(value: Any, dtype: str, message: str) -> None:
    """Ragged lists and elements of another type are refused with TensorFlow Serving's texts."""
    with pytest.raises(ServingError) as refused:
        convert(value, dtype)
    assert (HTTP_STATUS[refused.value.code], refused.value.message) == (400, message)


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "complex64", "uint16"])
def test_types_without_json(dtype: str) -> None:
    """A type without a form in JSON is UNIMPLEMENTED."""
    with pytest.raises(ServingError, match=f"^Conversion of JSON Value: 1.0 to type: {dtype}$") as refused:
        convert([1.0], dtype)
    assert HTTP_STATUS[refused.value.code] == 501


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ([1, 2.0, 5.003], [1.0, 2.0, np.float32(5.003)]),
        ([1435774380], [1435774336.0]),
        ([1.7976931348623157e308, -1.7976931348623157e308], [np.inf, -np.inf]),
        ([2.2250738585072014e-308], [0.0]),
    ],
)
def test_floats(value: list[float], read: list[float]) -> None:
    """Integers are accepted as floats; numbers beyond float32 are rounded, to infinity if need be."""
    array = convert(value, "float")
    assert array.dtype == np.float32 and array.tolist() == read


def test_strings() -> None:
    """Text and base64 objects may be mixed, and text becomes UTF-8."""
    assert convert([["é"], [{"b64": "aGVsbG8="}]], "string").tolist() == [["é".encode()], [b"hello"]]
    assert convert({"b64": "aGVsbG8="}, "string").shape == ()


def test_too_many_levels() -> None:
    """Lists nested deeper than the largest rank of an array are refused."""
    value: Any = 1
    for _ in range(65):
        value = [value]
    with pytest.raises(ServingError, match="nested too deeply"):
        convert(value, "float")


@given(st.binary(), st.booleans())
def test_base64(value: bytes, padded: bool) -> None:
    """Base64 is read with and without padding, and with line breaks."""
    text = base64.encodebytes(value).decode()
    assert decode_base64({"b64": text if padded else text.replace("=", "")}) == value


@pytest.mark.parametrize("text", ["a", "=", "aGVsbG8==", "aGVsbG9=x", "aG-_", "é", "aGVs.bG8"])
def test_not_base64(text: str) -> None:
    """A wrong padding, another alphabet and other characters are refused."""
    with pytest.raises(ServingError, match="^Unable to base64 decode$"):
        decode_base64({"b64": text})
