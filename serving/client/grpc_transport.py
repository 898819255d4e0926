"""The client's side of TensorFlow Serving's gRPC interface. It needs TensorFlow, which REST does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import grpc
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from serving.client.errors import ClientError, DeadlineExceeded, InvalidRequest, NotFound, Overloaded, Unreachable

OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # gRPC's default is to wait a second before it reconnects, which would use up the client's own retries.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Two clients must not share a channel: the server behind an address may change.
    ("grpc.use_local_subchannel_pool", 1),
)
BROKEN = ("failed to connect", "connection re", "socket closed", "dns resolution", "goaway", "recvmsg", "broken pipe")
"""Parts of the messages with which gRPC itself, not a server, reports UNAVAILABLE."""


class GrpcTransport:
    """Sends requests over one gRPC channel.

    Args:
        target: Host and port.
        secure: Whether to use TLS.
        model: The model's name.
        version: The version to use; the newest, or the label's, when None.
        label: The version label to use.
    """

    def __init__(self, target: str, secure: bool, model: str, version: int | None, label: str | None) -> None:
        self._target = target
        if secure:
            self._channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(), OPTIONS)
        else:
            self._channel = grpc.insecure_channel(target, OPTIONS)
        self._spec = ModelSpec(name=model)
        if version is not None:
            self._spec.version.value = version
        elif label:
            self._spec.version_label = label
        self._predictions, self._models = PredictionServiceStub(self._channel), ModelServiceStub(self._channel)

    def call(
        self, signature: str, inputs: Mapping[str, NDArray[Any]], seconds: float
    ) -> tuple[dict[str, NDArray[Any]], int | None]:
        """Returns the outputs by name and the version that answered.

        Raises:
            ClientError: The request failed.
        """
        request = PredictRequest(model_spec=self._spec)
        request.model_spec.signature_name = signature
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        answer = self._send(self._predictions.Predict, request, seconds)
        version = answer.model_spec.version.value if answer.model_spec.HasField("version") else None
        return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}, version

    def status(self, seconds: float) -> list[tuple[int, str, str]]:
        """Returns version, state and error of every version that the server knows."""
        answer = self._send(self._models.GetModelStatus, GetModelStatusRequest(model_spec=self._spec), seconds)
        name = ModelVersionStatus.State.Name
        return [(v.version, name(v.state), v.status.error_message) for v in answer.model_version_status]

    def metadata(self, seconds: float) -> dict[str, Any]:
        """Returns the signatures by name."""
        request = GetModelMetadataRequest(model_spec=self._spec, metadata_field=["signature_def"])
        answer = self._send(self._predictions.GetModelMetadata, request, seconds)
        signatures = SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        return dict(MessageToDict(signatures, preserving_proto_field_name=True)["signature_def"])

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _send(self, method: Any, request: Any, seconds: float) -> Any:
        try:
            return method(request, timeout=seconds)
        except grpc.RpcError as error:
            self._fail(error)

    def _fail(self, error: Any) -> NoReturn:
        details = error.details() or error.code().name
        match error.code():
            case grpc.StatusCode.UNAVAILABLE if any(word in details.lower() for word in BROKEN):
                raise Unreachable(
                    f"{self._target} cannot be reached.", expected="a running server", received=details
                ) from None
            case grpc.StatusCode.RESOURCE_EXHAUSTED if "message larger than max" in details:
                raise InvalidRequest(details) from None
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise Overloaded(f"{self._target} is overloaded.", _retry_after(error), received=details) from None
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                raise DeadlineExceeded(f"{self._target} did not answer in time.", received=details) from None
            case grpc.StatusCode.NOT_FOUND:
                raise NotFound(f"{self._target} has no such model.", received=details) from None
            case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.FAILED_PRECONDITION | grpc.StatusCode.OUT_OF_RANGE:
                raise InvalidRequest(details) from None
        raise ClientError(f"{self._target} failed with {error.code().name}.", received=details) from None


def _retry_after(error: Any) -> float:
    """Returns the seconds that a server asks to wait, by gRPC's own key or by HTTP's (gRFC A6)."""
    sent = {key: str(value) for key, value in error.trailing_metadata() or ()}
    milliseconds, seconds = sent.get("grpc-retry-pushback-ms", ""), sent.get("retry-after", "")
    if milliseconds.isdecimal():
        return float(milliseconds) / 1000
    return float(seconds) if seconds.isdecimal() else 0.0
