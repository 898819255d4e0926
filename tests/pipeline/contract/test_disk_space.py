"""Tests of pipeline.contract.disk_space: full disks, and disks without inodes, whichever library reports them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.contract.disk_space import full_disk_error
from pipeline.contract.errors import UserError
from pipeline.runner.metadata_store import MetadataStore

ROOT = Path(__file__).resolve().parents[3]

FILL = """
import sys
from pathlib import Path
from pipeline.contract.disk_space import full_disk_error
directory = Path(sys.argv[1])
try:
    for number in range(1000):
        (directory / str(number)).write_bytes(bytes(int(sys.argv[2])))
except OSError as error:
    print(full_disk_error(error, directory))
"""


def _tensorflow_error() -> BaseException:
    import tensorflow as tf

    return tf.errors.ResourceExhaustedError(None, None, "/w/data_tfrecord-00000; No space left on device")


def _raised(error: BaseException, cause: BaseException) -> BaseException:
    try:
        raise error from cause
    except BaseException as raised:
        return raised


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError("Unable to write (file write failed: errno = 28, error message = 'No space left on device')"),
        RuntimeError("OSError: [Errno 28] No space left on device [while running 'Write']"),
        _raised(RuntimeError("The writer failed."), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
    ],
)
def test_a_full_disk_is_recognised(error: BaseException, tmp_path: Path) -> None:
    """By the number of the error, by its text, or by the error that caused it; the words are shown."""
    found = full_disk_error(error, tmp_path / "not" / "yet")
    assert found is not None
    assert found.received.startswith(("No space left on device; ", "Disk quota exceeded; "))
    assert " free at /" in found.received


@pytest.mark.slow
def test_a_full_disk_in_tensorflow_is_recognised(tmp_path: Path) -> None:
    """TensorFlow's own exception is no OSError."""
    assert full_disk_error(_tensorflow_error(), tmp_path) is not None


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), KeyError("space"), UserError("No.")])
def test_other_errors_are_left_alone(error: BaseException, tmp_path: Path) -> None:
    """Only a full disk is reported as one."""
    assert full_disk_error(error, tmp_path) is None


@pytest.mark.parametrize(
    ("options", "size", "expected"),
    [
        ("size=64k", "5000", ["The disk is full.", "0 MiB free at"]),
        ("size=4m,nr_inodes=20", "0", ["The disk has no free inodes.", "0 of 20 inodes free at"]),
    ],
)
def test_a_disk_without_inodes_is_told_from_a_full_one(
    options: str, size: str, expected: list[str], tmp_path: Path
) -> None:
    """On a real file system without room, and on one without inodes, in a mount namespace of its own."""
    script = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift && exec "$2" -c "$3" "$1" "$4"'
    command = ["unshare", "--mount", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*command, options, str(tmp_path), sys.executable, FILL, size],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    for words in [*expected, str(tmp_path)]:
        assert words in done.stdout


def test_a_store_on_a_full_disk_says_so(tmp_path: Path) -> None:
    """SQLite's own error for a full disk is reported as any other."""
    with MetadataStore(tmp_path / "store.sqlite") as store:
        pages = store._rows("PRAGMA page_count")[0][0]
        store._rows(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(UserError, match="Received: database or disk is full; "):
            store.start_run("toy", {"note": "x" * 100_000})
