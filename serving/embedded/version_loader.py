"""Loads a version of a model and replays its warm-up requests before it takes traffic.

Format and path of the warm-up file: https://www.tensorflow.org/tfx/serving/saved_model_warmup.
"""

from __future__ import annotations

import time
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from grpc import StatusCode
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.embedded.config_files import Batching, read_batching
from serving.embedded.errors import ServingError, invalid
from serving.embedded.flags import ServerFlags
from serving.embedded.methods import (
    CLASSIFY,
    REGRESS,
    as_input,
    check_predict,
    check_tasks,
    classes_of,
    classify_signature,
    regress_signature,
    serialized_examples,
    values_of,
)
from serving.embedded.metrics import Metrics
from serving.embedded.servable import Servable
from serving.embedded.signatures import DEFAULT_SIGNATURE
from serving.embedded.tensor_protos import check_outputs, read_request_inputs

BATCHING_FILE = "batching_params.pbtxt"
WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"
MAX_WARM_UP_RECORDS = 1000


class VersionLoader:
    """Loads versions as the server's flags say."""

    def __init__(self, flags: ServerFlags, batching: Batching, metrics: Metrics) -> None:
        """Keeps its parameters.

        Args:
            flags: The server's flags.
            batching: The batching parameters of models that have none of their own.
            metrics: Counts the durations of warm-ups.
        """
        self._flags, self._batching, self._metrics = flags, batching, metrics

    def load(self, model: str, version: int, path: Path) -> Servable:
        """Loads a version and warms it up.

        Args:
            model: The model's name.
            version: The version's number.
            path: The directory of the SavedModel.

        Raises:
            ServingError: The SavedModel, its batching parameters or its warm-up requests are broken.
        """
        flags = self._flags
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=flags.intra_op_threads, inter_op_parallelism_threads=flags.inter_op_threads
        )
        # The second round of TensorFlow's graph optimiser does not make runs faster here, but delays every version:
        # without it, a signature's first run takes 0.12 s instead of 0.16.
        config.graph_options.rewrite_options.meta_optimizer_iterations = RewriterConfig.ONE
        servable = Servable(model, version, path, flags.saved_model_tags.split(","), config)
        try:
            servable.batching = self._batching_of(path)
            servable.check_methods = flags.enable_signature_method_name_check
            if flags.enable_model_warmup:
                self._warm_up(servable)
        except ServingError:
            servable.close(0)
            raise
        return servable

    def _batching_of(self, path: Path) -> Batching | None:
        if not self._flags.enable_per_model_batching_parameters:
            return self._batching if self._flags.enable_batching else None
        file = path / BATCHING_FILE
        return read_batching(file) if file.is_file() else None

    def _warm_up(self, servable: Servable) -> None:
        begun, status = time.perf_counter(), "OK"
        try:
            replay_warm_up(servable, max(self._flags.num_request_iterations_for_warmup, 1))
        except ServingError as error:
            status = error.code.name
            raise
        finally:
            microseconds = 1e6 * (time.perf_counter() - begun)
            self._metrics.warmups.observe(str(servable.path), status, microseconds=microseconds)


def replay_warm_up(servable: Servable, iterations: int = 1) -> None:
    """Runs every recorded request, in order.

    Args:
        servable: The version, with or without a warm-up file.
        iterations: How often each request runs.

    Raises:
        ServingError: The file cannot be read, has too many records, or a request fails.
    """
    path = servable.path / WARM_UP_FILE
    if not path.is_file():
        return
    try:
        for count, record in enumerate(tf.compat.v1.io.tf_record_iterator(str(path)), start=1):
            if count > MAX_WARM_UP_RECORDS:
                raise invalid(f"Number of warmup records exceeds the maximum ({MAX_WARM_UP_RECORDS}) at {path}")
            _replay(servable, _parse(record), iterations)
    except tf.errors.DataLossError as error:
        raise ServingError(
            StatusCode.DATA_LOSS, f"{error.message}. Please verify your warmup data is in TFRecord format."
        ) from None


def _parse(record: bytes) -> PredictionLog:
    try:
        return PredictionLog.FromString(record)
    except DecodeError:
        raise invalid("Failed to parse warmup record: it is no PredictionLog") from None


def _replay(servable: Servable, log: PredictionLog, iterations: int) -> None:
    kind = log.WhichOneof("log_type")
    for _ in range(iterations):
        if kind == "predict_log":
            _predict(servable, log.predict_log.request)
        elif kind == "classify_log":
            request = log.classify_log.request
            _infer(servable, CLASSIFY, request.model_spec.signature_name, request.input)
        elif kind == "regress_log":
            request = log.regress_log.request
            _infer(servable, REGRESS, request.model_spec.signature_name, request.input)
        elif kind == "multi_inference_log":
            _infer_all(servable, log.multi_inference_log.request)
        elif kind:
            # TensorFlow Serving prints the number of the field as well.
            number = PredictionLog.DESCRIPTOR.fields_by_name[kind].number
            raise ServingError(StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")


def _predict(servable: Servable, request: PredictRequest) -> None:
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise ServingError(StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    check_predict(servable, signature)
    inputs = read_request_inputs(request.inputs, signature)
    servable.run(signature, inputs, check_outputs(request.output_filter, signature))


def _infer(servable: Servable, method: str, name: str, content: Input) -> None:
    examples = serialized_examples(content)
    if method == CLASSIFY:
        signature, outputs = classify_signature(servable, name)
        classes_of(servable.run(signature, as_input(examples), outputs), len(examples))
    else:
        signature, outputs = regress_signature(servable, name)
        values_of(servable.run(signature, as_input(examples), outputs), len(examples))


def _infer_all(servable: Servable, request: MultiInferenceRequest) -> None:
    check_tasks(servable, request.tasks)
    for task in request.tasks:
        _infer(servable, task.method_name, task.model_spec.signature_name, request.input)
