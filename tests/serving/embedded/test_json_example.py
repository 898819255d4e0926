"""Classify's and regress's JSON: examples with their context to tf.Examples, and results to answers."""

import json
import math
from typing import Any

import pytest
import tensorflow as tf

from serving.embedded.json_example import read_examples, write_classifications, write_regressions
from serving.embedded.json_text import parse
from serving.embedded.errors import HTTP_STATUS, ServingError


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


def test_own_feature_wins() -> None:
    """An example's feature takes the place of the context's, whatever its type."""
    _, (own, other) = read_examples({"context": {"a": [1, 2]}, "examples": [{"a": "x"}, {"b": 0.5}]})
    assert features(own) == {"a": ("bytes_list", [b"x"])}
    assert features(other) == {"a": ("int64_list", [1, 2]), "b": ("float_list", [0.5])}


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
        ({"examples": [{"a": 2**63}]}, "Feature: a has uint64 element. Only int64 is supported."),
        ({"examples": [{"a": {"b64": "!"}}]}, "Unable to base64 decode"),
        ({"signature_name": 1, "examples": [{}]}, "'signature_name' key must be a string value."),
    ],
)
def test_refused(document: dict[str, Any], ending: str) -> None:
    """What holds no examples is refused by TensorFlow Serving's words."""
    with pytest.raises(ServingError) as refused:
        read_examples(document)
    assert HTTP_STATUS[refused.value.code] == 400
    assert refused.value.message.endswith(ending)


def test_classifications() -> None:
    """Every example has a list of labels with scores, in the real server's form."""
    results = [[["car", 0.2], ["bike", 0.7]], [["", 12]]]
    written = write_classifications([[(label, score) for label, score in classes] for classes in results])
    assert json.loads(written) == {"results": results}
    assert written.startswith(
        b'{\n    "results": [[["car", 0.2\n            ], ["bike", 0.7\n            ]\n        ], ['
    )


def test_regressions() -> None:
    """Every example has a number, in the real server's form."""
    assert write_regressions([42, 0.1]) == b'{\n    "results": [42.0, 0.1\n    ]\n}'


def test_no_results() -> None:
    """An answer without results is an error."""
    with pytest.raises(ServingError, match="^Cannot convert empty ClassificationResults to JSON$"):
        write_classifications([])
    with pytest.raises(ServingError, match="^Cannot convert empty RegressionResults to JSON$"):
        write_regressions([])
