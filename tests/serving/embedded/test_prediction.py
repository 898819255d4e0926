"""Requests without batching when a client goes, and what is counted and logged of every request."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.embedded.batching import BATCH_PIXELS, BatchScheduler
from serving.embedded.errors import ServingError
from serving.embedded.metrics import Counter, Histogram, Metrics
from serving.embedded.prediction import Predictor, model_status
from serving.embedded.signatures import Signature
from serving.embedded.version_lifecycle import State, Version
from tests.serving.embedded.test_batching import SECONDS, Model, png, rows, settle
from tests.waiting import wait_until

SIGNATURE = Signature("s", "", {}, {}, {})


class Unbatched(Model):
    """A servable without batching parameters."""

    batching = None
    model = "m"


async def begun(model: Model, runs: int) -> None:
    """Waits until so many runs have begun."""
    await asyncio.to_thread(wait_until, lambda: len(model.batches) >= runs, "the runs begin", SECONDS)


def values(metric: Counter | Histogram) -> dict[tuple[str, ...], float]:
    """The count of each combination of labels."""
    if isinstance(metric, Counter):
        return metric.values
    return {labels: sum(counts) for labels, counts in metric.values.items()}


def predictor(threads: int, max_bytes: int = 2**20) -> Predictor:
    """A predictor for servables that the test has."""
    lifecycle: Any = SimpleNamespace(names=lambda: ["m"])
    return Predictor(lifecycle, Metrics(), threads, BatchScheduler(1), max_bytes=max_bytes)


def send(running: Predictor, model: Model, *values: Any, seconds: float = SECONDS) -> asyncio.Task[Any]:
    """Sends a request; returns the task that waits for its answer."""
    servable: Any = model
    return asyncio.ensure_future(
        running.run(servable, SIGNATURE, {"x": rows(*values)}, ["y"], time.monotonic() + seconds)
    )


def test_a_cancelled_request_is_not_run_and_holds_nothing() -> None:
    """It releases its version, which could not be unloaded otherwise, and its bytes."""
    model = Unbatched()

    async def run() -> None:
        running = predictor(threads=1)
        first = send(running, model, b"1" * 100)
        await begun(model, 1)
        gone = send(running, model, b"2" * 100)
        late = send(running, model, b"3" * 100, seconds=0.01)
        with pytest.raises(ServingError) as refused:
            await late
        assert refused.value.code is StatusCode.DEADLINE_EXCEEDED
        gone.cancel()
        await settle()
        assert running.memory.held == 100
        model.free.set()
        await first
        running.close()
        assert running.memory.held == 0

    asyncio.run(run())
    assert model.batches == [[b"1" * 100]] and model.users == 0


def test_one_request_with_large_images_runs_at_once() -> None:
    """Another one, large in the sum of its images, waits for the end of the run, even if the first client has gone."""
    model = Unbatched()
    large, halves = png(BATCH_PIXELS + 1), [png(BATCH_PIXELS // 2 + 1)] * 2

    async def run() -> None:
        running = predictor(threads=4)
        first = send(running, model, large)
        await begun(model, 1)
        second = send(running, model, *halves)
        small = send(running, model, 7)
        less = send(running, model, png(BATCH_PIXELS))
        await begun(model, 3)
        first.cancel()
        await settle()
        assert sorted(map(str, model.batches[1:])) == sorted(map(str, [[7], [png(BATCH_PIXELS)]]))
        model.free.set()
        await asyncio.gather(second, small, less)
        running.close()

    asyncio.run(run())
    assert model.batches[0] == [large] and model.batches[3] == halves


def test_too_many_bytes_are_refused_at_once() -> None:
    """The error is UNAVAILABLE, which clients retry after a pause."""
    model = Unbatched()

    async def run() -> None:
        running = predictor(threads=1, max_bytes=150)
        first = send(running, model, b"1" * 100)
        await begun(model, 1)
        with pytest.raises(ServingError, match="too much memory") as refused:
            await send(running, model, b"2" * 100)
        assert refused.value.code is StatusCode.UNAVAILABLE
        model.free.set()
        await first
        running.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "OK"),
        (ServingError(StatusCode.NOT_FOUND, "none"), "NOT_FOUND"),
        (ServingError(StatusCode.UNAVAILABLE, "full"), "UNAVAILABLE"),
        (asyncio.CancelledError(), "CANCELLED"),
        (KeyError("bug"), "INTERNAL"),
    ],
)
def test_requests_are_counted_by_their_outcome(error: BaseException | None, status: str) -> None:
    """The error reaches the client; only the durations of answered requests are recorded, by model, API and method."""
    counting = predictor(threads=1)
    for model in ("m", "unknown"):
        with (
            nullcontext() if error is None else pytest.raises(type(error)),
            counting.count_request(model, "api", "way"),
        ):
            if error is not None:
                raise error
    assert values(counting.metrics.requests) == {("m", status): 1, ("", status): 1}
    assert values(counting.metrics.latency) == ({("m", "api", "way"): 1, ("", "api", "way"): 1} if not error else {})
    counting.close()


def test_the_rows_and_the_duration_of_a_run_are_counted() -> None:
    """A value without rows counts as one example, and a failed run as none."""
    model = Unbatched()
    model.free.set()

    async def run() -> Metrics:
        running = predictor(threads=1)
        servable: Any = model
        for inputs in ({"x": rows(1, 2, 3)}, {"x": np.array(7)}):
            await running.run(servable, SIGNATURE, inputs, ["y"], time.monotonic() + SECONDS, "Classify")
        with pytest.raises(ServingError):
            await send(running, model, 1, seconds=-1)
        running.close()
        return running.metrics

    metrics = asyncio.run(run())
    assert values(metrics.runtime) == {("m", "Classify", "TF1"): 2}
    assert values(metrics.examples) == {("m",): 2} and values(metrics.example_total) == {("m",): 4}


@pytest.mark.parametrize("sampled", [True, False])
def test_only_requests_of_the_sample_are_written_to_the_log(sampled: bool) -> None:
    """A record of another request is not even built."""
    written: list[Any] = []
    lifecycle: Any = SimpleNamespace(names=lambda: ["m"])
    log: Any = SimpleNamespace(is_sampled=lambda: sampled, write=lambda *record: written.append(record))
    logging = Predictor(lifecycle, Metrics(), 1, BatchScheduler(1), log)
    model: Any = Unbatched()
    built: list[int] = []
    logging.log(model, lambda: built.append(1) or PredictionLog())
    assert written == ([(model, PredictionLog())] if sampled else []) and len(built) == sampled
    logging.close()


def test_the_status_has_the_error_of_a_failed_version() -> None:
    """By number, with gRPC's code and the message; a version without an error has OK."""
    failed = Version(3, Path("3"), State.END, error=ServingError(StatusCode.DATA_LOSS, "torn"))
    lifecycle: Any = SimpleNamespace(statuses=lambda model, number: [failed, Version(2, Path("2"), State.AVAILABLE)])
    first, second = model_status(lifecycle, "m", None).model_version_status
    assert (first.version, first.state, first.status.error_code, first.status.error_message) == (3, 50, 15, "torn")
    assert (second.version, second.state, second.status.error_code, second.status.error_message) == (2, 30, 0, "")
    assert first.HasField("status") and second.HasField("status")
