"""Decodes and fits files from strangers, with bounds on the processors and on the memory that this takes at a time."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from threading import Condition, Lock

import numpy as np
from numpy.typing import NDArray

from serving.images.fitting import fit_file
from serving.images.inputs import FORMATS, Limits, prepare


class Room:
    """Lets so much be under way at a time, in the order of asking; what is larger than all of it has it alone.

    Args:
        size: The most that is under way together.
    """

    def __init__(self, size: int) -> None:
        self._size, self._taken = size, 0
        self._changed = Condition()
        # Held by the one whose turn it is: many small ones would let a large one wait for ever.
        self._first = Lock()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Waits for room, and keeps it while the block lasts."""
        amount = min(amount, self._size)
        with self._first, self._changed:
            self._changed.wait_for(lambda: self._taken + amount <= self._size)
            self._taken += amount
        try:
            yield
        finally:
            with self._changed:
                self._taken -= amount
                self._changed.notify_all()


class Decoders:
    """Fits files as a client sends them and the graph then fits them; for many threads.

    All that are decoded at a time have no more pixels together than one may have: a file of 143 KB unpacks to
    7,000 x 7,000 of them.

    Args:
        limits: What is read of a file.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._room = Room(limits.pixels)
        cores = len(os.sched_getaffinity(0))
        # The least that a file counts for: more decoders than cores gain nothing.
        self._share = limits.pixels // cores
        # In few threads, and large ones in one: the allocators keep an image's memory for the thread that decoded it,
        # 150 MiB for 49 million pixels, and downloads have 32 threads.
        self._small = ThreadPoolExecutor(cores, "fetch-decode")
        self._large = ThreadPoolExecutor(1, "fetch-decode-large")
        # Pillow's warnings are silenced for a moment, which threads may do only in turns.
        self._silenced = Lock()

    def close(self) -> None:
        """Ends the threads, once they have nothing to do any more."""
        self._small.shutdown()
        self._large.shutdown()

    def fit(self, content: bytes, name: str) -> NDArray[np.uint8]:
        """Returns what the network sees of a file, uint8 [28, 28].

        Args:
            content: The file.
            name: What to call it.

        Raises:
            ImageError: It is no image, a damaged one, or too large.
        """
        with self._silenced:
            pixels = _declared(content)
        threads = self._large if pixels > self._share else self._small
        with self._room.taken(max(pixels, self._share)):
            return threads.submit(self._fitted, content, name).result()

    def _fitted(self, content: bytes, name: str) -> NDArray[np.uint8]:
        with self._silenced:
            payload = prepare(content, self._limits, name, find_damage=False)[1]
        assert isinstance(payload, bytes), "A file stays a file"
        return fit_file(payload)


def _declared(content: bytes) -> int:
    """The pixels that a file's header declares; none where there is no such header, which `prepare` then says."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(BytesIO(content), formats=FORMATS) as image:
                return image.width * image.height
        except Exception:
            # Its readers raise what they stumble over.
            return 0
