"""The server process: starts the lifecycle, REST and gRPC on one event loop, and stops them in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import uvicorn
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from starlette.routing import Router
from starlette.types import ASGIApp
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from pipeline.contract.errors import UserError
from serving.embedded.batching import BatchScheduler
from serving.embedded.config_files import Batching, ModelSource, read_batching, read_metrics_path, read_models
from serving.embedded.errors import ServingError
from serving.embedded.flags import ServerFlags
from serving.embedded.grpc_services import ModelService, PredictionService, RunningCalls
from serving.embedded.http_limits import IDLE_SECONDS, bounded_protocol
from serving.embedded.load_limits import BODIES
from serving.embedded.metrics import Metrics
from serving.embedded.page import routes
from serving.embedded.prediction import Predictor
from serving.embedded.request_log import RequestLog
from serving.embedded.rest import RestApi, RestOptions, not_found
from serving.embedded.version_lifecycle import Lifecycle, Options
from serving.embedded.version_loader import VersionLoader

log = logging.getLogger("serving")

DRAIN_SECONDS = 5.0
"""How long running requests may take after SIGTERM. With what follows, the server ends before `docker stop` and our own
`ServerProcess` kill it, after 10 s."""
UNLOAD_SECONDS = 1.0
ACCEPT_SECONDS = 0.05
SWITCH_SECONDS = 0.0005
"""Python's thread switch interval. At the default of 5 ms, a version that loads in the background adds that much to
every request."""
IMPORTED = time.perf_counter()


class PortError(UserError):
    """A port of the server cannot be opened."""


class Server:
    """A server of models over REST and gRPC."""

    def __init__(self, flags: ServerFlags) -> None:
        """Reads the configuration files; `run` starts the server.

        Raises:
            ServingError: A configuration file cannot be read, or is invalid.
        """
        self._flags = flags
        self.metrics = Metrics()
        self._sources = _sources(flags)
        batching = read_batching(Path(flags.batching_parameters_file)) if flags.batching_parameters_file else Batching()
        self._metrics_path = (
            read_metrics_path(Path(flags.monitoring_config_file)) if flags.monitoring_config_file else None
        )
        self._log = _request_log(flags, self.metrics)
        self.lifecycle = Lifecycle(VersionLoader(flags, batching, self.metrics).load, _options(flags))
        scheduler = BatchScheduler(batching.num_batch_threads, self._observe_wait)
        self.predictor = Predictor(
            self.lifecycle,
            self.metrics,
            flags.rest_api_num_threads,
            scheduler,
            self._log,
            BODIES * flags.rest_api_max_body_bytes,
        )
        self._calls = RunningCalls()
        self._stop = asyncio.Event()

    def run(self) -> None:
        """Serves until SIGINT or SIGTERM, then finishes the running requests.

        Raises:
            ServingError: A model cannot be loaded.
            PortError: A port is taken.
        """
        sockets = [_bind(self._flags.bind_address, self._flags.rest_api_port)] if self._flags.rest_api_port else []
        sys.setswitchinterval(SWITCH_SECONDS)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(sockets))

    async def _serve(self, sockets: list[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        starting = asyncio.ensure_future(asyncio.to_thread(self.lifecycle.start, self._sources))
        stopping = asyncio.ensure_future(self._stopped())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            self.lifecycle.cancel_start()
        await starting
        # Imported objects are never garbage: without them a collection takes a tenth of the time.
        gc.collect()
        gc.freeze()
        # A request creates hundreds of short-lived lists: at Python's threshold of 700, collections take a tenth of
        # the time.
        gc.set_threshold(50_000, 20, 20)
        watching = asyncio.ensure_future(self._watch_config())
        services = await self._start_grpc() if self._flags.port else None
        rest = await self._start_rest(sockets) if sockets else None
        self._announce()
        await stopping
        watching.cancel()
        await self._shut_down(services, rest)
        # Not by the end of the event loop, which ends calls that have just arrived as CANCELLED, and waits for the runs
        # of clients that have gone. A connection that the operating system closes is UNAVAILABLE to its client.
        logging.shutdown()
        os._exit(0)

    async def _stopped(self) -> None:
        await self._stop.wait()

    async def _shut_down(self, services: _Services | None, rest: _Rest | None) -> None:
        """Answers running requests, refuses those that take too long, and unloads the versions."""
        ending = [self._calls.finish(DRAIN_SECONDS)]
        if services and services.checks:
            ending.append(services.checks.enter_graceful_shutdown())
        if rest:
            ending.append(rest.stop())
        await asyncio.gather(*ending)
        self.predictor.refuse_waiting()
        unloading = asyncio.get_running_loop().run_in_executor(None, self.lifecycle.stop)
        await asyncio.wait([unloading], timeout=UNLOAD_SECONDS)
        if self._log:
            self._log.close()

    async def _start_grpc(self) -> _Services:
        flags = self._flags
        limits = [("grpc.max_receive_message_length", 2**31 - 1), ("grpc.max_send_message_length", 2**31 - 1)]
        server = grpc.aio.server(options=[*limits, ("grpc.so_reuseport", 0)])
        prediction = PredictionService(self.predictor, self._calls, flags.enable_serialization_as_tensor_content)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self.predictor, self._calls), server)
        checks = None
        if flags.enable_grpc_healthcheck_service:
            checks = health.aio.HealthServicer()
            health_pb2_grpc.add_HealthServicer_to_server(checks, server)
            for name in ("", "ModelService", "PredictionService"):
                await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
        address = f"{_bracketed(flags.bind_address)}:{flags.port}"
        try:
            server.add_insecure_port(address)
        except RuntimeError:
            raise PortError(
                "The gRPC port cannot be opened.", expected=f"{address} free", received="it is taken"
            ) from None
        await server.start()
        return _Services(server, checks)

    async def _start_rest(self, sockets: list[socket.socket]) -> _Rest:
        flags = self._flags
        options = RestOptions(
            timeout_seconds=flags.rest_api_timeout_in_ms / 1000,
            max_body_bytes=flags.rest_api_max_body_bytes,
            cors=flags.rest_api_enable_cors_support,
            metrics_path=self._metrics_path,
        )
        app = RestApi(self.predictor, options, self._other_routes())
        config = uvicorn.Config(
            app,
            http=bounded_protocol(options.timeout_seconds),
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(DRAIN_SECONDS),
        )
        server = _Uvicorn(config)
        serving = asyncio.ensure_future(server.serve(sockets))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        return _Rest(server, sockets, serving)

    def _other_routes(self) -> ASGIApp:
        if not self._flags.ui:
            return not_found
        return Router(routes(self.lifecycle.names), redirect_slashes=False, default=not_found)

    async def _watch_config(self) -> None:
        path, wait = self._flags.model_config_file, self._flags.model_config_file_poll_wait_seconds
        loop = asyncio.get_running_loop()
        while path and wait > 0:
            await asyncio.sleep(wait)
            try:
                await loop.run_in_executor(None, lambda: self.lifecycle.reload(read_models(Path(path))))
            except ServingError as error:
                log.error("The configuration %s is rejected: %s", path, error.message)

    def _observe_wait(self, seconds: float) -> None:
        self.metrics.queueing.observe("model_server_batch_threads", microseconds=1e6 * seconds)

    def _announce(self) -> None:
        flags = self._flags
        host = _bracketed(flags.bind_address)
        if flags.rest_api_port:
            log.info("REST answers at http://%s:%d", host, flags.rest_api_port)
        if flags.port:
            log.info("gRPC answers at %s:%d", host, flags.port)
        log.info("Ready %.2f s after the imports", time.perf_counter() - IMPORTED)


@dataclass(frozen=True)
class _Services:
    """The gRPC server, and its health checks if they are enabled.

    The server is never stopped, because calls that arrive after that end as CANCELLED, which clients do not retry. It
    answers UNAVAILABLE until the process ends.
    """

    server: grpc.aio.Server
    checks: health.aio.HealthServicer | None


@dataclass(frozen=True)
class _Rest:
    """The REST server with its listening sockets, and the task that serves."""

    server: uvicorn.Server
    sockets: list[socket.socket]
    serving: asyncio.Future[None]

    async def stop(self) -> None:
        """Closes the sockets, and the connections after their responses or the time-out."""
        # Connections that wait to be accepted would be reset: none may join them, and the event loop accepts the rest.
        for each in self.sockets:
            each.listen(0)
        await asyncio.sleep(ACCEPT_SECONDS)
        self.server.should_exit = True
        await self.serving
        # Uvicorn cancels the requests that take too long, but does not wait for their responses.
        if late := set(self.server.server_state.tasks):
            await asyncio.wait(late, timeout=1)
            await asyncio.sleep(IDLE_SECONDS)


class _Uvicorn(uvicorn.Server):
    """A uvicorn server that does not handle signals, because gRPC has to stop as well."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _sources(flags: ServerFlags) -> list[ModelSource]:
    if flags.model_config_file:
        return read_models(Path(flags.model_config_file))
    return [ModelSource(flags.model_name, Path(flags.model_base_path).absolute())]


def _options(flags: ServerFlags) -> Options:
    return Options(
        poll_seconds=flags.file_system_poll_wait_seconds,
        retries=flags.max_num_load_retries,
        retry_seconds=flags.load_retry_interval_micros / 1e6,
        labels_for_unavailable=flags.allow_version_labels_for_unavailable_models,
    )


def _request_log(flags: ServerFlags, metrics: Metrics) -> RequestLog | None:
    if not (flags.request_log_prefix and flags.request_log_sampling_rate):
        return None
    if flags.request_log_original_files:
        log.warning(
            "The request log stores image files as clients send them. They may show persons and hold places and names: "
            "docs/privacy.md says what that requires"
        )
    return RequestLog(
        Path(flags.request_log_prefix),
        flags.request_log_sampling_rate,
        flags.request_log_max_bytes,
        flags.request_log_max_files,
        original_files=flags.request_log_original_files,
        count=metrics.logged.add,
    )


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise PortError(
            "The REST port cannot be opened.", expected=f"{host}:{port} free", received=error.strerror or str(error)
        ) from None
    return listener


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
