"""Tests of serving.requests.server_probe: requests, latencies, and the comparison with expected scores."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.requests import server_probe
from serving.requests.prediction_log import Answers
from serving.requests.server_probe import (
    DEADLINE_PASSED,
    FailedRequest,
    Reply,
    find_failures,
    largest_difference,
    measure_latency,
    send_requests,
)
from tests.synthetic import images_and_garments

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


def replies() -> list[Reply]:
    """Returns the expected answers: one request for each image, then one for both."""
    parts = [slice(0, 1), slice(1, 2), slice(0, 2)]
    return [Reply(part, {name: values[part].copy() for name, values in EXPECTED.items()}) for part in parts]


def compare(answers: list[Reply], tolerance: float = 1e-5) -> list[FailedRequest]:
    """Compares answers with the expected ones."""
    return find_failures("REST", "serving_bytes", IDS, answers, EXPECTED, tolerance)


def test_equal_answers() -> None:
    """Equal answers are no failures."""
    assert compare(replies()) == [] and largest_difference(replies(), EXPECTED) == 0


def test_fault() -> None:
    """A request without an answer is a failure with the server's reason."""
    found = compare([Reply(slice(0, 1), {}, "no image"), Reply(slice(0, 2), {}, "too many")])
    assert found == [
        FailedRequest("REST", "serving_bytes", "train/a", "no image"),
        FailedRequest("REST", "serving_bytes", "train/a", "In a batch of 2: too many"),
    ]


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
    """The failure names the image and the difference."""
    answers = replies()
    answers[0].answers[name] = np.array(value, dtype=EXPECTED[name].dtype)
    (failure,) = compare(answers)
    assert (failure.source_id, failure.reason) == ("train/a", reason)


def test_wrong_in_a_batch() -> None:
    """The failure of a batch names its first wrong image, with the difference of that image."""
    answers = replies()
    answers[2].answers["confidence"][1] = 0.3
    (failure,) = compare(answers)
    assert (failure.source_id, failure.reason) == ("train/b", "In a batch of 2: confidence is off by 0.5.")
    assert failure.difference == pytest.approx(0.5)


def test_missing_output() -> None:
    """An answer without one of the outputs that every signature has is a failure."""
    answers = replies()
    del answers[1].answers["abstain"]
    assert compare(answers)[0].reason == "The answer lacks abstain."


def test_nothing_to_compare() -> None:
    """Without answers the largest difference is NaN, which exceeds every tolerance."""
    assert np.isnan(largest_difference([Reply(slice(0, 1), {}, "no image")], EXPECTED))


@given(shift=st.floats(-0.5, 0.5), tolerance=st.floats(0, 0.4))
def test_tolerance(shift: float, tolerance: float) -> None:
    """A request fails exactly if a difference exceeds the tolerance, and reports the difference."""
    answers = replies()
    confidence = answers[1].answers["confidence"]
    confidence += np.float32(shift)
    off = float(abs(np.float64(confidence[0]) - EXPECTED["confidence"][1]))
    found = compare(answers, tolerance=tolerance)
    assert [failure.difference for failure in found] == ([off] if off > tolerance else [])
    assert largest_difference(answers, EXPECTED) == off


IMAGES, _ = images_and_garments(3, 0)
SOON = 60.0


class Sums:
    """Answers with the sums of the pixels, and rejects requests that contain one image."""

    def __init__(self, refused: NDArray[Any] | None = None) -> None:
        self.refused = refused
        self.requests: list[tuple[str, int]] = []

    def __call__(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        images = inputs["image"]
        self.requests.append((signature, len(images)))
        if self.refused is not None and any(np.array_equal(image, self.refused) for image in images):
            raise ValueError("That one.\nNever that one.")
        return {"sum": images.sum(axis=(1, 2))}


def test_single_requests_and_a_batch() -> None:
    """Every image has a request, then all have one together, and each reply has its rows."""
    call = Sums()
    replies = send_requests(call, "serving_default", IMAGES, time.monotonic() + SOON)
    assert call.requests == [("serving_default", size) for size in (1, 1, 1, 3)]
    sums = IMAGES.sum(axis=(1, 2))
    assert all(np.array_equal(reply.answers["sum"], sums[reply.rows]) for reply in replies)


def test_rejected_request() -> None:
    """A failed request is a reply with a reason on one line; the others are sent."""
    replies = send_requests(Sums(refused=IMAGES[1]), "serving_default", IMAGES, time.monotonic() + SOON)
    assert [reply.fault for reply in replies] == ["", "That one.", "", "That one."]


def test_no_request_after_the_deadline() -> None:
    """After the deadline no request is sent."""
    call = Sums()
    replies = send_requests(call, "serving_default", IMAGES, time.monotonic() - 1)
    assert {reply.fault for reply in replies} == {DEADLINE_PASSED}
    assert measure_latency(call, IMAGES, 5, time.monotonic() - 1).fault == DEADLINE_PASSED
    assert not call.requests


def test_latency() -> None:
    """The given number of requests is timed; the slowest of few is their 99th percentile."""
    call = Sums()
    latency = measure_latency(call, IMAGES, 7, time.monotonic() + SOON)
    assert call.requests == [("serving_default", 1)] * 7
    assert 0 <= latency.median <= latency.p99 and not latency.fault


@pytest.mark.parametrize(("count", "median", "p99"), [(3, 2.0, 3.0), (100, 50.5, 99.0), (200, 100.5, 198.0)])
def test_the_figures_of_the_latency(monkeypatch: pytest.MonkeyPatch, count: int, median: float, p99: float) -> None:
    """Of requests that take 1, 2, 3, ... milliseconds: the median, and the time that 99 of 100 do not exceed."""
    clock = [0.0]
    monkeypatch.setattr(server_probe, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    calls: list[int] = []

    def call(signature: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        calls.append(int(inputs["image"].sum()))
        clock[0] += len(calls) / 1000
        return {}

    latency = measure_latency(call, IMAGES, count, deadline=1e6)
    assert (latency.median, latency.p99) == (pytest.approx(median), pytest.approx(p99))
    sums = IMAGES.sum(axis=(1, 2)).tolist()
    assert calls == [sums[number % 3] for number in range(count)]  # the images in turn
    clock[0] = 0.0
    calls.clear()
    assert measure_latency(call, IMAGES, 10, deadline=0.005).p99 == pytest.approx(3.0) and len(calls) == 3


def test_latency_of_a_broken_server() -> None:
    """If a request fails there are no figures, but a reason."""
    latency = measure_latency(Sums(refused=IMAGES[2]), IMAGES, 7, time.monotonic() + SOON)
    assert (latency.fault, math.isnan(latency.p99)) == ("That one.", True)
