"""Compares a server's answers with the scores of the process that trained the model, request by request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from serving.requests import Answers

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
        signature: The signature that was asked.
        source_id: The image that was sent.
        reason: What is wrong, in a sentence.
        difference: The largest distance from the expected numbers; None when there are none to compare.
    """

    signature: str
    source_id: str
    reason: str
    difference: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the four by name."""
        return asdict(self)


def failures(
    signature: str,
    source_ids: Sequence[str],
    answers: Sequence[Answers],
    faults: Sequence[str],
    expected: Answers,
    tolerance: float,
) -> list[Failure]:
    """Returns the requests, one image each, whose answer is missing or further from the expected than the tolerance.

    Args:
        signature: The signature that was asked.
        source_ids: The images, one a request.
        answers: By request, the outputs by name, of one row.
        faults: By request, why there is no answer; empty where there is one.
        expected: The outputs by name, a row a request.
        tolerance: How far a number may be from the expected one; texts and truth values must be equal.
    """
    found = []
    for row, (source_id, answer, fault) in enumerate(zip(source_ids, answers, faults, strict=True)):
        wanted = {name: values[row : row + 1] for name, values in expected.items()}
        reason, difference = (fault, None) if fault else _disagreement(answer, wanted, tolerance)
        if reason:
            found.append(Failure(signature, source_id, reason, difference))
    return found


def largest_difference(answers: Sequence[Answers], expected: Answers) -> float:
    """Returns the largest distance of a number from the expected one; NaN when a number or an answer is none."""
    distances = [
        np.abs(answer[name].astype(np.float64) - expected[name][row]).max()
        for row, answer in enumerate(answers)
        for name in expected
        if name in answer and expected[name].dtype.kind == "f" and answer[name].shape[1:] == expected[name].shape[1:]
    ]
    return float(np.max(distances)) if distances else float("nan")


def _disagreement(answer: Answers, wanted: Answers, tolerance: float) -> tuple[str, float | None]:
    """Why an answer is not the expected one, empty when it is, and the largest distance."""
    if missing := [name for name in OUTPUTS if name not in answer]:
        return f"The answer lacks {', '.join(missing)}.", None
    for name, values in wanted.items():
        if answer[name].shape != values.shape:
            return f"{name} has the shape {list(answer[name].shape)} instead of {list(values.shape)}.", None
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
