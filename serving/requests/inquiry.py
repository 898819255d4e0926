"""Asks a running server about images, every signature image by image and then as one batch, and takes the time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from serving.requests.prediction_log import Answers, Images, first_line, predict_request

Call = Callable[[str, Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
"""Sends the inputs of a signature to a server and returns its outputs; raises when there is no answer."""

TIME_IS_OVER = "It was not asked: the time was over."


@dataclass(frozen=True)
class Reply:
    """What came of one request.

    Attributes:
        rows: Which of the images it asked about.
        answers: The outputs by name, a row an image; empty when there is no answer.
        fault: Why there is none; empty when there is one.
    """

    rows: slice
    answers: Answers
    fault: str = ""


@dataclass(frozen=True)
class Latency:
    """How long requests of one image took, in milliseconds.

    Attributes:
        median: The median.
        p99: The 99th percentile; of few requests the slowest.
        fault: Why there are no figures; empty when there are.
    """

    median: float = math.nan
    p99: float = math.nan
    fault: str = ""


def ask(call: Call, signature: str, images: Images, deadline: float) -> list[Reply]:
    """Asks a signature about every image by itself, and about all of them at once.

    Args:
        call: Sends a request.
        signature: The signature.
        images: uint8 [N, 28, 28].
        deadline: When to stop asking, in seconds of `time.monotonic`.

    Returns:
        A reply a request, the batch's the last.
    """
    count = len(images)
    return [_ask(call, signature, images, rows, deadline) for rows in [*_singles(count), slice(0, count)]]


def measure(call: Call, images: Images, count: int, deadline: float) -> Latency:
    """Takes the time of requests to `serving_default` of one image each, one after the other.

    Args:
        call: Sends a request.
        images: uint8 [N, 28, 28], asked about in turn.
        count: How many requests to send.
        deadline: When to stop asking, in seconds of `time.monotonic`.
    """
    singles = [_inputs("serving_default", images[rows]) for rows in _singles(len(images))]
    milliseconds = []
    for number in range(count):
        begun = time.monotonic()
        if begun > deadline:
            break
        try:
            call("serving_default", singles[number % len(singles)])
        except Exception as error:  # whatever a broken server makes a client raise
            return Latency(fault=first_line(error))
        milliseconds.append(1000 * (time.monotonic() - begun))
    if not milliseconds:
        return Latency(fault=TIME_IS_OVER)
    rank = math.ceil(0.99 * len(milliseconds)) - 1
    return Latency(statistics.median(milliseconds), sorted(milliseconds)[rank])


def _ask(call: Call, signature: str, images: Images, rows: slice, deadline: float) -> Reply:
    if time.monotonic() > deadline:
        return Reply(rows, {}, TIME_IS_OVER)
    try:
        return Reply(rows, dict(call(signature, _inputs(signature, images[rows]))))
    except Exception as error:  # whatever a broken server makes a client raise
        return Reply(rows, {}, first_line(error))


def _singles(count: int) -> list[slice]:
    return [slice(row, row + 1) for row in range(count)]


def _inputs(signature: str, images: Images) -> dict[str, NDArray[Any]]:
    request = predict_request(signature, images).predict_log.request
    return {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
