"""The methods of signatures: which signatures predict, classify and regress, and what classify and regress return.

Follows TensorFlow Serving 2.20: VerifySignature of tensorflow_serving/servables/tensorflow/predict_util.cc, and
classifier.cc, regressor.cc and multi_inference.cc in the same directory, with their order of checks and their texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from google.protobuf import text_format
from grpc import StatusCode
from numpy.typing import NDArray
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow_serving.apis.input_pb2 import Input

from serving.embedded.errors import ServingError, invalid
from serving.embedded.servable import Servable
from serving.embedded.signatures import DEFAULT_SIGNATURE, Signature
from serving.embedded.tensor_protos import type_number

INPUT, SCORES, CLASSES, OUTPUTS = "inputs", "scores", "classes", "outputs"
"""Names of inputs and outputs in TensorFlow's classify and regress signatures."""
PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress"))

Array = NDArray[Any]
Classes = list[list[tuple[str, float]]]
"""For every example its classes: labels with scores."""

_MAX_OUTPUTS: Final = 2


def check_predict(servable: Servable, signature: Signature) -> None:
    """Checks the method of a signature for Predict, if the server's flag demands it.

    Raises:
        ServingError: INTERNAL for a method that TensorFlow Serving does not know.
    """
    allowed = (PREDICT, CLASSIFY, REGRESS)
    if servable.check_methods and signature.method not in allowed:
        raise ServingError(
            StatusCode.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(allowed)}}}. Was: {signature.method}",
        )


def classify_signature(servable: Servable, name: str) -> tuple[Signature, list[str]]:
    """Returns the signature for a classify request, and the names of its outputs: classes, scores or both.

    Args:
        servable: The version.
        name: The signature's name; empty for the default.

    Raises:
        ServingError: There is no such signature, or it does not classify.
    """
    signature = _signature(servable, name, "classification", CLASSIFY)
    definition = servable.signature_defs[signature.name]
    if not 0 < len(definition.outputs) <= _MAX_OUTPUTS:
        raise invalid(f"Expected one or two output Tensors, found {len(definition.outputs)}")
    _check_input(definition, "classification")
    outputs = [output for output in (CLASSES, SCORES) if output in signature.outputs]
    if not outputs:
        raise invalid(
            f'Expected classification signature outputs to contain at least one of "{CLASSES}" or "{SCORES}". '
            f"Signature was: {text_format.MessageToString(definition)}"
        )
    return signature, outputs


def regress_signature(servable: Servable, name: str) -> tuple[Signature, list[str]]:
    """Returns the signature for a regress request, and the name of its output.

    Args:
        servable: The version.
        name: The signature's name; empty for the default.

    Raises:
        ServingError: There is no such signature, or it does not regress.
    """
    signature = _signature(servable, name, "regression", REGRESS)
    definition = servable.signature_defs[signature.name]
    if len(definition.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    _check_input(definition, "regression")
    if OUTPUTS not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {text_format.MessageToString(definition)}")
    return signature, [OUTPUTS]


def classes_of(outputs: Mapping[str, Array], count: int) -> Classes:
    """Returns the classes of every example.

    Args:
        outputs: The outputs `classes` [count, K] (strings), `scores` [count, K] (float32), or both.
        count: The number of examples.

    Raises:
        ServingError: An output has another shape or type.
    """
    for name, wanted in ((CLASSES, "DT_STRING"), (SCORES, "DT_FLOAT")):
        if name in outputs:
            _check_classes(name, np.asarray(outputs[name]), wanted, count)
    widths = [np.shape(array)[1] for array in outputs.values()]
    if len(set(widths)) > 1:
        raise invalid(
            "Tensors class and score should match in dim_size(1). "
            f"Got {outputs[CLASSES].shape[1]} vs. {outputs[SCORES].shape[1]}"
        )
    shape = (count, widths[0])
    labels = outputs.get(CLASSES, np.full(shape, b"", object)).tolist()
    scores = outputs.get(SCORES, np.zeros(shape, np.float32)).tolist()
    return [
        [(_text(label), score) for label, score in zip(*row, strict=True)] for row in zip(labels, scores, strict=True)
    ]


def values_of(outputs: Mapping[str, Array], count: int) -> list[float]:
    """Returns the value of every example.

    Args:
        outputs: The output `outputs` [count] or [count, 1] (float32).
        count: The number of examples.

    Raises:
        ServingError: The output has another shape or type.
    """
    array = np.asarray(outputs[OUTPUTS])
    if array.ndim != 1 and (array.ndim != 2 or array.shape[1] != 1):
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(array)}"
        )
    if len(array) != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if array.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_type(array)}")
    return [float(value) for value in array.ravel()]


def serialized_examples(content: Input) -> list[bytes]:
    """Returns the serialized tf.Examples of a gRPC request, each with the features of the context that it lacks."""
    if content.WhichOneof("kind") != "example_list_with_context":
        return [example.SerializeToString() for example in content.example_list.examples]
    # Of two features with one name, the parser takes the later one.
    context = content.example_list_with_context.context.SerializeToString()
    return [context + example.SerializeToString() for example in content.example_list_with_context.examples]


def as_input(examples: list[bytes]) -> dict[str, Array]:
    """Returns serialized tf.Examples as the input of a classify or regress signature.

    Raises:
        ServingError: There are none.
    """
    if not examples:
        raise invalid("Input is empty.")
    array = np.empty(len(examples), object)
    array[:] = examples
    return {INPUT: array}


def check_tasks(servable: Servable, tasks: Sequence[Any]) -> None:
    """Checks the tasks of a MultiInference request.

    Raises:
        ServingError: They name several models, a signature twice, or a signature without their method.
    """
    seen: set[str] = set()
    for task in tasks:
        spec = task.model_spec
        if not spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if spec.name != tasks[0].model_spec.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = spec.signature_name or DEFAULT_SIGNATURE
        if name in seen:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        if name not in servable.signatures:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name == CLASSIFY:
            classify_signature(servable, name)
        elif task.method_name == REGRESS:
            regress_signature(servable, name)
        else:
            raise ServingError(StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")


def _signature(servable: Servable, name: str, kind: str, method: str) -> Signature:
    signature = servable.signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise invalid(f"No signature was found with the name: {name or DEFAULT_SIGNATURE}")
    if servable.check_methods and signature.method != method:
        raise invalid(f"Expected {kind} signature method_name to be {method}. Was: {signature.method}")
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    return signature


def _check_input(definition: Any, kind: str) -> None:
    if INPUT not in definition.inputs:
        raise invalid(f"No {kind} inputs found in SignatureDef: {text_format.MessageToString(definition)}")


def _check_classes(name: str, array: Array, wanted: str, count: int) -> None:
    if array.ndim != 2:
        raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    if _type(array) != wanted:
        raise invalid(f"Expected {name} Tensor of {wanted}. Got: {_type(array)}")
    if len(array) != count:
        raise invalid(f"Expected {name} output batch size of {count}. Got: {len(array)}")


def _type(array: Array) -> str:
    return str(DataType.Name(type_number(array)))


def _shape(array: Array) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
