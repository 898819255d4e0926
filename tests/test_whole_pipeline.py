"""The whole pipeline on tiny synthetic data, as a user runs it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Fashion, TinyRun

STAGES = [
    "example_gen", "statistics_gen", "schema_gen", "example_validator", "label_grouping",
    "tuner", "trainer", "evaluator", "infra_validator", "pusher", "bulk_inferrer",
]  # fmt: skip


def status(fashion: Fashion, workspace: Path) -> dict[str, Any]:
    """The latest run, by stage."""
    table: dict[str, Any] = json.loads(fashion("status", "-w", str(workspace), "--json").stdout)
    return {stage["stage"]: stage for stage in table["stages"]}


def metrics(fashion: Fashion, workspace: Path) -> dict[str, Any]:
    """The figures of the latest run that do not name versions or seconds, each under its path."""
    path = status(fashion, workspace)["evaluator"]["artifacts"]["evaluation"]["path"]
    content = json.loads((Path(path) / "metrics.json").read_text())
    return dict(
        leaves({name: content[name] for name in ("overall", "groups", "slices", "corruptions", "confusion_matrix")})
    )


def differences(some: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """The figures in which two runs differ, by path; sums of float32 values may do so in the seventh digit."""
    pairs = {path: (some.get(path), others.get(path)) for path in {**some, **others}}
    return {
        path: (one, other)
        for path, (one, other) in pairs.items()
        if other != (pytest.approx(one, rel=1e-6) if isinstance(one, float) else one)
    }


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the leaves of nested objects and lists with their paths."""
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(part, f"{path}/{key}")
    else:
        yield path, value


def test_run_ends_with_figures_verdict_and_commands(tiny_run: TinyRun) -> None:
    """The panel shows groups with intervals, ladder, verdict, times, paths and the next commands."""
    for group in ("Upper part", "Bottom part", "One piece", "Footwear", "Bags"):
        assert re.search(rf"{group}( +\d+\.\d\d \[\d+\.\d, \d+\.\d\]){{3}}", tiny_run.output), tiny_run.output
    for words in ("ladder", "Model: blessed", "Pushed as version 1", "Time:", "Report", "Record", "fashion tensorboard",
                  "curl"):  # fmt: skip
        assert words in tiny_run.output, words
    assert 0 < tiny_run.output.find("fashion serve") < tiny_run.output.find("tensorflow/serving")


def test_everything_is_pushed_as_tensorflow_serving_wants_it(tiny_run: TinyRun) -> None:
    """A numbered directory holds the SavedModel and the warm-up requests under the names that the server reads."""
    version = tiny_run.workspace / "serving_models" / "fashion" / "1"
    assert (version / "saved_model.pb").exists() and (version / "variables" / "variables.index").exists()
    assert (version / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 0


def test_second_run_reuses_everything_without_tensorflow(tiny_run: TinyRun) -> None:
    """A fully cached run imports no heavy library, executes no stage and states it."""
    code = (
        "import sys\nfrom pipeline.commands.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n"
        "    heavy = {'tensorflow', 'keras', 'apache_beam', 'tensorflow_model_analysis', 'numpy', 'pandas'}\n"
        "    print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", code, "run", "-w", str(tiny_run.workspace), *tiny_run.options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "All 11 stages were reused" in done.stdout and "heavy: []" in done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["show"], ["status"], ["explain"], ["lineage", "pusher"]])
def test_read_only_commands_import_nothing_heavy(tiny_run: TinyRun, arguments: list[str]) -> None:
    """Read-only commands do not import TensorFlow."""
    options = [] if arguments == ["--help"] else ["-w", str(tiny_run.workspace)]
    code = (
        "import sys\nfrom pipeline.commands.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    assert not {'tensorflow', 'keras', 'apache_beam', 'numpy'} & set(sys.modules), 'heavy'\n"
    )
    command = [sys.executable, "-c", code, *arguments, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_explain_names_the_changed_parameter(tiny_run: TinyRun, fashion: Fashion) -> None:
    """A changed parameter is named with its old and new value, and later stages name the stage that they follow."""
    options = ["-w", str(tiny_run.workspace), *tiny_run.options, "--set", "trainer.epochs=9", "--json"]
    decisions = {d["stage"]: d for d in json.loads(fashion("explain", *options).stdout)}
    assert [n for n, d in decisions.items() if d["action"] == "reuse"] == STAGES[:6]
    assert re.fullmatch(r"parameter epochs changed: \d+ -> 9", decisions["trainer"]["reasons"][0])
    assert decisions["evaluator"]["reasons"] == ["trainer, which it reads from, would run"]


def test_lineage_traces_the_pushed_model_to_the_data(tiny_run: TinyRun, fashion: Fashion) -> None:
    """The lineage of the pushed model has every stage before the Pusher, with commit, seed and parameters."""
    pushed = json.loads(fashion("lineage", "PushedModel", "-w", str(tiny_run.workspace), "--json").stdout)
    stages: dict[str, Any] = {}
    waiting = [pushed]
    while waiting:
        artifact = waiting.pop()
        stages[artifact["stage"]] = artifact
        waiting += artifact["inputs"].values()
    assert set(stages) == set(STAGES) - {"bulk_inferrer"}
    assert stages["example_gen"]["parameters"]["seed"] == 7 and stages["trainer"]["git_commit"]


def killed_in(stage: str, workspace: Path, options: tuple[str, ...], signal_number: int) -> int:
    """Runs the pipeline and sends itself a signal in the middle of a stage; returns how the process ended."""
    code = f"""
import os, signal, sys
# Shells start background jobs with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
from pipeline import definition
from pipeline.commands.cli import main
component = next(c for c in definition.COMPONENTS if c.spec.name == {stage!r})
run, calls = component.run, []
def end():
    os.kill(os.getpid(), {signal_number})
def disturbed(**arguments):
    if {stage!r} in ("tuner", "trainer"):
        progress = arguments["progress"]
        def report(done, *rest):
            progress(done, *rest)
            if done == 1:
                end()
        arguments["progress"] = report
        run(**arguments)
    else:
        # The worst moment: everything is written and nothing is recorded.
        run(**arguments)
        end()
component.run = disturbed
main(sys.argv[1:])
"""
    command = [sys.executable, "-c", code, "run", "-w", str(workspace), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=600, check=False).returncode


@pytest.fixture(scope="module")
def undisturbed(tiny_run: TinyRun, fashion: Fashion) -> dict[str, Any]:
    """The figures of the undisturbed run."""
    return metrics(fashion, tiny_run.workspace)


@pytest.mark.long
def test_kill_in_every_stage_changes_no_figure(
    tiny_run: TinyRun, undisturbed: dict[str, Any], fashion: Fashion, tmp_path: Path
) -> None:
    """Killed with SIGKILL in each stage in turn and run again, the pipeline ends with the undisturbed metrics."""
    workspace = tmp_path / "workspace"
    for stage in STAGES:
        assert killed_in(stage, workspace, tiny_run.options, signal.SIGKILL) == -signal.SIGKILL, stage
    done = fashion("run", "-w", str(workspace), *tiny_run.options)
    assert done.returncode == 0, done.stderr
    assert differences(metrics(fashion, workspace), undisturbed) == {}
    assert sorted(p.name for p in (workspace / "serving_models" / "fashion").iterdir() if p.name.isdigit()) == ["1"]


def test_interrupted_training_is_resumed(tiny_run: TinyRun, fashion: Fashion, tmp_path: Path) -> None:
    """Ctrl-C in the Trainer ends with exit code 130, and what finished is reused."""
    workspace = tmp_path / "workspace"
    shutil.copytree(tiny_run.workspace, workspace)
    options = (*tiny_run.options, "--set", "trainer.epochs=3")
    assert killed_in("trainer", workspace, options, signal.SIGINT) == 130
    stages = status(fashion, workspace)
    assert stages["trainer"]["state"] == "CANCELED" and stages["tuner"]["state"] == "CACHED"


def test_rollback_serves_an_earlier_version_under_a_new_number(
    tiny_run: TinyRun, fashion: Fashion, tmp_path: Path
) -> None:
    """After a second push, `fashion rollback` makes version 3 out of version 1."""
    workspace = tmp_path / "workspace"
    shutil.copytree(tiny_run.workspace, workspace)
    assert fashion("rollback", "-w", str(workspace)).returncode == 1, "there is no earlier version yet"
    base = workspace / "serving_models" / "fashion"
    done = fashion("run", "-w", str(workspace), *tiny_run.options, "--set", "trainer.epochs=3")
    assert done.returncode == 0, done.stdout + done.stderr
    done = fashion("rollback", "-w", str(workspace))
    assert done.returncode == 0 and "Version 3 serves what version 1 served" in done.stdout
    assert (base / "3" / "saved_model.pb").read_bytes() == (base / "1" / "saved_model.pb").read_bytes()


def test_a_model_that_is_not_blessed_is_not_pushed_and_sets_the_exit_code(
    tiny_run: TinyRun, fashion: Fashion, tmp_path: Path
) -> None:
    """The exit code for a model below its bound is 3, and no version is pushed."""
    workspace = tmp_path / "workspace"
    shutil.copytree(tiny_run.workspace, workspace)
    profile = tmp_path / "strict.toml"
    before = (ROOT / "tests" / "tiny.toml").read_text()
    profile.write_text(re.sub(r"at_least = .*", "at_least = 1.1", before))
    done = fashion("run", "-w", str(workspace), "--profile", str(profile), *tiny_run.options[2:])
    assert done.returncode == 3, done.stdout + done.stderr
    assert "NOT blessed" in done.stdout and "Not pushed" in done.stdout
    assert [p.name for p in (workspace / "serving_models" / "fashion").iterdir() if p.name.isdigit()] == ["1"]


def test_a_worse_model_is_refused_after_everything_was_cleaned(
    tiny_run: TinyRun, fashion: Fashion, tmp_path: Path
) -> None:
    """Without any record the pushed version is the baseline and stays the newest; a second run reuses the verdict."""
    assert "Warning: No earlier model to compare with" in tiny_run.output
    workspace = tmp_path / "workspace"
    shutil.copytree(tiny_run.workspace, workspace)
    assert fashion("clean", "--all", "-w", str(workspace)).returncode == 0
    rule = 'evaluator.rules=[{metric = "accuracy", change_at_least = -0.01}]'
    options = ("-w", str(workspace), *tiny_run.options, "--set", "trainer.epochs=1", "--set", rule)
    done = fashion("run", *options)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Compared with the pushed version 1, because no other blessed model is recorded." in done.stdout
    assert "accuracy changes by at least -0.01: -0." in done.stdout and "Warning: No earlier" not in done.stdout
    assert [p.name for p in (workspace / "serving_models" / "fashion").iterdir() if p.name.isdigit()] == ["1"]
    again = fashion("explain", *options, "--json")
    assert {stage["action"] for stage in json.loads(again.stdout)} == {"reuse"}


@pytest.fixture(scope="module")
def tensorboard(tiny_run: TinyRun) -> Iterator[str]:
    """A real TensorBoard on the run's logs; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "pipeline.commands.cli",
        "tensorboard",
        "-w",
        str(tiny_run.workspace),
        "--port",
        str(port),
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Press CTRL+C" in line:
                break
        yield f"http://127.0.0.1:{port}/data/plugin"
        process.send_signal(signal.SIGTERM)
        process.stderr.read()


def fetch_json(address: str, body: dict[str, Any] | None = None) -> Any:
    """Returns the JSON response of a TensorBoard plugin."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.load(response)


def test_tensorboard_shows_scalars_images_hyperparameters_and_the_projector(tensorboard: str) -> None:
    """The real server shows the Trainer's scalars, images and embedding, and the Tuner's trials."""
    scalars = fetch_json(f"{tensorboard}/scalars/tags")
    trainer = {tag for run, tags in scalars.items() if run.startswith("trainer") for tag in tags}
    assert {"epoch_loss", "epoch_group_macro_f1"} <= trainer
    images = fetch_json(f"{tensorboard}/images/tags")
    assert {"confusion", "errors"} <= {tag for tags in images.values() for tag in tags}
    body = {"experimentName": "", "allowedStatuses": ["STATUS_SUCCESS", "STATUS_RUNNING", "STATUS_UNKNOWN"],
            "colParams": [], "startIndex": 0, "sliceSize": 100}  # fmt: skip
    groups = fetch_json(f"{tensorboard}/hparams/session_groups", body)["sessionGroups"]
    assert groups and "peak_learning_rate" in groups[0]["hparams"]
    run = next(name for name in fetch_json(f"{tensorboard}/projector/runs") if name.startswith("trainer"))
    embeddings = fetch_json(f"{tensorboard}/projector/info?run={run}")["embeddings"]
    assert embeddings[0]["tensorShape"][0] == 50 and embeddings[0]["sprite"]["imagePath"] == "sprite.png"
