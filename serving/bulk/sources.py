"""What a bulk scoring reads: TFRecords of tf.Example, image files or Parquet, cut into units.

What the source is, is taken from the names of the files and, where those say nothing, from their first bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import tensorflow as tf
from pyarrow import parquet

from pipeline.contract.limits import IMAGE_SIDE
from serving.images.encoding import SUFFIXES
from serving.requests.prediction_log import first_line

TFRECORD, IMAGES, PARQUET, PIXELS = "TFRecord", "image files", "Parquet", "Parquet with pixels"
SIGNATURES = {
    TFRECORD: "serving_examples",
    IMAGES: "serving_bytes",
    PARQUET: "serving_bytes",
    PIXELS: "serving_default",
}
"""Which signature answers to which kind of source."""
MOST_SLICES = 16
"""Of one TFRecord file. A record is found by reading all before it: more slices would read a large file too often."""


class BulkError(ValueError):
    """A source cannot be scored, or not there; the message says why."""


@dataclass(frozen=True)
class Unit:
    """What one shard of the result is made of.

    Attributes:
        kind: TFRECORD, IMAGES, PARQUET or PIXELS.
        files: The one file, or image files.
        start: The first record or row group of the one file.
        stop: The one after the last.
        images: How many images there are.
    """

    kind: str
    files: tuple[str, ...]
    start: int
    stop: int
    images: int


def find(pattern: str, other_than: Path) -> list[Path]:
    """Returns the files that a path, a directory or a glob means, sorted.

    Args:
        pattern: `**` goes through all directories below; of a directory, everything in and below it is meant.
        other_than: A directory whose files are not meant, such as where the result goes.

    Raises:
        BulkError: There are none.
    """
    matched = _matched(pattern)
    inside = [p for m in matched for p in (_below(m) if m.is_dir() else [m])]
    out = other_than.resolve()
    found = sorted({p for p in inside if p.is_file() and not p.resolve().is_relative_to(out)})
    if not found:
        raise BulkError(f"There is nothing to score. Expected: files that match {pattern}. Received: none")
    return found


def cut(files: list[Path], size: int) -> list[Unit]:
    """Cuts files of one kind into units of about `size` images.

    A Parquet file is cut between its row groups, a TFRecord file into at most 16 slices.

    Raises:
        BulkError: They are of several kinds or of none, or one cannot be read.
    """
    kinds = {path: _kind(path) for path in files}
    # In a directory lie a README and a checksum beside the data.
    known = [path for path in files if kinds[path]]
    if len(held := sorted({kind for kind in kinds.values() if kind})) != 1:
        received = " and ".join(held) or f"{files[0]}, which is neither"
        raise BulkError(
            f"The files cannot be scored. Expected: {TFRECORD}, {IMAGES} or {PARQUET}, of one kind. "
            f"Received: {received}"
        )
    if held[0] == IMAGES:
        parts = [known[i : i + size] for i in range(0, len(known), size)]
        return [Unit(IMAGES, tuple(map(str, part)), 0, len(part), len(part)) for part in parts]
    units = [u for path in known for u in (_cut_tfrecord if held[0] == TFRECORD else _cut_parquet)(path, size)]
    if not units:
        raise BulkError(f"There is nothing to score. Expected: images in {known[0]}. Received: none")
    if len(kinds_found := {u.kind for u in units}) != 1:
        raise BulkError(
            "The Parquet files differ. Expected: the column image_bytes in all, or image in all. "
            f"Received: {len(kinds_found)} forms"
        )
    return units


def _matched(pattern: str) -> list[Path]:
    path = Path(pattern)
    try:
        # A name with brackets is first of all a name.
        if path.exists():
            return [path]
        found = Path(path.anchor or ".").glob(str(path.relative_to(path.anchor)))
        return [p for p in found if not p.name.startswith(".")]
    except (OSError, ValueError, NotImplementedError) as error:
        raise BulkError(f"There is nothing to score. Expected: a path or glob. Received: {pattern}, {error}") from None


def _below(directory: Path) -> Iterable[Path]:
    return (p for p in directory.rglob("*") if not any(part.startswith(".") for part in p.relative_to(directory).parts))


def _kind(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(SUFFIXES):
        return IMAGES
    if name.endswith((".parquet", ".pq")):
        return PARQUET
    if "tfrecord" in name:
        return TFRECORD
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise unreadable(path, str(error.strerror)) from None
    if head.startswith(b"PAR1"):
        return PARQUET
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8")):
        return IMAGES
    # A record begins with its length in 8 bytes and a checksum of them (TFRecord's format).
    plain = len(head) == 12 and int.from_bytes(head[:8], "little") + 16 <= path.stat().st_size
    return TFRECORD if plain or (head.startswith(b"\x1f\x8b") and ".gz" in name) else ""


def records(path: str | Path) -> Any:
    """Returns the data set of the records of a TFRecord file, gzipped or not."""
    with Path(path).open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return tf.data.TFRecordDataset(str(path), compression_type="GZIP" if zipped else "", buffer_size=1 << 20)


def _cut_tfrecord(path: Path, size: int) -> list[Unit]:
    try:
        with tf.device("/CPU:0"):
            count = sum(len(part) for part in records(path).batch(4096))
    except (tf.errors.OpError, OSError) as error:
        raise unreadable(path, first_line(error)) from None
    slices = min(max(-(-count // size), 1 if count else 0), MOST_SLICES)
    bounds = [count * i // slices for i in range(slices + 1)] if slices else []
    return [Unit(TFRECORD, (str(path),), a, b, b - a) for a, b in pairwise(bounds)]


def _cut_parquet(path: Path, size: int) -> list[Unit]:
    try:
        with parquet.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, first_line(error)) from None
    kind, column = (PARQUET, "image_bytes") if "image_bytes" in schema.names else (PIXELS, "image")
    if column not in schema.names or not is_bytes(schema.field(column).type):
        held = ", ".join(f"{f.name} {f.type}" for f in schema) or "none"
        raise BulkError(
            f"{path} holds no images. Expected: a binary column image_bytes (image files) or "
            f"image ({IMAGE_SIDE * IMAGE_SIDE} pixels). Received: columns {held}"
        )
    units, start = [], 0
    for stop in range(1, len(counts) + 1):
        images = sum(counts[start:stop])
        if images >= size or (stop == len(counts) and images):
            units.append(Unit(kind, (str(path),), start, stop, images))
            start = stop
    return units


def is_bytes(kind: pa.DataType) -> bool:
    """Whether an Arrow column of this type can hold images."""
    return any(test(kind) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary))


def unreadable(path: str | Path, reason: str) -> BulkError:
    """Returns the error about a damaged file."""
    return BulkError(f"{path} cannot be read. Expected: a whole {TFRECORD} or {PARQUET} file. Received: {reason}")
