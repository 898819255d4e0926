"""Logs a sample of the requests with their responses as `PredictionLog`s in TFRecord files.

TensorFlow Serving defines the format and the configuration, but its stock server has no writer. Files are named
`PREFIX-<time>-<number>.tfrecord`; a full file is followed by a new one, and the oldest are deleted.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import Message
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

from serving.embedded.servable import Servable

log = logging.getLogger("serving")

MAX_QUEUED = 1000
"""Records that wait for the disk. When it is too slow, further records are dropped: no request waits for it."""


class RequestLog:
    """Writes a sample of the requests to disk, in a thread of its own."""

    def __init__(self, prefix: Path, rate: float, max_bytes: int, max_files: int, seed: int | None = None) -> None:
        """Starts the thread; the first record creates the first file.

        Args:
            prefix: The directory and beginning of the file names.
            rate: The share of requests to log, 0 to 1.
            max_bytes: The size at which a new file begins.
            max_files: The number of files to keep; older ones are deleted.
            seed: The seed of the sample. Defaults to a random one.
        """
        self._prefix, self._rate = prefix, rate
        self._max_bytes, self._max_files = max_bytes, max_files
        self._random = random.Random(seed)
        self._queue: queue.Queue[bytes | None] = queue.Queue(MAX_QUEUED)
        self._writer: Any = None
        self._file: Path | None = None
        self._bytes = self._number = 0
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
        try:
            self._queue.put_nowait(record.SerializeToString())
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Writes the queued records and ends the thread."""
        self._queue.put(None)
        self._thread.join()
        if self.dropped:
            log.warning("The request log dropped at least %d records: the disk was too slow or full", self.dropped)

    def _write_all(self) -> None:
        while (record := self._queue.get()) is not None:
            try:
                self._write(record)
            except (OSError, tf.errors.OpError) as error:
                self.dropped += 1
                log.error("The request log cannot be written: %s", error)
                self._close_file()
        self._close_file()

    def _write(self, record: bytes) -> None:
        if self._writer is None or self._bytes + len(record) > self._max_bytes:
            self._next_file()
        self._writer.write(record)
        self._bytes += len(record) + 16  # TFRecord's length and checksums
        if self._queue.empty():
            self._writer.flush()

    def _next_file(self) -> None:
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

    def _close_file(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None or self._file is None:
            return
        try:
            writer.close()
        except tf.errors.OpError as error:
            self.dropped += 1
            log.error("The request log cannot be closed: %s", error)
        # An empty file would count towards `max_files`.
        with suppress(FileNotFoundError):
            if not self._file.stat().st_size:
                self._file.unlink()


def predict_log(request: PredictRequest | None, response: PredictResponse | None) -> PredictionLog:
    """Returns the PredictionLog of a Predict request."""
    return PredictionLog(predict_log=PredictLog(request=request, response=response))
