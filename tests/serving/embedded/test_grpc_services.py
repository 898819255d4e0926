"""The errors of the gRPC services, over a real channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.embedded.batching import BatchScheduler
from serving.embedded.errors import ServingError
from serving.embedded.grpc_services import ModelService, PredictionService, RunningCalls
from serving.embedded.metrics import Metrics
from serving.embedded.prediction import Predictor

STATUS = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "m"})


def failing(error: Exception) -> Any:
    """A lifecycle that fails whatever it is asked."""

    def fail(*arguments: Any) -> Any:
        raise error

    return SimpleNamespace(names=lambda: ["m"], find=fail, statuses=fail)


def refused(lifecycle: Any, call: Callable[[grpc.aio.Channel], Any]) -> grpc.aio.AioRpcError:
    """Returns the error of a call to a server with that lifecycle."""

    async def send() -> grpc.aio.AioRpcError:
        predictor = Predictor(lifecycle, Metrics(), 1, BatchScheduler(1))
        server, calls = grpc.aio.server(), RunningCalls()
        service = PredictionService(predictor, calls, as_content=False)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(predictor, calls), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await call(channel)
        finally:
            await server.stop(None)
            predictor.close()
        return error.value

    return asyncio.run(send())


def status(channel: grpc.aio.Channel) -> Any:
    """Asks for the status of the model."""
    return model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(STATUS, timeout=60)


def predict(channel: grpc.aio.Channel) -> Any:
    """Asks for a prediction."""
    request = predict_pb2.PredictRequest(model_spec={"name": "m"})
    return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)


@pytest.mark.parametrize("call", [status, predict])
@pytest.mark.parametrize(
    ("code", "pause"),
    [
        (StatusCode.UNAVAILABLE, "1000"),
        (StatusCode.RESOURCE_EXHAUSTED, "1000"),
        (StatusCode.INVALID_ARGUMENT, None),
        (StatusCode.NOT_FOUND, None),
        (StatusCode.DEADLINE_EXCEEDED, None),
        (StatusCode.INTERNAL, None),
    ],
)
def test_an_overloaded_server_asks_for_a_pause_of_a_second(call: Any, code: StatusCode, pause: str | None) -> None:
    """Clients that retry wait for it; the errors that no retry resolves do not ask for one."""
    error = refused(failing(ServingError(code, "why")), call)
    assert (error.code(), error.details()) == (code, "why")
    assert dict(error.trailing_metadata()).get("grpc-retry-pushback-ms") == pause


def test_a_long_message_is_cut() -> None:
    """1,024 characters fit into a header of HTTP/2, and a cut is marked."""
    whole = refused(failing(ServingError(StatusCode.INTERNAL, "x" * 1024)), status)
    cut = refused(failing(ServingError(StatusCode.INTERNAL, "x" * 1025)), status)
    assert (whole.details(), cut.details()) == ("x" * 1024, "x" * 1024 + "...TRUNCATED")


def test_a_bug_is_in_the_log_and_not_in_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    """The client learns that the server has failed, and the log has the stack trace."""
    error = refused(failing(KeyError("secret")), status)
    assert (error.code(), error.details()) == (StatusCode.INTERNAL, "The server has failed; its log says where.")
    assert "GetModelStatus could not be answered" in caplog.text and "KeyError: 'secret'" in caplog.text


def test_a_reload_without_a_list_of_models_is_refused() -> None:
    """An empty configuration would otherwise unload every model."""

    def reload(channel: grpc.aio.Channel) -> Any:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        return stub.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(), timeout=60)

    error = refused(failing(AssertionError("not reached")), reload)
    assert error.code() is StatusCode.INVALID_ARGUMENT
    assert "Only ModelConfigList is currently supported" in str(error.details())
