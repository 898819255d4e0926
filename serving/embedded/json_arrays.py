"""Converts a JSON value to a dense array: nested lists of numbers, booleans, strings or base64 objects.

`convert` handles whole lists at once (28 lists of 28 pixels in about 40 us). Values that may be invalid go to
`convert_exactly`, which handles one element after the other and composes the errors, like FillTensorProto of TensorFlow
Serving's util/json_tensor.cc.
"""

from __future__ import annotations

import binascii
from itertools import chain
from typing import Any, Final

import numpy as np
from grpc import StatusCode
from numpy.typing import NDArray

from serving.embedded.errors import ServingError, invalid
from serving.embedded.json_text import Repeating, excerpt

Array = NDArray[Any]

_INTEGERS: Final[dict[str, np.dtype[Any]]] = {
    name: np.dtype(name) for name in ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")
}
_SMALL: Final = ("int8", "int16", "uint8")
"""TensorFlow Serving takes any number of 32 bits for these types; TensorFlow keeps its low bits."""
_FLOATS: Final[dict[str, np.dtype[Any]]] = {"float": np.dtype(np.float32), "double": np.dtype(np.float64)}
_TYPES: Final = {**_INTEGERS, **_FLOATS, "bool": np.dtype(np.bool_), "string": np.dtype(object)}
_BOUNDS: Final = {
    name: (int(np.iinfo(kind).min), int(np.iinfo(kind).max))
    for name, kind in {**_INTEGERS, **dict.fromkeys(_SMALL, np.dtype(np.int32))}.items()
}
_MAX_RANK: Final = 64
_JSON_TYPES: Final = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number", type(None): "Null"}
_WHITE_SPACE: Final = str.maketrans("", "", " \t\n\v\f\r")


def convert(value: Any, dtype: str, booleans: bool = True) -> Array:
    """Returns a value as the array of one of TensorFlow's types, by its name without prefix.

    Args:
        value: The parsed JSON value.
        dtype: The type's name.
        booleans: Whether the value may have booleans, which Python takes for numbers. Defaults to True.

    Raises:
        ServingError: INVALID_ARGUMENT for a ragged value or an element that the type does not allow; UNIMPLEMENTED for
            a type without a form in JSON.
    """
    array = _convert_at_once(value, dtype, booleans)
    return convert_exactly(value, dtype) if array is None else array


def convert_exactly(value: Any, dtype: str) -> Array:
    """Does the same as `convert`, one element after the other."""
    shape = dense_shape(value)
    elements: list[Any] = []
    _fill(value, 0, shape, dtype, elements)
    if dtype not in _TYPES:
        raise _unimplemented(value, dtype)
    return _array(elements, dtype).reshape(shape)


def dense_shape(value: Any) -> tuple[int, ...]:
    """Returns the shape of a value if it is dense: the lengths of its first lists."""
    shape: list[int] = []
    while isinstance(value, list):
        if len(shape) == _MAX_RANK:
            raise invalid(f"Lists are nested too deeply. Expected: at most {_MAX_RANK} levels. Received: more")
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def json_type(value: Any) -> str:
    """Returns the name of a value's JSON type in error texts."""
    return str(value) if isinstance(value, bool) else _JSON_TYPES[type(value)]


def is_base64(value: Any) -> bool:
    """Returns whether a value encodes bytes: an object with the single key "b64" and a string."""
    if not isinstance(value, dict) or isinstance(value, Repeating):
        return False
    return len(value) == 1 and isinstance(value.get("b64"), str)


def decode_base64(value: Any) -> bytes:
    """Returns the bytes of a base64 object.

    Follows absl::Base64Unescape: the standard alphabet; padding may be missing, but not wrong; blanks and line breaks
    are skipped.

    Raises:
        ServingError: INVALID_ARGUMENT if it is no such object, or its string is not base64.
    """
    if not is_base64(value):
        raise invalid(f"JSON Value: {excerpt(value)} not formatted correctly for base64 data")
    try:
        return binascii.a2b_base64(value["b64"], strict_mode=True)
    except ValueError:
        return _decode_loosely(value["b64"])


def _decode_loosely(text: str) -> bytes:
    bare = text.translate(_WHITE_SPACE)
    padded = bare if "=" in bare else bare + "=" * (-len(bare) % 4)
    try:
        return binascii.a2b_base64(padded, strict_mode=True)
    except ValueError:
        raise invalid("Unable to base64 decode") from None


def _convert_at_once(value: Any, dtype: str, booleans: bool) -> Array | None:
    """Returns the array, or None if only `convert_exactly` can decide."""
    shape = dense_shape(value)
    elements = value if shape else [value]
    for size in shape[1:]:
        # Strings have a length too, but only lists may be joined.
        if set(map(type, elements)) != {list} or set(map(len, elements)) != {size}:
            return None
        elements = list(chain.from_iterable(elements))
    if dtype == "uint8" and not booleans:
        # bytearray() itself refuses all other values.
        array = _integers(elements, dtype)
        return None if array is None else array.reshape(shape)
    kinds = set(map(type, elements))
    if dtype in _INTEGERS:
        array = _integers(elements, dtype) if kinds == {int} else None
        return None if array is None else array.reshape(shape)
    certain = (
        (dtype in _FLOATS and kinds <= {int, float})
        or (dtype == "bool" and kinds == {bool})
        or (dtype == "string" and kinds == {str})
    )
    return _array(elements, dtype).reshape(shape) if certain else None


def _integers(elements: list[int], dtype: str) -> Array | None:
    try:
        # One byte per pixel: bytearray() takes a quarter of the time of np.array().
        return np.frombuffer(bytearray(elements), np.uint8) if dtype == "uint8" else np.array(elements, _TYPES[dtype])
    except (OverflowError, TypeError, ValueError):
        return None


def _array(elements: list[Any], dtype: str) -> Array:
    if dtype == "string":
        texts = [element.encode() if isinstance(element, str) else element for element in elements]
        return np.fromiter(texts, np.dtype(object), len(texts))
    if dtype in _SMALL:
        return np.array(elements, np.int32).astype(_TYPES[dtype])
    with np.errstate(over="ignore"):  # a double beyond float32 is infinite
        return np.array(elements, _TYPES[dtype])


def _fill(value: Any, level: int, shape: tuple[int, ...], dtype: str, elements: list[Any]) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise invalid(
                f"JSON Value: {excerpt(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}"
            )
        elements.append(_element(value, dtype))
        return
    if level >= rank:
        raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for member in value:
        _fill(member, level + 1, shape, dtype, elements)


def _element(value: Any, dtype: str) -> Any:
    if isinstance(value, dict):
        if dtype == "string":
            return decode_base64(value)
        raise _type_error(value, dtype)
    if dtype not in _TYPES:
        raise _unimplemented(value, dtype)
    if not _is_allowed(value, dtype):
        raise _type_error(value, dtype)
    return value


def _is_allowed(value: Any, dtype: str) -> bool:
    if isinstance(value, bool) or dtype == "bool":
        return isinstance(value, bool) and dtype == "bool"
    if dtype in _BOUNDS:
        low, high = _BOUNDS[dtype]
        return isinstance(value, int) and low <= value <= high
    return isinstance(value, str if dtype == "string" else (int, float))


def _type_error(value: Any, dtype: str) -> ServingError:
    return invalid(f"JSON Value: {excerpt(value)} Type: {json_type(value)} is not of expected type: {dtype}")


def _unimplemented(value: Any, dtype: str) -> ServingError:
    return ServingError(StatusCode.UNIMPLEMENTED, f"Conversion of JSON Value: {excerpt(value)} to type: {dtype}")
