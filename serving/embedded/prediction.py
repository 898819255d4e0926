"""Predict, classify, regress, status and metadata as REST and gRPC share them, with metrics and request log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from grpc import StatusCode
from numpy.typing import NDArray
from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse

from serving.embedded.batching import BATCH_PIXELS, TIMED_OUT, BatchScheduler
from serving.embedded.errors import ServingError
from serving.embedded.load_limits import ByteBudget, count_bytes, row_pixels
from serving.embedded.methods import Classes, as_input, classes_of, classify_signature, regress_signature, values_of
from serving.embedded.metrics import Metrics
from serving.embedded.request_log import RequestLog
from serving.embedded.servable import Servable
from serving.embedded.signatures import Signature, Tensors
from serving.embedded.version_lifecycle import Lifecycle


@dataclass(frozen=True)
class Target:
    """The signature and version that a request addresses.

    Attributes:
        model: The model's name.
        version: A number; None for the newest, or the label's.
        label: A label, if any.
        signature: The signature's name; empty for the default.
    """

    model: str
    version: int | None = None
    label: str | None = None
    signature: str = ""


class Predictor:
    """Runs requests on the versions in memory."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        metrics: Metrics,
        threads: int,
        scheduler: BatchScheduler,
        request_log: RequestLog | None = None,
        max_bytes: int = 2**28,
    ) -> None:
        """Starts the threads for requests without batching.

        Args:
            lifecycle: Finds the versions.
            metrics: Counts the requests.
            threads: The number of requests that run at once.
            scheduler: Runs the requests of versions with batching parameters.
            request_log: Stores a sample of the requests. Defaults to none.
            max_bytes: The most bytes that all requests hold together. Defaults to 256 MiB.
        """
        self.lifecycle, self.metrics = lifecycle, metrics
        self.memory = ByteBudget(max_bytes)
        self._large_images = asyncio.Lock()
        self._threads = ThreadPoolExecutor(threads, "run")
        self._scheduler = scheduler
        self._log = request_log

    def refuse_waiting(self) -> None:
        """Fails the requests that wait for a batch, and all later ones."""
        self._scheduler.refuse_waiting()

    def close(self) -> None:
        """Stops the threads after their running requests."""
        self._threads.shutdown()
        self._scheduler.close()

    @contextmanager
    def count_request(self, model: str, api: str, entrypoint: str) -> Iterator[None]:
        """Counts a request with its outcome and its duration."""
        begun = time.perf_counter()
        status = "OK"
        try:
            yield
        except ServingError as error:
            status = error.code.name
            raise
        except asyncio.CancelledError:
            status = StatusCode.CANCELLED.name
            raise
        except BaseException:
            status = StatusCode.INTERNAL.name
            raise
        finally:
            # Unknown names come from clients: each would stay in the metrics for ever.
            known = model if model in self.lifecycle.names() else ""
            self.metrics.requests.add(known, status)
            if status == "OK":
                self.metrics.latency.observe(known, api, entrypoint, microseconds=1e6 * (time.perf_counter() - begun))

    async def run(
        self,
        servable: Servable,
        signature: Signature,
        inputs: Tensors,
        outputs: Sequence[str],
        deadline: float,
        api: str = "Predict",
    ) -> dict[str, NDArray[Any]]:
        """Runs a signature, alone or in a batch.

        Args:
            servable: The version, acquired by the caller until this returns.
            signature: One of its signatures.
            inputs: Arrays by name.
            outputs: The names of the requested outputs.
            deadline: In the time of `time.monotonic`.
            api: The API's name in the metrics.

        Raises:
            ServingError: The run fails, or does not end in time.
        """
        begun = time.perf_counter()
        with self.memory.request() as allowance:
            allowance.add(count_bytes(inputs))
            if servable.batching:
                answers = await self._scheduler.run(servable, signature, inputs, outputs, deadline, servable.batching)
            else:
                answers = await self._run_unbatched(servable, signature, inputs, outputs, deadline)
        self.metrics.runtime.observe(servable.model, api, "TF1", microseconds=1e6 * (time.perf_counter() - begun))
        self._count_examples(servable.model, inputs)
        return answers

    async def classify(self, servable: Servable, target: Target, examples: list[bytes], deadline: float) -> Classes:
        """Returns the classes with their scores of every serialized tf.Example.

        Raises:
            ServingError: The model has no such signature, or cannot run it.
        """
        signature, outputs = classify_signature(servable, target.signature)
        answers = await self.run(servable, signature, as_input(examples), outputs, deadline, "Classify")
        return classes_of(answers, len(examples))

    async def regress(self, servable: Servable, target: Target, examples: list[bytes], deadline: float) -> list[float]:
        """Returns the value of every serialized tf.Example.

        Raises:
            ServingError: The model has no such signature, or cannot run it.
        """
        signature, outputs = regress_signature(servable, target.signature)
        answers = await self.run(servable, signature, as_input(examples), outputs, deadline, "Regress")
        return values_of(answers, len(examples))

    def log(self, servable: Servable, build: Callable[[], Message]) -> None:
        """Writes a request with its response to the log if it belongs to the sample.

        Args:
            servable: The version that answered.
            build: Returns the PredictionLog; called only for a request of the sample.
        """
        if self._log and self._log.is_sampled():
            self._log.write(servable, build())

    async def _run_unbatched(
        self, servable: Servable, signature: Signature, inputs: Tensors, outputs: Sequence[str], deadline: float
    ) -> dict[str, NDArray[Any]]:
        def run() -> dict[str, NDArray[Any]]:
            # The request may time out while the graph still runs: the version must not be unloaded meanwhile.
            if not servable.acquire(again=True):
                raise ServingError(StatusCode.UNAVAILABLE, "The version is being unloaded")
            with servable:
                return servable.run(signature, inputs, outputs)

        pixels = row_pixels(inputs)
        large = pixels is not None and int(pixels.sum()) > BATCH_PIXELS
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                if large:
                    await self._large_images.acquire()
                running = self._threads.submit(run)
                if large:
                    # Not when the caller stops waiting, but when the run has ended.
                    loop = asyncio.get_running_loop()
                    running.add_done_callback(lambda _: loop.call_soon_threadsafe(self._large_images.release))
                return await asyncio.wrap_future(running)
        except TimeoutError:
            raise ServingError(StatusCode.DEADLINE_EXCEEDED, TIMED_OUT) from None

    def _count_examples(self, model: str, inputs: Mapping[str, NDArray[Any]]) -> None:
        first = next(iter(inputs.values()), None)
        count = len(first) if first is not None and first.ndim else 1
        self.metrics.examples.observe(model, microseconds=count)
        self.metrics.example_total.add(model, by=count)


def model_status(lifecycle: Lifecycle, model: str, version: int | None) -> GetModelStatusResponse:
    """Returns the states of a model's versions, the newest first, or of one version.

    Raises:
        ServingError: There is no such model or version.
    """
    response = GetModelStatusResponse()
    for each in lifecycle.statuses(model, version):
        item = response.model_version_status.add(version=each.number, state=int(each.state))
        item.status.SetInParent()
        if each.error:
            item.status.error_code = each.error.code.value[0]
            item.status.error_message = each.error.message
    return response


def signature_definitions(servable: Servable) -> SignatureDefMap:
    """Returns all signatures of a version as its SavedModel describes them."""
    answer = SignatureDefMap()
    for name, definition in servable.signature_defs.items():
        answer.signature_def[name].CopyFrom(definition)
    return answer
