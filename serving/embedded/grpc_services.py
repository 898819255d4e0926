"""TensorFlow Serving's gRPC services PredictionService and ModelService, on the stubs of tensorflow-serving-api."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2
from grpc import StatusCode
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from tensorflow_serving.apis.input_pb2 import Input

from serving.embedded.batching import STOPPING
from serving.embedded.config_files import PLATFORM, model_sources
from serving.embedded.errors import OVERLOADED, ServingError, invalid
from serving.embedded.methods import CLASSIFY, check_predict, check_tasks, serialized_examples
from serving.embedded.prediction import Predictor, Target, model_status, signature_definitions
from serving.embedded.request_log import predict_log
from serving.embedded.servable import Servable
from serving.embedded.signatures import DEFAULT_SIGNATURE
from serving.embedded.tensor_protos import as_proto, check_outputs, read_request_inputs

log = logging.getLogger("serving")

MAX_MESSAGE_LENGTH = 1024
"""In characters; longer messages are cut, because HTTP/2 limits the size of headers."""
NO_DEADLINE = 365 * 86400.0
RETRY_MILLISECONDS = "1000"


class RunningCalls:
    """The calls that are being answered."""

    def __init__(self) -> None:
        """Begins without calls."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self.stopping = False

    @contextmanager
    def include(self) -> Iterator[None]:
        """Counts the call of the current task during the block.

        Raises:
            ServingError: The server is shutting down.
        """
        if self.stopping:
            raise ServingError(StatusCode.UNAVAILABLE, STOPPING)
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            yield
        except asyncio.CancelledError:
            if self.stopping and task not in self._tasks:  # not by its client
                raise ServingError(StatusCode.UNAVAILABLE, STOPPING) from None
            raise

    async def finish(self, seconds: float) -> None:
        """Refuses further calls, waits for the running ones, and ends those that take longer as UNAVAILABLE."""
        self.stopping = True
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        late = set(self._tasks)
        self._tasks.clear()
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1)


def rpc_method(handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Wraps a handler `(self, request, deadline)` into a servicer's method that reports errors by their gRPC codes."""

    async def method(self: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        remaining = context.time_remaining()
        deadline = time.monotonic() + (NO_DEADLINE if remaining is None else remaining)
        try:
            with self.calls.include():
                return await handler(self, request, deadline)
        except ServingError as error:
            if error.code in OVERLOADED:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", RETRY_MILLISECONDS),))
            await context.abort(error.code, _truncate(error.message))
        except asyncio.CancelledError:
            raise
        except Exception:  # a bug is reported to the client
            log.exception("%s could not be answered", handler.__name__)
            await context.abort(StatusCode.INTERNAL, "The server has failed; its log says where.")

    return method


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    def __init__(self, predictor: Predictor, calls: RunningCalls, as_content: bool) -> None:
        """Keeps its parameters.

        Args:
            predictor: Runs the models.
            calls: Counts the running calls.
            as_content: Whether responses carry tensors as raw bytes in `tensor_content`.
        """
        self._predictor, self.calls, self._as_content = predictor, calls, as_content

    @rpc_method
    async def Predict(self, request: predict_pb2.PredictRequest, deadline: float) -> predict_pb2.PredictResponse:
        """Runs any signature."""
        target = _target(request)
        with self._predictor.count_request(target.model, "Predict", "GRPC"), self._find(target) as servable:
            name = target.signature or DEFAULT_SIGNATURE
            signature = servable.signatures.get(name)
            if signature is None:
                raise ServingError(StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
            check_predict(servable, signature)
            inputs = read_request_inputs(request.inputs, signature)
            outputs = check_outputs(request.output_filter, signature)
            found = await self._predictor.run(servable, signature, inputs, outputs, deadline)
            response = predict_pb2.PredictResponse(model_spec=_spec(servable, name))
            for output, array in found.items():
                response.outputs[output].CopyFrom(as_proto(array, self._as_content))
            self._predictor.log(servable, lambda: predict_log(request, response))
            return response

    @rpc_method
    async def Classify(self, request: Any, deadline: float) -> classification_pb2.ClassificationResponse:
        """Runs a classify signature on tf.Examples."""
        target = _target(request)
        with self._predictor.count_request(target.model, "Classify", "GRPC"), self._find(target) as servable:
            return classification_pb2.ClassificationResponse(
                model_spec=_spec(servable, target.signature or DEFAULT_SIGNATURE),
                result=await self._classification(servable, target, request.input, deadline),
            )

    @rpc_method
    async def Regress(self, request: Any, deadline: float) -> regression_pb2.RegressionResponse:
        """Runs a regress signature on tf.Examples."""
        target = _target(request)
        with self._predictor.count_request(target.model, "Regress", "GRPC"), self._find(target) as servable:
            return regression_pb2.RegressionResponse(
                model_spec=_spec(servable, target.signature or DEFAULT_SIGNATURE),
                result=await self._regression(servable, target, request.input, deadline),
            )

    @rpc_method
    async def MultiInference(self, request: Any, deadline: float) -> inference_pb2.MultiInferenceResponse:
        """Runs several classify and regress signatures of one model on the same tf.Examples."""
        response = inference_pb2.MultiInferenceResponse()
        target = _spec_target(request.tasks[0].model_spec) if request.tasks else Target("")
        with self._predictor.count_request(target.model, "MultiInference", "GRPC"), self._find(target) as servable:
            check_tasks(servable, request.tasks)
            for task in request.tasks:
                each = _spec_target(task.model_spec)
                result = response.results.add(model_spec=_spec(servable, each.signature or DEFAULT_SIGNATURE))
                if task.method_name == CLASSIFY:
                    found = await self._classification(servable, each, request.input, deadline)
                    result.classification_result.CopyFrom(found)
                else:
                    result.regression_result.CopyFrom(await self._regression(servable, each, request.input, deadline))
        return response

    @rpc_method
    async def GetModelMetadata(self, request: Any, deadline: float) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Returns the signatures of a version."""
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != "signature_def":
                raise invalid(f"Metadata field {name} is not supported")
        with self._find(_target(request)) as servable:
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name, response.model_spec.version.value = servable.model, servable.version
            packed = any_pb2.Any()
            packed.Pack(signature_definitions(servable))
            response.metadata["signature_def"].CopyFrom(packed)
            return response

    def _find(self, target: Target) -> Servable:
        return self._predictor.lifecycle.find(target.model, target.version, target.label)

    async def _classification(
        self, servable: Servable, target: Target, content: Input, deadline: float
    ) -> classification_pb2.ClassificationResult:
        result = classification_pb2.ClassificationResult()
        for classes in await self._predictor.classify(servable, target, serialized_examples(content), deadline):
            row = result.classifications.add()
            for label, score in classes:
                row.classes.add(label=label, score=score)
        return result

    async def _regression(
        self, servable: Servable, target: Target, content: Input, deadline: float
    ) -> regression_pb2.RegressionResult:
        values = await self._predictor.regress(servable, target, serialized_examples(content), deadline)
        return regression_pb2.RegressionResult(regressions=[regression_pb2.Regression(value=value) for value in values])


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, predictor: Predictor, calls: RunningCalls) -> None:
        """Keeps the predictor, whose lifecycle has the models, and the counter of running calls."""
        self._predictor, self.calls = predictor, calls

    @rpc_method
    async def GetModelStatus(self, request: Any, deadline: float) -> get_model_status_pb2.GetModelStatusResponse:
        """Returns the states of a model's versions."""
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        target = _target(request)
        return model_status(self._predictor.lifecycle, target.model, target.version)

    @rpc_method
    async def HandleReloadConfigRequest(
        self, request: Any, deadline: float
    ) -> model_management_pb2.ReloadConfigResponse:
        """Replaces the list of models; answers when they are available."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        configured = set(self._predictor.lifecycle.names())
        for item in request.config.model_config_list.config:
            if item.name in configured and item.model_platform not in ("", PLATFORM):
                raise invalid(
                    f"Illegal to change a model's platform. For model {item.name} platform was {PLATFORM} and new "
                    f"platform requested is {item.model_platform}"
                )
        sources = model_sources(request.config)
        await asyncio.get_running_loop().run_in_executor(None, self._predictor.lifecycle.reload, sources)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        # TensorFlow Serving counts loads of SavedModels under names that this server does not have.
        for name in sorted(set(request.metric_names)):
            response.metric.add(name=name, int64_value_increase=0)
        return response


def _target(request: Any) -> Target:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return _spec_target(request.model_spec)


def _spec_target(spec: model_pb2.ModelSpec) -> Target:
    choice = spec.WhichOneof("version_choice")
    return Target(
        model=spec.name,
        version=spec.version.value if choice == "version" else None,
        label=spec.version_label if choice == "version_label" else None,
        signature=spec.signature_name,
    )


def _spec(servable: Servable, signature: str) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=servable.model, signature_name=signature)
    spec.version.value = servable.version
    return spec


def _truncate(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE_LENGTH else message[:MAX_MESSAGE_LENGTH] + "...TRUNCATED"
