"""Outputs of predict, classify and regress are written as JSON with TensorFlow Serving's white space."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.embedded.errors import HTTP_STATUS, ServingError
from serving.embedded.json_requests import Format, read_inputs
from serving.embedded.json_responses import write_classifications, write_outputs, write_regressions
from serving.embedded.json_text import parse
from tests.serving.embedded.test_json_requests import specs

OUTPUTS = {
    "int_tensor": np.array([[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]], np.int32),
    "str_tensor": np.array([[b"foo", b"bar"], [b"baz", b"bat"]], object),
    "float_tensor": np.array([[1], [2]], np.float32),
    "double_scalar_tensor": np.array([8, 9], np.float64),
    "str_tensor_bytes": np.array([[b"hello", b"world"], [b"tf", b"serving"]], object),
}
kinds = st.sampled_from([np.int8, np.uint8, np.int32, np.int64, np.uint64, np.float32, np.float64, np.bool_])


@pytest.mark.parametrize(
    ("values", "form", "text"),
    [
        ([2.5, 3, 4.5], Format.ROW, '{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}'),
        ([2.5, 3], Format.COLUMNAR, '{\n    "outputs": [\n        2.5,\n        3.0\n    ]\n}'),
        ([[1], [2]], Format.ROW, '{\n    "predictions": [[1.0\n        ], [2.0\n        ]\n    ]\n}'),
        ([], Format.ROW, '{\n    "predictions": []\n}'),
    ],
)
def test_white_space(values: list[Any], form: Format, text: str) -> None:
    """Responses have TensorFlow Serving's white space."""
    assert write_outputs({"y": np.array(values, np.float32)}, form).decode() == text


def test_rows_of_several_outputs() -> None:
    """Several outputs give one object per row, with TensorFlow Serving's white space."""
    outputs = {"a": np.array([True]), "b_bytes": np.array([[b"tf"]], object)}
    assert write_outputs(outputs, Format.ROW).decode() == (
        '{\n    "predictions": [\n        {\n            "a": true,\n            "b_bytes": [{\n'
        '                    "b64": "dGY="\n                }\n            ]\n        }\n    ]\n}'
    )


def test_all_kinds_of_output() -> None:
    """Rows and columns have the same values: numbers, strings, and base64 objects for names that end in _bytes."""
    rows = json.loads(write_outputs(OUTPUTS, Format.ROW))["predictions"]
    columns = json.loads(write_outputs(OUTPUTS, Format.COLUMNAR))["outputs"]
    assert {name: [row[name] for row in rows] for name in OUTPUTS} == columns
    assert rows[1] == {
        "int_tensor": [[7, 8], [9, 0], [1, 2]],
        "str_tensor": ["baz", "bat"],
        "float_tensor": [2.0],
        "double_scalar_tensor": 9.0,
        "str_tensor_bytes": [{"b64": "dGY="}, {"b64": "c2VydmluZw=="}],
    }


def test_only_the_end_of_a_name_means_bytes() -> None:
    """Strings are written in base64 if the output's name ends in _bytes, not if it has that elsewhere."""
    text = np.array([b"a"], object)
    outputs = {"y_bytes": text, "_bytes_y": text, "bytes": text, "y_BYTES": text}
    (row,) = json.loads(write_outputs(outputs, Format.ROW))["predictions"]
    assert row == {"y_bytes": {"b64": "YQ=="}, "_bytes_y": "a", "bytes": "a", "y_BYTES": "a"}


def test_string_that_is_not_utf8() -> None:
    """A string that is not UTF-8 is written in base64, so that no byte is lost."""
    written = json.loads(write_outputs({"y": np.array([b"\xff", "é".encode()], object)}, Format.ROW))
    assert written == {"predictions": [{"b64": base64.b64encode(b"\xff").decode()}, "é"]}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"tensor": np.array(1)}, "Tensor name: tensor has no shape information "),
        (
            {"a": np.zeros((2, 3)), "b": np.zeros((1, 3))},
            "Tensor name: b has inconsistent batch size: 1 expecting: 2",
        ),
        ({"y": np.zeros(1, np.complex64)}, "Failed to write JSON value for tensor type: complex64"),
        ({"y": np.zeros(1, np.float16)}, "Failed to write JSON value for tensor type: half"),
        ({"y": np.zeros(1, np.uint16)}, "Failed to write JSON value for tensor type: uint16"),
    ],
)
def test_outputs_refused(outputs: dict[str, Any], message: str) -> None:
    """Outputs without a common number of rows, or of an unknown type, are an error."""
    with pytest.raises(ServingError) as refused:
        write_outputs(outputs, Format.ROW)
    assert (HTTP_STATUS[refused.value.code], refused.value.message) == (400, message)


@given(kinds.flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=1, min_side=0, max_side=3))))
def test_numbers_round_trip(array: Any) -> None:
    """An array written in either format reads back as the same array, as far as JSON can express its shape."""
    dtype = {"float32": "float", "float64": "double"}.get(array.dtype.name, array.dtype.name)
    forms = [(Format.COLUMNAR, "inputs", "outputs")]
    if len(array):
        forms.append((Format.ROW, "instances", "predictions"))
    expected = array.reshape(array.shape[: array.shape.index(0) + 1]) if 0 in array.shape else array
    for form, sent, received in forms:
        document = parse(write_outputs({"y": array}, form))
        read, read_form = read_inputs({sent: document[received]}, specs(x=dtype))
        assert read_form is form and read["x"].dtype == array.dtype
        # RapidJSON reads a double to within 3 units of its last place, as it does in TensorFlow Serving.
        np.testing.assert_allclose(read["x"], expected, rtol=1e-15, atol=1e-300)


@given(arrays.arrays(object, arrays.array_shapes(max_side=3), elements=st.binary(max_size=5)), st.sampled_from(Format))
def test_bytes_round_trip(array: Any, form: Format) -> None:
    """Bytes are read back the same, base64 or not."""
    for name in ("y", "y_bytes"):
        ((_, values),) = parse(write_outputs({name: array}, form)).items()
        read, _ = read_inputs({form.value: values}, specs(x="string"))
        assert read["x"].tolist() == array.tolist()


def test_classifications() -> None:
    """Every example has a list of labels with scores, in TensorFlow Serving's format."""
    results = [[["car", 0.2], ["bike", 0.7]], [["", 12]]]
    written = write_classifications([[(label, score) for label, score in classes] for classes in results])
    assert json.loads(written) == {"results": results}
    assert written.startswith(
        b'{\n    "results": [[["car", 0.2\n            ], ["bike", 0.7\n            ]\n        ], ['
    )


def test_regressions() -> None:
    """Every example has a number, in TensorFlow Serving's format."""
    assert write_regressions([42, 0.1]) == b'{\n    "results": [42.0, 0.1\n    ]\n}'


def test_empty_results_refused() -> None:
    """A response without results is an error."""
    with pytest.raises(ServingError, match="^Cannot convert empty ClassificationResults to JSON$"):
        write_classifications([])
    with pytest.raises(ServingError, match="^Cannot convert empty RegressionResults to JSON$"):
        write_regressions([])


@pytest.mark.parametrize(
    ("name", "as_bytes"), [("y_bytes", True), ("_bytes", True), ("y_bytes_2", False), ("bytes", False)]
)
def test_only_names_that_end_in_bytes_are_encoded(name: str, as_bytes: bool) -> None:
    """The suffix decides, as in TensorFlow Serving; elsewhere in a name it is just a word."""
    text = write_outputs({name: np.array([b"tf"], object), "x": np.array([1])}, Format.ROW).decode()
    assert json.loads(text)["predictions"][0][name] == ({"b64": "dGY="} if as_bytes else "tf")
