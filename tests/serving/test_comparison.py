"""Tests of serving.comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.comparison import Failure, failures, largest_difference
from serving.requests import Answers

EXPECTED: Answers = {
    "group": np.array([b"Top", b"Shoe"], dtype=object),
    "group_probabilities": np.array([[0.9, 0.1], [0.2, 0.8]], np.float32),
    "garment": np.array([b"Shirt", b"Boot"], dtype=object),
    "garment_probabilities": np.array([[0.9, 0.1], [0.2, 0.8]], np.float32),
    "confidence": np.array([0.9, 0.8], np.float32),
    "prediction_set": np.array([[True, False], [False, True]]),
    "abstain": np.array([False, False]),
}
IDS = ["train/a", "train/b"]


def rows() -> list[Answers]:
    """The expected answers, a request each."""
    return [{name: values[i : i + 1].copy() for name, values in EXPECTED.items()} for i in range(2)]


def compare(answers: list[Answers], faults: tuple[str, str] = ("", ""), tolerance: float = 1e-5) -> list[Failure]:
    """Compares answers with the expected ones."""
    return failures("serving_bytes", IDS, answers, faults, EXPECTED, tolerance)


def test_equal_answers() -> None:
    """Equal answers are no failures."""
    assert compare(rows()) == [] and largest_difference(rows(), EXPECTED) == 0


def test_fault() -> None:
    """A request without an answer is a failure with the server's reason."""
    assert compare(rows(), ("", "no image")) == [Failure("serving_bytes", "train/b", "no image")]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("group", [b"Shoe"], "group is Shoe instead of Top."),
        ("abstain", [True], "abstain is True instead of False."),
        ("confidence", [np.nan], "confidence is not a finite number."),
        ("confidence", [0.4], "confidence is off by 0.5."),
        ("prediction_set", [[True]], "prediction_set has the shape [1, 1] instead of [1, 2]."),
    ],
)
def test_wrong_output(name: str, value: Any, reason: str) -> None:
    """Whatever is wrong with an output, the failure names the image and says what."""
    answers = rows()
    answers[0][name] = np.array(value, dtype=EXPECTED[name].dtype)
    (failure,) = compare(answers)
    assert (failure.source_id, failure.reason) == ("train/a", reason)


def test_missing_output() -> None:
    """An answer without one of the outputs that every signature has is a failure."""
    answers = rows()
    del answers[1]["abstain"]
    assert compare(answers)[0].reason == "The answer lacks abstain."


def test_nothing_to_compare() -> None:
    """Without answers the largest difference is no number, which no tolerance allows."""
    assert np.isnan(largest_difference([{}, {}], EXPECTED))


@given(shift=st.floats(-0.5, 0.5), tolerance=st.floats(0, 0.4))
def test_tolerance(shift: float, tolerance: float) -> None:
    """A request fails exactly when a number is further off than the tolerance, and its difference is told."""
    answers = rows()
    answers[1]["confidence"] = (answers[1]["confidence"] + shift).astype(np.float32)
    off = float(abs(np.float64(answers[1]["confidence"][0]) - EXPECTED["confidence"][1]))
    found = compare(answers, tolerance=tolerance)
    assert [failure.difference for failure in found] == ([off] if off > tolerance else [])
    assert largest_difference(answers, EXPECTED) == off
