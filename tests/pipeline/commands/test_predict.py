"""The command `fashion predict`: its output, its failures and its error messages."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from serving.engines.engine import free_port
from tests.conftest import ROOT
from tests.serving.client.test_client import answered, refused, row
from tests.serving.web import Answer, Request, web

GO = """
import sys
from pipeline.commands.cli import main
try:
    main()
finally:
    assert not {"tensorflow", "grpc"} & set(sys.modules), "too much is imported"
"""


def predict(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", GO, "predict", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two images."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a[red].png", "b.jpg"):
        Image.new("RGB", (30, 20), (9, 200, 30)).save(folder / name)
    return folder


def test_table_names_file_group_confidence_and_abstention(folder: Path) -> None:
    """Without a format option a table is printed, with square brackets in names intact."""
    with web(answered) as server:
        done = predict(folder, "--url", server.url)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if "a[red].png" in line)
    assert row()["group"] in line and "90.0%" in line and "no" in line


def test_json_and_csv(folder: Path) -> None:
    """JSON is a list of objects and CSV a line per image, on standard output."""
    with web(answered) as server:
        content = json.loads(predict(folder, "--url", server.url, "--json").stdout)
        lines = list(csv.DictReader(io.StringIO(predict(folder, "--url", server.url, "--csv").stdout)))
    names = [str(folder / "a[red].png"), str(folder / "b.jpg")]
    assert [c["file"] for c in content] == [c["file"] for c in lines] == names
    assert content[0]["group"] == lines[0]["group"] == row()["group"]
    assert content[0]["group_probabilities"][row()["group"]] == 0.9
    assert (lines[0]["confidence"], lines[0]["abstain"]) == ("0.900000", "false")


def test_failed_images_are_listed_and_the_others_answered(folder: Path, tmp_path: Path) -> None:
    """Every failed image has a line on standard error, and the exit code is 1."""
    (folder / "c.png").write_bytes(b"junk")
    (tmp_path / "empty").mkdir()
    with web(answered) as server:
        sources = (folder, tmp_path / "none.png", tmp_path / "empty", f"{server.url}/1.png", "file:///etc/passwd")
        done = predict(*sources, "--url", server.url, "--json")
        assert not [request for request in server.requests if request.method == "GET"]
    assert done.returncode == 1
    assert [Path(c["file"]).name for c in json.loads(done.stdout)] == ["a[red].png", "b.jpg"]
    for part in (
        "c.png is no image",
        "none.png cannot be read",
        "contains no image",
        "--allow-private",
        "is not fetched",
    ):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_private_urls_are_fetched_when_allowed() -> None:
    """With --allow-private, loopback URLs are fetched."""
    file = io.BytesIO()
    Image.new("L", (5, 5)).save(file, "PNG")

    def both(request: Request) -> Answer:
        return Answer(body=file.getvalue()) if request.method == "GET" else answered(request)

    with web(both) as server:
        done = predict(f"{server.url}/1.png", "--url", server.url, "--allow-private", "--csv")
    assert done.returncode == 0 and f"{server.url}/1.png,{row()['group']}" in done.stdout


def test_unreachable_server(folder: Path) -> None:
    """The error for an unreachable server has all its lines and names the command that starts one."""
    done = predict(folder, "--url", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr and "Next: fashion serve" in done.stderr
    assert [line.split(":")[0] for line in done.stderr.splitlines()[-3:]] == ["Expected", "Received", "Next"]


def test_unknown_model(folder: Path) -> None:
    """The error contains the server's message."""
    with web(lambda _: refused(404, "Servable not found")) as server:
        done = predict(folder, "--url", server.url)
    assert done.returncode == 1 and "has no such model" in done.stderr
    assert "Servable not found" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Expected: files, folders or URLs"),
        (("a.png", "--json", "--csv"), "Expected: --json or --csv"),
        (("a.png", "--version", 1, "--label", "x"), "Expected: --version or --label"),
        (("a.png", "--url", "localhost"), "is not the URL of a server"),
        (("--examples", "x"), "Expected: --examples PATTERN --output DIR"),
        (("--output", "x"), "Expected: --examples PATTERN --output DIR"),
        (("a.png", "--examples", "x", "--output", "y"), "and no other images"),
        (("--examples", "x", "--output", "y", "-w", "/nonexistent"), "There is no pushed model"),
    ],
)
def test_misuse(arguments: tuple[object, ...], message: str) -> None:
    """Contradictory options are an error with a next step."""
    done = predict(*arguments)
    assert done.returncode == 1
    assert message in done.stderr and "Next: " in done.stderr and "Traceback" not in done.stderr
