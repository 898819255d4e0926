"""Predict's JSON: requests in rows and columns to arrays, arrays to answers, and every error by its words."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.embedded.json_requests import Format, read_inputs, read_signature_name, write_outputs
from serving.embedded.json_text import parse
from serving.embedded.errors import HTTP_STATUS, ServingError
from serving.embedded.signatures import TensorSpec

OUTPUTS = {
    "int_tensor": np.array([[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]], np.int32),
    "str_tensor": np.array([[b"foo", b"bar"], [b"baz", b"bat"]], object),
    "float_tensor": np.array([[1], [2]], np.float32),
    "double_scalar_tensor": np.array([8, 9], np.float64),
    "str_tensor_bytes": np.array([[b"hello", b"world"], [b"tf", b"serving"]], object),
}
kinds = st.sampled_from([np.int8, np.uint8, np.int32, np.int64, np.uint64, np.float32, np.float64, np.bool_])


def specs(**types: str) -> dict[str, TensorSpec]:
    """Returns the inputs of a signature by name and type."""
    return {name: TensorSpec(dtype, None) for name, dtype in types.items()}


def refusal(document: dict[str, Any], **types: str) -> str:
    """Returns the message of a request that is refused with status 400."""
    with pytest.raises(ServingError) as refused:
        read_inputs(document, specs(**types))
    assert HTTP_STATUS[refused.value.code] == 400
    return refused.value.message


def test_signature_name() -> None:
    """A request may name its signature by a string; the message ends with that."""
    assert read_signature_name({}) == read_signature_name({"signature_name": ""}) == ""
    assert read_signature_name({"signature_name": "serving_bytes"}) == "serving_bytes"
    with pytest.raises(ServingError, match="'signature_name' key must be a string value.$"):
        read_signature_name(parse(b'{"signature_name":' + b"[" * 500_000 + b"]" * 500_000 + b"}"))


def test_rows_of_one_input() -> None:
    """Instances may be plain values or objects with the input's name."""
    for instances in ([[1, 2], [3, 4]], [{"x": [1, 2]}, {"x": [3, 4]}]):
        inputs, form = read_inputs({"instances": instances}, specs(x="int32"))
        assert form is Format.ROW
        assert inputs["x"].dtype == np.int32 and inputs["x"].tolist() == [[1, 2], [3, 4]]


def test_rows_of_several_inputs() -> None:
    """Objects give each input its batch, with non-finite numbers."""
    body = (
        b'{"instances":[{"i":[[1,2],[3,4]],"s":["foo","bar"],"f":[1.0,NaN]},'
        b'{"f":[2.0,Infinity],"s":["baz",{"b64":"aGVsbG8="}],"i":[[7,8],[9,0]]}]}'
    )
    inputs, _ = read_inputs(parse(body), specs(i="int32", s="string", f="float"))
    assert inputs["i"].tolist() == [[[1, 2], [3, 4]], [[7, 8], [9, 0]]]
    assert inputs["s"].tolist() == [[b"foo", b"bar"], [b"baz", b"hello"]]
    np.testing.assert_array_equal(inputs["f"], np.array([[1, np.nan], [2, np.inf]], np.float32))


def test_base64_rows() -> None:
    """Base64 objects are values, alone, and below a name."""
    plain, _ = read_inputs({"instances": [{"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}]}, specs(x="string"))
    assert plain["x"].tolist() == [b"hello", b"world"]
    named, _ = read_inputs({"instances": [{"x": [[{"b64": "aGVsbG8="}], [{"b64": "d29ybGQ="}]]}]}, specs(x="string"))
    assert named["x"].tolist() == [[[b"hello"], [b"world"]]]


def test_empty_lists() -> None:
    """Empty lists are dimensions of size 0; an empty batch is possible in columns only."""
    assert read_inputs({"instances": [[], []]}, specs(x="float"))[0]["x"].shape == (2, 0)
    assert read_inputs({"inputs": []}, specs(x="float"))[0]["x"].shape == (0,)
    assert refusal({"instances": []}, x="float").endswith("No values in 'instances' array")


def test_columns() -> None:
    """Inputs are a value where there is one, else an object; names that nobody asked for are ignored."""
    one, form = read_inputs({"inputs": 1.0}, specs(x="float"))
    assert form is Format.COLUMNAR and one["x"].shape == () and one["x"] == 1
    document = {"inputs": {"i": [[[1, 2], [3, 4]]], "b": {"b64": "aGVsbG8="}, "unknown": [3]}}
    inputs, _ = read_inputs(document, specs(i="int32", b="string"))
    assert list(inputs) == ["i", "b"]
    assert inputs["i"].tolist() == [[[1, 2], [3, 4]]] and inputs["b"][()] == b"hello"


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        (
            [[1, 2], [3, 4], [5, 6, 7]],
            "Failed to process element: 2 of 'instances' list. "
            "Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 3",
        ),
        (
            [[1, 2], [3, 4], [[5, 6]]],
            "Failed to process element: 2 of 'instances' list. "
            "Error: INVALID_ARGUMENT: Expecting shape [2] but got: [1,2]",
        ),
        (
            [[1, 2], ["a", "b"]],
            "Failed to process element: 1 of 'instances' list. "
            'Error: INVALID_ARGUMENT: JSON Value: "a" Type: String is not of expected type: int32',
        ),
        (
            [{"x": 1}, {"x": 2.5}],
            "Failed to process element: 1 key: x of 'instances' list. "
            "Error: INVALID_ARGUMENT: JSON Value: 2.5 Type: Number is not of expected type: int32",
        ),
        (
            [{"b64": 5}],
            "Failed to process element: 0 key: b64 of 'instances' list. "
            "Error: INVALID_ARGUMENT: JSON object: does not have named input: b64",
        ),
        ([[1, 2], {"x": [3, 4]}], "Expecting value/list but got object at item 1 of input list"),
        ([{"x": [1, 2]}, [3, 4]], "Expecting object but got list at item 1 of input list"),
        (
            [{}],
            "Failed to process element: 0 of 'instances' list. JSON object: {} keys must be equal to: x",
        ),
    ],
)
def test_rows_refused(instances: list[Any], message: str) -> None:
    """An error says which instance is wrong, and how."""
    assert refusal({"instances": instances}, x="int32") == message


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"instances": [1.0, 2.0]},
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        (
            {"inputs": [1.0, 2.0]},
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        ({"inputs": {"a": [1.0]}}, "Missing named input: b in 'inputs' object."),
        ({"instances": [{"a": 1, "b": 2}, [1, 20]]}, "Expecting object but got list at item 1 of input list"),
        ({}, "Missing 'inputs' or 'instances' key"),
    ],
)
def test_several_inputs_refused(document: dict[str, Any], message: str) -> None:
    """A signature of several inputs wants each of them, by name."""
    assert refusal(document, a="float", b="float") == message


@pytest.mark.parametrize(
    ("document", "ending"),
    [
        ({"instances": 5}, "Expecting 'instances' to be an list/array"),
        (
            {"instances": [1], "inputs": [1]},
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        ),
    ],
)
def test_wrong_form(document: dict[str, Any], ending: str) -> None:
    """A document that is not of one of the two forms is shown with what is wrong."""
    message = refusal(document, x="float")
    assert message.startswith("JSON Value: {\n") and message.endswith(ending)


def test_no_inputs() -> None:
    """A signature without inputs is refused by its name."""
    assert refusal({"instances": [1]}) == "Failed to get input map for signature: DEFAULT"


def test_unimplemented_type() -> None:
    """A type without a form in JSON is not implemented."""
    with pytest.raises(ServingError, match="^Conversion of JSON Value: 1.0 to type: half$") as refused:
        read_inputs({"inputs": [1.0]}, specs(x="half"))
    assert HTTP_STATUS[refused.value.code] == 501


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
    """Answers have the real server's white space."""
    assert write_outputs({"y": np.array(values, np.float32)}, form).decode() == text


def test_rows_of_several_outputs() -> None:
    """Several outputs give one object a row, in the real server's white space."""
    outputs = {"a": np.array([True]), "b_bytes": np.array([[b"tf"]], object)}
    assert write_outputs(outputs, Format.ROW).decode() == (
        '{\n    "predictions": [\n        {\n            "a": true,\n            "b_bytes": [{\n'
        '                    "b64": "dGY="\n                }\n            ]\n        }\n    ]\n}'
    )


def test_all_kinds_of_output() -> None:
    """Rows and columns hold the same values: numbers, strings, and base64 objects where a name ends in _bytes."""
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


def test_string_that_is_no_text() -> None:
    """A string that is not UTF-8 is answered in base64, so that nothing is lost."""
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
    ],
)
def test_outputs_refused(outputs: dict[str, Any], message: str) -> None:
    """Outputs that have no rows of one number are refused."""
    with pytest.raises(ServingError) as refused:
        write_outputs(outputs, Format.ROW)
    assert (HTTP_STATUS[refused.value.code], refused.value.message) == (400, message)


@given(kinds.flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=1, min_side=0, max_side=3))))
def test_numbers_round_trip(array: Any) -> None:
    """What is written in either form is read back as the same array, wherever the form can tell its shape."""
    dtype = {"float32": "float", "float64": "double"}.get(array.dtype.name, array.dtype.name)
    forms = [(Format.COLUMNAR, "inputs", "outputs")]
    if len(array):
        forms.append((Format.ROW, "instances", "predictions"))
    told = array.reshape(array.shape[: array.shape.index(0) + 1]) if 0 in array.shape else array
    for form, sent, received in forms:
        document = parse(write_outputs({"y": array}, form))
        read, read_form = read_inputs({sent: document[received]}, specs(x=dtype))
        assert read_form is form and read["x"].dtype == array.dtype
        # RapidJSON reads a double to within 3 units of its last place, as it does in TensorFlow Serving.
        np.testing.assert_allclose(read["x"], told, rtol=1e-15, atol=1e-300)


@given(arrays.arrays(object, arrays.array_shapes(max_side=3), elements=st.binary(max_size=5)), st.sampled_from(Format))
def test_bytes_round_trip(array: Any, form: Format) -> None:
    """Bytes are read back the same, base64 or not."""
    for name in ("y", "y_bytes"):
        ((_, values),) = parse(write_outputs({name: array}, form)).items()
        read, _ = read_inputs({form.value: values}, specs(x="string"))
        assert read["x"].tolist() == array.tolist()
