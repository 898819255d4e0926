"""Tests of serving.images.decoder_pool: files are fitted with bounds on what is under way."""

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

from pipeline.contract.limits import ImageLimits
from serving.images import decoder_pool
from serving.images.decoder_pool import DecoderPool, WeightedSemaphore
from serving.images.encoding import ImageError
from serving.images.fitting import fit_file
from tests.serving.images.test_encoding import encoded, png_header


def together(*each: Callable[[], object]) -> None:
    """Runs functions in a thread each, to their end."""
    threads = [threading.Thread(target=one) for one in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@given(amounts=st.lists(st.integers(0, 15), max_size=20))
@settings(max_examples=20, deadline=None)
def test_no_more_is_under_way_than_there_is_semaphore_for(amounts: list[int]) -> None:
    """What is larger than the semaphore is under way alone, and everyone has a turn."""
    semaphore, lock, inside, done = WeightedSemaphore(10), threading.Lock(), [], []

    def work(amount: int) -> None:
        with semaphore.acquire(amount):
            with lock:
                inside.append(amount)
                assert sum(min(each, 10) for each in inside) <= 10
            with lock:
                inside.remove(amount)
                done.append(amount)

    together(*[lambda amount=amount: work(amount) for amount in amounts])  # type: ignore[misc]
    assert sorted(done) == sorted(amounts)


def test_a_large_one_is_not_waited_past() -> None:
    """Small ones that come later have their turn after it, or it would wait for ever."""
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


@pytest.fixture
def most(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pixels that were fitted at a time, of files that wait for a moment for each other."""
    lock, found = threading.Lock(), [0]
    inside = 0

    def slow(content: bytes) -> Any:
        nonlocal inside
        pixels = int(np.prod(Image.open(BytesIO(content)).size))
        with lock:
            inside += pixels
            found.append(inside)
        threading.Event().wait(0.1)
        with lock:
            inside -= pixels
        return fit_file(content)

    monkeypatch.setattr(decoder_pool, "fit_file", slow)
    return found


@pytest.mark.parametrize(("edge", "at_once"), [(100, 1), (70, 2), (10, 2)])
def test_pixels_are_counted_not_files(
    most: list[int], edge: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One as large as allowed is decoded alone, those of half the size in pairs, and small ones as there are cores."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    file = encoded(Image.new("RGB", (edge, edge)), "PNG")
    with closing(DecoderPool(ImageLimits(pixels=10_000))) as decoders:
        together(*[lambda: decoders.fit(file, "a")] * 6)
    assert max(most) == at_once * edge**2


def test_small_ones_wait_for_a_large_one(most: list[int]) -> None:
    """They have threads of their own, and the bound is one for all."""
    files = [encoded(Image.new("RGB", (edge, edge)), "PNG") for edge in (10, 100)]
    with closing(DecoderPool(ImageLimits(pixels=10_000))) as decoders:
        together(*[lambda file=file: decoders.fit(file, "a") for file in files * 4])  # type: ignore[misc]
    assert max(most) == 10_000


def test_closed_decoders_leave_no_thread() -> None:
    """Also while someone still holds them."""
    decoders = DecoderPool(ImageLimits(pixels=10_000))
    for edge in (10, 100):
        decoders.fit(encoded(Image.new("RGB", (edge, edge)), "PNG"), "a")
    decoders.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch-decode")]


def test_few_threads_decode_and_one_has_all_that_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask: a thread's allocator keeps the memory of what it decoded."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    names: dict[int, set[str]] = {100: set(), 10: set()}

    def told(content: bytes) -> Any:
        names[Image.open(BytesIO(content)).width].add(threading.current_thread().name)
        return fit_file(content)

    monkeypatch.setattr(decoder_pool, "fit_file", told)
    files = [encoded(Image.new("RGB", (edge, edge)), "PNG") for edge in names]
    with closing(DecoderPool(ImageLimits(pixels=10_000))) as decoders:
        together(*[lambda file=file: decoders.fit(file, "a") for file in files * 8])  # type: ignore[misc]
    assert len(names[100]) == 1 and len(names[10]) <= 2 and not names[100] & names[10]


def test_what_has_no_readable_header_is_refused_as_ever() -> None:
    """Nothing counts its pixels, and nothing takes semaphore for ever."""
    bad = ((b"<html>", "not_an_image"), (b"", "empty"), (png_header(60_000, 60_000), "too_many_pixels"))
    file = encoded(Image.new("L", (28, 28), 7), "PNG")
    with closing(DecoderPool(ImageLimits(pixels=10_000))) as decoders:
        for content, reason in bad * 3:
            with pytest.raises(ImageError) as caught:
                decoders.fit(content, "a")
            assert caught.value.reason == reason
        assert decoders.fit(file, "a").tolist() == np.full((28, 28), 7).tolist()
