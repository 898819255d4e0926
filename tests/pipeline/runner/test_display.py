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

from pipeline.runner.display import LiveDisplay, PlainDisplay, TimeLeft, display_for, format_duration
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


def test_plain_lines_tell_reused_kept_and_failed_stages_apart() -> None:
    """A note is only written where there is one, and a message is a line of its own, without markup."""
    written = io.StringIO()
    display = PlainDisplay(Console(file=written, width=200))
    display.started("trainer", ["an input changed", "--fresh was given"])
    display.reused("tuner", "reuse", "trials 5")
    display.reused("example_gen", "keep", "")
    display.finished("evaluator", 75.0, "")
    display.failed("trainer")
    display.message("[bold]words\x1b[2J")
    assert written.getvalue().splitlines() == [
        "trainer: running, because an input changed; --fresh was given",
        "tuner: reused; trials 5",
        "example_gen: kept",
        "evaluator: done in 75.0 s",
        "trainer: did not finish",
        "[bold]words\\x1b[2J",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1.0 min"), (3594, "59.9 min"), (3600, "1.0 h"), (9000, "2.5 h")],
)
def test_durations_have_the_unit_that_fits(seconds: float, text: str) -> None:
    """Seconds below a minute, minutes below an hour, hours from then on."""
    assert format_duration(seconds) == text


def test_live_table_shows_bar_state_and_note() -> None:
    """Each stage has its state in its own colour, its time and note; a running one its bar and progress."""
    console = Console(file=io.StringIO(), width=120, force_terminal=True, record=True, color_system="standard")
    drawn = Console(file=io.StringIO(), width=120, record=True, force_terminal=True, color_system="standard")
    display = LiveDisplay(console)
    with display.watch(["example_gen", "tuner", "cross_validator", "trainer", "evaluator", "pusher"]):
        display.reused("example_gen", "keep", "train 60,000")
        display.reused("tuner", "reuse", "trials 5")
        display.finished("cross_validator", 75.0, "folds 3")
        display.started("trainer", ["it has never finished here"])
        display.progress("trainer")(2000, 10_000, "steps", "loss 0.25")
        display.started("evaluator", ["the model changed"])
        display.failed("evaluator")
        drawn.print(display._table())
    styled = drawn.export_text(clear=False, styles=True)
    heading, *rows = drawn.export_text().splitlines()
    assert heading.split() == ["stage", "state", "time", "left"]
    found = {row.split()[0]: row.split()[1:] for row in rows}
    assert found["example_gen"] == ["kept", "train", "60,000"] and found["tuner"] == ["reused", "trials", "5"]
    assert found["cross_validator"] == ["done", "1.2", "min", "folds", "3"] and found["pusher"] == ["waiting"]
    assert found["trainer"][0] == "running" and found["trainer"][-4:] == ["2,000/10,000", "steps", "loss", "0.25"]
    assert found["trainer"][3].startswith("━") and found["evaluator"][0] == "failed" and len(found["evaluator"]) == 3
    colours = {"failed": "31", "done": "32", "kept": "34", "reused": "34", "running": "1;36", "waiting": "2"}
    assert [state for state, code in colours.items() if f"\x1b[{code}m{state}" not in styled] == []


def test_bar_is_as_long_as_the_share_that_is_finished() -> None:
    """At a quarter of the units, a quarter of the bar is filled."""
    for done, filled in ((25, 5), (75, 15)):
        display = LiveDisplay(Console(file=io.StringIO(), width=150, force_terminal=True))
        drawn = Console(file=io.StringIO(), width=150, record=True, force_terminal=True, color_system=None)
        with display.watch(["trainer"]):
            display.started("trainer", ["new"])
            display.progress("trainer")(done, 100, "epochs")
            drawn.print(display._table())
        assert drawn.export_text().count("━") == filled


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


def test_a_log_gets_lines_and_a_terminal_the_table() -> None:
    """A pipe must not be filled with a table that is drawn anew four times a second."""
    assert isinstance(display_for(Console(file=io.StringIO())), PlainDisplay)
    assert isinstance(display_for(Console(file=io.StringIO(), force_terminal=True)), LiveDisplay)
