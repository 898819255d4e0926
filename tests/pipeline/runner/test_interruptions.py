"""Tests of runs that are interrupted, killed, or started with closed streams, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.runner.fingerprint import ROOT
from pipeline.runner.metadata_store import MetadataStore
from pipeline.runner.workspace import Workspace
from tests.pipeline.conftest import Run

TOY_RUN = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells make background jobs ignore
from pipeline.commands import cli
from pipeline.commands.options import resume_command
from pipeline.runner.display import display_for, terminal_console
from pipeline.runner.local_runner import LocalRunner
from pipeline.runner.workspace import Workspace
from tests.pipeline.runner.toy import configured

@cli.app.command()
def toy(root: Path, overrides: list[str]) -> None:
    workspace = Workspace(root)
    pipeline = configured(*overrides, workspace=workspace)
    LocalRunner(pipeline, workspace, display_for(terminal_console()), resume_command()).run(list(pipeline.nodes))

cli.main(["toy", *sys.argv[1:]])
"""


def run_toy(workspace: Workspace, *overrides: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the toy pipeline as a command in a process of its own."""
    command = [sys.executable, "-c", TOY_RUN, str(workspace.root), *(overrides or ["seed=1"])]
    settings: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.run(command, cwd=ROOT, timeout=600, check=False, **settings)


def states(workspace: Workspace) -> list[str]:
    """The states of the latest run's executions."""
    with MetadataStore(workspace.store) as store:
        latest = store.latest_run()
        return [execution.state for execution in store.run_executions(latest[0])] if latest else []


@pytest.mark.parametrize("how", ["interrupts", "swallowed", "converted"])
def test_every_ctrl_c_ends_with_130_and_one_paragraph(workspace: Workspace, how: str) -> None:
    """Pressed five times, until the interpreter has exited, or hidden by a library: the run is recorded as canceled."""
    done = run_toy(workspace, f"learn.fail={how}")
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    expected = "Interrupted before judge" if how == "swallowed" else "Interrupted in learn"
    assert done.stderr.startswith(f"\n{expected}. The results of finished stages stay.\nNext: fashion ")
    assert states(workspace) == ["COMPLETE", "COMPLETE" if how == "swallowed" else "CANCELED"]
    assert not list(workspace.artifacts.glob("*/.unfinished-*"))


def test_ctrl_c_while_the_command_line_is_imported_ends_with_130() -> None:
    """Nothing but the exit code: no stack trace of an import."""
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Press:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer':\n"
        "            for _ in range(5): os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Press())\n"
        "from pipeline.commands.entry import main\n"
        "main(['--help'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it(workspace: Workspace) -> None:
    """A shell's background job is not ended by the Ctrl-C for another program."""
    code = TOY_RUN.replace("default_int_handler)", "SIG_IGN)")
    done = subprocess.run(
        [sys.executable, "-c", code, str(workspace.root), "learn.fail=swallowed"],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_a_run_with_closed_streams_completes(workspace: Workspace, closed: tuple[int, ...]) -> None:
    """As `fashion run >&-` does: no file of the run takes the place of the closed stream."""
    done = run_toy(workspace, preexec_fn=lambda: [os.close(descriptor) for descriptor in closed])
    assert done.returncode == 0, done.stderr
    assert states(workspace) == ["COMPLETE"] * 3
    assert (workspace.logs / "learn").is_dir() and "native output" in next(
        workspace.logs.rglob("learn/*/*")
    ).read_text()
    if 1 not in closed:
        assert "judge: done in" in done.stdout


def test_a_failed_command_stays_failed_when_its_reader_has_gone() -> None:
    """As `fashion predict broken.png | true`: neither the error nor the exit code is lost."""
    code = """
from pipeline.commands import cli
from pipeline.contract.errors import UserError

@cli.app.command()
def say() -> None:
    print("something")
    raise UserError("Refused.")

cli.main(["say"])
"""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONUNBUFFERED": ""},  # what is printed waits for the end of the command
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=600,
    )
    os.close(writer)
    assert done.returncode == 1 and "Refused." in done.stderr


def test_an_error_reaches_standard_error_when_the_output_is_closed(workspace: Workspace) -> None:
    """The paragraph is printed where it belongs."""
    done = run_toy(workspace, "learn.fail=error", preexec_fn=lambda: os.close(1))
    assert done.returncode == 1 and "learn: The numbers are odd." in done.stderr


def test_a_run_goes_on_when_its_reader_has_gone(workspace: Workspace) -> None:
    """As `fashion run | head -1`: the run completes in silence, with its own exit code."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run_toy(workspace, stdout=writing)
    finally:
        os.close(writing)
    assert done.returncode == 0 and not done.stderr
    assert states(workspace) == ["COMPLETE"] * 3


def test_temporary_files_of_a_killed_run_are_removed_at_the_next_start(workspace: Workspace, run: Run) -> None:
    """They lie in the workspace, whose lock tells that nobody uses them; the next run removes them, and its own."""
    before = set(Path(tempfile.gettempdir()).glob("toy-*"))
    assert run_toy(workspace, "learn.fail=temporary").returncode == -9
    assert [path.name[:4] for path in workspace.temporary.iterdir()] == ["toy-"]
    assert set(Path(tempfile.gettempdir()).glob("toy-*")) == before
    with workspace.temporary_files():
        assert not list(workspace.temporary.iterdir())
    assert run_toy(workspace, "learn.fail=temporary").returncode == -9
    run()
    assert not workspace.temporary.exists()


@pytest.mark.parametrize("variable", ["/var/tmp", None])
def test_temporary_files_go_where_they_went_after_a_run(
    workspace: Workspace, variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a run this process and its children use the workspace, and afterwards what they used before."""
    monkeypatch.setenv("TMPDIR", variable) if variable else monkeypatch.delenv("TMPDIR", raising=False)
    workspace.root.mkdir()
    before = tempfile.gettempdir()
    with workspace.temporary_files():
        assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(workspace.temporary.absolute())
    assert (tempfile.gettempdir(), os.environ.get("TMPDIR")) == (before, variable)
