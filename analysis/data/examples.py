"""Reading and writing examples: the encoding of images, numbers and texts as tf.Examples in gzipped TFRecord files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.contract.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

HEIGHT = WIDTH = 28
PARSE_BATCH = 4096
COMPRESSION_LEVEL = 2
"""Level 2 writes 70,000 images three times as fast as level 6 and 9% larger."""

_REBUILD = "fashion run --fresh --only example_gen"


def write_shards(directory: Path, columns: Mapping[str, Any], shard_size: int = 10_000) -> list[Path]:
    """Writes columns as gzipped TFRecords of tf.Example, the same bytes for the same columns.

    Args:
        directory: The directory to write to; created when missing.
        columns: N values by feature name: uint8 [N, height, width] for images, int64 [N], or N bytes or strings.
        shard_size: The most examples in one file.

    Returns:
        The files, in order.
    """
    count = len(next(iter(columns.values())))
    shards = max(1, -(-count // shard_size))
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"data_tfrecord-{index:05d}-of-{shards:05d}.gz" for index in range(shards)]
    bounds = [count * index // shards for index in range(shards + 1)]
    for path, start, stop in zip(paths, bounds, bounds[1:], strict=False):
        write_shard(path, {name: values[start:stop] for name, values in columns.items()})
    return paths


def write_shard(path: Path, columns: Mapping[str, Any]) -> None:
    """Writes one gzipped TFRecord file."""
    import tensorflow as tf

    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=COMPRESSION_LEVEL)
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for record in encode_examples(columns):
            writer.write(record)


def encode_examples(columns: Mapping[str, Any]) -> Iterator[bytes]:
    """Yields the serialized tf.Example of each row of the columns."""
    from tensorflow.train import Example

    names = sorted(columns)
    plain = [_plain_values(columns[name]) for name in names]
    for row in zip(*plain, strict=True):
        example = Example()
        feature = example.features.feature
        for name, value in zip(names, row, strict=True):
            if isinstance(value, bytes):
                feature[name].bytes_list.value.append(value)
            else:
                feature[name].int64_list.value.append(value)
        # Without it the order of the features, a hash map, differs from process to process.
        yield example.SerializeToString(deterministic=True)


def _plain_values(values: Any) -> list[Any]:
    import numpy as np

    array = values if isinstance(values, np.ndarray) else None
    if array is not None and array.ndim > 1:
        return [row.tobytes() for row in array.astype(np.uint8, copy=False)]
    listed = array.tolist() if array is not None else list(values)
    return [value.encode() if isinstance(value, str) else value for value in listed]


def read_arrays(
    shards: Sequence[Path], features: Sequence[str] = ("image", "garment", "group")
) -> dict[str, np.ndarray]:
    """Reads features of all examples in the order they were written.

    Args:
        shards: The files, as `Examples.split` returns them.
        features: The features to read. Defaults to the image, its garment and its group.

    Returns:
        By name: `image` uint8 [N, 28, 28], numbers int64 [N], texts as an object array of str [N].

    Raises:
        UserError: A file is truncated or damaged, lacks a feature, or holds an image of another size.
    """
    import numpy as np

    columns = read_columns(shards, features)
    if "image" in columns:
        columns["image"] = _decode_images(columns["image"], shards)
    for name, values in columns.items():
        if values.dtype == object:
            columns[name] = np.array([value.decode() for value in values], dtype=object)
    return columns


def read_columns(shards: Sequence[Path], features: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads features undecoded: int64 [N] for numbers, an object array of bytes [N] for images and texts.

    Raises:
        UserError: A file is truncated or damaged, or lacks a feature.
    """
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    # Decompression is outside Python's lock, so two threads use two cores.
    with ThreadPoolExecutor(max_workers=4) as pool:
        parts = list(pool.map(lambda shard: _read_shard(shard, tuple(features)), shards))
    return {name: np.concatenate([part[name] for part in parts]) for name in features}


def read_record_batches(shard: Path, batch_size: int = PARSE_BATCH) -> Iterator[pa.RecordBatch]:
    """Yields a file's examples as Arrow record batches, a list column for every feature that occurs in the batch.

    Raises:
        UserError: The file is truncated or damaged, or a record is no tf.Example.
    """
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    decoder = ExamplesToRecordBatchDecoder()
    for records in _read_records(shard, batch_size):
        try:
            yield decoder.DecodeBatch(list(records))
        except (RuntimeError, ValueError) as error:
            raise _damaged(shard, str(error)) from None


def _read_records(shard: Path, batch_size: int) -> Iterator[np.ndarray]:
    import tensorflow as tf

    with tf.device("/CPU:0"):
        try:
            for batch in tf.data.TFRecordDataset(str(shard), compression_type="GZIP").batch(batch_size):
                yield batch.numpy()
        except tf.errors.OpError as error:
            raise _damaged(shard, str(error.message)) from None


def _read_shard(shard: Path, features: Sequence[str]) -> dict[str, np.ndarray]:
    import numpy as np
    import tensorflow as tf

    with tf.device("/CPU:0"):
        records = tf.data.TFRecordDataset(str(shard), compression_type="GZIP", buffer_size=1 << 20)
        try:
            specification = _specification(shard, records, features)
            batches = [tf.io.parse_example(batch, specification) for batch in records.batch(PARSE_BATCH)]
        except tf.errors.OpError as error:
            raise _damaged(shard, str(error.message)) from None
        return {name: np.concatenate([batch[name].numpy() for batch in batches]) for name in features}


def _specification(shard: Path, records: Any, features: Sequence[str]) -> dict[str, Any]:
    """Returns a parsing specification with the types of the first record."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    first = next(iter(records.take(1)), None)
    if first is None:
        raise _damaged(shard, "no records")
    try:
        present = tf.train.Example.FromString(first.numpy()).features.feature
    except DecodeError as error:
        raise _damaged(shard, str(error)) from None
    if missing := [name for name in features if name not in present]:
        raise UserError(
            f"The examples lack {', '.join(missing)}.",
            expected=f"features {', '.join(features)} in {shard}",
            received=", ".join(sorted(present)) or "no features",
            next_step="fashion run --from example_gen",
        )
    kinds = {name: tf.string if present[name].HasField("bytes_list") else tf.int64 for name in features}
    return {name: tf.io.FixedLenFeature([], kind) for name, kind in kinds.items()}


def _decode_images(encoded: np.ndarray, shards: Sequence[Path]) -> np.ndarray:
    import numpy as np

    sizes = {len(image) for image in encoded}
    if sizes - {HEIGHT * WIDTH}:
        raise UserError(
            "An image has the wrong size.",
            expected=f"{HEIGHT}x{WIDTH} pixels, {HEIGHT * WIDTH} bytes an image",
            received=f"{sorted(sizes)} bytes in {shards[0].parent}",
            next_step=_REBUILD,
        )
    return np.frombuffer(b"".join(encoded), np.uint8).reshape(-1, HEIGHT, WIDTH)


def _damaged(shard: Path, reason: str) -> UserError:
    return UserError(
        f"The examples file {shard} cannot be read.",
        expected="a gzipped TFRecord file of tf.Example",
        received=readable_reason(reason),
        next_step=_REBUILD,
    )


def readable_reason(message: str) -> str:
    """Returns the first line of a TensorFlow error without the names of graph nodes and operations around it."""
    first = message.strip().splitlines()[0] if message.strip() else "no message"
    return re.sub(r"\{\{.*?\}\}\s*|\s*\[Op:.*|\s*\[\[.*", "", first).strip()
