"""Reads what a bulk scoring sends to the model, a batch at a time: a bad image is a row with a reason, not the end."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from google.protobuf.message import DecodeError
from pyarrow import parquet

from pipeline.contract.limits import IMAGE_SIDE, MAX_IMAGE_BYTES
from serving.bulk.sources import IMAGES, PARQUET, PIXELS, TFRECORD, Unit, is_bytes, records, unreadable
from serving.images.encoding import ImageError, encode_file, read_file
from serving.requests.prediction_log import first_line

READ_TOGETHER = 32
BATCH_BYTES = 64_000_000


@dataclass(frozen=True)
class Batch:
    """Some images on their way to the model.

    Attributes:
        sources: What each is called: an id, a path, or `file#row`.
        payloads: What the signature is sent: bytes, or None where there is nothing to send.
        errors: Why there is nothing to send, by position.
        carried: The other columns of a Parquet file.
    """

    sources: list[str]
    payloads: list[bytes | None]
    errors: dict[int, str] = field(default_factory=dict)
    carried: dict[str, Any] = field(default_factory=dict)


def read(unit: Unit, batch_size: int) -> Iterator[Batch]:
    """Yields what a unit holds, at most `batch_size` images at a time.

    Raises:
        BulkError: A TFRecord or Parquet file is damaged. A bad image is no error but a row without a payload.
    """
    if unit.kind == IMAGES:
        yield from _gather(_read_images(unit), batch_size)
    elif unit.kind == TFRECORD:
        yield from _gather(_read_records(unit, batch_size), batch_size)
    else:
        yield from _read_parquet(unit, batch_size)


def _gather(rows: Iterator[tuple[str, bytes | None, str]], batch_size: int) -> Iterator[Batch]:
    batch, held = Batch([], []), 0
    for source, payload, error in rows:
        if error:
            batch.errors[len(batch.sources)] = error
        batch.sources.append(source)
        batch.payloads.append(payload)
        held += len(payload or b"")
        if len(batch.sources) == batch_size or held > BATCH_BYTES:
            yield batch
            batch, held = Batch([], []), 0
    if batch.sources:
        yield batch


def _prepare(source: str | bytes, name: str) -> tuple[str, bytes | None, str]:
    try:
        content = read_file(Path(source), MAX_IMAGE_BYTES, name) if isinstance(source, str) else source
        return name, encode_file(content, name), ""
    except ImageError as error:
        return name, None, error.one_line


def _read_images(unit: Unit) -> Iterator[tuple[str, bytes | None, str]]:
    # Pillow decodes outside Python's lock.
    with ThreadPoolExecutor(max_workers=4) as pool:
        for start in range(0, len(unit.files), READ_TOGETHER):
            part = unit.files[start : start + READ_TOGETHER]
            yield from pool.map(_prepare, part, part)


def _read_records(unit: Unit, batch_size: int) -> Iterator[tuple[str, bytes | None, str]]:
    (path,) = unit.files
    row = unit.start
    try:
        with tf.device("/CPU:0"):
            for part in records(path).skip(unit.start).take(unit.images).batch(batch_size):
                for record in part.numpy():
                    yield _check_example(record, f"{path}#{row}")
                    row += 1
    except (tf.errors.OpError, OSError) as error:
        raise unreadable(path, first_line(error)) from None


def _check_example(record: bytes, name: str) -> tuple[str, bytes | None, str]:
    try:
        feature = tf.train.Example.FromString(record).features.feature
    except DecodeError:
        return name, None, f"{name} is no image. Expected: a tf.Example. Received: {len(record)} other bytes"
    ids = feature["source_id"].bytes_list.value if "source_id" in feature else ()
    return (ids[0].decode(errors="replace") if ids else name), record, ""


def _read_parquet(unit: Unit, batch_size: int) -> Iterator[Batch]:
    (path,) = unit.files
    column, check = ("image_bytes", _prepare) if unit.kind == PARQUET else ("image", _check_pixels)
    try:
        with parquet.ParquetFile(path) as file, ThreadPoolExecutor(max_workers=4) as pool:
            row = sum(file.metadata.row_group(i).num_rows for i in range(unit.start))
            names = file.schema_arrow.names
            carried = [f.name for f in file.schema_arrow if _is_carried(f, column) and names.count(f.name) == 1]
            groups = list(range(unit.start, unit.stop))
            for part in file.iter_batches(batch_size, row_groups=groups, columns=[column, *carried]):
                sources = [f"{path}#{row + i}" for i in range(len(part))]
                images = part.column(part.schema.get_field_index(column)).to_pylist()
                checked = list(pool.map(check, [image or b"" for image in images], sources))
                errors = {i: error for i, (_, _, error) in enumerate(checked) if error}
                columns = {name: part.column(part.schema.get_field_index(name)) for name in carried}
                yield Batch(sources, [payload for _, payload, _ in checked], errors, columns)
                row += len(part)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, first_line(error)) from None


def _check_pixels(pixels: bytes, name: str) -> tuple[str, bytes | None, str]:
    if len(pixels) == IMAGE_SIDE * IMAGE_SIDE:
        return name, pixels, ""
    return name, None, f"{name} is no image. Expected: {IMAGE_SIDE * IMAGE_SIDE} bytes. Received: {len(pixels)}"


def _is_carried(column: pa.Field, images: str) -> bool:
    """Numbers, texts, dates and truth values go along; other images, lists and structures do not."""
    kind = column.type
    return column.name != images and not pa.types.is_nested(kind) and not is_bytes(kind)


def to_input(kind: str, payloads: list[bytes]) -> Any:
    """Returns what the signature is sent: strings, or uint8 [N, 28, 28]."""
    if kind == PIXELS:
        return tf.constant(np.frombuffer(b"".join(payloads), np.uint8).reshape(-1, IMAGE_SIDE, IMAGE_SIDE))
    return tf.constant(payloads, tf.string)
