"""The request log: what it stores of an image, and what it counts when the disk is full or slow."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from serving.embedded import request_log
from serving.embedded.request_log import RequestLog, predict_log
from serving.images.fitting import fit_file
from serving.requests.prediction_log import read_logs
from tests.serving.images.test_encoding import encoded
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]

FULL = """
import resource, sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from serving.embedded.request_log import RequestLog, predict_log
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tests.waiting import wait_until

served = SimpleNamespace(model="fashion", version=1)
counts = Counter()
count = lambda model, status: counts.update([status])
log = RequestLog(Path(sys.argv[1]), rate=1, max_bytes=200, max_files=3, count=count)
record = lambda number: predict_log(PredictRequest(output_filter=[f"{number:0150}"]), None)

def write(numbers):
    for number in numbers:
        log.write(served, record(number))
    # Until all is written: the queue is empty, and its reader waits for more.
    wait_until(lambda: log._queue.empty() and log._queue.not_empty._waiters, "a reader that waits for more")

write(range(3))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
write(range(3, 13))
# At the time, not at the end.
assert counts == {"OK": 3, "DATA_LOSS": 10}, counts
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
write([13])
log.close()
assert counts == {"OK": 4, "DATA_LOSS": 10}, counts
print(log.dropped)
"""


@pytest.mark.slow
def test_a_full_disk_only_drops_records(tmp_path: Path) -> None:
    """Requests continue, earlier records stay, and the log continues when there is space again."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "log")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert int(done.stdout) == 10
    logged = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert len(logged) == 3 and all(logged)
    assert f"{13:0150}".encode() in logged[-1] and f"{2:0150}".encode() in logged[-2]


def test_records_that_the_disk_cannot_follow_are_counted_as_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each record is counted once, as written or as dropped, when that happens; waiting bytes are bounded."""
    monkeypatch.setattr(request_log, "MAX_QUEUED_BYTES", 1000)
    counts: Counter[str] = Counter()
    slow = RequestLog(tmp_path / "log", 1, 2**20, 3, count=lambda _, status: counts.update([status]))
    written, held = threading.Event(), threading.Event()
    write = slow._write

    def wait(record: bytes) -> None:
        held.set()
        assert written.wait(60)
        write(record)

    monkeypatch.setattr(slow, "_write", wait)
    servable: Any = SimpleNamespace(model="fashion", version=1)
    for number in range(20):
        slow.write(servable, predict_log(PredictRequest(output_filter=["x" * 150]), None))
        if number == 0:
            assert held.wait(60)
    assert 10 < counts["RESOURCE_EXHAUSTED"] < 19 and not counts["OK"]
    dropped = slow.dropped
    written.set()
    wait_until(lambda: counts["OK"] == 20 - dropped, "the waiting records are written")
    # What was written no longer counts: there is room again.
    slow.write(servable, predict_log(PredictRequest(output_filter=["x" * 800]), None))
    slow.close()
    assert counts == {"OK": 21 - dropped, "RESOURCE_EXHAUSTED": dropped} and slow.dropped == dropped


@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_the_rate_is_the_share_of_the_sample(tmp_path: Path, rate: float) -> None:
    """A rate of 0.2 logs one request of five."""
    log = RequestLog(tmp_path / "log", rate, 2**20, 3, seed=0)
    share = sum(log.is_sampled() for _ in range(2000)) / 2000
    log.close()
    assert abs(share - rate) < 0.03


def test_a_file_is_not_larger_than_the_limit(tmp_path: Path) -> None:
    """A record that does not fit begins the next file; one that is larger than the limit has a file of its own."""
    log = RequestLog(tmp_path / "log", 1, 1000, 10)
    for size in (300, 300, 600, 2000, 300):
        log.write(
            cast(Any, SimpleNamespace(model="fashion", version=1)),
            predict_log(PredictRequest(output_filter=["x" * size]), None),
        )
    log.close()
    sizes = [path.stat().st_size for path in sorted(tmp_path.iterdir())]
    assert [size > 1000 for size in sizes] == [False, False, True, False]


@pytest.mark.parametrize("original", [False, True])
def test_the_log_has_what_the_model_sees(tmp_path: Path, original: bool) -> None:
    """A photograph is stored as the 28 x 28 pixels that the network gets; as a file only when that is chosen."""
    photo = encoded(Image.effect_mandelbrot((60, 40), (-2, -1, 1, 1), 100).convert("RGB"), "JPEG")
    request = PredictRequest()
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([photo]))
    request.inputs["description"].CopyFrom(tf.make_tensor_proto([b"a shoe"]))
    log = RequestLog(tmp_path / "log", 1, 2**20, 3, original_files=original)
    log.write(cast(Any, SimpleNamespace(model="fashion", version=1)), predict_log(request, None))
    log.close()
    (logged,) = read_logs(next(tmp_path.iterdir()))
    inputs = logged.predict_log.request.inputs
    (file,) = tf.make_ndarray(inputs["image_bytes"])
    assert list(tf.make_ndarray(inputs["description"])) == [b"a shoe"]
    if original:
        assert file == photo
    else:
        seen = np.asarray(Image.open(io.BytesIO(file)))
        np.testing.assert_array_equal(seen, fit_file(photo))
        np.testing.assert_array_equal(fit_file(file), seen)


def test_the_oldest_files_are_deleted_and_records_name_their_version(tmp_path: Path) -> None:
    """Other files of the folder stay; a record has the model, the version and the rate of the sample."""
    (tmp_path / "other.tfrecord").touch()
    log = RequestLog(tmp_path / "logs" / "fashion", 0.5, 100, 2, count=lambda *_: None)
    for number in range(5):
        served: Any = SimpleNamespace(model="fashion", version=number)
        log.write(served, predict_log(PredictRequest(output_filter=["x" * 150]), None))
        wait_until(lambda: log._queue.empty(), "the record is taken")
    log.close()
    files = sorted((tmp_path / "logs").iterdir())
    assert [re.fullmatch(r"fashion-\d{8}T\d{6}-(\d{5})\.tfrecord", file.name)[1] for file in files] == [
        "00004",
        "00005",
    ]  # type: ignore[index]
    (first,), (last,) = map(read_logs, files)
    spec, sampling = last.log_metadata.model_spec, last.log_metadata.sampling_config
    assert (spec.name, spec.version.value, sampling.sampling_rate) == ("fashion", 4, 0.5)
    assert first.log_metadata.model_spec.version.value == 3 and (tmp_path / "other.tfrecord").exists()


def test_a_log_without_records_has_no_file(tmp_path: Path) -> None:
    """Nothing is created before the first record."""
    RequestLog(tmp_path / "logs" / "fashion", 1, 100, 2).close()
    assert not (tmp_path / "logs").exists()


def test_a_broken_image_is_not_logged(tmp_path: Path) -> None:
    """It cannot be reduced to what the model sees, so the record is dropped and counted."""
    counts: Counter[tuple[str, str]] = Counter()
    request = PredictRequest()
    torn = encoded(Image.effect_noise((60, 40), 50), "PNG")[:60]
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([torn]))
    log = RequestLog(tmp_path / "log", 1, 2**20, 3, count=lambda *labels: counts.update([labels]))
    served: Any = SimpleNamespace(model="fashion", version=1)
    log.write(served, predict_log(request, None))
    log.write(served, predict_log(PredictRequest(), None))
    log.close()
    assert counts == {("fashion", "INVALID_ARGUMENT"): 1, ("fashion", "OK"): 1} and log.dropped == 1
