"""Converts TensorProtos of Predict requests to arrays and back, with TensorFlow Serving's checks and error texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.embedded.errors import invalid
from serving.embedded.signatures import Signature

MAX_ELEMENTS = 2**24
"""A tensor of a few bytes may state any shape, which is then filled: larger ones (21,000 images) are refused."""

UNKNOWN = "invalid"
FIELDS = {
    "float16": "half_val",
    "bfloat16": "half_val",
    "float32": "float_val",
    "float64": "double_val",
    "int8": "int_val",
    "int16": "int_val",
    "int32": "int_val",
    "uint8": "int_val",
    "uint16": "int_val",
    "int64": "int64_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "bool": "bool_val",
    "object": "string_val",
}


def read_request_inputs(tensors: Mapping[str, TensorProto], signature: Signature) -> dict[str, NDArray[Any]]:
    """Returns the inputs of a Predict request as arrays, in the order of the signature.

    Raises:
        ServingError: A name is unknown or missing, a type is wrong, or a tensor cannot be read.
    """
    _check_names(tensors, signature)
    arrays = {}
    for index, (name, spec) in enumerate(signature.inputs.items()):
        if name in tensors:
            arrays[name] = _read(name, index, tensors[name], spec.dtype)
        elif name in signature.optional:
            arrays[name] = signature.optional[name]
    return arrays


def check_outputs(output_filter: Sequence[str], signature: Signature) -> list[str]:
    """Returns the outputs that an output filter names, or all if it is empty.

    Raises:
        ServingError: There is no such output, or one is named twice.
    """
    seen: set[str] = set()
    for name in output_filter:
        if name not in signature.outputs:
            known = ",".join(signature.outputs)
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set {{{known}}}."
            )
        if name in seen:
            raise invalid(f"duplicate output tensor alias: {name}")
        seen.add(name)
    return list(output_filter) or list(signature.outputs)


def as_proto(array: NDArray[Any], as_content: bool = False) -> TensorProto:
    """Returns an array as TensorProto, by default with its values in the typed list, as TensorFlow Serving does.

    Args:
        array: Any shape; strings as object array of bytes.
        as_content: Whether the values go into `tensor_content` as raw bytes instead; strings never do.
    """
    values = np.asarray(array)
    field = FIELDS[values.dtype.name]
    proto = TensorProto(dtype=type_number(values))
    proto.tensor_shape.SetInParent()
    for size in values.shape:
        proto.tensor_shape.dim.add(size=size)
    if as_content and field != "string_val":
        proto.tensor_content = values.tobytes()
    elif field == "half_val":
        proto.half_val.extend(values.view(np.uint16).ravel().tolist())
    else:
        getattr(proto, field).extend(values.ravel().tolist())
    return proto


def type_name(number: int) -> str:
    """Returns TensorFlow's name of a type, such as "float" or "uint8"; `UNKNOWN` for a number without a type."""
    try:
        name: str = tf.dtypes.as_dtype(number).name
    except TypeError:
        return UNKNOWN
    return {"float32": "float", "float64": "double", "float16": "half"}.get(name, name)


def type_number(values: NDArray[Any]) -> int:
    """Returns TensorFlow's number of an array's type."""
    if values.dtype.kind == "O":
        return int(tf.string.as_datatype_enum)
    return int(tf.dtypes.as_dtype(values.dtype).as_datatype_enum)


def _check_names(tensors: Mapping[str, TensorProto], signature: Signature) -> None:
    sent, known = set(tensors), set(signature.inputs)
    request, expected = (",".join(sorted(names)) for names in (sent, known))
    if len(sent) > len(known) or (len(sent) < len(known) and not signature.optional):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(known)} "
            f"len({{{request}}}) != len({{{expected}}}). "
            f"Sent extra: {{{','.join(sorted(sent - known))}}}. "
            f"Missing but required: {{{','.join(sorted(known - sent))}}}."
        )
    for name in sorted(known - sent - set(signature.optional)):
        raise invalid(
            f"Signature input alias: {name}(feed name: {signature.inputs[name].tensor}) not found in request and no "
            f"default value provided. Inputs expected to be in the request {{{request}}}, or default input alias set: "
            f"{','.join(sorted(signature.optional))}"
        )
    if sent - known:
        used = ",".join(sorted(sent & known))
        raise invalid(f"Inputs contains invalid name. Used request inputs: {used}, request input: {request}")


def _read(name: str, index: int, tensor: TensorProto, expected: str) -> NDArray[Any]:
    received = type_name(tensor.dtype)
    if received == UNKNOWN:
        raise invalid(f"tensor parsing error: {name}")
    if received != expected:
        raise invalid(f"Expects arg[{index}] to be {expected} but {received} is provided")
    sizes = [dimension.size for dimension in tensor.tensor_shape.dim]
    too_large = math.prod(sizes) > MAX_ELEMENTS and not tensor.tensor_content
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in sizes) or too_large:
        raise invalid(f"tensor parsing error: {name}")
    try:
        return _array(tensor, sizes)
    except (ValueError, TypeError, OverflowError):
        raise invalid(f"tensor parsing error: {name}") from None


def _array(tensor: TensorProto, sizes: list[int]) -> NDArray[Any]:
    """Returns the values; a list that is too short is filled with its last value or zeros, one too long is cut."""
    kind = tf.dtypes.as_dtype(tensor.dtype).as_numpy_dtype
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, kind).reshape(sizes)
    field = FIELDS[np.dtype(kind).name]
    count = math.prod(sizes)
    values = list(getattr(tensor, field)[:count])
    empty: Any = b"" if field == "string_val" else 0
    # Small integers come in 32 bits: TensorFlow keeps their low bits.
    stored: Any = {"half_val": np.uint16, "int_val": np.int32}.get(field, kind)
    array = np.full(count, values[-1] if values else empty, stored)
    array[: len(values)] = values
    return (array.view(kind) if field == "half_val" else array.astype(kind, copy=False)).reshape(sizes)
