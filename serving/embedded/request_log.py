"""A sample of the requests with their answers, as TensorFlow Serving logs them: `PredictionLog`s in TFRecord files.

The stock server has the format and the configuration, but no writer. Files are named `PREFIX-<time>-<number>.tfrecord`;
one that is full is followed by the next, and the oldest go.
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

MOST_WAITING = 1000
"""Records that wait for the disk; when it is too slow, more are dropped rather than a request held up."""


class RequestLog:
    """Writes a sample to disk, in a thread of its own."""

    def __init__(self, prefix: Path, rate: float, max_bytes: int, max_files: int, seed: int | None = None) -> None:
        """Starts the thread; no file is made before the first record.

        Args:
            prefix: Directory and beginning of the file names.
            rate: Share of the requests that are logged, 0 to 1.
            max_bytes: A file of this size is followed by a new one.
            max_files: How many files are kept.
            seed: Of the sample.
        """
        self._prefix, self._rate = prefix, rate
        self._max_bytes, self._max_files = max_bytes, max_files
        self._random = random.Random(seed)
        self._waiting: queue.Queue[bytes | None] = queue.Queue(MOST_WAITING)
        self._writer: Any = None
        self._file: Path | None = None
        self._bytes = self._number = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._write_all, name="request-log", daemon=True)
        self._thread.start()

    def chosen(self) -> bool:
        """Returns whether the next request belongs to the sample."""
        return self._random.random() < self._rate

    def write(self, servable: Servable, record: Message) -> None:
        """Hands a record, a PredictionLog, to the disk; never waits."""
        assert isinstance(record, PredictionLog)
        record.log_metadata.model_spec.name = servable.model
        record.log_metadata.model_spec.version.value = servable.version
        record.log_metadata.sampling_config.sampling_rate = self._rate
        try:
            self._waiting.put_nowait(record.SerializeToString())
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Writes what waits and ends the thread."""
        self._waiting.put(None)
        self._thread.join()
        if self.dropped:
            log.warning("At least %d records are not in the request log: the disk was too slow or full", self.dropped)

    def _write_all(self) -> None:
        while (record := self._waiting.get()) is not None:
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
        if self._waiting.empty():
            self._writer.flush()

    def _next_file(self) -> None:
        self._close_file()
        self._number += 1
        self._prefix.parent.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self._file = self._prefix.with_name(f"{self._prefix.name}-{stamp}-{self._number:05d}.tfrecord")
        self._writer, self._bytes = tf.io.TFRecordWriter(str(self._file)), 0
        held = sorted(
            self._prefix.parent.glob(f"{self._prefix.name}-*.tfrecord"), key=lambda path: path.stat().st_mtime_ns
        )
        for old in held[: -self._max_files]:
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
        # One that holds nothing would count among those that are kept.
        with suppress(FileNotFoundError):
            if not self._file.stat().st_size:
                self._file.unlink()


def predict_log(request: PredictRequest | None, response: PredictResponse | None) -> PredictionLog:
    """Returns the record of a Predict request."""
    return PredictionLog(predict_log=PredictLog(request=request, response=response))
