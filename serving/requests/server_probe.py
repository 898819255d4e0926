"""Probes a running server: sends requests to every signature, measures latency, and compares scores with expected ones.

Every signature gets one request for each image, and one request with all images.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from serving.requests.prediction_log import Answers, Images, predict_request, short_message

OUTPUTS = (
    "group",
    "group_probabilities",
    "garment",
    "garment_probabilities",
    "confidence",
    "prediction_set",
    "abstain",
)
"""The outputs of every signature of an exported model."""


Call = Callable[[str, Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
"""Sends the inputs of a signature to a server and returns its outputs; raises if there is no answer."""

DEADLINE_PASSED = "The request was not sent: the deadline had passed."


@dataclass(frozen=True)
class Reply:
    """The result of one request.

    Attributes:
        rows: The images of the request.
        answers: The outputs by name, one row an image; empty if there is no answer.
        fault: Why there is no answer; empty if there is one.
    """

    rows: slice
    answers: Answers
    fault: str = ""


@dataclass(frozen=True)
class Latency:
    """The latency of requests with one image, in milliseconds.

    Attributes:
        median: The median.
        p99: The 99th percentile; for fewer than 100 requests the slowest.
        fault: Why there are no figures; empty if there are.
    """

    median: float = math.nan
    p99: float = math.nan
    fault: str = ""


def send_requests(call: Call, signature: str, images: Images, deadline: float) -> list[Reply]:
    """Sends one request for every image to a signature, and then one with all images.

    Args:
        call: Sends a request.
        signature: The signature.
        images: uint8 [N, 28, 28].
        deadline: The time by `time.monotonic` after which no request is sent.

    Returns:
        One reply a request, that of the batch last.
    """
    count = len(images)
    return [_send(call, signature, images, rows, deadline) for rows in [*_singles(count), slice(0, count)]]


def measure_latency(call: Call, images: Images, count: int, deadline: float) -> Latency:
    """Measures the latency of consecutive requests to `serving_default` with one image each.

    Args:
        call: Sends a request.
        images: uint8 [N, 28, 28], sent in turn.
        count: The number of requests.
        deadline: The time by `time.monotonic` after which no request is sent.
    """
    singles = [_inputs("serving_default", images[rows]) for rows in _singles(len(images))]
    milliseconds = []
    for number in range(count):
        started = time.monotonic()
        if started > deadline:
            break
        try:
            call("serving_default", singles[number % len(singles)])
        except Exception as error:  # a broken server can cause any exception in a client
            return Latency(fault=short_message(error))
        milliseconds.append(1000 * (time.monotonic() - started))
    if not milliseconds:
        return Latency(fault=DEADLINE_PASSED)
    rank = math.ceil(0.99 * len(milliseconds)) - 1
    return Latency(statistics.median(milliseconds), sorted(milliseconds)[rank])


@dataclass(frozen=True)
class FailedRequest:
    """A request whose answer is missing or wrong.

    Attributes:
        transport: REST or gRPC.
        signature: The signature of the request.
        source_id: The image; for a batch the first image that is wrong.
        reason: What is wrong, in a sentence.
        difference: The largest absolute difference from the expected numbers; None if there are none to compare.
    """

    transport: str
    signature: str
    source_id: str
    reason: str
    difference: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes by name."""
        return asdict(self)


def find_failures(
    transport: str,
    signature: str,
    source_ids: Sequence[str],
    replies: Sequence[Reply],
    expected: Answers,
    tolerance: float,
) -> list[FailedRequest]:
    """Returns the requests whose answer is missing, or differs from the expected one by more than the tolerance.

    Args:
        transport: REST or gRPC.
        signature: The signature of the requests.
        source_ids: The images, to which the rows of the replies refer.
        replies: The results of the requests.
        expected: The outputs by name, one row an image; empty if there is nothing to compare with.
        tolerance: The largest allowed difference of a number; strings and booleans must be equal.
    """
    failed = []
    for reply in replies:
        names = source_ids[reply.rows]
        row, reason, difference = _first_mismatch(reply, expected, tolerance)
        if reason:
            batch = f"In a batch of {len(names)}: " if len(names) > 1 else ""
            failed.append(FailedRequest(transport, signature, names[row], batch + reason, difference))
    return failed


def largest_difference(replies: Sequence[Reply], expected: Answers) -> float:
    """Returns the largest absolute difference from the expected numbers; NaN if a number is NaN or no answer came."""
    distances = [
        np.abs(reply.answers[name].astype(np.float64) - values[reply.rows]).max()
        for reply in replies
        for name, values in expected.items()
        if values.dtype.kind == "f" and name in reply.answers and reply.answers[name].shape == values[reply.rows].shape
    ]
    return float(np.max(distances)) if distances else float("nan")


def _send(call: Call, signature: str, images: Images, rows: slice, deadline: float) -> Reply:
    if time.monotonic() > deadline:
        return Reply(rows, {}, DEADLINE_PASSED)
    try:
        return Reply(rows, dict(call(signature, _inputs(signature, images[rows]))))
    except Exception as error:  # a broken server can cause any exception in a client
        return Reply(rows, {}, short_message(error))


def _singles(count: int) -> list[slice]:
    return [slice(row, row + 1) for row in range(count)]


def _inputs(signature: str, images: Images) -> dict[str, NDArray[Any]]:
    request = predict_request(signature, images).predict_log.request
    return {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}


def _first_mismatch(reply: Reply, expected: Answers, tolerance: float) -> tuple[int, str, float | None]:
    """Returns the first row that differs, the reason (empty if none differs), and its largest difference."""
    if reply.fault:
        return 0, reply.fault, None
    if missing := [name for name in OUTPUTS if name not in reply.answers]:
        return 0, f"The answer lacks {', '.join(missing)}.", None
    wanted = {name: values[reply.rows] for name, values in expected.items()}
    for name, values in wanted.items():
        if reply.answers[name].shape != values.shape:
            shape = list(reply.answers[name].shape)
            return 0, f"{name} has the shape {shape} instead of {list(values.shape)}.", None
    for row in range(len(next(iter(wanted.values()), ()))):
        answer = {name: reply.answers[name][row : row + 1] for name in wanted}
        reason, difference = _disagreement(
            answer, {name: values[row : row + 1] for name, values in wanted.items()}, tolerance
        )
        if reason:
            return row, reason, difference
    return 0, "", None


def _disagreement(answer: Answers, wanted: Answers, tolerance: float) -> tuple[str, float | None]:
    """Returns why the answer for one image is not the expected one (empty if it is), and the largest difference."""
    numbers = [name for name, values in wanted.items() if values.dtype.kind == "f"]
    distances = {name: float(np.abs(answer[name].astype(np.float64) - wanted[name]).max()) for name in numbers}
    if not_finite := [name for name, distance in distances.items() if not np.isfinite(distance)]:
        return f"{not_finite[0]} is not a finite number.", None
    worst, difference = max(distances.items(), key=lambda item: item[1], default=("", None))
    if difference is not None and difference > tolerance:
        return f"{worst} is off by {difference:.3g}.", difference
    others = [name for name in wanted if name not in numbers and not np.array_equal(answer[name], wanted[name])]
    if others:
        name = others[0]
        return f"{name} is {_as_text(answer[name])} instead of {_as_text(wanted[name])}.", difference
    return "", difference


def _as_text(values: Any) -> str:
    plain = values[0].tolist() if hasattr(values[0], "tolist") else values[0]
    return plain.decode(errors="replace") if isinstance(plain, bytes) else str(plain)
