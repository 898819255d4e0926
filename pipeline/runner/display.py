"""Shows a run while it goes: a live table of stages with bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from pipeline.contract.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SECONDS_BETWEEN_LINES = 15.0


class Display(Protocol):
    """What the runner tells whoever shows the run."""

    @contextmanager
    def watch(self, stages: Sequence[str]) -> Iterator[None]:
        """Shows the stages until the block ends."""

    def started(self, stage: str, reasons: Sequence[str]) -> None:
        """A stage begins, for these reasons."""

    def progress(self, stage: str) -> Progress:
        """Returns what the stage is to call while it runs."""

    def finished(self, stage: str, seconds: float, note: str) -> None:
        """A stage has finished, with a note about what it made."""

    def reused(self, stage: str, action: str, note: str) -> None:
        """An earlier result stands: "reuse" when nothing changed, "keep" when the stage was not asked for."""

    def failed(self, stage: str) -> None:
        """A stage has failed or was interrupted."""

    def message(self, text: str) -> None:
        """Something worth a line."""


def terminal_console() -> Console:
    """Returns a console on a copy of standard output, which stays the terminal while a stage's output is captured."""
    from rich.console import Console

    return Console(file=os.fdopen(os.dup(1), "w", encoding="utf-8"), highlight=False)


def display_for(console: Console) -> Display:
    """Returns the live table when the console is a terminal, plain lines otherwise."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


class PlainDisplay:
    """Lines for logs and pipes: a stage a line, and a line of progress now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = 0.0

    @contextmanager
    def watch(self, stages: Sequence[str]) -> Iterator[None]:
        """Nothing to prepare."""
        yield

    def started(self, stage: str, reasons: Sequence[str]) -> None:
        """Prints the stage and why it runs."""
        self._print(f"{stage}: running, because {'; '.join(reasons)}")
        self._last = time.monotonic()

    def progress(self, stage: str) -> Progress:
        """Returns a function that prints a line at most every 15 seconds."""

        def report(done: int, total: int, unit: str, note: str = "") -> None:
            if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
                self._last = time.monotonic()
                self._print(f"{stage}: {done:,} of {total:,} {unit}" + (f", {note}" if note else ""))

        return report

    def finished(self, stage: str, seconds: float, note: str) -> None:
        """Prints how long it took."""
        self._print(f"{stage}: done in {seconds:.1f} s" + (f"; {note}" if note else ""))

    def reused(self, stage: str, action: str, note: str) -> None:
        """Prints that it is reused."""
        self._print(f"{stage}: {'reused' if action == 'reuse' else 'kept'}" + (f"; {note}" if note else ""))

    def failed(self, stage: str) -> None:
        """Prints that it did not finish."""
        self._print(f"{stage}: did not finish")

    def message(self, text: str) -> None:
        """Prints the text."""
        self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)


class LiveDisplay:
    """A table that is redrawn in place, a stage a row."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, _Row] = {}

    @contextmanager
    def watch(self, stages: Sequence[str]) -> Iterator[None]:
        """Draws the table until the block ends, and leaves its last state standing."""
        from rich.live import Live

        self._rows = {stage: _Row() for stage in stages}
        with Live(get_renderable=self._table, console=self._console, refresh_per_second=4, transient=False):
            yield

    def started(self, stage: str, reasons: Sequence[str]) -> None:
        """Marks the stage as running."""
        self._rows[stage] = _Row("running", "; ".join(reasons), begun=time.monotonic())

    def progress(self, stage: str) -> Progress:
        """Returns a function that moves the stage's bar."""

        def report(done: int, total: int, unit: str, note: str = "") -> None:
            row = self._rows[stage]
            row.done, row.total, row.note = done, total, f"{done:,}/{total:,} {unit}" + (f"  {note}" if note else "")

        return report

    def finished(self, stage: str, seconds: float, note: str) -> None:
        """Marks the stage as done."""
        self._rows[stage] = _Row("done", note, seconds=seconds)

    def reused(self, stage: str, action: str, note: str) -> None:
        """Marks the stage as reused."""
        self._rows[stage] = _Row("reused" if action == "reuse" else "kept", note)

    def failed(self, stage: str) -> None:
        """Marks the stage as failed."""
        self._rows[stage] = _Row("failed", "", seconds=time.monotonic() - self._rows[stage].begun)

    def message(self, text: str) -> None:
        """Prints the text above the table."""
        self._console.print(text, markup=False)

    def _table(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for heading in ("stage", "state", "time", ""):
            table.add_column(heading, no_wrap=True, justify="right" if heading == "time" else "left")
        table.add_column("", ratio=1, overflow="ellipsis", no_wrap=True)
        for stage, row in self._rows.items():
            bar = ProgressBar(total=row.total, completed=row.done, width=20) if row.state == "running" else Text("")
            table.add_row(stage, Text(row.state, style=STYLES[row.state]), row.elapsed(), bar, Text(row.note))
        return table


STYLES = {"waiting": "dim", "running": "bold cyan", "done": "green", "reused": "blue", "kept": "blue", "failed": "red"}


class _Row:
    """One stage of the table."""

    def __init__(self, state: str = "waiting", note: str = "", seconds: float = 0.0, begun: float = 0.0) -> None:
        self.state, self.note, self.seconds, self.begun = state, note, seconds, begun
        self.done, self.total = 0, None if state == "running" else 1

    done: int
    total: int | None

    def elapsed(self) -> str:
        """The time that the stage has taken, as text."""
        seconds = time.monotonic() - self.begun if self.state == "running" else self.seconds
        return f"{seconds:.1f} s" if seconds else ""
