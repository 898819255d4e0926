"""Bodies of REST responses: output arrays of predict, results of classify and regress.

Follows MakeJsonFromTensors and its neighbours in tensorflow_serving/util/json_tensor.cc: the texts of the errors and
the white space.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.embedded.errors import ServingError, invalid
from serving.embedded.json_arrays import Array
from serving.embedded.json_requests import Format
from serving.embedded.json_text import INDENT, Literal, brackets, dumps, number, numbers, quoted
from serving.embedded.signatures import Tensors


def write_outputs(outputs: Tensors, form: Format) -> bytes:
    """Returns the body of a predict response; a single output has no name.

    Strings are text, or base64 objects if the output's name ends in _bytes or they are not UTF-8 (for which TensorFlow
    Serving answers with broken JSON).

    Raises:
        ServingError: There is no output, or the outputs of a response in rows have different first dimensions.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    if form is Format.COLUMNAR:
        return f'{{\n{INDENT}"outputs": {_columns(outputs)}\n}}'.encode()
    _check_batch(outputs)
    return f'{{\n{INDENT}"predictions": {_rows(outputs)}\n}}'.encode()


def write_classifications(results: Iterable[Sequence[tuple[str, float]]]) -> bytes:
    """Returns the body of a classify response: for every example its classes, labels with scores (float32).

    Raises:
        ServingError: There is no result.
    """
    lists = [[(label, _single(score)) for label, score in classes] for classes in results]
    if not lists:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    return dumps({"results": lists}, single_line_arrays=True)


def write_regressions(values: Iterable[float]) -> bytes:
    """Returns the body of a regress response: for every example its value (float32).

    Raises:
        ServingError: There is no result.
    """
    texts = [_single(value) for value in values]
    if not texts:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    return dumps({"results": texts}, single_line_arrays=True)


def _single(value: float) -> Literal:
    return Literal(number(value, single=True))


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
    """Returns the text of a row with %s for every value; all rows and the next request share it."""
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
    """Returns the text of an array at a level, with every value on a line of its own."""
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
    if flat.dtype == np.uint16:  # TensorFlow Serving leaves this type out
        raise _unwritable(flat)
    if kind == "f" and flat.dtype.itemsize >= 4:
        return numbers(flat)
    if kind in "iu":
        return list(map(str, flat.tolist()))
    if kind == "b":
        return ["true" if value else "false" for value in flat.tolist()]
    if kind == "O":
        as_bytes = name.endswith("_bytes")
        return [_base64_object(value, level) if as_bytes else _string(value, level) for value in flat.tolist()]
    raise _unwritable(flat)


def _unwritable(flat: NDArray[Any]) -> ServingError:
    name = {"float16": "half"}.get(flat.dtype.name, flat.dtype.name)
    return invalid(f"Failed to write JSON value for tensor type: {name}")


def _string(value: bytes, level: int) -> str:
    try:
        return quoted(value.decode())
    except UnicodeDecodeError:
        return _base64_object(value, level)


def _base64_object(value: bytes, level: int) -> str:
    return _object([f'"b64": "{base64.b64encode(value).decode()}"'], level)
