"""The command `fashion predict`: its output, its failures and its error messages."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from pipeline.commands.predict import BATCH, _describe_failures, _next_step
from serving.client import ClientError, DeadlineExceeded, Failure, NotFound, Overloaded, Unreachable
from serving.engines.engine import free_port
from tests.conftest import ROOT
from tests.serving.client.test_client import TAXONOMY, answered, refused, row
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
        timeout=600,
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


def by_size(request: Request) -> Answer:
    """Is sure of the fourth group for a wide image, and abstains on the others."""
    body = json.loads(request.body)
    if body["signature_name"] == "taxonomy":
        return answered(request)
    rows = []
    for instance in body["instances"]:
        sure = Image.open(io.BytesIO(base64.b64decode(instance["b64"]))).width > 100
        group, confidence = (3, 0.875) if sure else (0, 0.5)
        probabilities = [(1 - confidence) / 4] * 5
        probabilities[group] = confidence
        rows.append(
            row(confidence)
            | {"group": TAXONOMY.groups[group], "group_probabilities": probabilities, "abstain": not sure}
            | {"prediction_set": [index == group for index in range(5)]}
        )
    return Answer(body=json.dumps({"predictions": rows}).encode())


def test_every_image_has_its_own_line_in_the_order_of_the_sources(folder: Path) -> None:
    """A large image is answered after the small ones, and still stands where it was named, in every format."""
    Image.new("L", (200, 100)).save(folder / "a-wide.png")
    files = ["a-wide.png", "a[red].png", "b.jpg"]
    with web(by_size) as server:
        table, commas, objects = (predict(folder, "--url", server.url, *form) for form in ([], ["--csv"], ["--json"]))
    assert [done.returncode for done in (table, commas, objects)] == [0] * 3, table.stderr
    groups = [TAXONOMY.groups[3], TAXONOMY.groups[0], TAXONOMY.groups[0]]
    lines = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in table.stdout.splitlines()]
    found = [(Path(cells[0]).name, *cells[1:]) for cells in lines if cells]
    expected = list(zip(files, groups, ("87.5%", "50.0%", "50.0%"), ("no", "yes", "yes"), strict=True))
    assert found == [("file", "group", "confidence", "abstain"), *expected]
    rows = list(csv.reader(io.StringIO(commas.stdout)))
    assert rows[0] == ["file", "group", "confidence", "abstain"]
    confidences, abstains = ("0.875000", "0.500000", "0.500000"), ("false", "true", "true")
    assert rows[1:] == [
        [str(folder / name), *cells] for name, *cells in zip(files, groups, confidences, abstains, strict=True)
    ]
    content = json.loads(objects.stdout)
    assert [(Path(c["file"]).name, c["group"], c["abstain"]) for c in content] == [
        (name, group, yes == "yes") for name, group, _, yes in expected
    ]
    assert [c["prediction_set"] for c in content] == [[group] for group in groups]
    assert [c["group_probabilities"][TAXONOMY.groups[3]] for c in content] == [0.875, 0.125, 0.125]


def test_a_server_that_stops_halfway_loses_no_answer(folder: Path) -> None:
    """What was answered before is printed, and the error comes with its next step."""
    Image.new("L", (200, 100)).save(folder / "a-wide.png")
    for number in range(BATCH):
        Image.new("L", (5, 5)).save(folder / f"c{number:02}.png")
    requests = 0

    def once(request: Request) -> Answer:
        nonlocal requests
        if b"taxonomy" in request.body:
            return answered(request)
        requests += 1
        return by_size(request) if requests == 1 else refused(503, "busy")

    with web(once) as server:
        done = predict(folder, "--url", server.url, "--csv", "--timeout", 60)
    names = [Path(line.split(",")[0]).name for line in done.stdout.splitlines()[1:]]
    assert done.returncode == 1 and "Next: the same command, later" in done.stderr
    assert names == ["a-wide.png", "a[red].png", "b.jpg", *(f"c{number:02}.png" for number in range(BATCH - 3))]


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (Unreachable("x"), "fashion serve"),
        (Overloaded("x"), "the same command, later"),
        (DeadlineExceeded("x"), "the same command with --timeout 60"),
        (NotFound("x"), "fashion serve, or --model, --version, --label"),
        (ClientError("x"), "look at the server's log"),
    ],
)
def test_each_error_of_the_server_has_its_next_step(error: ClientError, step: str) -> None:
    """A longer time limit is six times the last one, and at least a minute."""
    assert _next_step(error, 10.0) == step
    assert _next_step(DeadlineExceeded("x"), 20.0).endswith("--timeout 120")


@pytest.mark.parametrize(
    ("count", "lines"),
    [
        (3, ["0 is bad", "1 is bad", "2 is bad"]),
        (4, ["0 is bad", "The same error for 3 further images: 1, 2, 3"]),
        (1006, ["0 is bad", "The same error for 1,005 further images: 1, 2, 3 and 1,002 more"]),
    ],
)
def test_equal_errors_are_counted_from_the_fourth_image_on(count: int, lines: list[str]) -> None:
    """Three lines are as short as their summary; another error keeps its own line, in the order of the first ones."""
    failures = [Failure(str(number), f"{number} is bad") for number in range(count)]
    assert _describe_failures([*failures[:1], Failure("z", "z is gone"), *failures[1:]]) == [*lines, "z is gone"]


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


def test_an_empty_source_is_not_the_current_directory(folder: Path) -> None:
    """An unset variable in a script must not send all images of the current directory; the others are classified."""
    with web(answered) as server:
        done = predict("", folder, "--url", server.url, "--csv")
        assert sum(request.body.count(b"b64") for request in server.requests) == 2
    assert done.returncode == 1 and "A source has no name. Expected: " in done.stderr
    assert len(done.stdout.splitlines()) == 3


def test_the_same_error_is_printed_once_with_a_count(folder: Path) -> None:
    """Of many images with one error, the first has its line; the others are counted, and some are named."""
    for number in range(100):
        (folder / f"junk-{number:03}.png").write_bytes(b"junk")
    with web(answered) as server:
        done = predict(folder, folder / "none.png", "--url", server.url, "--csv")
    assert done.returncode == 1
    first, others, missing = done.stderr.splitlines()
    assert "junk-000.png is no image" in first and "none.png cannot be read" in missing
    assert others.startswith("The same error for 99 further images: ") and others.endswith(" and 96 more")
    assert others.count("junk-") == 3 and "junk-001.png" in others


def test_no_escape_sequence_reaches_the_terminal(folder: Path) -> None:
    """Names of files and messages of servers are untrusted: control characters are printed as escapes."""
    evil = "\x1b]0;owned\x07\x1b[2J\u202e"
    (folder / f"junk{evil}.png").write_bytes(b"junk")
    (folder / f"good{evil}.png").write_bytes((folder / "a[red].png").read_bytes())
    named = Answer(body=json.dumps({"predictions": [row() | {"group": evil}] * 3}).encode())

    def with_evil_group(request: Request) -> Answer:
        return refused(400) if b"taxonomy" in request.body else named

    outputs = []
    for answer in (answered, lambda _: refused(404, evil), with_evil_group):
        with web(answer) as server:
            done = predict(folder, "--url", server.url)
            outputs += [done.stdout, done.stderr]
    assert r"good\x1b]0;owned\x07" in outputs[0] and r"junk\x1b]0;owned\x07" in outputs[1]
    assert r"\x1b[2J\u202e" in outputs[3] and r"\x1b[2J\u202e" in outputs[4]
    assert not any(character in output for output in outputs for character in "\x1b\x07\u202e")


def test_slow_images_do_not_cost_the_others_their_results(tmp_path: Path) -> None:
    """Every image has its own time limit: the one after two without an answer is printed all the same."""
    for name in ("1.jpg", "2.jpg"):
        Image.new("RGB", (4000, 3000)).save(tmp_path / name)
    Image.new("RGB", (7, 7)).save(tmp_path / "3.png")
    hold = threading.Event()

    def slow_for_large(request: Request) -> Answer:
        return answered(request) if len(request.body) < 10_000 else Answer(body=b"{}", hold=hold)

    with web(slow_for_large) as server:
        try:
            done = predict(tmp_path, "--url", server.url, "--csv", "--timeout", 5)
        finally:
            hold.set()
    assert done.returncode == 1
    assert [line.split(",")[0] for line in done.stdout.splitlines()[1:]] == [str(tmp_path / "3.png")]
    assert done.stderr.splitlines() == [
        f"The server does not answer within 5 seconds for {tmp_path / name}." for name in ("1.jpg", "2.jpg")
    ]


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
