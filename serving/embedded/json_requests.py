"""Bodies of REST requests: predict's tensors as arrays, the tf.Examples of classify and regress.

Follows FillPredictRequestFromJson, FillClassifyRegressRequestFromJson and their neighbours in
tensorflow_serving/util/json_tensor.cc: the order of the checks and the texts of the errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

import numpy as np
from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.example.feature_pb2 import Feature

from serving.embedded.errors import ServingError, invalid
from serving.embedded.json_arrays import Array, convert, decode_base64, is_base64, json_type
from serving.embedded.json_text import Repeating, excerpt
from serving.embedded.signatures import TensorSpec

Specs = Mapping[str, TensorSpec]

_LISTS: Final = {"bytes": "bytes_list", "float": "float_list", "int64": "int64_list"}
_MAX_INT64: Final = 2**63 - 1


class Format(Enum):
    """The two formats of a predict request, named after their key; the response has the same format."""

    ROW = "instances"
    COLUMNAR = "inputs"


def read_signature_name(document: Mapping[str, Any]) -> str:
    """Returns the name of the requested signature, "" for serving_default.

    Raises:
        ServingError: The name is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {excerpt(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def read_inputs(document: Mapping[str, Any], specs: Specs, booleans: bool = True) -> tuple[dict[str, Array], Format]:
    """Reads the input arrays of a predict request.

    Args:
        document: The parsed body.
        specs: The inputs of the signature by name; only their types matter here.
        booleans: Whether the document may have `true` or `false`; without them, pixels are converted faster. Defaults
            to True.

    Returns:
        The arrays by name, and the format of the request.

    Raises:
        ServingError: The document does not have one dense tensor for every input.
    """
    if not specs:
        raise invalid(f"Failed to get input map for signature: {read_signature_name(document) or 'DEFAULT'}")
    if "instances" in document:
        return _read_rows(_instances(document), specs, booleans), Format.ROW
    if "inputs" in document:
        return _read_columns(document["inputs"], specs, booleans), Format.COLUMNAR
    raise invalid("Missing 'inputs' or 'instances' key")


def read_examples(document: Mapping[str, Any]) -> tuple[str, list[bytes]]:
    """Reads a classify or regress request.

    Args:
        document: The parsed body.

    Returns:
        The name of the requested signature, "" for serving_default, and the serialized tf.Examples. Each has the
        features of the request's context, unless it has a feature of the same name.

    Raises:
        ServingError: The document has no valid examples.
    """
    signature = read_signature_name(document)
    context = _read_example(document["context"]) if "context" in document else Example()
    return signature, [_merge(context, _read_example(value)) for value in _examples(document)]


def _instances(document: Mapping[str, Any]) -> list[Any]:
    instances = document["instances"]
    if "inputs" in document:
        problem = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    elif not isinstance(instances, list):
        problem = "Expecting 'instances' to be an list/array"
    elif not instances:
        problem = "No values in 'instances' array"
    else:
        return instances
    raise invalid(f"JSON Value: {excerpt(document)} {problem}")


def _read_rows(instances: list[Any], specs: Specs, booleans: bool) -> dict[str, Array]:
    named = _is_named(instances[0])
    if len(specs) > 1 and not named:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    try:
        if named:
            columns = {name: [instance[name] for instance in instances] for name in specs}
            clean = all(instance.keys() == specs.keys() for instance in instances)
        else:
            columns = {next(iter(specs)): instances}
            clean = not any(map(_is_named, instances))
        if clean:
            return {name: convert(column, specs[name].dtype, booleans) for name, column in columns.items()}
    except (ServingError, KeyError, TypeError, IndexError, AttributeError):
        # `_read_one_by_one` finds the wrong instance, for the error text.
        pass
    return _read_one_by_one(instances, specs, named)


def _read_one_by_one(instances: list[Any], specs: Specs, named: bool) -> dict[str, Array]:
    rows: dict[str, list[Array]] = {name: [] for name in specs}
    for index, instance in enumerate(instances):
        if _is_named(instance) != named:
            expected = "Expecting object but got list" if named else "Expecting value/list but got object"
            raise invalid(f"{expected} at item {index} of input list")
        members = instance if named else {next(iter(specs)): instance}
        for name, value in members.items():
            try:
                _append(rows, name, value, specs)
            except ServingError as error:
                key = f" key: {name}" if named else ""
                raise invalid(
                    f"Failed to process element: {index}{key} of 'instances' list. "
                    f"Error: {error.code.name}: {error.message}"
                ) from None
        if members.keys() != specs.keys():
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {excerpt(instance)} "
                f"keys must be equal to: {','.join(sorted(specs))}"
            )
    return {name: np.stack(arrays) for name, arrays in rows.items()}


def _append(rows: dict[str, list[Array]], name: str, value: Any, specs: Specs) -> None:
    if name not in specs:
        raise invalid(f"JSON object: does not have named input: {name}")
    array = convert(value, specs[name].dtype)
    first = rows[name][0] if rows[name] else array
    if array.size != first.size:
        raise invalid(f"Expecting tensor size: {first.size} but got: {array.size}")
    if array.shape != first.shape:
        raise invalid(f"Expecting shape {_shape_text(first)} but got: {_shape_text(array)}")
    rows[name].append(array)


def _shape_text(array: Array) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _is_named(instance: Any) -> bool:
    return isinstance(instance, dict) and not is_base64(instance)


def _read_columns(value: Any, specs: Specs, booleans: bool) -> dict[str, Array]:
    if not _is_named(value):
        if len(specs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        value = {next(iter(specs)): value}
    for name in specs:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: convert(value[name], spec.dtype, booleans) for name, spec in specs.items()}


def _examples(document: Mapping[str, Any]) -> list[Any]:
    examples = document.get("examples")
    if "examples" not in document:
        problem = "When method is classify, key 'examples' is expected and was not found"
    elif not isinstance(examples, list):
        problem = "Expecting 'examples' value to be an list/array"
    elif not examples:
        problem = "'examples' value is an empty array"
    else:
        return examples
    raise invalid(f"JSON Value: {excerpt(document)} {problem}")


def _merge(context: Example, example: Example) -> bytes:
    merged = Example()
    for source in (context, example):
        for name, feature in source.features.feature.items():
            merged.features.feature[name].CopyFrom(feature)
    return merged.SerializeToString(deterministic=True)


def _read_example(value: Any) -> Example:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {json_type(value)}")
    example = Example()
    # Of two features with one name, the last counts.
    for name, content in (value.last if isinstance(value, Repeating) else value).items():
        example.features.feature[name].CopyFrom(_read_feature(name, content))
    return example


def _read_feature(name: str, content: Any) -> Feature:
    """Returns a feature of the type that all its values share; without a type if it has no values."""
    kind = ""
    values: list[bytes | float | int] = []
    for value in content if isinstance(content, list) else [content]:
        each = _kind(value)
        if each is None:
            raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")
        kind = kind or each
        if each != kind:
            raise invalid(f"Unexpected element type in feature: {name} expecting type: {kind}")
        values.append(_feature_value(name, value))
    feature = Feature()
    if kind:
        getattr(feature, _LISTS[kind]).value.extend(values)
    return feature


def _kind(value: Any) -> str | None:
    if isinstance(value, str) or is_base64(value):
        return "bytes"
    if isinstance(value, int):
        return "int64"
    return "float" if isinstance(value, float) else None


def _feature_value(name: str, value: Any) -> bytes | float | int:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict):
        return decode_base64(value)
    if isinstance(value, int) and value > _MAX_INT64:
        raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    return int(value) if isinstance(value, int) else float(value)
