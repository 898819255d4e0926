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

from serving.embedded.batching import BATCH_PIXELS, QUEUE_FULL, STOPPING, TIMED_OUT, WAITED_TOO_LONG, BatchScheduler
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

    def run(self, signature: Signature, inputs: dict[str, NDArray[Any]], outputs: Any) -> dict[str, NDArray[Any]]:
        self.batches.append(inputs["x"].tolist())
        assert self.free.wait(SECONDS)
        return dict.fromkeys(outputs, inputs["x"])


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
        self, *values: Any, signature: str = "s", output: str = "y", seconds: float = SECONDS, **parameters: Any
    ) -> asyncio.Task[Any]:
        """Sends a request; returns the task that waits for its answer."""
        return asyncio.ensure_future(
            self.scheduler.run(
                self.model,  # type: ignore[arg-type]
                Signature(signature, "", {}, {}, {}),
                {"x": rows(*values)},
                [output],
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
    """The earlier deadlines end their own requests, and leave the others."""
    tasks = [running.send(1)]
    await running.begun(1)
    late = running.send(2)
    for early in (running.send(3, seconds=0.05), running.send(4, seconds=0.1)):
        with pytest.raises(ServingError, match=re.escape(WAITED_TOO_LONG)) as refused:
            await asyncio.wait_for(early, SECONDS / 2)
        assert refused.value.code is StatusCode.RESOURCE_EXHAUSTED
    running.model.free.set()
    await asyncio.gather(*tasks, late)
    assert running.model.batches == [[1], [2]]


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


@with_scheduler()
async def test_a_run_that_takes_too_long_is_not_a_full_server(running: Scheduled) -> None:
    """The error of a request whose run has begun is DEADLINE_EXCEEDED, which clients do not repeat."""
    late = running.send(1, seconds=0.05)
    await running.begun(1)
    with pytest.raises(ServingError, match=f"^{TIMED_OUT}$") as refused:
        await late
    assert refused.value.code is StatusCode.DEADLINE_EXCEEDED


@with_scheduler()
async def test_a_large_request_is_split_where_that_is_enabled(running: Scheduled) -> None:
    """Its parts run in their order with at most the rows of a run, and the answer has all rows."""
    running.model.free.set()
    limits = {"max_batch_size": 4, "max_execution_batch_size": 2, "enable_large_batch_splitting": True}
    answer = await running.send(1, 2, 3, 4, 5, **limits)
    assert answer["y"].tolist() == [1, 2, 3, 4, 5] and running.model.batches == [[1, 2], [3, 4], [5]]


@with_scheduler()
async def test_a_split_request_needs_room_for_all_its_parts(running: Scheduled) -> None:
    """With one batch more than may wait, it is refused as a whole, and nothing of it runs."""
    limits = {"max_batch_size": 2, "enable_large_batch_splitting": True, "max_enqueued_batches": 3}
    tasks = [running.send(0, 0, **limits)]
    await running.begun(1)
    with pytest.raises(ServingError, match=QUEUE_FULL):
        await running.send(*range(7), **limits)
    tasks.append(running.send(1, 2, 3, 4, 5, 6, **limits))
    await settle()
    running.model.free.set()
    await asyncio.gather(*tasks)
    assert running.model.batches == [[0, 0], [1, 2], [3, 4], [5, 6]]


@with_scheduler()
async def test_different_signatures_outputs_and_shapes_do_not_share_a_batch(running: Scheduled) -> None:
    """Equal ones do, and each request gets its own rows."""
    first = running.send(0)
    await running.begun(1)
    tasks = [
        running.send(1), running.send(2, 3), running.send(4, signature="other"), running.send(5, output="z"),
        running.send([6]), running.send(7),
    ]  # fmt: skip
    await settle()
    running.model.free.set()
    await first
    answers = [next(iter((await task).values())).tolist() for task in tasks]
    assert answers == [[1], [2, 3], [4], [5], [[6]], [7]]
    assert running.model.batches == [[0], [1, 2, 3, 7], [4], [5], [[6]]]


@with_scheduler(threads=2)
async def test_as_many_batches_run_at_once_as_there_are_threads(running: Scheduled) -> None:
    """A third one waits until a thread is free."""
    tasks = [running.send(number, max_batch_size=1) for number in (1, 2, 3)]
    await running.begun(2)
    await settle()
    assert sorted(running.model.batches) == [[1], [2]]
    running.model.free.set()
    await asyncio.gather(*tasks)
    assert running.model.batches[2] == [3]


def test_the_waiting_time_of_each_request_is_observed() -> None:
    """In seconds, from the arrival to the start of its run."""
    waits, running = list[float](), Scheduled(1)
    running.scheduler = BatchScheduler(1, waits.append)

    async def send() -> None:
        begun, first = time.monotonic(), running.send(1)
        await running.begun(1)
        second = running.send(2)
        await asyncio.sleep(0.1)
        running.model.free.set()
        await asyncio.gather(first, second)
        assert len(waits) == 2 and waits[0] >= 0 and 0.1 <= waits[1] <= time.monotonic() - begun

    asyncio.run(send())
    running.scheduler.close()


class Picky(Model):
    """A model that refuses a batch with a negative number, and that may be unloaded."""

    loaded = True

    def acquire(self, again: bool = False) -> bool:
        """Admits requests that have acquired the version before."""
        assert again
        return self.loaded and super().acquire(again)

    def run(self, signature: Signature, inputs: dict[str, NDArray[Any]], outputs: Any) -> dict[str, NDArray[Any]]:
        """Returns the inputs."""
        answer = super().run(signature, inputs, outputs)
        if (inputs["x"] < 0).any():
            raise ServingError(StatusCode.INVALID_ARGUMENT, "negative")
        return answer


@with_scheduler()
async def test_a_bad_request_fails_alone(running: Scheduled) -> None:
    """The others of its batch run again without it."""
    running.model = Picky()
    tasks = [running.send(0)]
    await running.begun(1)
    tasks += [running.send(1), running.send(2)]
    bad = running.send(-1)
    await settle()
    running.model.free.set()
    assert [(await task)["y"].tolist() for task in tasks] == [[0], [1], [2]]
    with pytest.raises(ServingError, match="^negative$"):
        await bad
    assert running.model.batches == [[0], [1, 2, -1], [1], [2], [-1]] and running.model.users == 0


@with_scheduler()
async def test_an_unloaded_version_is_not_run(running: Scheduled) -> None:
    """A request that comes too late for a version that was unloaded may be repeated."""
    running.model = Picky()
    running.model.loaded = False
    with pytest.raises(ServingError, match="^The version is being unloaded$") as refused:
        await running.send(1)
    assert refused.value.code is StatusCode.UNAVAILABLE and not running.model.batches


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


@with_scheduler()
async def test_a_batch_without_room_for_the_next_request_does_not_wait(at: Scheduled) -> None:
    """Three of four rows run as soon as two more arrive, which then wait for others in a batch of their own."""
    at.model.free.set()
    limits = {"max_batch_size": 4, "batch_timeout_micros": 60_000_000}
    first, second = at.send(1, 2, 3, **limits), at.send(4, 5, **limits)
    assert (await asyncio.wait_for(first, SECONDS / 2))["y"].tolist() == [1, 2, 3]
    await settle()
    assert at.model.batches == [[1, 2, 3]]
    second.cancel()
