"""Pushes, prunes and rolls back model versions in the base directory of TensorFlow Serving.

A version is `<base>/<number>/saved_model.pb`; the highest number is served. Serving polls the directory and loads a
number as soon as it exists, so a version appears and disappears by one rename. Names that are no numbers of 64 bits are
ignored (https://www.tensorflow.org/tfx/serving/serving_config). Our own files, the record and the warm-up requests, are
in `assets.extra/`, which SavedModel leaves to its users.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contract.errors import UserError
from pipeline.contract.files import exclusive_lock, sync, sync_tree

RECORD = Path("assets.extra/version.json")
GRAPH = "saved_model.pb"
MAX_NUMBER = 2**63 - 1
"""TensorFlow Serving reads version numbers into an int64 and ignores directories with a higher one."""
UNFINISHED = ".pushing-"
REMOVED = ".removing-"


class VersionError(UserError):
    """A version cannot be pushed, or does not exist."""


@dataclass(frozen=True)
class Version:
    """A pushed version.

    Attributes:
        number: The number of the version; TensorFlow Serving serves the highest.
        path: The directory of the version.
        source: The version of which a rollback made this copy; None for a pushed version.
    """

    number: int
    path: Path
    source: int | None = None

    @property
    def digest(self) -> str:
        """The SHA-256 of the current files without the record."""
        return digest(self.path)


def versions(base: Path) -> list[Version]:
    """Returns the versions in the directory, the oldest first; none if there is no such directory."""
    found = ((number, path) for number, path in _numbered(base) if (path / GRAPH).is_file())
    return [Version(number, path, _read_record(path).get("source")) for number, path in sorted(found)]


def newest_other(base: Path, saved_model: Path) -> Version | None:
    """Returns the newest version that holds another model, the files in `assets.extra` aside; None if none does.

    Args:
        base: The directory that TensorFlow Serving watches.
        saved_model: The directory of a SavedModel.
    """
    own = _digest_of_model(saved_model)
    return next((v for v in reversed(versions(base)) if _digest_of_model(v.path) != own), None)


def hiding_directories(base: Path) -> list[Path]:
    """Returns the directories without a SavedModel that a server takes for newer versions than the newest one.

    TensorFlow Serving looks at names alone: it tries to load such a directory, fails, and does not start.
    """
    newest = max((version.number for version in versions(base)), default=0)
    return [path for number, path in sorted(_numbered(base)) if number > newest]


def push(saved_model: Path, base: Path, extra_files: Mapping[str, Path] | None = None, keep: int = 5) -> Version:
    """Copies a SavedModel as the newest version, completely or not at all, and removes all but the newest `keep`.

    Args:
        saved_model: The directory of the SavedModel.
        base: The directory that TensorFlow Serving watches, which is created if it does not exist.
        extra_files: Files to add to `assets.extra/`, by their name there.
        keep: The number of versions that stay, the new one included.

    Returns:
        The new version, or the newest if that has the same bytes already.

    Raises:
        VersionError: The source is no SavedModel, or a directory already has the highest possible number.
        OSError: The disk is full or read-only; the directory is unchanged.
    """
    if not (saved_model / GRAPH).is_file():
        expected = f"{saved_model}/{GRAPH}"
        raise VersionError("There is no SavedModel to push.", expected=expected, received="no such file")
    with _exclusive(base):
        pushed = _add(saved_model, base, extra_files or {}, source=None)
        _prune(base, keep)
    return pushed


def rollback(base: Path, version: int | None = None) -> Version:
    """Copies an earlier version as the newest one, under a new number, because servers load the highest number.

    Args:
        base: The directory that TensorFlow Serving watches.
        version: The version to copy. Defaults to the one before the served one: rolling back twice goes two versions
            back.

    Returns:
        The new version; its `source` is the number of the copied one.

    Raises:
        VersionError: There is no earlier version or no such version, it is served already, or its files were changed.
    """
    if not base.is_dir():
        raise VersionError("There is no pushed version.", expected=f"versions in {base}", received="no such directory")
    with _exclusive(base):
        target = _rollback_target(base, version)
        recorded = _read_record(target.path).get("digest")
        if recorded is not None and recorded != target.digest:
            raise VersionError(
                f"Version {target.number} is damaged.",
                expected="the files that were pushed",
                received=f"other bytes in {target.path}",
            )
        return _add(target.path, base, {}, source=target.number)


def digest(directory: Path) -> str:
    """Returns the SHA-256 of the names and bytes of the files in a directory, without our own record."""
    return _digest(directory, _files(directory))


def _digest_of_model(directory: Path) -> str:
    """Returns the digest of a SavedModel without what was added to it for serving."""
    return _digest(directory, [p for p in _files(directory) if p.relative_to(directory).parts[0] != RECORD.parts[0]])


def _digest(directory: Path, files: list[Path]) -> str:
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(directory).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def _rollback_target(base: Path, number: int | None) -> Version:
    existing = versions(base)
    received = "versions " + ", ".join(str(v.number) for v in existing) if existing else "no versions"
    if not existing:
        raise VersionError("There is no pushed version.", expected=f"versions in {base}", received=received)
    newest = existing[-1]
    if number is None:
        # The served version may itself be the copy of a rollback: "before" counts from the version that was copied.
        earlier = [v for v in existing if v.number < _origin(newest, existing) and v.digest != newest.digest]
        if not earlier:
            raise VersionError(
                f"There is no version before the served one, {newest.number}.",
                expected=f"an earlier version in {base}",
                received=received,
            )
        return earlier[-1]
    target = next((v for v in existing if v.number == number), None)
    if target is None:
        raise VersionError(f"There is no version {number}.", expected=f"one of those in {base}", received=received)
    if target.digest == newest.digest:
        raise VersionError(
            f"Version {number} is served already, as the newest version, {newest.number}.",
            expected="a version that differs from it",
            received=received,
        )
    return target


def _origin(version: Version, existing: list[Version]) -> int:
    """Returns the number of the pushed version from which rollbacks copied this one."""
    by_number = {v.number: v for v in existing}
    while version.source is not None and version.source in by_number:
        version = by_number[version.source]
    return version.number if version.source is None else version.source


def _add(saved_model: Path, base: Path, extra_files: Mapping[str, Path], source: int | None) -> Version:
    staged = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=base))
    try:
        # mkdtemp's 0700 would exclude a server that runs as another user.
        staged.chmod(0o755)
        content = {path.relative_to(saved_model): path for path in _files(saved_model)}
        content |= {Path("assets.extra") / name: path for name, path in extra_files.items()}
        for name, path in content.items():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, staged / name)
        new_digest = digest(staged)
        existing = versions(base)
        if existing and existing[-1].digest == new_digest:
            return existing[-1]
        number = _next_number(base)
        _write_record(staged, {"digest": new_digest, "number": number, "source": source})
        sync_tree(staged)
        target = base / str(number)
        staged.rename(target)
        sync(base)
        return Version(number, target, source)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _next_number(base: Path) -> int:
    """Returns a number above those of all directories, also of empty ones: a server loads the highest number alone."""
    highest, path = max(_numbered(base), default=(0, base))
    if highest == MAX_NUMBER:
        raise VersionError(
            "There is no higher version number.",
            expected=f"directories with numbers below {MAX_NUMBER}",
            received=str(path),
            next_step=f"mv {path} {path}.unused",
        )
    return highest + 1


def _prune(base: Path, keep: int) -> None:
    """Removes all but the newest `keep` versions; at least one stays."""
    for version in versions(base)[: -max(keep, 1)]:
        # Renamed first: a server must not find a version with half of its files.
        hidden = base / f"{REMOVED}{version.number}"
        version.path.rename(hidden)
        shutil.rmtree(hidden)


@contextmanager
def _exclusive(base: Path) -> Iterator[None]:
    """Locks the directory against other writers, and removes what a killed writer left."""
    base.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(base / ".lock"):
        for path in base.iterdir():
            if path.name.startswith((UNFINISHED, REMOVED)):
                shutil.rmtree(path)
        yield


def _numbered(base: Path) -> list[tuple[int, Path]]:
    if not base.is_dir():
        return []
    numbers = ((int(p.name), p) for p in base.iterdir() if p.name.isascii() and p.name.isdecimal())
    return [(number, path) for number, path in numbers if number <= MAX_NUMBER]


def _files(directory: Path) -> list[Path]:
    return sorted(p for p in directory.rglob("*") if p.is_file() and p.relative_to(directory) != RECORD)


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
