"""Tests of pipeline.runner.display: the live table, the plain lines and the time left."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.runner.display import LiveDisplay, PlainDisplay, TimeLeft
from pipeline.runner.fingerprint import ROOT


def test_plain_lines_have_reason_duration_and_note() -> None:
    """A log has a line with the reason when a stage starts, and one with the duration when it ends."""
    written = io.StringIO()
    display = PlainDisplay(Console(file=written, width=200))
    with display.watch(["trainer"]):
        display.started("trainer", ["parameter epochs changed: 2 -> 3"])
        display.progress("trainer")(1, 3, "epochs", "loss 0.5")
        display.finished("trainer", 12.34, "parameters 17,000")
    assert written.getvalue().splitlines() == [
        "trainer: running, because parameter epochs changed: 2 -> 3",
        "trainer: done in 12.3 s; parameters 17,000",
    ]


def test_live_table_shows_bar_state_and_note() -> None:
    """The table has the state of each stage and the progress of the running one."""
    console = Console(file=io.StringIO(), width=120, force_terminal=True, record=True)
    display = LiveDisplay(console)
    with display.watch(["tuner", "trainer", "evaluator"]):
        display.reused("tuner", "reuse", "trials 5")
        display.started("trainer", ["it has never finished here"])
        display.progress("trainer")(2, 10, "epochs", "loss 0.25")
        console.print(display._table())
        display.failed("trainer")
    output = console.export_text()
    assert "reused" in output and "trials 5" in output and "waiting" in output and "failed" in output
    assert "2/10 epochs  loss 0.25" in output and "━" in output


@pytest.mark.parametrize("width", [60, 80, 120])
def test_stage_names_are_whole_in_a_narrow_terminal(width: int) -> None:
    """The note of a stage is cut to fit, its name and its times are not."""
    display = LiveDisplay(Console(file=io.StringIO(), width=width, force_terminal=True))
    drawn = Console(file=io.StringIO(), width=width, record=True)
    stages = ["learning_curve_gen", "example_validator", "cross_validator"]
    with display.watch(stages):
        display.reused(stages[0], "reuse", "a note that is far longer than the terminal is wide, " * 5)
        display.started(stages[1], ["parameter epochs changed: 2 -> 3"] * 9)
        display.progress(stages[1])(2, 10, "epochs", "validation macro F1 0.25, and more words than there is room for")
        drawn.print(display._table())
    lines = drawn.export_text().splitlines()
    assert all(any(stage in line for line in lines) for stage in stages)
    assert max(map(len, lines)) <= width and any("reused" in line and "…" in line for line in lines)


def test_time_left_follows_the_rate_since_the_first_report() -> None:
    """The estimate counts down between reports, and what an earlier run finished does not speed it up."""
    now = 0.0
    estimate = TimeLeft(lambda: now)
    estimate.report(6, 10, "epochs")
    assert estimate.remaining_seconds() is None
    now = 20.0
    estimate.report(7, 10, "epochs")
    assert estimate.remaining_seconds() == 60.0
    now = 30.0
    estimate.report(7, 10, "epochs")
    assert estimate.remaining_seconds() == 50.0
    now = 200.0
    assert estimate.remaining_seconds() == 0.0
    estimate.report(1, 5, "images")
    assert estimate.remaining_seconds() is None


def test_plain_log_has_a_line_a_minute_with_the_time_left() -> None:
    """A long stage prints its progress and its remaining time once a minute."""
    now = 0.0
    written = io.StringIO()
    display = PlainDisplay(Console(file=written, width=200), lambda: now)
    display.started("trainer", ["--fresh was given"])
    report = display.progress("trainer")
    for step in range(10):
        now = 25.0 * step
        report(step, 10, "epochs", "loss 0.5")
    assert written.getvalue().splitlines()[1:] == [
        "trainer: 3 of 10 epochs, loss 0.5, about 2.9 min left",
        "trainer: 6 of 10 epochs, loss 0.5, about 1.7 min left",
        "trainer: 9 of 10 epochs, loss 0.5, about 25 s left",
    ]


def test_output_of_a_stage_does_not_disturb_the_table(tmp_path: Path) -> None:
    """In a real terminal the table is drawn, and the output of a stage goes only to its log."""
    code = (
        "import sys; from pathlib import Path\n"
        "from pipeline.runner.display import display_for, terminal_console\n"
        "from pipeline.runner.local_runner import LocalRunner\n"
        "from pipeline.runner.workspace import Workspace; from tests.pipeline.runner.toy import configured\n"
        "workspace = Workspace(Path(sys.argv[1])); pipeline = configured(workspace=workspace)\n"
        "display = display_for(terminal_console())\n"
        "LocalRunner(pipeline, workspace, display).run(list(pipeline.nodes))\n"
    )
    master, slave = pty.openpty()
    command = [sys.executable, "-c", code, str(tmp_path / "workspace")]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    with subprocess.Popen(command, cwd=ROOT, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        output = b""
        while True:
            try:
                read = os.read(master, 65536)
            except OSError:
                break
            output += read
        assert process.wait(timeout=300) == 0
    os.close(master)
    assert b"judge" in output and b"done" in output and b"native output" not in output
    logs = list((tmp_path / "workspace" / "logs" / "learn").glob("*/stage.log"))
    assert logs[0].read_text() == "native output\n"
