"""The sources of bulk inference: finds TFRecord, image and Parquet files, cuts them into units, and reads batches.

The kind of a file follows from its name or, if the name does not tell, from its first bytes. A bad image becomes a row
with an error; it does not end the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from google.protobuf.message import DecodeError
from pyarrow import parquet

from pipeline.contract.errors import UserError
from pipeline.contract.image_limits import IMAGE_SIDE, MAX_IMAGE_BYTES
from serving.images.encoding import SUFFIXES, ImageError, encode_file, read_file
from serving.requests.prediction_log import short_message

TFRECORD, IMAGES, PARQUET, PIXELS = "TFRecord", "image files", "Parquet", "Parquet with pixels"
SIGNATURES = {
    TFRECORD: "serving_examples",
    IMAGES: "serving_bytes",
    PARQUET: "serving_bytes",
    PIXELS: "serving_default",
}
"""The signature that scores each kind of source."""
MAX_SLICES = 16
"""The most units of one TFRecord file. Reaching a record means reading all before it, so more would be too slow."""
READ_TOGETHER = 32
BATCH_BYTES = 64_000_000


class BulkError(UserError):
    """Bulk inference is impossible: of this source, with this model, or into this directory."""


@dataclass(frozen=True)
class Unit:
    """The part of the source that becomes one shard of the result.

    Attributes:
        kind: TFRECORD, IMAGES, PARQUET or PIXELS.
        files: One file, or several image files.
        start: The first record or row group of the file.
        stop: The record or row group after the last.
        images: The number of images.
    """

    kind: str
    files: tuple[str, ...]
    start: int
    stop: int
    images: int


def find_files(pattern: str, excluded: Path) -> list[Path]:
    """Returns the files that a path, a directory or a glob matches, sorted.

    Args:
        pattern: A file, a directory with everything below it, or a glob, in which `**` matches any directories.
        excluded: A directory whose files are left out, such as that of the result.

    Raises:
        BulkError: There are none.
    """
    matches = [p for match in _expand_pattern(pattern) for p in (_visible_below(match) if match.is_dir() else [match])]
    result = excluded.resolve()
    found = sorted({p for p in matches if p.is_file() and not p.resolve().is_relative_to(result)})
    if not found:
        raise BulkError("There is nothing to score.", expected=f"files that match {pattern}", received="none")
    return found


def cut_into_units(files: list[Path], size: int) -> list[Unit]:
    """Cuts files of one kind into units of about `size` images.

    A Parquet file is cut between its row groups, a TFRecord file into at most 16 slices.

    Raises:
        BulkError: The files are of several kinds or of none, or one cannot be read.
    """
    kinds = {path: _kind(path) for path in files}
    # A directory may contain a README and a checksum beside the data.
    known = [path for path in files if kinds[path]]
    if len(kinds_found := sorted({kind for kind in kinds.values() if kind})) != 1:
        raise BulkError(
            "The files cannot be scored.",
            expected=f"{TFRECORD}, {IMAGES} or {PARQUET}, of one kind",
            received=" and ".join(kinds_found) or f"{files[0]}, which is neither",
        )
    (kind,) = kinds_found
    if kind == IMAGES:
        parts = [known[i : i + size] for i in range(0, len(known), size)]
        return [Unit(IMAGES, tuple(map(str, part)), 0, len(part), len(part)) for part in parts]
    units = [u for path in known for u in (_cut_tfrecord if kind == TFRECORD else _cut_parquet)(path, size)]
    if not units:
        raise BulkError("There is nothing to score.", expected=f"images in {known[0]}", received="none")
    if len(forms := {u.kind for u in units}) != 1:
        raise BulkError(
            "The Parquet files differ.",
            expected="the column image_bytes in all, or image in all",
            received=f"{len(forms)} forms",
        )
    return units


def _expand_pattern(pattern: str) -> list[Path]:
    if not pattern:
        raise BulkError("A source has no name.", expected="a path or glob; . is the current directory", received='""')
    path = Path(pattern)
    try:
        # A name with brackets may be the name of a file rather than a glob.
        if path.exists():
            return [path]
        found = Path(path.anchor or ".").glob(str(path.relative_to(path.anchor)))
        return [p for p in found if not p.name.startswith(".")]
    except (OSError, ValueError, NotImplementedError) as error:
        received = f"{pattern}, {error}"
        raise BulkError("There is nothing to score.", expected="a path or glob", received=received) from None


def _visible_below(directory: Path) -> Iterable[Path]:
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
        raise _unreadable(path, str(error.strerror)) from None
    if head.startswith(b"PAR1"):
        return PARQUET
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8")):
        return IMAGES
    # A record begins with its length in 8 bytes and a checksum of them (TFRecord's format).
    plausible = len(head) == 12 and int.from_bytes(head[:8], "little") + 16 <= path.stat().st_size
    return TFRECORD if plausible or (head.startswith(b"\x1f\x8b") and ".gz" in name) else ""


def _record_dataset(path: str | Path) -> Any:
    """Returns a tf.data.Dataset of the records of a TFRecord file, gzipped or not."""
    with Path(path).open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return tf.data.TFRecordDataset(str(path), compression_type="GZIP" if zipped else "", buffer_size=1 << 20)


def _cut_tfrecord(path: Path, size: int) -> list[Unit]:
    try:
        with tf.device("/CPU:0"):
            count = sum(len(part) for part in _record_dataset(path).batch(4096))
    except (tf.errors.OpError, OSError) as error:
        raise _unreadable(path, short_message(error)) from None
    slices = min(max(-(-count // size), 1 if count else 0), MAX_SLICES)
    bounds = [count * i // slices for i in range(slices + 1)] if slices else []
    return [Unit(TFRECORD, (str(path),), a, b, b - a) for a, b in pairwise(bounds)]


def _cut_parquet(path: Path, size: int) -> list[Unit]:
    try:
        with parquet.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, short_message(error)) from None
    kind, column = (PARQUET, "image_bytes") if "image_bytes" in schema.names else (PIXELS, "image")
    if column not in schema.names or not _is_binary(schema.field(column).type):
        columns = ", ".join(f"{f.name} {f.type}" for f in schema) or "none"
        raise BulkError(
            f"{path} contains no images.",
            expected=f"a binary column image_bytes (image files) or image ({IMAGE_SIDE * IMAGE_SIDE} pixels)",
            received=f"columns {columns}",
        )
    units, start = [], 0
    for stop in range(1, len(counts) + 1):
        images = sum(counts[start:stop])
        if images >= size or (stop == len(counts) and images):
            units.append(Unit(kind, (str(path),), start, stop, images))
            start = stop
    return units


def _is_binary(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary))


def _unreadable(path: str | Path, reason: str) -> BulkError:
    expected = f"a complete {TFRECORD} or {PARQUET} file"
    return BulkError(f"{path} cannot be read.", expected=expected, received=reason)


@dataclass(frozen=True)
class Batch:
    """A batch of images for the model.

    Attributes:
        sources: The names of the images: an id, a path, or `file#row`.
        payloads: The bytes that the signature takes, or None for a bad image.
        errors: Why an image is bad, by position.
        other_columns: The other columns of a Parquet file.
    """

    sources: list[str]
    payloads: list[bytes | None]
    errors: dict[int, str] = field(default_factory=dict)
    other_columns: dict[str, Any] = field(default_factory=dict)


def read_batches(unit: Unit, batch_size: int) -> Iterator[Batch]:
    """Yields the images of a unit, at most `batch_size` at a time.

    Raises:
        BulkError: A TFRecord or Parquet file is damaged. A bad image raises nothing; it has no payload.
    """
    if unit.kind == IMAGES:
        yield from _group(_read_images(unit), batch_size)
    elif unit.kind == TFRECORD:
        yield from _group(_read_records(unit, batch_size), batch_size)
    else:
        yield from _read_parquet(unit, batch_size)


def _group(rows: Iterator[tuple[str, bytes | None, str]], batch_size: int) -> Iterator[Batch]:
    batch, size = Batch([], []), 0
    for source, payload, error in rows:
        if error:
            batch.errors[len(batch.sources)] = error
        batch.sources.append(source)
        batch.payloads.append(payload)
        size += len(payload or b"")
        if len(batch.sources) == batch_size or size > BATCH_BYTES:
            yield batch
            batch, size = Batch([], []), 0
    if batch.sources:
        yield batch


def _prepare(source: str | bytes, name: str) -> tuple[str, bytes | None, str]:
    try:
        content = read_file(Path(source), MAX_IMAGE_BYTES, name) if isinstance(source, str) else source
        return name, encode_file(content, name), ""
    except ImageError as error:
        return name, None, error.one_line


def _read_images(unit: Unit) -> Iterator[tuple[str, bytes | None, str]]:
    # Pillow releases the interpreter's lock while it decodes.
    with ThreadPoolExecutor(max_workers=4) as pool:
        for start in range(0, len(unit.files), READ_TOGETHER):
            part = unit.files[start : start + READ_TOGETHER]
            yield from pool.map(_prepare, part, part)


def _read_records(unit: Unit, batch_size: int) -> Iterator[tuple[str, bytes | None, str]]:
    (path,) = unit.files
    row = unit.start
    try:
        with tf.device("/CPU:0"):
            for part in _record_dataset(path).skip(unit.start).take(unit.images).batch(batch_size):
                for record in part.numpy():
                    yield _check_example(record, f"{path}#{row}")
                    row += 1
    except (tf.errors.OpError, OSError) as error:
        raise _unreadable(path, short_message(error)) from None


def _check_example(record: bytes, name: str) -> tuple[str, bytes | None, str]:
    try:
        feature = tf.train.Example.FromString(record).features.feature
    except DecodeError:
        error = ImageError(f"{name} is no image.", expected="a tf.Example", received=f"{len(record)} other bytes")
        return name, None, error.one_line
    ids = feature["source_id"].bytes_list.value if "source_id" in feature else ()
    return (ids[0].decode(errors="replace") if ids else name), record, ""


def _read_parquet(unit: Unit, batch_size: int) -> Iterator[Batch]:
    (path,) = unit.files
    column, check = ("image_bytes", _prepare) if unit.kind == PARQUET else ("image", _check_pixels)
    try:
        with parquet.ParquetFile(path) as file, ThreadPoolExecutor(max_workers=4) as pool:
            row = sum(file.metadata.row_group(i).num_rows for i in range(unit.start))
            names = file.schema_arrow.names
            others = [f.name for f in file.schema_arrow if _is_copied(f, column) and names.count(f.name) == 1]
            groups = list(range(unit.start, unit.stop))
            for part in file.iter_batches(batch_size, row_groups=groups, columns=[column, *others]):
                sources = [f"{path}#{row + i}" for i in range(len(part))]
                images = part.column(part.schema.get_field_index(column)).to_pylist()
                checked = list(pool.map(check, [image or b"" for image in images], sources))
                errors = {i: error for i, (_, _, error) in enumerate(checked) if error}
                columns = {name: part.column(part.schema.get_field_index(name)) for name in others}
                yield Batch(sources, [payload for _, payload, _ in checked], errors, columns)
                row += len(part)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, short_message(error)) from None


def _check_pixels(pixels: bytes, name: str) -> tuple[str, bytes | None, str]:
    if len(pixels) == IMAGE_SIDE * IMAGE_SIDE:
        return name, pixels, ""
    expected, received = f"{IMAGE_SIDE * IMAGE_SIDE} bytes", str(len(pixels))
    return name, None, ImageError(f"{name} is no image.", expected=expected, received=received).one_line


def _is_copied(column: pa.Field, images: str) -> bool:
    """Whether the result gets a column: numbers, texts, dates and booleans, but no other images, lists or structs."""
    kind = column.type
    return column.name != images and not pa.types.is_nested(kind) and not _is_binary(kind)


def to_input(kind: str, payloads: list[bytes]) -> Any:
    """Returns the input tensor of the signature: strings [N], or uint8 [N, 28, 28]."""
    if kind == PIXELS:
        return tf.constant(np.frombuffer(b"".join(payloads), np.uint8).reshape(-1, IMAGE_SIDE, IMAGE_SIDE))
    return tf.constant(payloads, tf.string)
