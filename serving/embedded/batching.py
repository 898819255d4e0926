"""Dynamic batching: concurrent requests of one signature run as one, with TensorFlow Serving's parameters.

Everything but the run itself happens on the event loop, so there are no locks. Meaning of the parameters:
https://github.com/tensorflow/serving/blob/master/tensorflow_serving/batching/README.md.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from grpc import StatusCode
from numpy.typing import NDArray

from serving.embedded.config_files import Batching
from serving.embedded.errors import ServingError, invalid
from serving.embedded.load_limits import row_pixels, trim_heap
from serving.embedded.servable import Servable, as_serving_error
from serving.embedded.signatures import Signature

Arrays = Mapping[str, NDArray[Any]]
Observe = Callable[[float], None]
QUEUE_FULL = "The batch scheduling queue to which this task was submitted is full"
WAITED_TOO_LONG = "Run() timeout exceeded while waiting in batching queue"
TIMED_OUT = "Timed out waiting for the model to run"
STOPPING = "The server is shutting down"
BATCH_PIXELS = 12_500_000
"""The most pixels of image files in a batch. A larger image runs alone, and only one such image runs at once: its run
takes a second, and up to 1.3 GB for 50 million pixels."""
TRIM_PIXELS, TRIM_SECONDS = 3_000_000, 1.0
"""After a run with more pixels, malloc returns its free pages, at most once in this time."""


@dataclass(eq=False)
class Task:
    """A request, or a part of a request that was split."""

    inputs: Arrays
    size: int
    deadline: float
    answer: asyncio.Future[dict[str, NDArray[Any]]]
    arrived: float
    pixels: int = 0
    started: bool = False


@dataclass(eq=False)
class Batch:
    """Tasks that run together."""

    tasks: list[Task] = field(default_factory=list)
    size: int = 0
    pixels: int = 0

    def add(self, task: Task) -> None:
        """Adds a task."""
        self.tasks.append(task)
        self.size += task.size
        self.pixels += task.pixels

    def has_room(self, task: Task, rows: int) -> bool:
        """Whether a task fits into the batch."""
        return self.size + task.size <= rows and self.pixels + task.pixels <= BATCH_PIXELS

    @property
    def heavy(self) -> bool:
        """Whether the batch is one large image."""
        return self.pixels > BATCH_PIXELS


@dataclass(eq=False)
class Queue:
    """Batches that wait for one signature of one version: fitting shapes, equal outputs, large images apart."""

    servable: Servable
    signature: Signature
    outputs: tuple[str, ...]
    parameters: Batching
    batches: deque[Batch] = field(default_factory=deque)


class BatchScheduler:
    """Collects requests into batches and runs them on a few threads."""

    def __init__(self, threads: int, observe_wait: Observe = lambda seconds: None) -> None:
        """Starts the threads.

        Args:
            threads: The number of batches that run at once.
            observe_wait: Called with the waiting time of each request, in seconds.
        """
        self._observe = observe_wait
        self._threads = ThreadPoolExecutor(threads, "batch")
        self._idle = threads
        self._heavy_runs = False
        self._trimming: asyncio.TimerHandle | None = None
        self._stopping = False
        # In the order of their turn. A queue without batches is dropped, with its reference to the version.
        self._queues: dict[Any, Queue] = {}
        self._alarm: asyncio.TimerHandle | None = None
        # One timer for the earliest deadline: a timer for each request would cost a tenth of its time.
        self._pending: set[Task] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._next_sweep = math.inf

    async def run(
        self,
        servable: Servable,
        signature: Signature,
        inputs: Arrays,
        outputs: Sequence[str],
        deadline: float,
        parameters: Batching,
    ) -> dict[str, NDArray[Any]]:
        """Runs a request in a batch with others.

        Args:
            servable: The version, acquired by the caller until this returns.
            signature: One of its signatures.
            inputs: Arrays of equal length, by name.
            outputs: The names of the requested outputs.
            deadline: In the time of `time.monotonic`.
            parameters: The batching parameters of this version.

        Raises:
            ServingError: The queue is full, the request waited too long, or its run fails.
        """
        size = _rows(inputs)
        limit = parameters.max_batch_size
        if size > limit and not parameters.enable_large_batch_splitting:
            raise invalid(
                f"Task size {size} is larger than maximum input batch size {limit}. Send at most {limit} rows in a "
                "request, or start the server with enable_large_batch_splitting in its batching parameters"
            )
        if self._stopping:
            raise ServingError(StatusCode.UNAVAILABLE, STOPPING)
        parts = self._submit(servable, signature, inputs, tuple(outputs), size, deadline, parameters)
        self._schedule()
        try:
            answers = [await part.answer for part in parts]
        finally:
            self._forget(parts)
        if len(answers) == 1:
            return answers[0]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in outputs}

    def refuse_waiting(self) -> None:
        """Fails the tasks that no run has begun, and all later ones; runs go on."""
        self._stopping = True
        for task in self._pending:
            if not task.started and not task.answer.done():
                task.answer.set_exception(ServingError(StatusCode.UNAVAILABLE, STOPPING))
        self._queues.clear()

    def close(self) -> None:
        """Stops the threads after their running batches."""
        self._threads.shutdown()

    def _forget(self, parts: list[Task]) -> None:
        """Drops the parts of a request that are still queued: their caller has its answer, or has gone."""
        waiting = False
        for part in parts:
            part.answer.cancel()
            self._pending.discard(part)
            waiting = waiting or not part.started
        if not waiting:
            return
        for key, queue in list(self._queues.items()):
            kept = [batch for batch in queue.batches if any(not task.answer.done() for task in batch.tasks)]
            queue.batches = deque(kept)
            if not kept:
                del self._queues[key]

    def _submit(
        self,
        servable: Servable,
        signature: Signature,
        inputs: Arrays,
        outputs: tuple[str, ...],
        size: int,
        deadline: float,
        parameters: Batching,
    ) -> list[Task]:
        padded = parameters.pad_variable_length_inputs
        shapes = tuple((name, array.ndim if padded else array.shape[1:]) for name, array in inputs.items())
        loop, now, step = asyncio.get_running_loop(), time.monotonic(), parameters.execution_size
        pixels = row_pixels(inputs)
        # Large images have a queue of their own, behind which no other request waits.
        heavy = pixels is not None and bool((pixels > BATCH_PIXELS).any())
        key = (id(servable), signature.name, outputs, shapes, heavy)
        queue = self._queues.get(key) or Queue(servable, signature, outputs, parameters)
        # Checked before the split: rows may be empty, and then a request of a few bytes has any number of them.
        needed, (batches, rows) = max(-(-size // step), 1), self._room(queue)
        if (needed > 1 or size > rows) and needed > batches:
            raise ServingError(StatusCode.UNAVAILABLE, QUEUE_FULL)
        parts = [
            Task(
                inputs if stop - start == size else _slice(inputs, start, stop),
                stop - start,
                deadline,
                loop.create_future(),
                now,
                0 if pixels is None else int(pixels[start:stop].sum()),
            )
            for start, stop in _ranges(size, step, pixels)
        ]
        self._queues[key] = queue
        self._pending.update(parts)
        if deadline < self._next_sweep:
            self._sweep_at(deadline)
        for part in parts:
            if not queue.batches or not queue.batches[-1].has_room(part, step):
                queue.batches.append(Batch())
            queue.batches[-1].add(part)
        return parts

    def _room(self, queue: Queue) -> tuple[int, int]:
        """Returns how many more batches may wait, and how many more rows fit into the last one."""
        open_rows = queue.parameters.execution_size - queue.batches[-1].size if queue.batches else 0
        return queue.parameters.max_enqueued_batches - len(queue.batches), open_rows

    def _schedule(self) -> None:
        """Starts a batch that is full or has waited long enough on every idle thread."""
        while self._idle and (due := self._next_due()):
            key, queue = due
            batch = queue.batches.popleft()
            del self._queues[key]
            if queue.batches:
                self._queues[key] = queue  # to the end: the other queues have their turn first
            self._start(queue, batch)

    def _next_due(self) -> tuple[Any, Queue] | None:
        now, soonest = time.monotonic(), None
        for key, queue in self._queues.items():
            first = queue.batches[0]
            if first.heavy and self._heavy_runs:
                continue
            due = first.tasks[0].arrived + queue.parameters.batch_timeout_micros / 1e6
            if due <= now or len(queue.batches) > 1 or first.size >= queue.parameters.execution_size:
                return key, queue
            soonest = min(soonest or due, due)
        if soonest is not None:
            self._wake(soonest - now)
        return None

    def _wake(self, seconds: float) -> None:
        if self._alarm:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._schedule)

    def _sweep_at(self, deadline: float) -> None:
        if self._sweeper:
            self._sweeper.cancel()
        self._next_sweep = deadline
        self._sweeper = asyncio.get_running_loop().call_later(deadline - time.monotonic(), self._sweep)

    def _sweep(self) -> None:
        """Fails the tasks whose deadline has passed."""
        now, self._next_sweep = time.monotonic(), math.inf
        for task in self._pending:
            if task.deadline <= now and not task.answer.done():
                code = StatusCode.DEADLINE_EXCEEDED if task.started else StatusCode.RESOURCE_EXHAUSTED
                task.answer.set_exception(ServingError(code, TIMED_OUT if task.started else WAITED_TOO_LONG))
        waiting = [task.deadline for task in self._pending if not task.answer.done()]
        if waiting:
            self._sweep_at(min(waiting))

    def _start(self, queue: Queue, batch: Batch) -> None:
        now = time.monotonic()
        for task in batch.tasks:
            self._observe(now - task.arrived)
            task.started = True
        # Tasks that timed out, or whose caller has gone, are not run.
        batch.tasks = [task for task in batch.tasks if not task.answer.done()]
        if not batch.tasks:
            return
        self._idle -= 1
        self._heavy_runs = self._heavy_runs or batch.heavy
        running = asyncio.get_running_loop().run_in_executor(self._threads, self._run, queue, batch.tasks)
        running.add_done_callback(lambda done: self._end(batch, done.result()))

    def _end(self, batch: Batch, answers: list[Any]) -> None:
        self._idle += 1
        if batch.heavy:
            self._heavy_runs = False
        if batch.pixels > TRIM_PIXELS:
            self._trim_later()
        for task, answer in zip(batch.tasks, answers, strict=True):
            if task.answer.done():
                continue
            if isinstance(answer, ServingError):
                task.answer.set_exception(answer)
            else:
                task.answer.set_result(answer)
        self._schedule()

    def _trim_later(self) -> None:
        loop = asyncio.get_running_loop()
        if self._trimming is None or self._trimming.when() < loop.time():
            self._trimming = loop.call_later(TRIM_SECONDS, lambda: loop.run_in_executor(None, trim_heap))

    def _run(self, queue: Queue, tasks: list[Task]) -> list[Any]:
        """Returns the outputs or the error of every task; called in a thread."""
        # All callers may have timed out and released the version: it must not be unloaded during the run.
        if not queue.servable.acquire(again=True):
            return [ServingError(StatusCode.UNAVAILABLE, "The version is being unloaded")] * len(tasks)
        try:
            with queue.servable:
                return self._run_together(queue, tasks)
        except Exception as error:  # no error of a graph may end a thread of the server
            if len(tasks) == 1:
                return [as_serving_error(error)]
        # One bad request must not fail the others of its batch, so each runs alone.
        return [self._run(queue, [task])[0] for task in tasks]

    def _run_together(self, queue: Queue, tasks: list[Task]) -> list[Any]:
        size = sum(task.size for task in tasks)
        padding = next((allowed for allowed in queue.parameters.allowed_batch_sizes if allowed >= size), size) - size
        columns = {name: [task.inputs[name] for task in tasks] for name in tasks[0].inputs}
        inputs = {name: _concatenate(_padded(column), padding) for name, column in columns.items()}
        outputs = queue.servable.run(queue.signature, inputs, queue.outputs)
        for array in outputs.values():
            _check_batched(array, size + padding)
        if len(tasks) == 1 and not padding:
            return [outputs]
        ends = np.cumsum([task.size for task in tasks]).tolist()
        return [
            {name: array[end - task.size : end] for name, array in outputs.items()}
            for task, end in zip(tasks, ends, strict=True)
        ]


def _rows(inputs: Arrays) -> int:
    if any(array.ndim == 0 for array in inputs.values()):
        raise invalid("Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in inputs.values()}
    if not sizes:
        raise invalid("Batching Run() must have at least one input tensor")
    if len(sizes) > 1:
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def _ranges(size: int, step: int, pixels: NDArray[np.int64] | None) -> Iterator[tuple[int, int]]:
    """Yields the first and last row (exclusive) of each part: at most `step` rows and `BATCH_PIXELS`, but one row."""
    if pixels is None:
        yield from ((start, min(start + step, size)) for start in range(0, max(size, 1), step))
        return
    start, held = 0, 0
    for row, count in enumerate(pixels.tolist()):
        if row > start and (row - start == step or held + count > BATCH_PIXELS):
            yield start, row
            start, held = row, 0
        held += count
    yield start, size


def _slice(inputs: Arrays, start: int, stop: int) -> dict[str, NDArray[Any]]:
    return {name: array[start:stop] for name, array in inputs.items()}


def _padded(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Returns arrays of equal shape but for their length: shorter ones end in copies of their own first element."""
    shapes = [array.shape[1:] for array in arrays]
    return [_pad(array, tuple(map(max, shapes[0], *shapes))) for array in arrays]


def _pad(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if array.shape[1:] == shape:
        return array
    if not array.size:
        raise invalid("Got empty tensor in batch of non-empty tensors.")
    whole = np.full((len(array), *shape), array.flat[0], array.dtype)
    whole[tuple(slice(size) for size in array.shape)] = array
    return whole


def _concatenate(arrays: list[NDArray[Any]], padding: int) -> NDArray[Any]:
    last = arrays[-1][:1]
    fill = [np.repeat(last, padding, axis=0)] if padding and len(last) else []
    return np.concatenate([*arrays, *fill]) if len(arrays) > 1 or fill else arrays[0]


def _check_batched(array: NDArray[Any], size: int) -> None:
    if np.ndim(array) == 0:
        raise ServingError(StatusCode.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
    if len(array) != size:
        raise ServingError(
            StatusCode.FAILED_PRECONDITION,
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
            "tensors",
        )
