"""Tests of pipeline.contract.files: atomic writes, and locks on files and directories."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.contract.files import atomic_path, exclusive_directory_lock, exclusive_lock, is_locked, write_json

ROOT = Path(__file__).resolve().parents[3]

HOLDER = """
import sys
from pathlib import Path
from pipeline.contract.files import exclusive_directory_lock
with exclusive_directory_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_an_atomic_write_replaces_the_file(tmp_path: Path) -> None:
    """The new content is complete, its folder is created, and no hidden file remains."""
    path = tmp_path / "new" / "a.json"
    for content in ({"a": 1}, {"b": [1, 2]}):
        assert json.loads(write_json(path, content).read_text()) == content
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """After an exception the old content is unchanged, and no hidden file remains."""
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as hidden:
            hidden.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_file_lock_has_one_holder(tmp_path: Path) -> None:
    """A second holder fails at once if it does not wait, and succeeds after the release."""
    path = tmp_path / "lock"
    with exclusive_lock(path), pytest.raises(BlockingIOError), exclusive_lock(path, wait=False):
        pass
    with exclusive_lock(path, wait=False):
        pass


def test_looking_at_a_lock_does_not_take_it_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`is_locked` sees holders only, and a process that wants the lock in that instant gets it."""
    path = tmp_path / "lock"
    assert not is_locked(path) and not path.exists()
    with exclusive_lock(path) as holder:
        holder.write("7")
        holder.flush()
        assert is_locked(path) and path.read_text() == "7"
    assert not is_locked(path)
    looking = path.open()
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr("time.sleep", lambda seconds: looking.close())
    with exclusive_lock(path, wait=False):
        assert is_locked(path) and looking.closed


def test_a_directory_lock_excludes_other_processes_until_they_end(tmp_path: Path) -> None:
    """The lock of a running process is respected, a killed process leaves none, and no file appears."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
        with pytest.raises(BlockingIOError), exclusive_directory_lock(tmp_path, wait=False):
            pass
        holder.kill()
    with exclusive_directory_lock(tmp_path, wait=False):
        assert not list(tmp_path.iterdir())
