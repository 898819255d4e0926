"""Where a bulk scoring writes: a Parquet file and a log of requests a shard, each whole or not there at all.

| column | type |
| --- | --- |
| `source` | an id, a path, or `file#row` |
| `group`, `garment` | string |
| `confidence` | float, the calibrated probability of the group |
| `abstain` | bool |
| `group_probabilities`, `garment_probabilities` | list of float |
| `prediction_set` | list of bool |
| `model_version` | string |
| `error` | string: why there is no answer, and then the answer's columns are null |

After these come the other columns of a Parquet source: numbers, texts, dates and truth values, under their own names,
or as `input_<name>` where the result has that name itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from pyarrow import parquet
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.bulk.sources import BulkError

KEY = "scoring.json"
SUMMARY = "summary.json"
FLOATS = pa.list_(pa.float32())
ANSWERS = pa.schema(
    {
        "group": pa.string(),
        "confidence": pa.float32(),
        "abstain": pa.bool_(),
        "garment": pa.string(),
        "group_probabilities": FLOATS,
        "garment_probabilities": FLOATS,
        "prediction_set": pa.list_(pa.bool_()),
    }
)
NAMES = ("source", *ANSWERS.names, "model_version", "error")
_LISTED = 1000


@dataclass(frozen=True)
class Shard:
    """One of the files of a result.

    Attributes:
        directory: The result.
        index: Which one, from 0.
        count: How many there are.
    """

    directory: Path
    index: int
    count: int

    @property
    def path(self) -> Path:
        """The rows; there when the shard is finished."""
        return self.directory / f"predictions-{self.index:05d}-of-{self.count:05d}.parquet"

    @property
    def log(self) -> Path:
        """The sampled requests with their answers, `PredictionLog`s as TensorFlow Serving writes them."""
        return self.path.with_suffix(".tfrecord")

    def write(self, parts: Iterable[tuple[pa.Table, list[PredictionLog]]]) -> None:
        """Writes rows and logs as they come, under hidden names, and shows both when all is on the disk."""
        hidden = [p.with_name("." + p.name) for p in (self.log, self.path)]
        writer: parquet.ParquetWriter | None = None
        try:
            with tf.io.TFRecordWriter(str(hidden[0])) as logs:
                for table, sampled in parts:
                    writer = writer or parquet.ParquetWriter(hidden[1], table.schema)
                    writer.write_table(table)
                    for log in sampled:
                        logs.write(log.SerializeToString(deterministic=True))
        finally:
            if writer is not None:
                writer.close()
        # The rows last: where they are, the shard is finished.
        for path, shown in zip(hidden, (self.log, self.path), strict=True):
            _flush(path)
            path.rename(shown)
        _flush(self.directory)

    def counts(self) -> Counts:
        """Reads what the rows say in sum."""
        table = parquet.read_table(self.path, columns=["group", "abstain", "error"])
        groups = {str(pair["values"]): int(pair["counts"]) for pair in pc.value_counts(table["group"]).to_pylist()}
        failed = len(table) - table["error"].null_count
        groups.pop("None", None)
        return Counts(len(table), failed, Counter(groups), int(pc.sum(table["abstain"]).as_py() or 0))


@dataclass(frozen=True)
class Counts:
    """What rows say in sum.

    Attributes:
        images: How many there are.
        failed: How many have an error and no answer.
        groups: How many each group was answered to.
        abstained: To how many the model abstains.
    """

    images: int
    failed: int
    groups: Counter[str]
    abstained: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.images + other.images,
            self.failed + other.failed,
            self.groups + other.groups,
            self.abstained + other.abstained,
        )


@contextmanager
def opened(directory: Path, key: Mapping[str, Any], start_over: bool) -> Iterator[None]:
    """Holds a directory for the result of what `key` describes, and keeps what an earlier run of the same left.

    Args:
        directory: Made when missing.
        key: JSON content: the model, the input and the parameters.
        start_over: Whether to remove another result that is there.

    Raises:
        BulkError: It holds something else, cannot be written, or another process writes it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        held = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise BulkError(f"{directory} cannot be written. Expected: a directory. Received: {error.strerror}") from None
    try:
        # The system drops the lock of a killed process.
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _claim(directory, json.loads(json.dumps(key)), start_over)
        yield
    except BlockingIOError:
        raise BulkError(
            f"{directory} is being written. Expected: a directory for this run alone. Received: one that another holds"
        ) from None
    finally:
        os.close(held)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, all of it or nothing."""
    hidden = path.with_name("." + path.name)
    hidden.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    _flush(hidden)
    hidden.rename(path)


def describe_files(files: Iterable[Path]) -> dict[str, Any]:
    """Describes files by name, size and time: all of them by a digest, the first thousand one by one."""
    marks = {str(path): [(stat := path.stat()).st_size, stat.st_mtime_ns] for path in files}
    digest = hashlib.sha256(json.dumps(marks).encode()).hexdigest()
    return {"count": len(marks), "digest": digest, "first": dict(list(marks.items())[:_LISTED])}


def _claim(directory: Path, key: Mapping[str, Any], start_over: bool) -> None:
    ours = [p for name in (KEY, SUMMARY, "predictions-*", ".predictions-*") for p in directory.glob(name)]
    if start_over:
        for path in ours:
            path.unlink()
    held = _read_key(directory)
    if held == key:
        return
    if held is not None:
        raise BulkError(
            f"{directory} holds another scoring: {_difference(held, key)}. Expected: the same model, input and "
            "parameters, another directory, or the option to start over. Received: neither"
        )
    if others := sorted(p.name for p in directory.iterdir() if not p.name.startswith(".")):
        raise BulkError(f"{directory} holds something else. Expected: an empty directory. Received: {others[0]} in it")
    write_json(directory / KEY, key)


def _read_key(directory: Path) -> Any:
    try:
        return json.loads((directory / KEY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}


def _difference(held: Any, key: Mapping[str, Any]) -> str:
    """Names the first thing in which two keys differ."""
    for name, now in key.items():
        before = held.get(name) if isinstance(held, dict) else None
        if before == now:
            continue
        if name == "input" and isinstance(before, dict):
            first, firsts = now["first"], before["first"]
            changed = [p for p in {**firsts, **first} if firsts.get(p) != first.get(p)]
            return f"the input differs, {changed[0] if changed else 'in its later files'}"
        return f"{name} is {now}, there it was {before}"
    return "it names what this one does not"


def _flush(path: Path) -> None:
    """Brings a file or directory to the disk, so that a rename after it never precedes it there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
