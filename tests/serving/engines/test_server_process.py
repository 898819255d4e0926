"""Tests of serving.engines.server_process: programs that answer, hang, end or ignore SIGTERM."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.engines.engine import LOOPBACK, free_port
from serving.engines.server_process import NotServingError, ServerProcess
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]
PARENT = """
import os, sys, time
from pathlib import Path
from serving.engines.server_process import ServerProcess

running = ServerProcess(["sleep", "600"], os.environ, Path(sys.argv[1]), rest_url="", grpc_address="", model_name="m")
print(running.process.pid, flush=True)
time.sleep(600)
"""


def start(log: Path, *command: str, port: int = 9, cleanup: tuple[str, ...] = ()) -> ServerProcess:
    """Starts a program as a server of the model `fashion`."""
    return ServerProcess(
        command,
        os.environ,
        log,
        rest_url=f"http://{LOOPBACK}:{port}",
        grpc_address="",
        model_name="fashion",
        cleanup=cleanup,
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The file for the output of the program."""
    return tmp_path / "log"


def test_ready_once_a_version_is_available(log: Path, tmp_path: Path) -> None:
    """A server is ready when a version is available, not while it loads one; of several, the newest counts."""
    status = tmp_path / "v1" / "models" / "fashion"
    status.parent.mkdir(parents=True)
    states = [{"version": "7", "state": "LOADING"}, {"version": "2", "state": "LOADING"}]
    status.write_text(json.dumps({"model_version_status": states}))
    port = free_port()
    command = (sys.executable, "-m", "http.server", "--directory", str(tmp_path), "--bind", LOOPBACK, str(port))
    with start(log, *command, port=port) as running:
        with pytest.raises(NotServingError, match="(?s)not ready after 1 seconds.*v1/models/fashion"):
            running.wait_until_ready(1)
        states[1]["state"] = "AVAILABLE"
        status.write_text(json.dumps({"model_version_status": states}))
        assert running.wait_until_ready(120) == 2
        states[0]["state"] = "AVAILABLE"
        status.write_text(json.dumps({"model_version_status": states}))
        assert running.wait_until_ready(120) == 7


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("printf 'first\\nlast line \\n\\n'; exit 1", "The server ended with exit status 1: last line"),
        ("echo warming; echo 'out of registers' >&2; exit 3", "The server ended with exit status 3: out of registers"),
        ("kill -ABRT $$", "The server ended with signal SIGABRT: it printed nothing"),
    ],
)
def test_the_end_of_the_process_is_noticed(script: str, reason: str, log: Path) -> None:
    """Waiting ends when the server ends; the error has its exit status and last line."""
    with start(log, "sh", "-c", script) as running, pytest.raises(NotServingError) as caught:
        running.wait_until_ready(60)
    assert str(caught.value) == reason


def test_the_end_after_it_was_ready(log: Path) -> None:
    """A later check passes while the server runs, and fails after its end."""
    with start(log, "sh", "-c", "read line; echo 'out of registers'; exit 3") as running:
        running.process.wait(60)
        with pytest.raises(NotServingError, match="ended with exit status 3: out of registers"):
            running.check()
    with start(log, "sleep", "600") as running:
        running.check()


def test_missing_program(log: Path) -> None:
    """A program that cannot be started is a server that ended."""
    with (
        start(log, "no-such-program") as running,
        pytest.raises(NotServingError, match="No such file or directory: no-such-program"),
    ):
        running.wait_until_ready(60)


def test_the_block_ends_the_program(log: Path) -> None:
    """The program gets SIGTERM at the end of the block."""
    with start(log, "sleep", "600") as running:
        assert running.process.poll() is None
    assert running.process.returncode == -signal.SIGTERM


def test_a_program_that_ignores_sigterm(log: Path, tmp_path: Path) -> None:
    """The program is killed, and the cleanup command runs."""
    left = tmp_path / "left"
    left.touch()
    command = ("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done")
    running = start(log, *command, cleanup=("rm", str(left)))
    wait_until(lambda: running.last_line() == "deaf", "the program ignores SIGTERM")
    assert running.stop(grace_seconds=0.1) == -signal.SIGKILL
    assert not left.exists()


def test_the_exit_status_of_a_program_that_ends_on_sigterm(log: Path, tmp_path: Path) -> None:
    """It is returned, also when the program has ended before, and the cleanup command is not needed."""
    left = tmp_path / "left"
    left.touch()
    command = ("sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done")
    running = start(log, *command, cleanup=("rm", str(left)))
    wait_until(lambda: running.last_line() == "ready", "the program waits")
    assert running.stop() == 7 == running.stop() and left.exists()


def test_does_not_outlive_its_parent(log: Path) -> None:
    """A server ends when its parent is killed."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(log)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    server = os.pidfd_open(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    ended, _, _ = select.select([server], [], [], 120)
    os.close(server)
    assert ended
