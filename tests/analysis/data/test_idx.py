"""IDX files: whole ones are read, and each kind of damage is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from analysis.data.idx import DataError, read_idx
from tests.synthetic import write_idx_file

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A whole IDX file of IMAGES."""
    path = tmp_path / "images.gz"
    write_idx_file(path, IMAGES)
    return path


def repack(path: Path, content: bytes) -> None:
    """Replaces the file's decompressed content."""
    path.write_bytes(gzip.compress(content))


def test_reads_what_was_written(file: Path) -> None:
    """Values and shape come back."""
    np.testing.assert_array_equal(read_idx(file, 3), IMAGES)


def test_truncated_gzip_is_named(file: Path) -> None:
    """Half a download is no whole gzip file."""
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(DataError, match="cannot be read. Expected: a whole gzip file. Received: Compressed file ended"):
        read_idx(file, 3)


def test_no_gzip_is_named(file: Path) -> None:
    """An error page saved under the file's name is recognised."""
    file.write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match="Expected: a whole gzip file. Received: Not a gzipped file"):
        read_idx(file, 3)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The path is in the message."""
    with pytest.raises(DataError, match="absent.gz cannot be read"):
        read_idx(tmp_path / "absent.gz", 3)


def test_bad_magic_is_shown(file: Path) -> None:
    """The message shows the magic number that was expected and what is there."""
    repack(file, b"\x89PNG" + bytes(20))
    with pytest.raises(DataError, match="no IDX file of rank 3. Expected: it begins with 00 00 08 03.*Received: 89 50"):
        read_idx(file, 3)


def test_other_rank_is_refused(file: Path) -> None:
    """Labels in the place of images are recognised."""
    with pytest.raises(DataError, match="no IDX file of rank 1"):
        read_idx(file, 1)


@pytest.mark.parametrize(("change", "fault"), [(-1, "truncated"), (1, "too long")])
def test_wrong_count_is_refused(file: Path, change: int, fault: str) -> None:
    """The header's count must be the number of values that follow."""
    content = gzip.decompress(file.read_bytes())
    repack(file, content[:change] if change < 0 else content + b"\0")
    with pytest.raises(
        DataError, match=rf"{fault}. Expected: 24 values for shape \(2, 3, 4\). Received: {24 + change}"
    ):
        read_idx(file, 3)


def test_wrong_checksum_is_refused(file: Path) -> None:
    """One changed pixel is found by its digest."""
    with pytest.raises(DataError, match="wrong checksum. Expected: sha256 00ff.*Received: sha256 [0-9a-f]{64}"):
        read_idx(file, 3, sha256="00ff")
