"""Tests of serving.engines.engine: which engine is taken, its command line, and that the compose file says the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.embedded.config_files import read_batching, read_metrics_path
from serving.engines.engine import (
    BATCHING,
    IMAGE,
    MONITORING,
    PROGRAM,
    Docker,
    Embedded,
    EngineError,
    Flags,
    ModelServer,
    choose,
    free_port,
)
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]
FLAGS = Flags(
    Path("/srv/fashion"), batching=BATCHING, monitoring=MONITORING, extra=("--file_system_poll_wait_seconds=5",)
)
INSIDE = [
    "--port=8500",
    "--rest_api_port=8501",
    "--model_name=fashion",
    "--model_base_path=/models/fashion",
    "--enable_batching=true",
    "--batching_parameters_file=/config/batching.config",
    "--monitoring_config_file=/config/monitoring.config",
]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on PATH, which is empty; there is no docker daemon."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    return tmp_path


def install(programs: Path, name: str, script: str) -> None:
    """Puts a shell script on PATH under the name of a program."""
    program = programs / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def compose_service() -> dict[str, Any]:
    """Returns the compose file's section about the server."""
    service: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["serving"]
    return service


def test_same_flags() -> None:
    """The embedded server and the real one get the same flags, with absolute paths."""
    flags = Flags(Path("relative"), "m", rest_port=1, grpc_port=2)
    ours, theirs = Embedded().command(flags), ModelServer().command(flags)
    here = f"--model_base_path={Path.cwd() / 'relative'}"
    assert theirs[1:] == ["--port=2", "--rest_api_port=1", "--model_name=m", here]
    assert ours == [sys.executable, "-P", "-m", "serving.embedded", *theirs[1:]]


def test_docker_command() -> None:
    """The image has a version, ports on loopback alone, and read-only mounts."""
    command = Docker().command(FLAGS)
    image = command.index(IMAGE)
    assert command[image + 1 :] == [*INSIDE, "--file_system_poll_wait_seconds=5"]
    assert {"--publish=127.0.0.1:8501:8501", "--publish=127.0.0.1:8500:8500", "--rm", "--init"} <= set(command[:image])
    mounts = [argument for argument in command if argument.startswith("--mount")]
    assert len(mounts) == 3 and all(mount.endswith(",readonly") for mount in mounts)
    assert f"--mount=type=bind,source={BATCHING},target=/config/batching.config,readonly" in mounts


def test_a_disabled_port_is_not_published() -> None:
    """Port 0 turns an interface off."""
    assert not any(":8501:" in argument for argument in Docker().command(Flags(Path("/srv"), rest_port=0)))


def test_automatic_choice(programs: Path) -> None:
    """The real program is used if it is on PATH, the embedded server if nothing else is available."""
    assert choose().name == "embedded"
    install(programs, PROGRAM, "echo ModelServer 2; echo TensorFlow 2")
    assert choose().name == PROGRAM and choose().version() == "ModelServer 2"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "docker",
            "docker cannot run on this machine.\nExpected: a docker client .*\nReceived: no docker client on PATH",
        ),
        (PROGRAM, f"The engine {PROGRAM} cannot run on this machine.\nExpected: .*\nReceived: no {PROGRAM} on PATH"),
        (
            "triton",
            "There is no engine 'triton'.\nExpected: auto, tensorflow_model_server, docker, embedded\nRec.*: triton",
        ),
    ],
)
def test_missing_engine(name: str, message: str, programs: Path) -> None:
    """Choosing a missing engine by name is an error that says what is missing."""
    with pytest.raises(EngineError, match=message):
        choose(name)


def test_docker_without_daemon(programs: Path) -> None:
    """A docker client without a running daemon is not enough."""
    install(programs, "docker", "echo 'Cannot connect to the Docker daemon.' >&2; exit 1")
    with pytest.raises(EngineError, match="Received: no docker daemon that answers `docker info`"):
        choose("docker")


def test_docker_is_chosen_automatically_with_its_image_alone(programs: Path) -> None:
    """Without the image, its download would surprise; by name, docker may fetch it."""
    script = '[ "$1" = info ] && echo 27.0; [ "$1" = image ] && exit {}; exit 0'
    install(programs, "docker", script.format(1))
    assert choose().name == "embedded" and choose("docker").name == "docker"
    assert Docker().missing(automatic=True) == f"no image {IMAGE} on this machine (`docker pull {IMAGE}` fetches it)"
    install(programs, "docker", '[ "$1" = info ] && echo 27.0; [ "$1" = image ] && echo sha256:1; exit 0')
    assert choose().name == "docker" and choose().version() == IMAGE
    install(programs, PROGRAM, "exit 1")
    assert choose().name == PROGRAM and choose().version() == PROGRAM


def test_a_container_is_removed_when_it_does_not_stop(programs: Path, tmp_path: Path) -> None:
    """The client gets SIGTERM; if it has to be killed, `docker rm --force` removes the container of its name."""
    install(programs, "docker", f'echo "$@" >> {tmp_path}/calls; [ "$1" = run ] || exit 0; trap "" TERM; echo up; '
            "while :; do /bin/sleep 1; done")  # fmt: skip
    with Docker().start(Flags(tmp_path, rest_port=0), tmp_path / "log") as running:
        wait_until(lambda: running.last_line() == "up", "the container runs")
        running.stop(grace_seconds=0.1)
    started, removed = (tmp_path / "calls").read_text().splitlines()
    name = started.partition("--name ")[2].split()[0]
    assert re.fullmatch("fashion-[0-9a-f]{12}", name) and removed == f"rm --force {name}"
    assert started.split()[:3] == ["run", "--rm", "--init"] and "--publish=127.0.0.1:8500:8500" in started


def test_embedded_from_anywhere(tmp_path: Path) -> None:
    """The embedded server finds this project from any directory, and keeps the user's PYTHONPATH."""
    found = Embedded().environment()
    assert found["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)
    assert (found["CUDA_VISIBLE_DEVICES"], found["TF_USE_LEGACY_KERAS"]) == ("-1", "1")
    assert set(os.environ) <= set(found)


def test_free_port() -> None:
    """A free port can be bound at once, and is outside the range of outgoing connections."""
    assert all(16384 <= free_port() < 32768 for _ in range(100))


def test_serves(tmp_path: Path) -> None:
    """An engine serves a pushed version until it is stopped; the health check of the compose file succeeds."""
    from serving.versions import push
    from tests.serving.exports import export_small

    push(export_small(tmp_path / "model").saved_model, tmp_path / "base")
    flags = Flags(tmp_path / "base", "fashion", free_port(), free_port(), BATCHING, MONITORING)
    check = compose_service()["healthcheck"]["test"][1:]
    check[-1] = check[-1].replace("8501", str(flags.rest_port))
    with choose("embedded").start(flags, tmp_path / "log") as running:
        assert running.wait_until_ready(120) == 1
        assert subprocess.run(check, check=False).returncode == 0
    assert running.process.returncode == 0, running.last_line()
    assert subprocess.run(check, capture_output=True, check=False).returncode != 0


def test_compose_file() -> None:
    """The compose file starts the same image with the same flags on the same ports, and mounts for reading only."""
    service = compose_service()
    assert service["image"] == IMAGE
    assert [service["entrypoint"], *service["command"]] == [PROGRAM, *INSIDE]
    assert service["ports"] == ["127.0.0.1:8501:8501", "127.0.0.1:8500:8500"]
    assert all(volume["read_only"] for volume in service["volumes"])
    files = [ROOT / "deploy" / volume["source"] for volume in service["volumes"][1:]]
    assert [file.resolve() for file in files] == [BATCHING, MONITORING]


def test_configuration_files() -> None:
    """Both files are what the server reads: batches of up to 128 without a wait, and metrics for Prometheus."""
    batching = read_batching(BATCHING)
    assert (batching.max_batch_size, batching.batch_timeout_micros, batching.max_enqueued_batches) == (128, 0, 32)
    assert read_metrics_path(MONITORING) == "/monitoring/prometheus/metrics"
