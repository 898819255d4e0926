"""The batch scheduler, with a model that records its batches and runs until it is released."""

from __future__ import annotations

import asyncio
import re
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode
from numpy.typing import NDArray

from serving.embedded.batching import BATCH_PIXELS, QUEUE_FULL, STOPPING, WAITED_TOO_LONG, BatchScheduler
from serving.embedded.config_files import Batching
from serving.embedded.errors import ServingError
from serving.embedded.signatures import Signature

SECONDS = 60.0


class Model:
    """A servable whose runs wait for `release`.

    Attributes:
        batches: The rows of every run, in the order of their starts.
        free: Set when runs may end.
        users: The number of runs that have not ended.
    """

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.free = threading.Event()
        self.users = 0

    def acquire(self, again: bool = False) -> bool:
        self.users += 1
        return True

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.users -= 1

    def run(self, signature: Signature, inputs: dict[str, NDArray[Any]], outputs: object) -> dict[str, NDArray[Any]]:
        self.batches.append(inputs["x"].tolist())
        assert self.free.wait(SECONDS)
        return {"y": inputs["x"]}


def png(pixels: int) -> bytes:
    """The head of a PNG of so many pixels."""
    return b"\x89PNG\r\n\x1a\n" + bytes(4) + b"IHDR" + struct.pack(">II", pixels, 1)


def rows(*values: Any) -> NDArray[Any]:
    """An input; of strings, an array of objects."""
    if not isinstance(values[0], bytes):
        return np.array(values)
    array = np.empty(len(values), object)
    array[:] = values
    return array


class Scheduled:
    """A scheduler with its model, on an event loop.

    Attributes:
        scheduler: The scheduler.
        model: The model.
    """

    def __init__(self, threads: int) -> None:
        self.scheduler, self.model = BatchScheduler(threads), Model()

    def send(
        self, *values: Any, signature: str = "s", seconds: float = SECONDS, **parameters: Any
    ) -> asyncio.Task[Any]:
        """Sends a request; returns the task that waits for its answer."""
        return asyncio.ensure_future(
            self.scheduler.run(
                self.model,  # type: ignore[arg-type]
                Signature(signature, "", {}, {}, {}),
                {"x": rows(*values)},
                ["y"],
                time.monotonic() + seconds,
                Batching(**parameters),
            )
        )

    async def begun(self, runs: int) -> None:
        """Waits until so many runs have begun."""
        end = time.monotonic() + SECONDS
        while len(self.model.batches) < runs:
            assert time.monotonic() < end
            await asyncio.sleep(0.001)


@contextmanager
def scheduled(threads: int = 1) -> Iterator[Scheduled]:
    """A scheduler that ends with the block."""
    running = Scheduled(threads)
    try:
        yield running
    finally:
        running.model.free.set()
        running.scheduler.close()


def with_scheduler(threads: int = 1) -> Callable[[Callable[[Scheduled], Awaitable[None]]], Callable[[], None]]:
    """Runs a test on an event loop with a scheduler."""

    def decorate(test: Callable[[Scheduled], Awaitable[None]]) -> Callable[[], None]:
        def run() -> None:
            with scheduled(threads) as running:
                asyncio.run(test(running))  # type: ignore[arg-type]

        run.__doc__, run.__name__ = test.__doc__, test.__name__
        return run

    return decorate


async def settle() -> None:
    """Lets the event loop do everything that is due."""
    for _ in range(10):
        await asyncio.sleep(0)


@with_scheduler()
async def test_a_cancelled_request_is_not_run(running: Scheduled) -> None:
    """A request whose client has gone leaves the queue, and its place is free for another at once."""
    first = running.send(1, max_batch_size=1, max_enqueued_batches=1)
    await running.begun(1)
    gone = running.send(2, max_batch_size=1, max_enqueued_batches=1)
    await settle()
    gone.cancel()
    await settle()
    last = running.send(3, max_batch_size=1, max_enqueued_batches=1)
    running.model.free.set()
    assert [(await task)["y"].tolist() for task in (first, last)] == [[1], [3]]
    assert running.model.batches == [[1], [3]] and running.model.users == 0


@with_scheduler()
async def test_a_cancelled_request_leaves_its_batch(running: Scheduled) -> None:
    """The others of the batch run without it."""
    first = running.send(1)
    await running.begun(1)
    others = [running.send(number) for number in (2, 3, 4)]
    await settle()
    others[1].cancel()
    running.model.free.set()
    await first
    assert [(await task)["y"].tolist() for task in (others[0], others[2])] == [[2], [4]]
    assert running.model.batches == [[1], [2, 4]]


@with_scheduler()
async def test_a_full_queue_refuses_and_keeps_its_order(running: Scheduled) -> None:
    """Beyond `max_enqueued_batches`, a request is refused at once; a batch with room takes it all the same."""
    limits = {"max_batch_size": 2, "max_enqueued_batches": 2}
    tasks = [running.send(0, 0, **limits)]
    await running.begun(1)
    tasks += [running.send(1, 1, **limits), running.send(2, **limits)]
    await settle()
    with pytest.raises(ServingError, match=QUEUE_FULL) as refused:
        await running.send(9, 9, **limits)
    assert refused.value.code is StatusCode.UNAVAILABLE
    tasks.append(running.send(3, **limits))
    running.model.free.set()
    await asyncio.gather(*tasks)
    assert running.model.batches == [[0, 0], [1, 1], [2, 3]]


@with_scheduler()
async def test_signatures_take_turns(running: Scheduled) -> None:
    """A signature with many batches does not delay another one by all of them."""
    tasks = [running.send(0, max_batch_size=1)]
    await running.begun(1)
    tasks += [running.send(number, max_batch_size=1) for number in (1, 2, 3)]
    tasks += [running.send(number, max_batch_size=1, signature="other") for number in (11, 12)]
    await settle()
    running.model.free.set()
    await asyncio.gather(*tasks)
    assert running.model.batches == [[0], [1], [11], [2], [12], [3]]


@with_scheduler()
async def test_each_request_has_its_own_deadline(running: Scheduled) -> None:
    """The earlier deadline ends its own request, and leaves the others."""
    tasks = [running.send(1)]
    await running.begun(1)
    late = running.send(2)
    early = running.send(3, seconds=0.05)
    with pytest.raises(ServingError, match=re.escape(WAITED_TOO_LONG)) as refused:
        await early
    assert refused.value.code is StatusCode.RESOURCE_EXHAUSTED
    running.model.free.set()
    await asyncio.gather(*tasks, late)
    assert running.model.batches == [[1], [2]]


@with_scheduler()
async def test_padding_uses_the_next_allowed_size(running: Scheduled) -> None:
    """A batch is filled up to the smallest allowed size that holds it, and the filling is cut off."""
    running.model.free.set()
    answer = await running.send(1, 2, 3, max_batch_size=8, allowed_batch_sizes=(2, 4, 8))
    assert len(running.model.batches[0]) == 4 and answer["y"].tolist() == [1, 2, 3]


@with_scheduler()
async def test_a_request_over_the_limit_names_the_limit_and_the_remedy(running: Scheduled) -> None:
    """The largest batch is accepted; the error for a larger one says what the client and the operator can do."""
    running.model.free.set()
    await running.send(*range(128), max_batch_size=128)
    with pytest.raises(ServingError, match="at most 128 rows in a request, or .* enable_large_batch_splitting"):
        await running.send(*range(129), max_batch_size=128)


@with_scheduler(threads=2)
async def test_one_large_image_runs_at_once_and_delays_no_small_one(running: Scheduled) -> None:
    """Rows that together exceed the pixels of a batch are split; of single images beyond it, only one runs."""
    large, small = png(BATCH_PIXELS + 1), png(BATCH_PIXELS // 2)
    heavy = running.send(large, large, large)
    await running.begun(1)
    await settle()
    assert running.model.batches == [[large]]
    light = running.send(small, small, small)
    await running.begun(2)
    assert running.model.batches[1] == [small, small]
    running.model.free.set()
    assert (await heavy)["y"].tolist() == [large] * 3 and (await light)["y"].tolist() == [small] * 3
    assert sorted(map(len, running.model.batches)) == [1, 1, 1, 1, 2]


@with_scheduler()
async def test_what_waits_is_refused_when_the_server_stops(running: Scheduled) -> None:
    """Waiting and later requests end as UNAVAILABLE, and the one that runs is answered."""
    first = running.send(1)
    await running.begun(1)
    waiting = running.send(2)
    await settle()
    running.scheduler.refuse_waiting()
    for task in (waiting, running.send(3)):
        with pytest.raises(ServingError, match=STOPPING) as refused:
            await task
        assert refused.value.code is StatusCode.UNAVAILABLE
    running.model.free.set()
    assert (await first)["y"].tolist() == [1]
    assert running.model.batches == [[1]]


def test_a_huge_number_of_empty_rows_is_refused() -> None:
    """A request may state any number of empty rows; it is refused before the split if it does not fit."""
    scheduler = BatchScheduler(1)
    nowhere: Any = None
    signature = Signature("serving_default", "", {}, {}, {})
    inputs = {"image": np.zeros((2**62, 0), np.uint8)}
    splitting = Batching(enable_large_batch_splitting=True)
    deadline = time.monotonic() + 60
    with pytest.raises(ServingError, match=QUEUE_FULL):
        asyncio.run(scheduler.run(nowhere, signature, inputs, ["group"], deadline, splitting))
    scheduler.close()


class Recorder:
    """Takes the place of a version: keeps the arrays of each run and returns them."""

    def __init__(self) -> None:
        self.runs: list[Any] = []

    def acquire(self, again: bool = False) -> bool:
        """Admits every request."""
        return True

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...

    def run(self, signature: Signature, inputs: Any, outputs: Any) -> Any:
        """Returns the input."""
        self.runs.append(inputs["x"].tolist())
        return {"x": inputs["x"]}


def run_together(parameters: Batching, *requests: Any) -> tuple[list[Any], list[Any]]:
    """Sends requests at once; returns the rows of each run, and the answer of each request."""
    servable: Any = Recorder()
    scheduler = BatchScheduler(1)
    signature = Signature("serving_default", "", {}, {}, {})

    async def send() -> list[Any]:
        deadline = time.monotonic() + 60
        calls = [
            scheduler.run(servable, signature, {"x": np.array(rows, object)}, ["x"], deadline, parameters)
            for rows in requests
        ]
        return [answer["x"].tolist() for answer in await asyncio.gather(*calls)]

    answers = asyncio.run(send())
    scheduler.close()
    return servable.runs, answers


def test_a_batch_is_padded_with_the_first_row_of_its_last_request() -> None:
    """Rows up to the allowed size are copies of the last request's first row, and belong to no answer."""
    parameters = Batching(max_batch_size=6, batch_timeout_micros=1_000, allowed_batch_sizes=(6,))
    assert run_together(parameters, [b"a", b"b"], [b"c", b"d"]) == (
        [[b"a", b"b", b"c", b"d", b"c", b"c"]],
        [[b"a", b"b"], [b"c", b"d"]],
    )


def test_requests_of_different_shapes_are_padded_with_their_own_first_element() -> None:
    """With `pad_variable_length_inputs`, shorter requests share a batch with longer ones; without it, they do not."""
    padding = Batching(max_batch_size=2, batch_timeout_micros=1_000, pad_variable_length_inputs=True)
    long, short, padded = [[b"a", b"b", b"c"]], [[b"d"]], [[b"d", b"d", b"d"]]
    assert run_together(padding, long, short) == ([long + padded], [long, padded])
    alone = Batching(max_batch_size=2, batch_timeout_micros=1_000)
    assert run_together(alone, long, short) == ([long, short], [long, short])


@with_scheduler()
async def test_a_full_batch_does_not_wait_for_more(at: Scheduled) -> None:
    """With a minute to wait for further requests, the fourth row of four starts the run."""
    at.model.free.set()
    waiting = [at.send(row, max_batch_size=4, batch_timeout_micros=60_000_000) for row in (1, 2, 3)]
    await settle()
    assert not at.model.batches
    answers = await asyncio.wait_for(
        asyncio.gather(*waiting, at.send(4, max_batch_size=4, batch_timeout_micros=60_000_000)), SECONDS / 2
    )
    assert at.model.batches == [[1, 2, 3, 4]] and len(answers) == 4
