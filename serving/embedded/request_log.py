"""Logs a sample of the requests with their responses as `PredictionLog`s in TFRecord files.

TensorFlow Serving defines the format and the configuration, but its stock server has no writer. Files are named
`PREFIX-<time>-<number>.tfrecord`; a full file is followed by a new one, and the oldest are deleted.

An image file may show persons and hold places and names. The log therefore has the 28 x 28 grey pixels that the model
sees, as a PNG in the place of the file: the model gives the same answer for it.
"""

from __future__ import annotations

import io
import logging
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import tensorflow as tf
from google.protobuf.message import Message
from grpc import StatusCode
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

from serving.embedded.servable import Servable
from serving.images.encoding import ImageError
from serving.images.fitting import fit_file
from serving.images.headers import decoded_pixels

log = logging.getLogger("serving")

MAX_QUEUED: Final = 1000
MAX_QUEUED_BYTES: Final = 2**26
"""Records that wait for the disk, and their bytes. When it is too slow, further records are dropped: no request waits
for it."""
FLUSH_RECORDS: Final = 100
"""Records after which the file is brought up to date, also when more wait."""

Count = Callable[[str, str], None]
"""Counts a record of the sample: the model's name, and "OK" or the code of the reason why it was dropped."""


class RequestLog:
    """Writes a sample of the requests to disk, in a thread of its own.

    Attributes:
        dropped: The number of records that could not be written.
    """

    def __init__(
        self,
        prefix: Path,
        rate: float,
        max_bytes: int,
        max_files: int,
        *,
        original_files: bool = False,
        count: Count = lambda model, status: None,
        seed: int | None = None,
    ) -> None:
        """Starts the thread; the first record creates the first file.

        Args:
            prefix: The directory and beginning of the file names.
            rate: The share of requests to log, 0 to 1.
            max_bytes: The size at which a new file begins.
            max_files: The number of files to keep; older ones are deleted.
            original_files: Whether image files are logged as clients sent them. Defaults to False.
            count: Called when a record is on the disk, and when one is dropped.
            seed: The seed of the sample. Defaults to a random one.
        """
        self._prefix, self._rate = prefix, rate
        self._max_bytes, self._max_files = max_bytes, max_files
        self._original_files, self._count = original_files, count
        self._random = random.Random(seed)
        self._queue: queue.Queue[tuple[str, bytes] | None] = queue.Queue(MAX_QUEUED)
        self._queued_bytes, self._bytes_lock = 0, threading.Lock()
        self._writer: Any = None
        self._file: Path | None = None
        self._bytes = self._number = 0
        self._unflushed: Counter[str] = Counter()
        self.dropped = 0
        self._thread = threading.Thread(target=self._write_all, name="request-log", daemon=True)
        self._thread.start()

    def is_sampled(self) -> bool:
        """Returns whether the next request belongs to the sample."""
        return self._random.random() < self._rate

    def write(self, servable: Servable, record: Message) -> None:
        """Queues a record, a PredictionLog, for the disk; never waits."""
        assert isinstance(record, PredictionLog)
        record.log_metadata.model_spec.name = servable.model
        record.log_metadata.model_spec.version.value = servable.version
        record.log_metadata.sampling_config.sampling_rate = self._rate
        content = record.SerializeToString()
        try:
            if self._add_bytes(len(content)) > MAX_QUEUED_BYTES:
                raise queue.Full
            self._queue.put_nowait((servable.model, content))
        except queue.Full:
            self._add_bytes(-len(content))
            self._drop(servable.model, StatusCode.RESOURCE_EXHAUSTED)

    def close(self) -> None:
        """Writes the queued records and ends the thread."""
        self._queue.put(None)
        self._thread.join()
        if self.dropped:
            log.warning("The request log dropped %d records: the disk was too slow or full", self.dropped)

    def _add_bytes(self, count: int) -> int:
        with self._bytes_lock:
            self._queued_bytes += count
            return self._queued_bytes

    def _drop(self, model: str, reason: StatusCode, records: int = 1) -> None:
        self.dropped += records
        for _ in range(records):
            self._count(model, reason.name)

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            model, content = item
            self._add_bytes(-len(content))
            try:
                if not self._original_files:
                    content = without_original_files(content)
            except ImageError as error:
                self._drop(model, StatusCode.INVALID_ARGUMENT)
                log.warning("A request is not logged, because its image cannot be reduced: %s", error.one_line)
                continue
            try:
                try:
                    self._begin_file(len(content))
                finally:
                    self._unflushed[model] += 1
                self._write(content)
            except (OSError, tf.errors.OpError) as error:
                log.error("The request log cannot be written: %s", error)
                self._close_file(StatusCode.DATA_LOSS)
        self._close_file()

    def _write(self, record: bytes) -> None:
        self._writer.write(record)
        self._bytes += len(record) + 16  # TFRecord's length and checksums
        if self._queue.empty() or self._unflushed.total() >= FLUSH_RECORDS:
            self._writer.flush()
            self._settle(None)

    def _settle(self, failure: StatusCode | None) -> None:
        """Counts the records since the last flush, as written or as dropped."""
        for model, records in self._unflushed.items():
            if failure:
                self._drop(model, failure, records)
            else:
                for _ in range(records):
                    self._count(model, StatusCode.OK.name)
        self._unflushed.clear()

    def _begin_file(self, record_bytes: int) -> None:
        """Begins a new file if there is none, or if the record does not fit into it."""
        if self._writer and self._bytes + record_bytes <= self._max_bytes:
            return
        self._close_file()
        self._number += 1
        self._prefix.parent.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self._file = self._prefix.with_name(f"{self._prefix.name}-{stamp}-{self._number:05d}.tfrecord")
        self._writer, self._bytes = tf.io.TFRecordWriter(str(self._file)), 0
        files = sorted(
            self._prefix.parent.glob(f"{self._prefix.name}-*.tfrecord"), key=lambda path: path.stat().st_mtime_ns
        )
        for old in files[: -self._max_files]:
            old.unlink(missing_ok=True)

    def _close_file(self, failure: StatusCode | None = None) -> None:
        writer, self._writer = self._writer, None
        try:
            if writer:
                writer.close()
        except tf.errors.OpError as error:
            failure = StatusCode.DATA_LOSS
            log.error("The request log cannot be closed: %s", error)
        self._settle(failure)
        # An empty file would count towards `max_files`.
        with suppress(FileNotFoundError):
            if self._file and not self._file.stat().st_size:
                self._file.unlink()


def without_original_files(record: bytes) -> bytes:
    """Returns a serialized PredictionLog whose image files are 28 x 28 grey PNGs, as the model sees them.

    Raises:
        ImageError: An image cannot be decoded.
    """
    logged = PredictionLog.FromString(record)
    changed = False
    for tensor in logged.predict_log.request.inputs.values():
        for row, value in enumerate(tensor.string_val):
            if decoded_pixels(value):
                tensor.string_val[row] = _as_seen(value)
                changed = True
    return logged.SerializeToString() if changed else record


def _as_seen(image: bytes) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(fit_file(image)).save(file, "PNG")
    return file.getvalue()


def predict_log(request: PredictRequest | None, response: PredictResponse | None) -> PredictionLog:
    """Returns the PredictionLog of a Predict request."""
    return PredictionLog(predict_log=PredictLog(request=request, response=response))
