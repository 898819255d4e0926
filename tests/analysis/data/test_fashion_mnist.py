"""Fashion-MNIST is found in a fixed order of sources and read as the same arrays from each; damage is named."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from analysis.data import fashion_mnist
from analysis.data.fashion_mnist import (
    IDX_SHA256,
    DataError,
    LabelledImages,
    Source,
    canonical_digest,
    content_ids,
    load,
    locate,
    read_idx,
)
from tests.synthetic import images_and_garments, write_idx, write_idx_file

PUBLISHED_MD5 = "bef4ecab320f06d8554ea6380940ec79"
"""Of t10k-images-idx3-ubyte.gz, by Zalando's README."""

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.fixture(autouse=True)
def nothing_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the data set."""
    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr(fashion_mnist, "PACKAGED", (tmp_path / "packaged",))


def test_downloads_when_no_copy_is_found(tmp_path: Path) -> None:
    """Without any copy, TFDS downloads the data into its directory."""
    assert locate() == Source("download", tmp_path / "tfds")


def test_packaged_files_are_found(tmp_path: Path) -> None:
    """The files of Debian's package are used."""
    assert locate() != (found := Source("idx", write_idx(tmp_path / "packaged")))
    assert locate() == found


def test_named_directory_is_preferred_to_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FASHION_MNIST_DIR is preferred to the package."""
    write_idx(tmp_path / "packaged")
    monkeypatch.setenv("FASHION_MNIST_DIR", str(write_idx(tmp_path / "named")))
    assert locate() == Source("idx", tmp_path / "named")


def test_prepared_tfds_is_preferred_to_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prepared TFDS directory is preferred to IDX files."""
    monkeypatch.setenv("FASHION_MNIST_DIR", str(write_idx(tmp_path / "named")))
    (tmp_path / "tfds/fashion_mnist/3.0.1").mkdir(parents=True)
    (tmp_path / "tfds/fashion_mnist/3.0.1/dataset_info.json").touch()
    assert locate() == Source("tfds", tmp_path / "tfds")


def test_idx_dir_is_preferred_to_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`idx_dir` is the user's explicit choice."""
    monkeypatch.setenv("FASHION_MNIST_DIR", str(write_idx(tmp_path / "named")))
    assert locate(write_idx(tmp_path / "own")) == Source("idx", tmp_path / "own")


def test_an_incomplete_directory_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FASHION_MNIST_DIR without one of the four files is an error that names the file."""
    write_idx(tmp_path / "packaged")
    named = write_idx(tmp_path / "named")
    (named / "t10k-labels-idx1-ubyte.gz").unlink()
    monkeypatch.setenv("FASHION_MNIST_DIR", str(named))
    with pytest.raises(
        DataError, match=r"FASHION_MNIST_DIR does not hold.*\n.*\nReceived: without t10k-labels-idx1-ubyte.gz$"
    ):
        locate()


def test_an_absent_directory_is_named(tmp_path: Path) -> None:
    """The error names the missing directory."""
    with pytest.raises(DataError, match="idx_dir does not hold Fashion-MNIST.\n.*\nReceived: no such directory"):
        locate(tmp_path / "absent")


def test_other_data_are_refused_by_their_checksum(tmp_path: Path) -> None:
    """Other images under the right file names are an error."""
    source = Source("idx", write_idx(tmp_path / "own"))
    with pytest.raises(DataError, match=IDX_SHA256["train-images-idx3-ubyte.gz"]):
        load(source)
    assert load(source, verify_checksums=False)["train"].images.shape == (600, 28, 28)


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    """Images of another size than 28x28 are an error."""
    source = Source("idx", write_idx(tmp_path / "own"))
    write_idx_file(source.directory / "train-images-idx3-ubyte.gz", np.zeros((600, 32, 32), np.uint8))
    with pytest.raises(
        DataError, match=r"wrong shape.\nExpected: images \[N, 28, 28\].*\nReceived: images \[600, 32, 32\]"
    ):
        load(source, verify_checksums=False)


def test_fewer_labels_than_images_are_refused(tmp_path: Path) -> None:
    """Different counts of images and labels are an error."""
    source = Source("idx", write_idx(tmp_path / "own"))
    write_idx_file(source.directory / "t10k-labels-idx1-ubyte.gz", np.zeros(199, np.uint8))
    with pytest.raises(DataError, match=r"images \[200, 28, 28\] and labels \[199\]"):
        load(source, verify_checksums=False)


def test_damaged_tfds_data_are_an_error(tmp_path: Path) -> None:
    """The error names a directory that TFDS cannot read."""
    with pytest.raises(DataError, match=r"The prepared TFDS data in .* cannot be read.\nExpected: whole, unchanged"):
        load(Source("tfds", tmp_path))


def test_digest_does_not_depend_on_the_order() -> None:
    """The digest is the same in any order, and changes with a label."""
    images, garments = images_and_garments(50, 0)
    shuffled = np.random.default_rng(0).permutation(50)
    digest = canonical_digest(LabelledImages(images, garments))
    assert digest == canonical_digest(LabelledImages(images[shuffled], garments[shuffled]))
    assert digest != canonical_digest(LabelledImages(images, (garments + 1) % 10))


def test_content_ids_name_the_pixels() -> None:
    """Equal images have equal IDs, different images different ones."""
    images, _ = images_and_garments(100, 0)
    assert content_ids(images[:1]) == content_ids(images[:1].copy())
    assert len(set(content_ids(images))) == 100


def test_published_figures_of_the_real_data(real_data: Path) -> None:
    """Counts, mean, standard deviation and first labels are the published ones."""
    official = load(Source("idx", real_data))
    train, test = official["train"], official["test"]
    assert np.bincount(train.garments).tolist() == [6000] * 10
    assert np.bincount(test.garments).tolist() == [1000] * 10
    assert train.images.mean() == pytest.approx(72.94035, abs=1e-4)
    assert train.images.std() == pytest.approx(90.02118, abs=1e-4)
    assert train.garments[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert {name: canonical_digest(split) for name, split in official.items()} == fashion_mnist.CANONICAL_SHA256


@pytest.mark.slow
def test_tfds_and_idx_files_have_the_same_content(real_data: Path, tmp_path: Path) -> None:
    """The data that TFDS prepares from the files pass the checksum and have the same pixels."""
    import tensorflow_datasets as tfds

    if hashlib.md5((real_data / "t10k-images-idx3-ubyte.gz").read_bytes()).hexdigest() != PUBLISHED_MD5:
        pytest.skip("TFDS accepts only the published bytes; Debian's package compresses the files again")
    builder = tfds.builder("fashion_mnist", data_dir=str(tmp_path / "tfds"))
    configuration = tfds.download.DownloadConfig(manual_dir=str(real_data), extract_dir=str(tmp_path / "extracted"))
    builder.download_and_prepare(download_dir=str(tmp_path / "downloads"), download_config=configuration)
    source = locate()
    assert source.kind == "tfds"
    assert load(source)["test"].images.sum(dtype=np.int64) == load(Source("idx", real_data))["test"].images.sum()
    shard = next(source.directory.rglob("*train.tfrecord*"))
    os.truncate(shard, shard.stat().st_size // 2)
    with pytest.raises(DataError, match="cannot be read.\nExpected: whole, unchanged files\nReceived: DataLossError"):
        load(source)


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
    """Values and shape are those of the written array."""
    np.testing.assert_array_equal(read_idx(file, 3), IMAGES)


def test_truncated_gzip_is_named(file: Path) -> None:
    """An incomplete download is an error."""
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(DataError, match="cannot be read.\nExpected: a whole gzip.*\nReceived: Compressed file ended"):
        read_idx(file, 3)


def test_no_gzip_is_named(file: Path) -> None:
    """A file that is not gzip, such as a saved error page, is an error."""
    file.write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match="Expected: a whole gzip file\nReceived: Not a gzipped file"):
        read_idx(file, 3)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The path is in the message."""
    with pytest.raises(DataError, match="absent.gz cannot be read"):
        read_idx(tmp_path / "absent.gz", 3)


def test_bad_magic_is_shown(file: Path) -> None:
    """The error has the expected magic number and the received one."""
    repack(file, b"\x89PNG" + bytes(20))
    with pytest.raises(
        DataError, match="not an IDX file of rank 3.\nExpected: it begins with 00 00 08 03.*\nReceived: 89 50"
    ):
        read_idx(file, 3)


def test_other_rank_is_refused(file: Path) -> None:
    """Images instead of labels are an error."""
    with pytest.raises(DataError, match="not an IDX file of rank 1"):
        read_idx(file, 1)


@pytest.mark.parametrize(("change", "fault", "received"), [(-1, "truncated", "23"), (1, "too long", "more than 24")])
def test_wrong_count_is_refused(file: Path, change: int, fault: str, received: str) -> None:
    """The header's count must be the number of values that follow."""
    content = gzip.decompress(file.read_bytes())
    repack(file, content[:change] if change < 0 else content + b"\0")
    with pytest.raises(
        DataError, match=rf"{fault}.\nExpected: 24 values for shape \(2, 3, 4\)\nReceived: {received} values"
    ):
        read_idx(file, 3)


@pytest.mark.parametrize(
    ("shape", "values", "fault"),
    [((2, 3, 4), 50_000_000, "too long"), ((2**20, 2**20, 2**20), 1000, "truncated")],
)
def test_a_gzip_bomb_takes_no_memory(file: Path, shape: tuple[int, ...], values: int, fault: str) -> None:
    """Neither what follows the promised values nor a promise that the file cannot hold is read into the memory."""
    repack(file, b"\0\0\x08\x03" + struct.pack(">3I", *shape) + bytes(values))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=fault):
            read_idx(file, 3)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compressed", [0, 255])
def test_a_damaged_end_is_noticed(file: Path, compressed: int) -> None:
    """The checksum at the end of the gzip file counts, though all values have been read before it."""
    file.write_bytes(file.read_bytes()[:-8] + bytes([compressed]) * 8)
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(file, 3)


def test_wrong_checksum_is_refused(file: Path) -> None:
    """One changed pixel changes the digest."""
    with pytest.raises(DataError, match="wrong checksum.\nExpected: sha256 00ff.*\nReceived: sha256 [0-9a-f]{64}"):
        read_idx(file, 3, sha256="00ff")
