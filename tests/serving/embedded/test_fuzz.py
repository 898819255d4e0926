"""A sample of the requests of `make fuzz`: none makes the server fail."""

from __future__ import annotations

import grpc
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.engines.server_process import ServerProcess
from serving.requests.prediction_log import INPUTS
from tests.serving.embedded.fuzzing import random_requests, send_all
from tests.serving.embedded.test_tensor_protos import tensors

ANSWERS = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}


def test_no_request_makes_the_server_fail(server: ServerProcess) -> None:
    """Of 3,000 random requests, some are answered, the others refused, and none gets a 500."""
    statuses, failed = send_all(server, random_requests(7, 3000))
    assert not failed, failed[:3]
    assert statuses[200] > 300 and statuses[400] > 1000
    assert server.process.poll() is None


@settings(max_examples=500, deadline=None)
@given(signature=st.sampled_from(sorted(INPUTS)), tensor=tensors([tf.uint8, tf.string]))
def test_no_tensor_makes_the_server_fail(server: ServerProcess, signature: str, tensor: TensorProto) -> None:
    """A tensor of any stated shape and values is answered over gRPC, or refused as the client's fault."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "fashion", signature
    request.inputs[INPUTS[signature]].CopyFrom(tensor)
    code, details = grpc.StatusCode.OK, ""
    with grpc.insecure_channel(server.grpc_address) as channel:
        try:
            prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
    assert code in ANSWERS, details
