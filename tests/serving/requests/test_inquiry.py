"""Tests of serving.requests.inquiry: what is asked, and what becomes of requests without an answer."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.requests.inquiry import TIME_IS_OVER, ask, measure
from tests.synthetic import images_and_garments

IMAGES, _ = images_and_garments(3, 0)
SOON = 60.0


class Sums:
    """Answers with the sums of the images' bytes, and refuses what holds the one image that it cannot stand."""

    def __init__(self, refused: NDArray[Any] | None = None) -> None:
        self.refused = refused
        self.asked: list[tuple[str, int]] = []

    def __call__(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        images = inputs["image"]
        self.asked.append((signature, len(images)))
        if self.refused is not None and any(np.array_equal(image, self.refused) for image in images):
            raise ValueError("That one.\nNever that one.")
        return {"sum": images.sum(axis=(1, 2))}


def test_one_by_one_and_all_at_once() -> None:
    """Every image is asked about by itself, then all of them in one request, and each reply knows its rows."""
    call = Sums()
    replies = ask(call, "serving_default", IMAGES, time.monotonic() + SOON)
    assert call.asked == [("serving_default", size) for size in (1, 1, 1, 3)]
    sums = IMAGES.sum(axis=(1, 2))
    assert all(np.array_equal(reply.answers["sum"], sums[reply.rows]) for reply in replies)


def test_refused_request() -> None:
    """A request that fails is a reply with one line of reason; the others go on."""
    replies = ask(Sums(refused=IMAGES[1]), "serving_default", IMAGES, time.monotonic() + SOON)
    assert [reply.fault for reply in replies] == ["", "That one.", "", "That one."]


def test_time_is_over() -> None:
    """After the deadline nothing is asked any more."""
    call = Sums()
    replies = ask(call, "serving_default", IMAGES, time.monotonic() - 1)
    assert {reply.fault for reply in replies} == {TIME_IS_OVER}
    assert measure(call, IMAGES, 5, time.monotonic() - 1).fault == TIME_IS_OVER
    assert not call.asked


def test_latency() -> None:
    """As many requests of one image as wanted are timed; the slowest of few is their 99th percentile."""
    call = Sums()
    latency = measure(call, IMAGES, 7, time.monotonic() + SOON)
    assert call.asked == [("serving_default", 1)] * 7
    assert 0 <= latency.median <= latency.p99 and not latency.fault


def test_latency_of_a_broken_server() -> None:
    """Where a request fails there are no figures, but a reason."""
    latency = measure(Sums(refused=IMAGES[2]), IMAGES, 7, time.monotonic() + SOON)
    assert (latency.fault, math.isnan(latency.p99)) == ("That one.", True)
