"""The rows of a batch: padding, the checks of inputs and outputs, and requests of different shapes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode

from serving.embedded.batching import QUEUE_FULL, BatchScheduler
from serving.embedded.config_files import Batching
from serving.embedded.errors import ServingError
from serving.embedded.signatures import Signature
from tests.serving.embedded.test_batching import SECONDS, Scheduled, with_scheduler

SIGNATURE = Signature("serving_default", "", {}, {}, {})


@with_scheduler()
async def test_padding_uses_the_next_allowed_size(running: Scheduled) -> None:
    """A batch is filled up to the smallest allowed size that holds it, and the filling is cut off."""
    running.model.free.set()
    answer = await running.send(1, 2, 3, max_batch_size=8, allowed_batch_sizes=(2, 4, 8))
    assert len(running.model.batches[0]) == 4 and answer["y"].tolist() == [1, 2, 3]


@with_scheduler()
async def test_an_allowed_size_that_fits_needs_no_padding(running: Scheduled) -> None:
    """A batch of an allowed size runs as it is, and one above all allowed sizes too."""
    running.model.free.set()
    for count in (2, 4, 5):
        await running.send(*range(count), max_batch_size=8, allowed_batch_sizes=(2, 4))
    assert [len(batch) for batch in running.model.batches] == [2, 4, 5]


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

    async def send() -> list[Any]:
        deadline = time.monotonic() + 60
        calls = [
            scheduler.run(servable, SIGNATURE, {"x": np.array(rows, object)}, ["x"], deadline, parameters)
            for rows in requests
        ]
        return [answer["x"].tolist() for answer in await asyncio.gather(*calls)]

    answers = asyncio.run(send())
    scheduler.close()
    return servable.runs, answers


def run_alone(servable: Any, inputs: Any, parameters: Batching = Batching()) -> Any:  # noqa: B008
    """Sends one request."""
    scheduler = BatchScheduler(1)
    try:
        return asyncio.run(scheduler.run(servable, SIGNATURE, inputs, ["x"], time.monotonic() + SECONDS, parameters))
    finally:
        scheduler.close()


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


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Batching Run() must have at least one input tensor"),
        ({"x": np.array(1)}, "Batching Run() input tensors must have at least one dimension"),
        ({"x": np.zeros(2), "z": np.zeros(3)}, "Batching Run() input tensors must have equal 0th-dimension size"),
    ],
)
def test_inputs_without_a_common_number_of_rows_are_refused(inputs: dict[str, Any], message: str) -> None:
    """The error has TensorFlow's text."""
    with pytest.raises(ServingError) as refused:
        run_alone(Recorder(), inputs)
    assert (refused.value.code, refused.value.message) == (StatusCode.INVALID_ARGUMENT, message)


@pytest.mark.parametrize(
    ("output", "message"), [(np.array(1), "0 dimensions"), (np.zeros(3), "does not equal the sum")]
)
def test_an_output_without_the_rows_of_the_batch_is_an_error(output: Any, message: str) -> None:
    """Rows could not be given to the requests they belong to."""
    servable: Any = Recorder()
    servable.run = lambda *arguments: {"x": output}
    with pytest.raises(ServingError, match=message) as refused:
        run_alone(servable, {"x": np.zeros(2)})
    assert refused.value.code is StatusCode.FAILED_PRECONDITION


def test_a_huge_number_of_empty_rows_is_refused() -> None:
    """A request may state any number of empty rows; it is refused before the split if it does not fit."""
    with pytest.raises(ServingError, match=QUEUE_FULL):
        run_alone(None, {"image": np.zeros((2**62, 0), np.uint8)}, Batching(enable_large_batch_splitting=True))
