"""The display of a run: a live table of stages with progress bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from pipeline.contract.printable import printable_lines
from pipeline.contract.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SECONDS_BETWEEN_LINES = 60.0
WIDEST_BAR = 20


class TimeLeft:
    """Estimates the remaining time of a stage from its progress reports.

    The rate is that of the units finished since the first report, so a resumed stage is not credited with what an
    earlier run finished. A report in another unit, or with another total, starts a new estimate.

    Args:
        clock: Returns the time in seconds. Defaults to the monotonic clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counted: tuple[int, str] | None = None
        self._first = self._last = (0.0, 0)
        self._total = 0

    def report(self, done: int, total: int, unit: str) -> None:
        """Takes one progress report: `done` of `total` units are finished."""
        now = self._clock()
        if self._counted != (total, unit) or done < self._last[1]:
            self._counted, self._total = (total, unit), total
            self._first = self._last = (now, done)
        elif done > self._last[1]:
            self._last = (now, done)

    def remaining_seconds(self) -> float | None:
        """Returns the estimate as of now; None until a unit has finished."""
        (begun, first), (latest, done) = self._first, self._last
        if done == first:
            return None
        seconds_a_unit = (latest - begun) / (done - first)
        return max(0.0, (self._total - done) * seconds_a_unit - (self._clock() - latest))


def format_duration(seconds: float) -> str:
    """Returns a duration as text: "12.3 s", "2.6 min" or "1.2 h"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _about_left(estimate: TimeLeft) -> str:
    seconds = estimate.remaining_seconds()
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 60 else format_duration(seconds)


class Display(Protocol):
    """What the runner reports while it runs."""

    @contextmanager
    def watch(self, stages: Sequence[str]) -> Iterator[None]:
        """Shows the stages until the block ends."""

    def started(self, stage: str, reasons: Sequence[str]) -> None:
        """Reports that a stage starts, and why."""

    def progress(self, stage: str) -> Progress:
        """Returns the function that the stage calls with its progress."""

    def finished(self, stage: str, seconds: float, note: str) -> None:
        """Reports that a stage has finished, with a note about its outputs."""

    def reused(self, stage: str, action: str, note: str) -> None:
        """Reports an earlier result: action "reuse" when nothing changed, "keep" when the stage is not selected."""

    def failed(self, stage: str) -> None:
        """Reports that a stage has failed or was interrupted."""

    def message(self, text: str) -> None:
        """Shows a line of text."""


def open_standard_streams() -> None:
    """Opens standard input, output and error on the null device where the caller has closed them, as `>&-` does.

    Otherwise the next file that is opened would become the standard output, and get what a stage prints.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))


def discard_output(descriptor: int) -> None:
    """Directs a stream whose reader has gone to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def terminal_console() -> Console:
    """Returns a console on a copy of standard output, which stays the terminal while the log captures a stage's.

    When the reader of a pipe has gone, as in `fashion run | head`, the console is silent and the run goes on.
    """
    from rich.console import Console

    class TerminalConsole(Console):
        def on_broken_pipe(self) -> None:
            discard_output(self.file.fileno())

    return TerminalConsole(file=os.fdopen(os.dup(1), "w", encoding="utf-8"), highlight=False)


def display_for(console: Console) -> Display:
    """Returns the live table when the console is a terminal, plain lines otherwise."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


class PlainDisplay:
    """Lines for logs and pipes: one for each stage, and one for its progress every minute."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._last = 0.0

    @contextmanager
    def watch(self, stages: Sequence[str]) -> Iterator[None]:
        """Does nothing: lines need no preparation."""
        yield

    def started(self, stage: str, reasons: Sequence[str]) -> None:
        """Prints the stage and why it runs."""
        self._print(f"{stage}: running, because {'; '.join(reasons)}")
        self._last = self._clock()

    def progress(self, stage: str) -> Progress:
        """Returns a function that prints a line at most once a minute, with the time left."""
        estimate = TimeLeft(self._clock)

        def report(done: int, total: int, unit: str, note: str = "") -> None:
            estimate.report(done, total, unit)
            if self._clock() - self._last >= SECONDS_BETWEEN_LINES:
                self._last = self._clock()
                left = _about_left(estimate)
                parts = [f"{stage}: {done:,} of {total:,} {unit}", note, f"about {left} left" if left else ""]
                self._print(", ".join(part for part in parts if part))

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
        self._console.print(printable_lines(text), soft_wrap=True, markup=False)


class LiveDisplay:
    """A table of the stages that is redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, _Row] = {}

    @contextmanager
    def watch(self, stages: Sequence[str]) -> Iterator[None]:
        """Draws the table until the block ends, and leaves its last state on the screen."""
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
            row.estimate.report(done, total, unit)

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
        self._console.print(printable_lines(text), markup=False)

    def _table(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        cells = [(stage, row.state, row.elapsed(), row.left()) for stage, row in self._rows.items()]
        headings = ("stage", "state", "time", "left")
        # Rich would shorten every column of a narrow terminal. The bar and the note can be cut; names and times cannot.
        widths = [max(len(cell) for cell in column) for column in zip(headings, *cells, strict=True)]
        room = max(2, self._console.width - sum(widths) - len(headings) - 1)
        bar_width = max(1, min(WIDEST_BAR, room // 3))
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for heading, width in zip(headings, widths, strict=True):
            table.add_column(
                heading, no_wrap=True, width=width, justify="right" if heading in ("time", "left") else "left"
            )
        table.add_column("", no_wrap=True, width=bar_width)
        table.add_column("", no_wrap=True)
        for (stage, state, elapsed, left), row in zip(cells, self._rows.values(), strict=True):
            bar = ProgressBar(total=row.total, completed=row.done) if row.state == "running" else Text("")
            note = Text(row.note)
            note.truncate(room - bar_width, overflow="ellipsis")
            table.add_row(stage, Text(state, style=STYLES[state]), elapsed, left, bar, note)
        return table


STYLES = {"waiting": "dim", "running": "bold cyan", "done": "green", "reused": "blue", "kept": "blue", "failed": "red"}


class _Row:
    """The state of one stage in the table."""

    def __init__(self, state: str = "waiting", note: str = "", seconds: float = 0.0, begun: float = 0.0) -> None:
        self.state, self.note, self.seconds, self.begun = state, note, seconds, begun
        self.done = 0
        self.total: int | None = None if state == "running" else 1
        self.estimate = TimeLeft()

    def elapsed(self) -> str:
        """Returns how long the stage has run, as text."""
        seconds = time.monotonic() - self.begun if self.state == "running" else self.seconds
        return format_duration(seconds) if seconds else ""

    def left(self) -> str:
        """Returns how long the stage will still run, as text; empty while nothing is known."""
        return _about_left(self.estimate) if self.state == "running" else ""
