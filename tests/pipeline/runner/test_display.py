"""What a run shows: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from pipeline.runner.display import LiveDisplay, PlainDisplay
from pipeline.runner.fingerprint import ROOT


def test_plain_lines_say_why_how_long_and_what() -> None:
    """A pipe gets a line when a stage starts, with the reason, and one when it ends."""
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
    """A terminal sees each stage with its state, and the running one with its progress."""
    console = Console(file=io.StringIO(), width=120, force_terminal=True, record=True)
    display = LiveDisplay(console)
    with display.watch(["tuner", "trainer", "evaluator"]):
        display.reused("tuner", "reuse", "trials 5")
        display.started("trainer", ["it has never finished here"])
        display.progress("trainer")(2, 10, "epochs", "loss 0.25")
        console.print(display._table())
        display.failed("trainer")
    shown = console.export_text()
    assert "reused" in shown and "trials 5" in shown and "waiting" in shown and "failed" in shown
    assert "2/10 epochs  loss 0.25" in shown and "━" in shown


def test_terminal_keeps_its_table_while_a_stage_prints(tmp_path: Path) -> None:
    """In a real terminal the table is drawn, and what a stage prints goes to its log alone."""
    code = (
        "import sys; from pathlib import Path\n"
        "from pipeline.runner.display import display_for, terminal_console\n"
        "from pipeline.runner.local_runner import LocalRunner\n"
        "from pipeline.runner.workspace import Workspace; from tests.pipeline.runner.toy import configured\n"
        "pipeline = configured()\n"
        "display = display_for(terminal_console())\n"
        "LocalRunner(pipeline, Workspace(Path(sys.argv[1])), display).run(list(pipeline.nodes))\n"
    )
    master, slave = pty.openpty()
    command = [sys.executable, "-c", code, str(tmp_path / "workspace")]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    with subprocess.Popen(command, cwd=ROOT, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                read = os.read(master, 65536)
            except OSError:
                break
            shown += read
        assert process.wait(timeout=60) == 0
    os.close(master)
    assert b"judge" in shown and b"done" in shown and b"native output" not in shown
    logs = list((tmp_path / "workspace" / "logs" / "learn").glob("*/stage.log"))
    assert logs[0].read_text() == "native output\n"
