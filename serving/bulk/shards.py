"""The result of bulk inference: shards, each a Parquet file of rows and a TFRecord file of logged requests.

| column | type |
| --- | --- |
| `source` | an id, a path, or `file#row` |
| `group`, `garment` | string |
| `confidence` | float, the calibrated probability of the group |
| `abstain` | bool |
| `group_probabilities`, `garment_probabilities` | list of float |
| `prediction_set` | list of bool |
| `model_version` | string |
| `error` | string: why the image has no prediction; its other columns are null then |

The lists are in the order of `group_names` and `garment_names` in `summary.json`.

After these come the other columns of a Parquet source: numbers, texts, dates and booleans, under their own names, or as
`input_<name>` if the result has a column of that name.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from pyarrow import parquet
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from pipeline.contract.files import atomic_path, exclusive_directory_lock, write_json
from serving.bulk.sources import BulkError

KEY = "scoring.json"
SUMMARY = "summary.json"
FLOATS = pa.list_(pa.float32())
OUTPUTS = pa.schema(
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
COLUMNS = ("source", *OUTPUTS.names, "model_version", "error")
MAX_LISTED = 1000


@dataclass(frozen=True)
class Shard:
    """One shard of a result.

    Attributes:
        directory: The directory of the result.
        index: The number of the shard, from 0.
        count: The number of shards.
    """

    directory: Path
    index: int
    count: int

    @property
    def path(self) -> Path:
        """The Parquet file of the rows; it exists when the shard is finished."""
        return self.directory / f"predictions-{self.index:05d}-of-{self.count:05d}.parquet"

    @property
    def log(self) -> Path:
        """The TFRecord file of sampled requests with their answers, in TensorFlow Serving's `PredictionLog` format."""
        return self.path.with_suffix(".tfrecord")

    def write(self, parts: Iterable[tuple[pa.Table, list[PredictionLog]]]) -> None:
        """Writes rows and logs as they come, each file completely or not at all."""
        # The rows get their name last: if they exist, the shard is finished.
        with atomic_path(self.path) as rows, atomic_path(self.log) as log_file, ExitStack() as open_files:
            logs = open_files.enter_context(tf.io.TFRecordWriter(str(log_file)))
            writer: parquet.ParquetWriter | None = None
            for table, sampled in parts:
                writer = writer or open_files.enter_context(parquet.ParquetWriter(rows, table.schema))
                writer.write_table(table)
                for log in sampled:
                    logs.write(log.SerializeToString(deterministic=True))

    def counts(self) -> Counts:
        """Counts the rows, the failures, the groups and the abstentions."""
        table = parquet.read_table(self.path, columns=["group", "abstain", "error"])
        groups = {str(pair["values"]): int(pair["counts"]) for pair in pc.value_counts(table["group"]).to_pylist()}
        failed = len(table) - table["error"].null_count
        groups.pop("None", None)
        return Counts(len(table), failed, Counter(groups), int(pc.sum(table["abstain"]).as_py() or 0))


@dataclass(frozen=True)
class Counts:
    """The counts of the rows of one or more shards.

    Attributes:
        images: The number of rows.
        failed: The number of rows with an error and no prediction.
        groups: The number of predictions of each group.
        abstained: The number of images for which the model abstains.
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
def open_result(directory: Path, key: Mapping[str, Any], start_over: bool) -> Iterator[None]:
    """Locks a directory for the result that `key` describes; finished shards of an earlier run of the same stay.

    Args:
        directory: The directory of the result, which is created if it does not exist.
        key: The model, the input and the parameters, as JSON content.
        start_over: Whether to remove another result from the directory.

    Raises:
        BulkError: The directory contains something else, cannot be written, or another process writes it.
    """
    with ExitStack() as lock:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock.enter_context(exclusive_directory_lock(directory, wait=False))
        except BlockingIOError:
            raise BulkError(
                f"Another process is writing {directory}.",
                expected="a directory for this run alone",
                received="one that another process has locked",
            ) from None
        except OSError as error:
            raise BulkError(
                f"{directory} cannot be written.", expected="a directory", received=str(error.strerror)
            ) from None
        _prepare_directory(directory, json.loads(json.dumps(key)), start_over)
        yield


def describe_files(files: Iterable[Path]) -> dict[str, Any]:
    """Describes files by name, size and time: all by a digest, and the first thousand one by one."""
    marks = {str(path): [(stat := path.stat()).st_size, stat.st_mtime_ns] for path in files}
    digest = hashlib.sha256(json.dumps(marks).encode()).hexdigest()
    return {"count": len(marks), "digest": digest, "first": dict(list(marks.items())[:MAX_LISTED])}


def _prepare_directory(directory: Path, key: Mapping[str, Any], start_over: bool) -> None:
    # A killed run leaves unfinished files.
    for path in directory.glob(".predictions-*"):
        path.unlink()
    if start_over:
        for path in [p for name in (KEY, SUMMARY, "predictions-*") for p in directory.glob(name)]:
            path.unlink()
    existing = _read_key(directory)
    if existing == key:
        return
    if existing is not None:
        raise BulkError(
            f"{directory} contains another result: {_first_difference(existing, key)}.",
            expected="the same model, input and parameters, another directory, or the option to start over",
            received="neither",
        )
    if others := sorted(p.name for p in directory.iterdir() if not p.name.startswith(".")):
        raise BulkError(
            f"{directory} contains other files.", expected="an empty directory", received=f"{others[0]} in it"
        )
    write_json(directory / KEY, key)


def _read_key(directory: Path) -> Any:
    try:
        return json.loads((directory / KEY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}


def _first_difference(existing: Any, key: Mapping[str, Any]) -> str:
    for name, now in key.items():
        before = existing.get(name) if isinstance(existing, dict) else None
        if before == now:
            continue
        if name == "input" and isinstance(before, dict):
            first, firsts = now["first"], before["first"]
            changed = [p for p in {**firsts, **first} if firsts.get(p) != first.get(p)]
            return f"the input differs, {changed[0] if changed else 'in its later files'}"
        return f"{name} is {now}, but was {before} there"
    return "it has parameters that this run lacks"
