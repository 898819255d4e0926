"""Decode and fit untrusted image files on a few threads, with a limit on the pixels that are decoded at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition, Lock

import numpy as np
from numpy.typing import NDArray

from pipeline.contract.image_limits import ImageLimits
from serving.images.encoding import declared_pixels, encode_file
from serving.images.fitting import fit_file


class WeightedSemaphore:
    """A first-in-first-out semaphore whose holders take different amounts.

    Args:
        capacity: The most that is held at once. A larger amount counts as all of it.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity, self._taken = capacity, 0
        self._changed = Condition()
        # The first in line holds it: else many small amounts would let a large one wait for ever.
        self._first_in_line = Lock()

    @contextmanager
    def acquire(self, amount: int) -> Iterator[None]:
        """Waits until `amount` is free, and holds it for the block."""
        amount = min(amount, self._capacity)
        with self._first_in_line, self._changed:
            self._changed.wait_for(lambda: self._taken + amount <= self._capacity)
            self._taken += amount
        try:
            yield
        finally:
            with self._changed:
                self._taken -= amount
                self._changed.notify_all()


class DecoderPool:
    """Threads that encode files as the client does and fit them as the exported graph does.

    The files decoded at one time have together at most the pixels that one file may have: a file of 143 KB can unpack
    to 7,000 x 7,000 pixels. Many threads may use one pool.

    Args:
        limits: The largest file and image.
    """

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._free_pixels = WeightedSemaphore(limits.pixels)
        cores = len(os.sched_getaffinity(0))
        # The least that a file counts: more decoders than cores gain nothing.
        self._share = limits.pixels // cores
        # Few threads, and one for large images: an allocator keeps an image's memory for the thread that decoded it,
        # 150 MiB for 49 million pixels, and downloads have 32 threads.
        self._small = ThreadPoolExecutor(cores, "fetch-decode")
        self._large = ThreadPoolExecutor(1, "fetch-decode-large")
        # `warnings.catch_warnings` is not thread-safe.
        self._warnings_lock = Lock()

    def close(self) -> None:
        """Ends the threads after their last file."""
        self._small.shutdown()
        self._large.shutdown()

    def fit(self, content: bytes, name: str) -> NDArray[np.uint8]:
        """Returns what the network sees of an image file, uint8 [28, 28].

        Args:
            content: The file.
            name: The name of the file in messages.

        Raises:
            ImageError: The file is no image, a damaged one, or too large.
        """
        with self._warnings_lock:
            pixels = declared_pixels(content)
        threads = self._large if pixels > self._share else self._small
        with self._free_pixels.acquire(max(pixels, self._share)):
            return threads.submit(self._encode_and_fit, content, name).result()

    def _encode_and_fit(self, content: bytes, name: str) -> NDArray[np.uint8]:
        with self._warnings_lock:
            payload = encode_file(content, name, self._limits, find_damage=False)
        return fit_file(payload)
