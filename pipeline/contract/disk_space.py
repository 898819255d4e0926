"""Recognises a full disk in the errors of any library, and distinguishes it from a disk without free inodes."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.contract.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
TEXTS = (*(os.strerror(number) for number in FULL), "database or disk is full")
"""TensorFlow, Arrow, HDF5 and SQLite raise errors of their own, with the operating system's words inside."""


def full_disk_error(error: BaseException, directory: Path) -> UserError | None:
    """Returns the error to show when a full disk is what made `error`; None for any other cause.

    Args:
        error: The exception. Those that caused it are examined too.
        directory: Where the process writes; the directory for temporary files is examined as well.
    """
    report = next((words for cause in _chain(error) if (words := _full_disk_report(cause))), "")
    if not report:
        return None
    existing = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    states = {path: os.statvfs(path) for path in (existing, Path(tempfile.gettempdir()))}
    # What is scarcer, as a share: the library may have removed files before its error arrives here.
    blocks, path = min((state.f_bavail / max(state.f_blocks, 1), path) for path, state in states.items())
    # Some file systems have no fixed number of inodes, and say 0.
    inodes, fullest = min((s.f_favail / s.f_files if s.f_files else 1.0, path) for path, s in states.items())
    if inodes < min(blocks, 0.2):
        state = states[fullest]
        return UserError(
            "The disk has no free inodes.",
            expected="room for more files",
            received=f"{report}; {state.f_favail:,} of {state.f_files:,} inodes free at {fullest}",
            next_step="fashion clean, or remove files from the disk",
        )
    return UserError(
        "The disk is full.",
        expected="room for the output",
        received=f"{report}; {states[path].f_bavail * states[path].f_frsize / 2**20:,.0f} MiB free at {path}",
        next_step="fashion clean, or free the disk",
    )


def _full_disk_report(error: BaseException) -> str:
    """Returns the words in which an exception reports a full disk; empty for another one."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number in FULL else next((text for text in TEXTS if text in str(error)), "")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
