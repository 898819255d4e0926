"""Replays a version's warm-up requests before it takes traffic, as TensorFlow Serving does.

Format and place: https://www.tensorflow.org/tfx/serving/saved_model_warmup.
"""

from __future__ import annotations

import tensorflow as tf
from google.protobuf.message import DecodeError
from grpc import StatusCode
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.embedded.tensor_protos import read_request_inputs
from serving.embedded.servable import DEFAULT_SIGNATURE, Servable
from serving.embedded.errors import ServingError, invalid

FILE = "assets.extra/tf_serving_warmup_requests"
MOST_RECORDS = 1000


def warm(servable: Servable, iterations: int = 1) -> int:
    """Runs every recorded request, in order; returns how many there are.

    Raises:
        ServingError: The file cannot be read, has too many records, or a request fails.
    """
    path = servable.path / FILE
    if not path.is_file():
        return 0
    count = 0
    try:
        for record in tf.compat.v1.io.tf_record_iterator(str(path)):
            count += 1
            if count > MOST_RECORDS:
                raise invalid(f"Number of warmup records exceeds the maximum ({MOST_RECORDS}) at {path}")
            _replay(servable, _parse(record), iterations)
    except tf.errors.DataLossError as error:
        raise ServingError(
            StatusCode.DATA_LOSS, f"{error.message}. Please verify your warmup data is in TFRecord format."
        ) from None
    return count


def _parse(record: bytes) -> PredictionLog:
    try:
        return PredictionLog.FromString(record)
    except DecodeError:
        raise invalid("Failed to parse warmup record: it is no PredictionLog") from None


def _replay(servable: Servable, log: PredictionLog, iterations: int) -> None:
    kind = log.WhichOneof("log_type")
    if kind is None:
        raise invalid("Unsupported log_type for warmup: LOG_TYPE_NOT_SET")
    if kind != "predict_log":
        return  # a model without such signatures has no such requests worth its time
    request = log.predict_log.request
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise ServingError(StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    inputs = read_request_inputs(request.inputs, signature)
    outputs = list(request.output_filter) or list(signature.outputs)
    for _ in range(iterations):
        servable.run(signature, inputs, outputs)
