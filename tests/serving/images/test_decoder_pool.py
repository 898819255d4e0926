"""Tests of serving.images.decoder_pool: files are decoded with a limit on the pixels at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.contract.image_limits import ImageLimits
from serving.images import decoder_pool
from serving.images.decoder_pool import DecoderPool, WeightedSemaphore
from serving.images.encoding import ImageError
from serving.images.fitting import fit_file
from tests.serving.images.test_encoding import encoded, png_header


def run_in_threads(*functions: Callable[[], object]) -> None:
    """Runs each function in a thread, and waits for all."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@given(amounts=st.lists(st.integers(0, 15), max_size=20))
@settings(max_examples=20, deadline=None)
def test_no_more_than_the_capacity_is_held(amounts: list[int]) -> None:
    """An amount above the capacity is held alone, and every caller gets its turn."""
    semaphore, lock, inside, done = WeightedSemaphore(10), threading.Lock(), [], []

    def work(amount: int) -> None:
        with semaphore.acquire(amount):
            with lock:
                inside.append(amount)
                assert sum(min(each, 10) for each in inside) <= 10
            with lock:
                inside.remove(amount)
                done.append(amount)

    run_in_threads(*[lambda amount=amount: work(amount) for amount in amounts])  # type: ignore[misc]
    assert sorted(done) == sorted(amounts)


def test_a_large_amount_is_not_overtaken() -> None:
    """Small amounts that come later wait for it; otherwise it could wait for ever."""
    semaphore, order = WeightedSemaphore(10), []
    first, large = semaphore.acquire(5), threading.Event()

    def take(amount: int) -> None:
        large.set()
        with semaphore.acquire(amount):
            order.append(amount)

    first.__enter__()
    one = threading.Thread(target=take, args=(10,))
    one.start()
    large.wait()
    while not semaphore._first_in_line.locked():
        pass
    other = threading.Thread(target=take, args=(1,))
    other.start()
    other.join(0.05)
    assert order == []
    first.__exit__(None, None, None)
    one.join()
    other.join()
    assert order == [10, 1]


def record_pixels(monkeypatch: pytest.MonkeyPatch, expected: int) -> list[int]:
    """Returns a list that receives the pixels fitted at a time; files wait until they are the expected number."""
    lock, full, found = threading.Lock(), threading.Event(), [0]
    inside = 0

    def slow(content: bytes) -> Any:
        nonlocal inside
        pixels = int(np.prod(Image.open(BytesIO(content)).size))
        with lock:
            inside += pixels
            found.append(inside)
            if inside >= expected:
                full.set()
        full.wait(60)
        threading.Event().wait(0.1)
        with lock:
            inside -= pixels
        return fit_file(content)

    monkeypatch.setattr(decoder_pool, "fit_file", slow)
    return found


@pytest.mark.parametrize(("edge", "at_once"), [(100, 1), (70, 2), (10, 2)])
def test_pixels_are_counted_not_files(edge: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest image is decoded alone, half as large ones in pairs, and small ones one for each core."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    most = record_pixels(monkeypatch, at_once * edge**2)
    file = encoded(Image.new("RGB", (edge, edge)), "PNG")
    with closing(DecoderPool(ImageLimits(pixels=10_000))) as decoders:
        run_in_threads(*[lambda: decoders.fit(file, "a")] * 6)
    assert max(most) == at_once * edge**2


def test_small_images_wait_for_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small and large images have separate threads and one common limit."""
    most = record_pixels(monkeypatch, 0)
    files = [encoded(Image.new("RGB", (edge, edge)), "PNG") for edge in (10, 100)]
    with closing(DecoderPool(ImageLimits(pixels=10_000))) as decoders:
        run_in_threads(*[lambda file=file: decoders.fit(file, "a") for file in files * 4])  # type: ignore[misc]
    assert max(most) == 10_000


def test_a_closed_pool_leaves_no_thread() -> None:
    """The threads end although the pool object still exists."""
    decoders = DecoderPool(ImageLimits(pixels=10_000))
    for edge in (10, 100):
        decoders.fit(encoded(Image.new("RGB", (edge, edge)), "PNG"), "a")
    decoders.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch-decode")]


def test_one_thread_decodes_all_large_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many threads call: an allocator keeps the memory of large images for each thread that decodes them."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    names: dict[int, set[str]] = {100: set(), 10: set()}

    def record_thread(content: bytes) -> Any:
        names[Image.open(BytesIO(content)).width].add(threading.current_thread().name)
        return fit_file(content)

    monkeypatch.setattr(decoder_pool, "fit_file", record_thread)
    files = [encoded(Image.new("RGB", (edge, edge)), "PNG") for edge in names]
    with closing(DecoderPool(ImageLimits(pixels=10_000))) as decoders:
        run_in_threads(*[lambda file=file: decoders.fit(file, "a") for file in files * 8])  # type: ignore[misc]
    assert len(names[100]) == 1 and len(names[10]) <= 2 and not names[100] & names[10]


def test_a_file_without_a_readable_header_is_refused() -> None:
    """The error is the usual one, and nothing stays reserved for the file."""
    bad = ((b"<html>", "not_an_image"), (b"", "empty"), (png_header(60_000, 60_000), "too_many_pixels"))
    file = encoded(Image.new("L", (28, 28), 7), "PNG")
    with closing(DecoderPool(ImageLimits(pixels=10_000))) as decoders:
        for content, reason in bad * 3:
            with pytest.raises(ImageError) as caught:
                decoders.fit(content, "a")
            assert caught.value.reason == reason
        assert decoders.fit(file, "a").tolist() == np.full((28, 28), 7).tolist()
