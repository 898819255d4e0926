"""Classify's and regress's JSON: a request's examples to serialized tf.Examples, and results to an answer's text.

Follows FillClassifyRegressRequestFromJson and its neighbours in tensorflow_serving/util/json_tensor.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.example.feature_pb2 import Feature

from serving.embedded.json_requests import read_signature_name
from serving.embedded.json_text import Literal, dumps, excerpt, number
from serving.embedded.json_arrays import decode_base64, is_base64, json_type
from serving.embedded.errors import invalid

_LISTS: Final = {"bytes": "bytes_list", "float": "float_list", "int64": "int64_list"}
_MAX_INT64: Final = 2**63 - 1


def read_examples(document: Mapping[str, Any]) -> tuple[str, list[bytes]]:
    """Reads a classify or regress request.

    Args:
        document: What the body holds.

    Returns:
        The signature asked for, "" for serving_default, and the serialized tf.Examples. The features of the request's
        context are in each; the example's own feature of the same name wins.

    Raises:
        ServingError: The document does not hold examples.
    """
    signature = read_signature_name(document)
    context = _read_example(document["context"]) if "context" in document else Example()
    return signature, [_merged(context, _read_example(value)) for value in _values(document)]


def write_classifications(results: Iterable[Sequence[tuple[str, float]]]) -> bytes:
    """Returns the answer to classify: of every example its classes, labels with scores (float32).

    Raises:
        ServingError: There is no result.
    """
    lists = [[(label, _single(score)) for label, score in classes] for classes in results]
    if not lists:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    return dumps({"results": lists}, single_line_arrays=True)


def write_regressions(values: Iterable[float]) -> bytes:
    """Returns the answer to regress: of every example its value (float32).

    Raises:
        ServingError: There is no result.
    """
    texts = [_single(value) for value in values]
    if not texts:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    return dumps({"results": texts}, single_line_arrays=True)


def _single(value: float) -> Literal:
    return Literal(number(value, single=True))


def _values(document: Mapping[str, Any]) -> list[Any]:
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


def _merged(context: Example, example: Example) -> bytes:
    merged = Example()
    for source in (context, example):
        for name, feature in source.features.feature.items():
            merged.features.feature[name].CopyFrom(feature)
    return merged.SerializeToString(deterministic=True)


def _read_example(value: Any) -> Example:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {json_type(value)}")
    example = Example()
    for name, content in value.items():
        example.features.feature[name].CopyFrom(_read_feature(name, content))
    return example


def _read_feature(name: str, content: Any) -> Feature:
    """Returns the feature of the one type that all its values have; of no type where it has no values."""
    kind = ""
    values: list[bytes | float | int] = []
    for value in content if isinstance(content, list) else [content]:
        found = _kind(value)
        if found is None:
            raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")
        kind = kind or found
        if found != kind:
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
        raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
    return int(value) if isinstance(value, int) else float(value)
