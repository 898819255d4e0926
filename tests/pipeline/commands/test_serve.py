"""`fashion serve` and `fashion predict` together, as the README has them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.taxonomy import Taxonomy
from pipeline.commands.serve import server_command
from serving.engines.engine import free_port
from serving.versions import push
from tests.serving.exports import export_small

README = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
FASHION = [sys.executable, "-m", "pipeline.commands.cli"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two pushed versions."""
    workspace = tmp_path_factory.mktemp("workspace")
    for seed in (0, 1):
        model = export_small(tmp_path_factory.mktemp("model") / "model", seed)
        push(model.saved_model, workspace / "serving_models" / "fashion")
    return workspace


@pytest.fixture(scope="module")
def ports(workspace: Path) -> Iterator[tuple[int, int]]:
    """The REST and the gRPC port of a running `fashion serve`, with the label stable on version 1."""
    port, grpc_port = free_port(), free_port()
    options = ["--port", str(port), "--grpc-port", str(grpc_port), "--engine", "embedded", "--label", "stable=1"]
    with subprocess.Popen([*FASHION, "serve", "-w", str(workspace), *options], stderr=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + 120
        while not _answers(port):
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        yield port, grpc_port
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0


@pytest.fixture(scope="module")
def port(ports: tuple[int, int]) -> int:
    """The REST port."""
    return ports[0]


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/fashion", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def _fashion(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "160"}
    return subprocess.run(
        [*FASHION, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, env=environment
    )


def test_images_are_answered_by_version_and_label(port: int, tmp_path: Path) -> None:
    """`fashion predict` prints what the newest version says of a picture, and what the labelled one says."""
    picture = tmp_path / "shoe.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8)).save(picture)
    url = f"http://127.0.0.1:{port}"
    newest, stable = (
        json.loads(_fashion("predict", picture, "--url", url, "--json", *label).stdout)[0]
        for label in ([], ["--label", "stable"])
    )
    assert newest["file"] == str(picture) and newest["group"]
    assert newest["confidence"] != stable["confidence"]
    table = _fashion("predict", tmp_path, "--url", url)
    assert table.returncode == 0 and "shoe.png" in table.stdout and newest["group"] in table.stdout


def test_the_page_is_there(port: int) -> None:
    """The server answers / with the page to try the model."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        assert b"<html" in answer.read()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--label", "stable"], "is no label"),
        (["--label", "canary=9"], "pushed are 1, 2"),
        (["--engine", "tensorflow_model_server"], "cannot run here"),
        (["--engine", "rocket"], "There is no engine"),
    ],
)
def test_a_mistake_is_said_in_a_paragraph(workspace: Path, options: list[str], text: str) -> None:
    """What cannot be served is said with the next command, without a stack trace."""
    done = _fashion("serve", "-w", workspace, *options)
    assert done.returncode == 1 and text in done.stderr and "Next: fashion serve" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("snippet", re.findall(r"```python\n(.*?)```", README, re.DOTALL), ids=["client", "stub"])
def test_python_of_the_readme_works(snippet: str, ports: tuple[int, int], tmp_path: Path) -> None:
    """Both snippets are answered by a served model, with its ports and a picture that is there in place of theirs."""
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(tmp_path / "shoe.jpg")
    snippet = snippet.replace("127.0.0.1:8500", f"127.0.0.1:{ports[1]}").replace(', "https://shop.example/1.png"', "")
    command = [sys.executable, "-c", snippet]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert any(group in done.stdout for group in Taxonomy.load().groups), done.stdout


def test_the_real_server_takes_labels_and_is_said_to_be_open(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is allowed labels at its start, when nothing is loaded; and it has no flag to listen to this machine alone."""
    program = tmp_path / "tensorflow_model_server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    base = workspace / "serving_models" / "fashion"
    command, _, where = server_command(base, "auto", 8501, 8500, ["stable=1"], ui=True, flags=[])
    assert command[0] == str(program) and "--allow_version_labels_for_unavailable_models=true" in command
    assert "all addresses" in where
    _, _, where = server_command(base, "embedded", 8501, 8500, [], ui=True, flags=[])
    assert "all addresses" not in where


def test_without_a_push_there_is_nothing_to_serve(tmp_path: Path) -> None:
    """A workspace without a version says what to run first."""
    done = _fashion("serve", "-w", tmp_path)
    assert done.returncode == 1 and "Next: fashion run" in done.stderr
