"""Reading gzipped IDX files, the format in which MNIST and Fashion-MNIST are published.

The layout: two zero bytes, a type byte (8 is uint8), the rank, then each dimension as a big-endian int32, then the
values (http://yann.lecun.com/exdb/mnist).
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

UINT8_CODE = 8


class DataError(ValueError):
    """Data are missing or not what they should be; message and attributes say what was expected and received."""

    def __init__(self, headline: str, *, expected: str, received: str) -> None:
        super().__init__(f"{headline} Expected: {expected}. Received: {received}")
        self.headline = headline
        self.expected = expected
        self.received = received


def read_idx(path: Path, rank: int, sha256: str | None = None) -> npt.NDArray[np.uint8]:
    """Reads a gzipped IDX file of uint8.

    Args:
        path: The file.
        rank: How many dimensions the array must have: 3 for images, 1 for labels.
        sha256: The digest that the decompressed bytes must have, in hex. Defaults to no check. (Of the decompressed
            bytes, because distributions compress the same file anew.)

    Returns:
        A read-only array of that rank.

    Raises:
        DataError: The file is missing, truncated, no IDX file, of another rank or type, or has another digest.
    """
    content = _decompress(path)
    shape, offset = _read_header(path, content, rank)
    expected, received = math.prod(shape), len(content) - offset
    if received != expected:
        raise DataError(
            f"The IDX file {path} is {'truncated' if received < expected else 'too long'}.",
            expected=f"{expected} values for shape {shape}",
            received=f"{received} values",
        )
    if sha256 is not None and (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise DataError(
            f"The IDX file {path} has the wrong checksum.",
            expected=f"sha256 {sha256} of the decompressed bytes",
            received=f"sha256 {digest}",
        )
    return np.frombuffer(content, np.uint8, offset=offset).reshape(shape)


def _decompress(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        # gzip.BadGzipFile is an OSError, as is a file that is missing or not readable.
        raise DataError(
            f"The IDX file {path} cannot be read.", expected="a whole gzip file", received=str(error)
        ) from None


def _read_header(path: Path, content: bytes, rank: int) -> tuple[tuple[int, ...], int]:
    offset = 4 + 4 * rank
    magic = struct.pack("BBBB", 0, 0, UINT8_CODE, rank)
    if content[:4] != magic or len(content) < offset:
        raise DataError(
            f"The file {path} is no IDX file of rank {rank}.",
            expected=f"it begins with {magic.hex(' ')} and {rank} dimensions",
            received=content[:offset].hex(" ") or "an empty file",
        )
    return struct.unpack(f">{rank}I", content[4:offset]), offset
