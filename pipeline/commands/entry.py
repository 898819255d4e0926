"""The program `fashion`: Ctrl-C ends it with exit code 130 even while the command line is being imported."""

from __future__ import annotations

import sys
from typing import NoReturn

from pipeline.contract.interrupts import EXIT_CODE, handle_interrupts


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line with these arguments. Defaults to those of the process."""
    handle_interrupts()
    try:
        from pipeline.commands.cli import main as run

        run(arguments)
    except KeyboardInterrupt:
        sys.exit(EXIT_CODE)
