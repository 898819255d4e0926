"""`fashion serve` and `fashion predict` together, as in the guide."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.taxonomy import Taxonomy
from pipeline.commands.serve import announcement, choose_engine
from pipeline.contract.errors import UserError
from serving.embedded.config_files import ALL, ModelSource, read_models
from serving.engines.engine import BATCHING, MONITORING, Flags, free_port
from serving.versions import push
from tests.serving.exports import export_small

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "guide.md").read_text(encoding="utf-8")
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
    command = [*FASHION, "serve", "-w", str(workspace), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        assert server.stderr.readline().startswith("Starting the engine embedded; its output goes to ")
        # The next line is the announcement, with nothing of TensorFlow's before it; the ports have to answer by then.
        assert server.stderr.readline() == "Version 2 of fashion is served by embedded. Ctrl-C stops it.\n"
        assert _answers(port) and _accepts(grpc_port)
        yield port, grpc_port
        server.send_signal(signal.SIGINT)
        assert server.wait(120) == 0
        assert [line.split()[0] for line in server.stderr.read().splitlines()] == ["REST", "gRPC", "Page"]


@pytest.fixture(scope="module")
def port(ports: tuple[int, int]) -> int:
    """The REST port."""
    return ports[0]


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/fashion", timeout=60) as answer:
            return answer.status == 200
    except OSError:
        return False


def _accepts(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=60):
        return True


def _fashion(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "160"}
    return subprocess.run(
        [*FASHION, *map(str, arguments)], capture_output=True, text=True, timeout=600, check=False, env=environment
    )


def test_images_are_answered_by_version_and_label(port: int, tmp_path: Path) -> None:
    """`fashion predict` prints the prediction of the newest version, and that of the labelled one."""
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
    """The server serves the page to try the model at /."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
        assert b"<html" in answer.read()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--label", "stable"], "is not a label"),
        (["--label", "canary=9"], "pushed: 1, 2"),
        (["--engine", "tensorflow_model_server"], "cannot run on this machine"),
        (["--engine", "rocket"], "There is no engine"),
    ],
)
def test_an_unusable_option_is_a_paragraph(workspace: Path, options: list[str], text: str) -> None:
    """An unusable engine or label is an error with the next command, without a stack trace."""
    done = _fashion("serve", "-w", workspace, *options)
    assert done.returncode == 1 and text in done.stderr and "Next: fashion serve" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("snippet", re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL), ids=["client", "stub"])
def test_python_of_the_readme_works(snippet: str, ports: tuple[int, int], tmp_path: Path) -> None:
    """Both snippets run against a served model, with its ports and an existing picture in place of theirs."""
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(tmp_path / "shoe.jpg")
    snippet = snippet.replace("127.0.0.1:8500", f"127.0.0.1:{ports[1]}").replace(', "https://shop.example/1.png"', "")
    command = [sys.executable, "-c", snippet]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert any(group in done.stdout for group in Taxonomy.load().groups), done.stdout


def test_the_real_server_takes_labels_and_is_announced_as_open(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take labels at its start, when nothing is loaded; and it has no flag to listen on loopback alone."""
    program = tmp_path / "tensorflow_model_server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    base = workspace / "serving_models" / "fashion"
    engine, flags = choose_engine(base, "auto", 8501, 8500, ["stable=1"], ui=True, flags=[])
    command = engine.command(flags)
    assert command[0] == str(program) and "--allow_version_labels_for_unavailable_models=true" in command
    assert "all addresses" in announcement(engine, flags, 2)
    assert "all addresses" not in announcement(*choose_engine(base, "embedded", 8501, 8500, [], True, []), 2)


def test_the_flags_of_the_server(workspace: Path) -> None:
    """Two retries in quick succession, batching and metrics; the user's own flags come last and so count."""
    base = workspace / "serving_models" / "fashion"
    retries = ("--max_num_load_retries=2", "--load_retry_interval_micros=2000000")
    _, flags = choose_engine(base, "embedded", 1, 2, [], ui=True, flags=["--max_num_load_retries=0"])
    assert flags == Flags(base, "fashion", 1, 2, BATCHING, MONITORING, (*retries, "--max_num_load_retries=0"))
    _, hidden = choose_engine(base, "embedded", 1, 2, [], ui=False, flags=[])
    assert hidden.extra == (*retries, "--ui=false")


def test_labels_are_written_to_a_configuration_file(workspace: Path, tmp_path: Path) -> None:
    """It serves all versions, and is read every second, so that an edit moves a label while the server runs."""
    base = tmp_path / "serving_models" / "fashion"
    shutil.copytree(workspace / "serving_models" / "fashion", base)
    _, flags = choose_engine(base, "embedded", 1, 2, ["stable=1", "canary=2"], ui=True, flags=[])
    config = base.parent / "models.config"
    assert flags.extra[2:] == (
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=1",
        "--allow_version_labels_for_unavailable_models=true",
    )
    assert read_models(config) == [ModelSource("fashion", base, ALL, labels=(("canary", 2), ("stable", 1)))]
    # With labels, all versions are loaded, and an empty directory hides none.
    (base / "99").mkdir()
    choose_engine(base, "embedded", 1, 2, ["stable=1"], ui=True, flags=[])
    for label in ("stable=3", "stable=x", "=1", "a b=1", "1a=1", "stable"):
        with pytest.raises(UserError, match="is not a label of a version") as refused:
            choose_engine(base, "embedded", 1, 2, [label], ui=True, flags=[])
        assert "such as canary=2; pushed: 1, 2" in str(refused.value)


def test_an_empty_directory_with_a_higher_number_is_refused(workspace: Path, tmp_path: Path) -> None:
    """A server would load it in place of the newest version and end; the message has the command that removes it."""
    base = tmp_path / "workspace" / "serving_models" / "fashion"
    shutil.copytree(workspace / "serving_models" / "fashion" / "2", base / "2")
    (base / "99999999999").mkdir()
    done = _fashion("serve", "-w", tmp_path / "workspace", "--engine", "embedded")
    assert done.returncode == 1 and "load 99999999999 instead of version 2" in done.stderr
    subprocess.run(re.findall("Next: (.*)", done.stderr)[0], shell=True, check=True)
    choose_engine(base, "embedded", 8501, 8500, [], True, [])


@pytest.mark.parametrize(("ports", "names"), [((8501, 0), ["REST", "Page"]), ((0, 8500), ["gRPC"])])
def test_only_open_ports_are_announced(workspace: Path, ports: tuple[int, int], names: list[str]) -> None:
    """A port of 0 is off, and its address is left out."""
    base = workspace / "serving_models" / "fashion"
    lines = announcement(*choose_engine(base, "embedded", *ports, [], True, []), 2).splitlines()
    assert [line.split()[0] for line in lines[1:]] == names


@pytest.mark.parametrize("broken", ["port", "model"])
def test_a_failing_start_shows_why(workspace: Path, tmp_path: Path, broken: str) -> None:
    """A port that cannot be opened and a damaged version end the command with the server's last line and the log."""
    base = tmp_path / "workspace" / "serving_models" / "fashion"
    shutil.copytree(workspace / "serving_models" / "fashion" / "2", base / "2")
    if broken == "model":
        (base / "2" / "saved_model.pb").write_bytes(b"damaged")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1] if broken == "port" else free_port()
        options = ["--port", port, "--grpc-port", 0, "--engine", "embedded"]
        done = _fashion("serve", "-w", tmp_path / "workspace", *options)
    assert done.returncode == 1 and "The server ended with" in done.stderr and "Traceback" not in done.stderr
    assert re.search(rf"^Next: see .*serve-{port}.log$", done.stderr, re.MULTILINE)
    assert ("in use" if broken == "port" else "saved_model.pb") in done.stderr.partition("The server ended with")[2]
    assert "is served by" not in done.stderr


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
def test_a_port_of_another_server_is_not_announced(workspace: Path, option: str) -> None:
    """A port that another server answers at is an error before the start, with a command that names a free port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        other_option = {"--port": "--grpc-port", "--grpc-port": "--port"}[option]
        done = _fashion("serve", "-w", workspace, "--engine", "embedded", option, port, other_option, free_port())
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[1] == f"Port {port} is in use."
    assert re.fullmatch(rf"Next: fashion serve {option} \d+ --workspace {re.escape(str(workspace))}", lines[-1])


def test_both_ports_off_is_an_error_before_the_start(workspace: Path) -> None:
    """With both ports at 0 no server is started or announced."""
    done = _fashion("serve", "-w", workspace, "--engine", "embedded", "--port", 0, "--grpc-port", 0)
    assert done.returncode == 1 and done.stderr.splitlines()[1] == "Both ports are off."


def test_without_a_push_there_is_nothing_to_serve(tmp_path: Path) -> None:
    """Without a pushed version the error names the command to run first."""
    done = _fashion("serve", "-w", tmp_path)
    assert done.returncode == 1 and "Next: fashion run" in done.stderr
