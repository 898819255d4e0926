"""JSON bodies of predict, classify and regress requests are read, or refused with TensorFlow Serving's texts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from serving.embedded.errors import HTTP_STATUS, ServingError
from serving.embedded.json_requests import Format, read_examples, read_inputs, read_signature_name
from serving.embedded.json_text import parse
from serving.embedded.signatures import TensorSpec


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
    """A request may name its signature, by a string only."""
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
    """Base64 objects are values, alone and below a name."""
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
    """The inputs are a value if there is only one, else an object; unknown names are ignored."""
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
    """A signature with several inputs needs each of them, by name."""
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
def test_wrong_format(document: dict[str, Any], ending: str) -> None:
    """The error for a document of neither format quotes the document and names the problem."""
    message = refusal(document, x="float")
    assert message.startswith("JSON Value: {\n") and message.endswith(ending)


def test_no_inputs() -> None:
    """A signature without inputs is refused."""
    assert refusal({"instances": [1]}) == "Failed to get input map for signature: DEFAULT"


def test_unimplemented_type() -> None:
    """A type without a form in JSON is UNIMPLEMENTED."""
    with pytest.raises(ServingError, match="^Conversion of JSON Value: 1.0 to type: half$") as refused:
        read_inputs({"inputs": [1.0]}, specs(x="half"))
    assert HTTP_STATUS[refused.value.code] == 501


def features(serialized: bytes) -> dict[str, Any]:
    """Returns the values of an example by the name of their feature, with their type."""
    read: dict[str, Any] = {}
    for name, feature in tf.train.Example.FromString(serialized).features.feature.items():
        kind = feature.WhichOneof("kind")
        read[name] = (kind, list(getattr(feature, kind).value)) if kind else None
    return read


def test_examples_with_context() -> None:
    """Features have the type of their values, and the context's features are in every example."""
    body = (
        b'{"signature_name":"custom","context":{"query":"pizza","location":["sfo"]},"examples":['
        b'{"names":["foo","bar"],"ratings":[8.0,9.0,NaN,Infinity],"age":20},'
        b'{"names":["baz",{"b64":"aGVsbG8="}],"ratings":6.0,"intboolmix":[1,true,false]},'
        b'{"names":"bar","ratings":-Infinity,"none":[]}]}'
    )
    signature, (first, second, third) = read_examples(parse(body))
    context = {"query": ("bytes_list", [b"pizza"]), "location": ("bytes_list", [b"sfo"])}
    assert signature == "custom"
    read = features(first)
    assert math.isnan(read["ratings"][1].pop(2))
    assert read == {
        "names": ("bytes_list", [b"foo", b"bar"]),
        "ratings": ("float_list", [8.0, 9.0, math.inf]),
        "age": ("int64_list", [20]),
        **context,
    }
    assert features(second) == {
        "names": ("bytes_list", [b"baz", b"hello"]),
        "ratings": ("float_list", [6.0]),
        "intboolmix": ("int64_list", [1, 1, 0]),
        **context,
    }
    assert features(third) == {
        "names": ("bytes_list", [b"bar"]),
        "ratings": ("float_list", [-math.inf]),
        "none": None,
        **context,
    }


def test_an_examples_feature_replaces_the_contexts() -> None:
    """An example's feature replaces the context's feature of the same name, whatever its type."""
    _, (own, other) = read_examples({"context": {"a": [1, 2]}, "examples": [{"a": "x"}, {"b": 0.5}]})
    assert features(own) == {"a": ("bytes_list", [b"x"])}
    assert features(other) == {"a": ("int64_list", [1, 2]), "b": ("float_list", [0.5])}


def test_equal_names() -> None:
    """Of two equal names the first counts in a document, and the last among an example's features."""
    body = b'{"instances":[{"x":1,"x":2}],"instances":5,"signature_name":"a","signature_name":3}'
    inputs, form = read_inputs(parse(body), specs(x="int32"))
    assert inputs["x"].tolist() == [1] and form is Format.ROW and read_signature_name(parse(body)) == "a"
    inputs, _ = read_inputs(parse(b'{"inputs":{"x":1,"x":2}}'), specs(x="int32"))
    assert inputs["x"].tolist() == 1
    with pytest.raises(ServingError, match="not formatted correctly for base64 data"):
        read_inputs(parse(b'{"inputs":[{"b64":"YQ==","b64":"YQ=="}]}'), specs(x="string"))
    _, (example,) = read_examples(parse(b'{"examples":[{"a":"x","a":0.5}],"examples":[]}'))
    assert features(example) == {"a": ("float_list", [0.5])}


@pytest.mark.parametrize(
    ("document", "ending"),
    [
        ({}, "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": {"names": ["foo"]}}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [[{"names": ["foo"]}]]}, "Example must be JSON object but got JSON Array"),
        ({"context": 1, "examples": [{}]}, "Example must be JSON object but got JSON Number"),
        (
            {"examples": [{"names": [10, 10.0]}]},
            "Unexpected element type in feature: names expecting type: int64",
        ),
        (
            {"examples": [{"names": [10, {"test": 10}]}]},
            "Feature: names has element with unexpected JSON type: Object",
        ),
        ({"examples": [{"a": [[1]]}]}, "Feature: a has element with unexpected JSON type: Array"),
        ({"examples": [{"a": None}]}, "Feature: a has element with unexpected JSON type: Null"),
        ({"examples": [{"a": 2**63}]}, "Feature: a has uint64_t element. Only int64_t is supported."),
        ({"examples": [{"a": {"b64": "!"}}]}, "Unable to base64 decode"),
        ({"signature_name": 1, "examples": [{}]}, "'signature_name' key must be a string value."),
    ],
)
def test_documents_without_examples_refused(document: dict[str, Any], ending: str) -> None:
    """Documents without valid examples are refused with TensorFlow Serving's texts."""
    with pytest.raises(ServingError) as refused:
        read_examples(document)
    assert HTTP_STATUS[refused.value.code] == 400
    assert refused.value.message.endswith(ending)
