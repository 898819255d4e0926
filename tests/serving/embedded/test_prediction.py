"""Requests without batching: what happens to their version, their memory and their turn when a client goes."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from grpc import StatusCode

from serving.embedded.batching import BATCH_PIXELS, BatchScheduler
from serving.embedded.errors import ServingError
from serving.embedded.metrics import Metrics
from serving.embedded.prediction import Predictor
from serving.embedded.signatures import Signature
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
    """Another one waits for the end of the run, even if the first client has gone; small ones do not wait."""
    model = Unbatched()
    large = png(BATCH_PIXELS + 1)

    async def run() -> None:
        running = predictor(threads=3)
        first = send(running, model, large)
        await begun(model, 1)
        second = send(running, model, large)
        small = send(running, model, 7)
        await begun(model, 2)
        first.cancel()
        await settle()
        assert model.batches == [[large], [7]]
        model.free.set()
        await asyncio.gather(second, small)
        running.close()

    asyncio.run(run())
    assert model.batches == [[large], [7], [large]]


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
