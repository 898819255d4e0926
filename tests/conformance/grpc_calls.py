"""gRPC requests by the stubs of tensorflow-serving-api, and the checks of their answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf import text_format
from google.protobuf.message import Message
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

TIMEOUT = 60.0
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
REQUESTS: Mapping[str, Callable[[], Any]] = {
    "Predict": predict_pb2.PredictRequest,
    "Classify": classification_pb2.ClassificationRequest,
    "Regress": regression_pb2.RegressionRequest,
    "MultiInference": inference_pb2.MultiInferenceRequest,
    "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
    "HandleReloadConfigRequest": model_management_pb2.ReloadConfigRequest,
}


def call(target: str, rpc: str, request: Message, timeout: float = TIMEOUT) -> Any:
    """Calls a method by its short name.

    Raises:
        grpc.RpcError: The server answers with an error.
    """
    with grpc.insecure_channel(target, UNLIMITED) as channel:
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        stub = prediction if hasattr(prediction, rpc) else model_service_pb2_grpc.ModelServiceStub(channel)
        return getattr(stub, rpc)(request, timeout=timeout, wait_for_ready=True)


def refused(target: str, rpc: str, request: Message, timeout: float = TIMEOUT) -> grpc.RpcError:
    """Makes a call that must fail and returns its error."""
    try:
        answer = call(target, rpc, request, timeout)
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"The call should have failed; it answered {answer}")


def predict(target: str, model: str, signature: str = "", timeout: float = TIMEOUT, **inputs: Sequence[float]) -> Any:
    """Runs a signature on one-dimensional float inputs and returns the answer's `outputs`."""
    return call(target, "Predict", predict_request(model, signature, **inputs), timeout).outputs


def predict_request(model: str, signature: str = "", **inputs: Sequence[float]) -> Any:
    """Returns the request of `predict`."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, values in inputs.items():
        fill_tensor(request.inputs[name], {"dtype": "DT_FLOAT", "tensor_shape": [len(values)], "float_val": values})
    return request


def build(rpc: str, message: Mapping[str, Any]) -> Any:
    """Returns the request message of a case; `examples` has the features' numbers, `config` is text."""
    request = REQUESTS[rpc]()
    if "model_spec" in message:
        request.model_spec.SetInParent()
        fill_spec(request.model_spec, message["model_spec"])
    for features in message.get("examples", []):
        example = request.input.example_list.examples.add()
        for name, number in features.items():
            example.features.feature[name].float_list.value.append(number)
    for task in message.get("tasks", []):
        fill_spec(request.tasks.add(method_name=task["method_name"]).model_spec, task["model_spec"])
    if "config" in message:
        text_format.Parse(message["config"], request.config)
    for name, tensor in message.get("inputs", {}).items():
        fill_tensor(request.inputs[name], tensor)
    for name in ("output_filter", "metadata_field"):
        if name in message:
            getattr(request, name).extend(message[name])
    return request


def fill_spec(spec: Any, message: Mapping[str, Any]) -> None:
    """Fills a ModelSpec."""
    for name, value in message.items():
        if name == "version":
            spec.version.value = value
        else:
            setattr(spec, name, value)


def fill_tensor(tensor: Any, message: Mapping[str, Any]) -> None:
    """Fills a TensorProto; its shape is a list of sizes, its strings are text."""
    for name, value in message.items():
        if name == "dtype":
            tensor.dtype = types_pb2.DataType.Value(value)
        elif name == "tensor_shape":
            for size in value:
                tensor.tensor_shape.dim.add(size=size)
        else:
            getattr(tensor, name).extend(v.encode() if name == "string_val" else v for v in value)


def check(target: str, request: Mapping[str, Any], expect: Mapping[str, Any]) -> None:
    """Makes the call of a case and asserts everything that it expects."""
    rpc = request["rpc"].rpartition("/")[2]
    message = build(rpc, request["message"])
    if expect["code"] == "OK":
        answer = call(target, rpc, message)
        for key in expect.keys() - {"code"}:
            CHECKS[key](answer, expect[key])
        return
    error = refused(target, rpc, message)
    assert error.code().name == expect["code"], error.details()
    check_details(error.details(), expect)


def check_details(details: str, expect: Mapping[str, Any]) -> None:
    """Asserts the message of an error."""
    assert details == expect.get("details_exact", details)
    parts = expect.get("details_contains", [])
    for part in [parts] if isinstance(parts, str) else parts:
        assert part in details


def _check_outputs(answer: Any, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    assert set(answer.outputs) == set(wanted)
    for name, tensor in wanted.items():
        received = answer.outputs[name]
        assert received.dtype == types_pb2.DataType.Value(tensor.get("dtype", "DT_FLOAT"))
        field = next(name for name in tensor if name.endswith("_val"))
        assert list(getattr(received, field)) == tensor[field] and not received.tensor_content
        if "tensor_shape" in tensor:
            assert [dimension.size for dimension in received.tensor_shape.dim] == tensor["tensor_shape"]


def _check_spec(answer: Any, wanted: Mapping[str, Any]) -> None:
    spec = answer.model_spec
    assert {name: spec.version.value if name == "version" else getattr(spec, name) for name in wanted} == dict(wanted)


def _check_statuses(answer: Any, wanted: Sequence[Mapping[str, Any]]) -> None:
    names = get_model_status_pb2.ModelVersionStatus.State
    assert [
        {
            "version": status.version,
            "state": names.Name(status.state),
            "status": {"error_code": status.status.error_code, "error_message": status.status.error_message},
        }
        for status in answer.model_version_status
    ] == list(wanted)


def _check_versions(answer: Any, wanted: Sequence[int]) -> None:
    assert sorted(status.version for status in answer.model_version_status) == sorted(wanted)


CHECKS: Mapping[str, Callable[[Any, Any], None]] = {
    "model_spec": _check_spec,
    "model_version_status": _check_statuses,
    "outputs": _check_outputs,
    "versions": _check_versions,
}
