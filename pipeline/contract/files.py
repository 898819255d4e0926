"""Atomic file writes, and file locks that the operating system releases after a crash."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a hidden path beside `path`, which replaces `path` when the block ends without an exception.

    The content reaches the disk before the new name does, so neither a kill nor a power cut leaves half a file. The
    hidden path has the suffix of `path`, for libraries that append one of their own.

    Args:
        path: The file to write. Its directory is created if missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.stem}.{os.getpid()}.unfinished{path.suffix}")
    try:
        yield hidden
        sync(hidden)
        hidden.replace(path)
        sync(path.parent)
    finally:
        hidden.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Writes UTF-8 text to `path` atomically; returns `path`."""
    with atomic_path(path) as hidden:
        hidden.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, content: Any) -> Path:
    """Writes `content` as indented JSON to `path` atomically; returns `path`."""
    return write_text(path, json.dumps(content, indent=2) + "\n")


def sync(path: Path) -> None:
    """Brings one file, or the entries of one directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Brings a directory with everything below it to the disk, so that a rename after it never precedes it there."""
    for path in [*directory.rglob("*"), directory]:
        sync(path)


@contextmanager
def exclusive_lock(path: Path, *, wait: bool = True) -> Iterator[TextIO]:
    """Holds a lock on the file `path`; the operating system releases it when the process ends, however it ends.

    Args:
        path: The lock file, created if missing; its directory must exist.
        wait: Whether to wait for another holder. Defaults to True.

    Yields:
        The open lock file, to which the holder may write its identity. Reads start at the beginning.

    Raises:
        BlockingIOError: Another process holds the lock, and `wait` is False.
    """
    with path.open("a+", encoding="utf-8") as file:
        for left in reversed(range(1 if wait else 5)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                break
            except BlockingIOError:
                if not left:
                    raise
                time.sleep(0.02)  # `is_locked` of another process holds the lock for an instant
        yield file


def is_locked(path: Path) -> bool:
    """Returns whether a process holds the lock on the file `path`; a file that does not exist is not locked."""
    try:
        with path.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


@contextmanager
def exclusive_directory_lock(directory: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds a lock on a directory itself, for directories in which a lock file would be in the way.

    Args:
        directory: An existing directory.
        wait: Whether to wait for another holder. Defaults to True.

    Raises:
        BlockingIOError: Another process holds the lock, and `wait` is False.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)
