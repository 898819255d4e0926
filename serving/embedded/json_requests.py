"""Predict's JSON: a request's document to the arrays of a signature's inputs, and output arrays to an answer's text.

Follows FillPredictRequestFromJson and MakeJsonFromTensors of tensorflow_serving/util/json_tensor.cc: the order of the
checks, the texts of the errors, the white space of the answer.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.embedded.json_text import INDENT, brackets, excerpt, numbers, quoted
from serving.embedded.json_arrays import Array, convert, is_base64
from serving.embedded.errors import ServingError, invalid
from serving.embedded.signatures import Tensors, TensorSpec

Specs = Mapping[str, TensorSpec]


class Format(Enum):
    """Whether a request lists instances or inputs; its answer takes the same form."""

    ROW = "instances"
    COLUMNAR = "inputs"


def read_signature_name(document: Mapping[str, Any]) -> str:
    """Returns the signature that a request asks for, "" for serving_default.

    Raises:
        ServingError: Its name is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {excerpt(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def read_inputs(document: Mapping[str, Any], specs: Specs, booleans: bool = True) -> tuple[dict[str, Array], Format]:
    """Reads a request's tensors.

    Args:
        document: What the body holds.
        specs: The inputs of the signature by name; of each, only the type matters here.
        booleans: Whether there may be `true` or `false` in it; without them, pixels need no closer look.

    Raises:
        ServingError: The document does not hold one dense tensor for every input.
    """
    if not specs:
        raise invalid(f"Failed to get input map for signature: {read_signature_name(document) or 'DEFAULT'}")
    if "instances" in document:
        return _read_rows(_instances(document), specs, booleans), Format.ROW
    if "inputs" in document:
        return _read_columns(document["inputs"], specs, booleans), Format.COLUMNAR
    raise invalid("Missing 'inputs' or 'instances' key")


def write_outputs(outputs: Tensors, form: Format) -> bytes:
    """Returns the answer that holds output arrays; a single output goes without its name.

    Strings are text, or base64 objects where the output's name ends in _bytes or where they are not UTF-8 (TensorFlow
    Serving would answer with broken JSON there).

    Raises:
        ServingError: There is no output, or rows are asked for and the outputs' first dimensions differ.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    if form is Format.COLUMNAR:
        return f'{{\n{INDENT}"outputs": {_columns(outputs)}\n}}'.encode()
    _check_batch(outputs)
    return f'{{\n{INDENT}"predictions": {_rows(outputs)}\n}}'.encode()


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
        # Which instance is wrong, and how, is found one by one.
        pass
    return _read_one_by_one(instances, specs, named)


def _read_one_by_one(instances: list[Any], specs: Specs, named: bool) -> dict[str, Array]:
    rows: dict[str, list[Array]] = {name: [] for name in specs}
    for place, instance in enumerate(instances):
        if _is_named(instance) != named:
            expected = "Expecting object but got list" if named else "Expecting value/list but got object"
            raise invalid(f"{expected} at item {place} of input list")
        members = instance if named else {next(iter(specs)): instance}
        for name, value in members.items():
            try:
                _append(rows, name, value, specs)
            except ServingError as error:
                key = f" key: {name}" if named else ""
                raise invalid(
                    f"Failed to process element: {place}{key} of 'instances' list. "
                    f"Error: {error.code.name}: {error.message}"
                ) from None
        if members.keys() != specs.keys():
            raise invalid(
                f"Failed to process element: {place} of 'instances' list. JSON object: {excerpt(instance)} "
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


def _check_batch(outputs: Tensors) -> None:
    batch: int | None = None
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if batch is not None and len(array) != batch:
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {batch}")
        batch = len(array)


def _columns(outputs: Tensors) -> str:
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return _lists(name, array, 1)
    members = (f"{quoted(name)}: {_lists(name, array, 2)}" for name, array in outputs.items())
    return _object(members, 1)


def _rows(outputs: Tensors) -> str:
    named = len(outputs) > 1
    level = 3 if named else 2
    template = _row_template(tuple((name, array.shape[1:]) for name, array in outputs.items()), level)
    columns = [_texts(name, array.reshape(-1), level + array.ndim - 1) for name, array in outputs.items()]
    count = len(next(iter(outputs.values())))
    sizes = [len(texts) // count if count else 0 for texts in columns]
    rows = [
        template
        % tuple(chain(*(texts[row * size : (row + 1) * size] for texts, size in zip(columns, sizes, strict=True))))
        for row in range(count)
    ]
    before, between, after = brackets(1, single_line=not named)
    return f"{before}{between.join(rows)}{after}" if rows else "[]"


@lru_cache(maxsize=256)
def _row_template(outputs: tuple[tuple[str, tuple[int, ...]], ...], level: int) -> str:
    """The text of a row with %s in place of every value: it is the same for all rows, and for the next request's."""
    values = [_nested(shape, level) for _, shape in outputs]
    if len(outputs) == 1:
        return values[0]
    names = (quoted(name).replace("%", "%%") for name, _ in outputs)
    return _object((f"{name}: {value}" for name, value in zip(names, values, strict=True)), 2)


def _nested(shape: tuple[int, ...], level: int) -> str:
    if not shape:
        return "%s"
    if not shape[0]:
        return "[]"
    before, between, after = brackets(level, single_line=True)
    return f"{before}{between.join([_nested(shape[1:], level + 1)] * shape[0])}{after}"


def _object(members: Any, level: int) -> str:
    inner = f"\n{INDENT * (level + 1)}"
    return f"{{{inner}{f',{inner}'.join(members)}\n{INDENT * level}}}"


def _lists(name: str, array: Array, level: int) -> str:
    """Returns the text of an array that stands at a level, every value on a line of its own."""
    texts = _texts(name, array.reshape(-1), level + array.ndim)
    for axis in reversed(range(array.ndim)):
        size = array.shape[axis]
        if not size:
            texts = ["[]"] * int(np.prod(array.shape[:axis]))
            continue
        before, between, after = brackets(level + axis, single_line=False)
        starts = range(0, len(texts), size)
        texts = [f"{before}{between.join(texts[start : start + size])}{after}" for start in starts]
    return texts[0]


def _texts(name: str, flat: NDArray[Any], level: int) -> list[str]:
    kind = flat.dtype.kind
    if kind == "f" and flat.dtype.itemsize >= 4:
        return numbers(flat)
    if kind in "iu":
        return list(map(str, flat.tolist()))
    if kind == "b":
        return ["true" if value else "false" for value in flat.tolist()]
    if kind == "O":
        as_bytes = name.endswith("_bytes")
        return [_base64_object(value, level) if as_bytes else _string(value, level) for value in flat.tolist()]
    raise invalid(f"Failed to write JSON value for tensor type: {flat.dtype.name}")


def _string(value: bytes, level: int) -> str:
    try:
        return quoted(value.decode())
    except UnicodeDecodeError:
        return _base64_object(value, level)


def _base64_object(value: bytes, level: int) -> str:
    return _object([f'"b64": "{base64.b64encode(value).decode()}"'], level)
