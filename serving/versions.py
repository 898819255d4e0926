"""The base directory that TensorFlow Serving watches: `<base>/<number>/saved_model.pb`, the highest number is served.

Serving polls the directory and loads a number as soon as it is there, so a version appears and disappears by one
rename; names that are no numbers are ignored (https://www.tensorflow.org/tfx/serving/serving_config). What is ours in a
version, its record and the warm-up requests, lies in `assets.extra/`, which SavedModel leaves to its users.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORD = Path("assets.extra/version.json")
UNFINISHED = ".pushing-"
REMOVED = ".removing-"


class VersionError(ValueError):
    """The wanted version cannot be made or had; the message says what there is instead."""


@dataclass(frozen=True)
class Version:
    """A pushed version.

    Attributes:
        number: What TensorFlow Serving calls it; the highest is served.
        path: Its directory.
        source: The version that it brought back; None for one that was pushed.
    """

    number: int
    path: Path
    source: int | None = None

    @property
    def digest(self) -> str:
        """The SHA-256 of the files as they are now, the record aside."""
        return digest(self.path)


def versions(base: Path) -> list[Version]:
    """Returns the versions in the directory, the oldest first; none when there is no such directory."""
    found = ((number, path) for number, path in _numbered(base) if (path / "saved_model.pb").is_file())
    return [Version(number, path, _read_record(path).get("source")) for number, path in sorted(found)]


def push(saved_model: Path, base: Path, extra_files: Mapping[str, Path] | None = None, keep: int = 5) -> Version:
    """Makes a SavedModel the newest version, all of it or nothing, and removes all but the newest `keep`.

    Args:
        saved_model: The directory of the SavedModel; it is copied.
        base: The directory that TensorFlow Serving watches; made when missing.
        extra_files: Files to add to `assets.extra/`, by the name they get there.
        keep: How many versions stay, the new one included.

    Returns:
        The new version, or the newest when that already holds the same bytes.

    Raises:
        VersionError: The source is no SavedModel.
        OSError: The disk is full or may not be written; the directory is as it was.
    """
    if not (saved_model / "saved_model.pb").is_file():
        raise VersionError(
            f"There is no SavedModel to push. Expected: {saved_model}/saved_model.pb. Received: no such file"
        )
    with _exclusive(base):
        pushed = _add(saved_model, base, extra_files or {}, source=None)
        _prune(base, keep)
    return pushed


def prune(base: Path, keep: int) -> list[int]:
    """Removes all but the newest `keep` versions (at least one stays); returns the numbers removed."""
    with _exclusive(base):
        return _prune(base, keep)


def rollback(base: Path, version: int | None = None) -> Version:
    """Makes an earlier version the newest again, under a new number, so that servers that only move forward take it.

    Args:
        base: The directory that TensorFlow Serving watches.
        version: Which one. Defaults to the one before what is served now: rolling back twice goes two versions back.

    Returns:
        The new version; its `source` is the one brought back.

    Raises:
        VersionError: There is no earlier version, not the one wanted, it is served already, or its files were changed.
    """
    if not base.is_dir():
        raise VersionError(f"There is no pushed version. Expected: versions in {base}. Received: no such directory")
    with _exclusive(base):
        wanted = _choose(base, version)
        recorded = _read_record(wanted.path).get("digest")
        if recorded is not None and recorded != wanted.digest:
            raise VersionError(
                f"Version {wanted.number} is damaged. Expected: the files that were pushed. "
                f"Received: other bytes in {wanted.path}"
            )
        return _add(wanted.path, base, {}, source=wanted.number)


def digest(directory: Path) -> str:
    """Returns the SHA-256 of the names and bytes of the files in a directory, our own record aside."""
    total = hashlib.sha256()
    for path in _files(directory):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(directory).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def _choose(base: Path, number: int | None) -> Version:
    held = versions(base)
    there = "versions " + ", ".join(str(v.number) for v in held) if held else "no versions"
    if not held:
        raise VersionError(f"There is no pushed version. Expected: versions in {base}. Received: {there}")
    newest = held[-1]
    if number is None:
        # What is served may itself have been brought back: "before" counts from where it came from.
        earlier = [v for v in held if v.number < _origin(newest, held) and v.digest != newest.digest]
        if not earlier:
            raise VersionError(
                f"There is no version before the one that is served, {newest.number}. "
                f"Expected: an earlier version in {base}. Received: {there}"
            )
        return earlier[-1]
    wanted = next((v for v in held if v.number == number), None)
    if wanted is None:
        raise VersionError(f"There is no version {number}. Expected: one of those in {base}. Received: {there}")
    if wanted.digest == newest.digest:
        raise VersionError(
            f"Version {number} is what the newest version, {newest.number}, serves already. "
            f"Expected: one that differs from it. Received: {there}"
        )
    return wanted


def _origin(version: Version, held: list[Version]) -> int:
    by_number = {v.number: v for v in held}
    while version.source is not None and version.source in by_number:
        version = by_number[version.source]
    return version.number if version.source is None else version.source


def _add(saved_model: Path, base: Path, extra_files: Mapping[str, Path], source: int | None) -> Version:
    staged = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=base))
    try:
        staged.chmod(0o755)  # mkdtemp's 0700 would keep a server that runs as another user out
        content = {path.relative_to(saved_model): path for path in _files(saved_model)}
        content |= {Path("assets.extra") / name: path for name, path in extra_files.items()}
        for name, path in content.items():
            _copy(path, staged / name)
        fresh = digest(staged)
        held = versions(base)
        if held and held[-1].digest == fresh:
            return held[-1]
        number = max((n for n, _ in _numbered(base)), default=0) + 1
        _write_record(staged, {"digest": fresh, "number": number, "source": source})
        _flush(staged)
        target = base / str(number)
        staged.rename(target)
        _flush_one(base)
        return Version(number, target, source)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _prune(base: Path, keep: int) -> list[int]:
    surplus = versions(base)[: -max(keep, 1)]
    for version in surplus:
        # By rename first: a server must not find a version with half of its files.
        hidden = base / f"{REMOVED}{version.number}"
        version.path.rename(hidden)
        shutil.rmtree(hidden)
    return [version.number for version in surplus]


@contextmanager
def _exclusive(base: Path) -> Iterator[None]:
    """Keeps other writers out (the system drops the lock of a killed one) and sweeps what a killed one left."""
    base.mkdir(parents=True, exist_ok=True)
    with (base / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in base.iterdir():
            if path.name.startswith((UNFINISHED, REMOVED)):
                shutil.rmtree(path)
        yield


def _numbered(base: Path) -> list[tuple[int, Path]]:
    if not base.is_dir():
        return []
    return [(int(p.name), p) for p in base.iterdir() if p.name.isascii() and p.name.isdecimal()]


def _files(directory: Path) -> list[Path]:
    return sorted(p for p in directory.rglob("*") if p.is_file() and p.relative_to(directory) != RECORD)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(path: Path, record: Mapping[str, object]) -> None:
    target = path / RECORD
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _flush(directory: Path) -> None:
    """Brings files and directories to the disk, so that the rename after it never precedes them there."""
    for path in [*directory.rglob("*"), directory]:
        _flush_one(path)


def _flush_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
