"""The request log on a full disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

FULL = """
import resource, sys
from pathlib import Path
from types import SimpleNamespace
from serving.embedded.request_log import RequestLog, predict_log
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tests.waiting import wait_until

served = SimpleNamespace(model="fashion", version=1)
log = RequestLog(Path(sys.argv[1]), rate=1, max_bytes=200, max_files=3)
record = lambda number: predict_log(PredictRequest(output_filter=[f"{number:0150}"]), None)

def write(numbers):
    for number in numbers:
        log.write(served, record(number))
    # Until all is written: the queue is empty, and its reader waits for more.
    wait_until(lambda: log._queue.empty() and log._queue.not_empty._waiters, "a reader that waits for more")

write(range(3))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
write(range(3, 13))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
write([13])
log.close()
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
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert int(done.stdout) > 0
    logged = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert len(logged) == 3 and all(logged)
    assert f"{13:0150}".encode() in logged[-1] and f"{2:0150}".encode() in logged[-2]
