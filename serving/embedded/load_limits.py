"""Bounds the memory of all requests together: their bytes while they wait, and the pixels that are decoded at once.

A picture of 100 KB can unpack to 50 million pixels, which take over a gigabyte while a graph decodes and scales them.
The pixels are read from the headers of the files, before anything is decoded.
"""

from __future__ import annotations

import ctypes
import gc
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from grpc import StatusCode
from numpy.typing import NDArray

from serving.embedded.errors import ServingError
from serving.images.headers import decoded_pixels

FULL: Final = "The requests that the server holds take too much memory. Send this request again later, or fewer at once"
BODIES: Final = 8
"""The most bytes of all requests together, in multiples of the largest body of one."""


class Allowance:
    """The bytes that one request takes from a budget."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget, self._bytes = budget, 0

    def add(self, count: int) -> None:
        """Takes more bytes.

        Raises:
            ServingError: Other requests hold too many; UNAVAILABLE.
        """
        others = self._budget.held - self._bytes
        if others and self._budget.held + count > self._budget.limit:
            raise ServingError(StatusCode.UNAVAILABLE, FULL)
        self._bytes += count
        self._budget.held += count

    def release(self) -> None:
        """Gives all bytes back."""
        self._budget.held -= self._bytes
        self._bytes = 0


class ByteBudget:
    """The bytes that all requests hold together; one request alone may hold more than the limit.

    Attributes:
        limit: The most bytes.
        held: The bytes that are held now.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0

    @contextmanager
    def request(self) -> Iterator[Allowance]:
        """Yields the allowance of a request, and gives its bytes back at the end of the block."""
        allowance = Allowance(self)
        try:
            yield allowance
        finally:
            allowance.release()


def count_bytes(inputs: Mapping[str, NDArray[Any]]) -> int:
    """Returns the bytes of the inputs; for strings those of their contents."""
    return sum(
        sum(map(len, array.ravel().tolist())) if array.dtype == object else array.nbytes for array in inputs.values()
    )


def row_pixels(inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.int64] | None:
    """Returns the pixels that each row of the inputs decodes to, int64 [rows]; None if no input has image files."""
    total: NDArray[np.int64] | None = None
    for array in inputs.values():
        if array.dtype == object and array.ndim:
            counts = [
                sum(map(decoded_pixels, row)) for row in array.reshape(len(array), math.prod(array.shape[1:])).tolist()
            ]
            if any(counts):
                total = np.array(counts, np.int64) + (0 if total is None else total)
    return total


def return_free_memory() -> None:
    """Returns free memory to the operating system.

    A graph is a cycle of Python objects, which stays until the next garbage collection. Memory that is freed under load
    lies between blocks in use, in malloc's arena of one thread, where other threads cannot use it.
    """
    gc.collect()
    trim_heap()


def trim_heap() -> None:
    """Returns the pages to the operating system that malloc keeps; glibc can do this, musl cannot."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
