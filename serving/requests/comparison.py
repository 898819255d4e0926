"""Compares a server's answers with the scores of the process that trained the model, request by request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from serving.requests.inquiry import Reply
from serving.requests.prediction_log import Answers

OUTPUTS = (
    "group",
    "group_probabilities",
    "garment",
    "garment_probabilities",
    "confidence",
    "prediction_set",
    "abstain",
)
"""What every signature of an exported model answers."""


@dataclass(frozen=True)
class Failure:
    """A request whose answer is missing or wrong.

    Attributes:
        transport: How it was sent: REST or gRPC.
        signature: The signature that was asked.
        source_id: The image that was sent; of a batch the first image that is wrong.
        reason: What is wrong, in a sentence.
        difference: The largest distance from the expected numbers; None when there are none to compare.
    """

    transport: str
    signature: str
    source_id: str
    reason: str
    difference: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the five by name."""
        return asdict(self)


def failures(
    transport: str,
    signature: str,
    source_ids: Sequence[str],
    replies: Sequence[Reply],
    expected: Answers,
    tolerance: float,
) -> list[Failure]:
    """Returns the requests whose answer is missing or further from the expected than the tolerance.

    Args:
        transport: How they were sent.
        signature: The signature that was asked.
        source_ids: The images that the replies' rows count.
        replies: What came of each request.
        expected: The outputs by name, a row an image; empty when there is nothing to compare with.
        tolerance: How far a number may be from the expected one; texts and truth values must be equal.
    """
    found = []
    for reply in replies:
        names = source_ids[reply.rows]
        row, reason, difference = _wrong(reply, expected, tolerance)
        if reason:
            batch = f"In a batch of {len(names)}: " if len(names) > 1 else ""
            found.append(Failure(transport, signature, names[row], batch + reason, difference))
    return found


def largest_difference(replies: Sequence[Reply], expected: Answers) -> float:
    """Returns the largest distance of a number from the expected one; NaN when a number or every answer is none."""
    distances = [
        np.abs(reply.answers[name].astype(np.float64) - values[reply.rows]).max()
        for reply in replies
        for name, values in expected.items()
        if values.dtype.kind == "f" and name in reply.answers and reply.answers[name].shape == values[reply.rows].shape
    ]
    return float(np.max(distances)) if distances else float("nan")


def _wrong(reply: Reply, expected: Answers, tolerance: float) -> tuple[int, str, float | None]:
    """The first row that is not as expected, why, and its largest distance; an empty reason when all are."""
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
        here = {name: reply.answers[name][row : row + 1] for name in wanted}
        reason, difference = _disagreement(
            here, {name: values[row : row + 1] for name, values in wanted.items()}, tolerance
        )
        if reason:
            return row, reason, difference
    return 0, "", None


def _disagreement(answer: Answers, wanted: Answers, tolerance: float) -> tuple[str, float | None]:
    """Why the answer about one image is not the expected one, empty when it is, and the largest distance."""
    numbers = [name for name, values in wanted.items() if values.dtype.kind == "f"]
    distances = {name: float(np.abs(answer[name].astype(np.float64) - wanted[name]).max()) for name in numbers}
    if no_number := [name for name, distance in distances.items() if not np.isfinite(distance)]:
        return f"{no_number[0]} is not a finite number.", None
    worst, difference = max(distances.items(), key=lambda item: item[1], default=("", None))
    if difference is not None and difference > tolerance:
        return f"{worst} is off by {difference:.3g}.", difference
    others = [name for name in wanted if name not in numbers and not np.array_equal(answer[name], wanted[name])]
    if others:
        name = others[0]
        return f"{name} is {_shown(answer[name])} instead of {_shown(wanted[name])}.", difference
    return "", difference


def _shown(values: Any) -> str:
    plain = values[0].tolist() if hasattr(values[0], "tolist") else values[0]
    return plain.decode(errors="replace") if isinstance(plain, bytes) else str(plain)
