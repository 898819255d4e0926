"""Finds and reads Fashion-MNIST: the same arrays from a prepared TFDS directory, IDX files or a download.

The order: a prepared TFDS directory, the directory that FASHION_MNIST_DIR names, the directory of Debian's package
`dataset-fashion-mnist` (installed, or unpacked under `.data/`), then TFDS's own download.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.data.examples import readable_reason
from pipeline.contract.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PACKAGED = (ROOT / ".data/usr/share/datasets/fashion-mnist", Path("/usr/share/datasets/fashion-mnist"))

IDX_SHA256 = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""Digests of the decompressed files, because Debian's package compresses them anew."""

UINT8_CODE = 8
"""The type byte of an IDX file of uint8."""

READ_BYTES = 2**18
"""The bytes of a file that are read at a time."""

CANONICAL_SHA256 = {
    "train": "cdc8fa65fd596d6e047440c69da447c35fd4d908b75a3b1845204891a5975706",
    "test": "af1fd82af8f726343c307e13fa0bb5d22174b1e75e236f76c9dbcae609aa712a",
}
"""Results of `canonical_digest` for the official splits."""


class DataError(UserError):
    """Data are missing, damaged, or not the published ones."""


@dataclass(frozen=True)
class LabelledImages:
    """One official split: uint8 [N, 28, 28] and the garments int64 [N]."""

    images: npt.NDArray[np.uint8]
    garments: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """A copy of the data set.

    Attributes:
        kind: "tfds", "idx" or "download".
        directory: The directory that holds it, or that the download fills.
    """

    kind: str
    directory: Path

    def __str__(self) -> str:
        names = {"tfds": "prepared TFDS data in", "idx": "IDX files in", "download": "TFDS's download into"}
        return f"{names[self.kind]} {self.directory}"


def locate(idx_dir: Path | None = None) -> Source:
    """Finds the copy of Fashion-MNIST to read, without reading it.

    Args:
        idx_dir: A directory with the user's own IDX files, preferred over everything else. Defaults to none.

    Raises:
        DataError: `idx_dir` or FASHION_MNIST_DIR names a directory without the four files.
    """
    if idx_dir is not None:
        return Source("idx", _check_complete(idx_dir, "idx_dir"))
    named = os.environ.get("FASHION_MNIST_DIR")
    named_dir = _check_complete(Path(named), "FASHION_MNIST_DIR") if named else None
    prepared = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    if any(prepared.glob("fashion_mnist/*/dataset_info.json")):
        return Source("tfds", prepared)
    for directory in [named_dir] if named_dir else PACKAGED:
        if named_dir or not _missing_files(directory):
            return Source("idx", directory)
    return Source("download", prepared)


def load(source: Source, verify_checksums: bool = True) -> dict[str, LabelledImages]:
    """Reads the official splits "train" and "test".

    Args:
        source: The copy that `locate` found.
        verify_checksums: Refuse anything but the published data set. Defaults to True.

    Raises:
        DataError: A file is damaged, shapes or counts do not fit, a checksum is wrong, or the download failed.
    """
    if source.kind == "idx":
        return _load_idx(source.directory, verify_checksums)
    splits = _load_tfds(source)
    if verify_checksums:
        for name, split in splits.items():
            _check_digest(source, name, split)
    return splits


def read_idx(path: Path, rank: int, sha256: str | None = None) -> npt.NDArray[np.uint8]:
    """Reads a gzipped IDX file of uint8, the format in which MNIST and Fashion-MNIST are published.

    The layout: two zero bytes, a type byte, the rank, then each dimension as a big-endian int32, then the values
    (http://yann.lecun.com/exdb/mnist).

    Args:
        path: The file.
        rank: The expected number of dimensions: 3 for images, 1 for labels.
        sha256: The expected digest of the decompressed bytes, in hex. Defaults to no check.

    Returns:
        A read-only array of that rank.

    Raises:
        DataError: The file is missing, truncated, not an IDX file, of another rank or type, or has another digest.
    """
    try:
        with gzip.open(path) as file:
            header = file.read(4 + 4 * rank)
            shape = _read_header(path, header, rank)
            # In parts and not to the end of the file: a header may promise more than the memory holds, and a few
            # megabytes can decompress to it.
            parts, left = [header], math.prod(shape)
            while left and (part := file.read(min(left, READ_BYTES))):
                parts.append(part)
                left -= len(part)
            content, too_long = b"".join(parts), bool(file.read(1))
    except (OSError, EOFError, zlib.error) as error:
        # gzip.BadGzipFile is an OSError, as is a file that is missing or not readable.
        raise DataError(
            f"The IDX file {path} cannot be read.",
            expected="a whole gzip file",
            received=str(error),
        ) from None
    offset, expected = len(header), math.prod(shape)
    if (received := len(content) - offset) < expected or too_long:
        raise DataError(
            f"The IDX file {path} is {'truncated' if received < expected else 'too long'}.",
            expected=f"{expected} values for shape {shape}",
            received=f"{'more than ' if too_long else ''}{received} values",
        )
    if sha256 is not None and (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise DataError(
            f"The IDX file {path} has the wrong checksum.",
            expected=f"sha256 {sha256} of the decompressed bytes",
            received=f"sha256 {digest}",
        )
    return np.frombuffer(content, np.uint8, offset=offset).reshape(shape)


def content_ids(images: npt.NDArray[np.uint8]) -> list[str]:
    """Returns the first 16 hex digits of the SHA-256 of each image's pixels: IDs that do not depend on any order."""
    return [hashlib.sha256(image.tobytes()).hexdigest()[:16] for image in images]


def canonical_digest(split: LabelledImages) -> str:
    """Returns the SHA-256 of the split's pixels and labels, ordered by `content_ids`."""
    order = np.argsort(content_ids(split.images), kind="stable")
    digest = hashlib.sha256(split.images[order].tobytes())
    digest.update(split.garments[order].astype(np.uint8).tobytes())
    return digest.hexdigest()


def _check_complete(directory: Path, setting: str) -> Path:
    directory = directory.expanduser()
    if missing := _missing_files(directory):
        raise DataError(
            f"{setting} does not hold Fashion-MNIST.",
            expected=f"{', '.join(IDX_SHA256)} in {directory}",
            received="no such directory" if not directory.is_dir() else f"without {', '.join(missing)}",
        )
    return directory


def _missing_files(directory: Path) -> list[str]:
    return [name for name in IDX_SHA256 if not (directory / name).is_file()]


def _load_idx(directory: Path, verify: bool) -> dict[str, LabelledImages]:
    splits = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        names = [f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz"]
        digests = [IDX_SHA256[name] if verify else None for name in names]
        images = read_idx(directory / names[0], 3, digests[0])
        labels = read_idx(directory / names[1], 1, digests[1])
        splits[split] = _check_shapes(images, labels, f"the {split} files in {directory}")
    return splits


def _read_header(path: Path, header: bytes, rank: int) -> tuple[int, ...]:
    """Returns the shape that the first bytes of an IDX file promise."""
    magic = struct.pack("BBBB", 0, 0, UINT8_CODE, rank)
    if header[:4] != magic or len(header) < 4 + 4 * rank:
        raise DataError(
            f"The file {path} is not an IDX file of rank {rank}.",
            expected=f"it begins with {magic.hex(' ')} and {rank} dimensions",
            received=header.hex(" ") or "an empty file",
        )
    return struct.unpack(f">{rank}I", header[4:])


def _load_tfds(source: Source) -> dict[str, LabelledImages]:
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder("fashion_mnist", data_dir=str(source.directory))
        if source.kind == "download":
            _check_reachable(builder.URL)
            builder.download_and_prepare()
        read: dict[str, Any] = {name: builder.as_dataset(split=name, batch_size=-1) for name in ("train", "test")}
    except Exception as error:  # TFDS, TensorFlow and the network raise errors of many kinds; all mean the same here.
        raise _not_loaded(source, error) from None
    return {
        name: _check_shapes(batch["image"].numpy()[..., 0], batch["label"].numpy(), f"split {name} of {source}")
        for name, batch in read.items()
    }


def _check_reachable(url: str) -> None:
    """Raises OSError within 15 seconds; TFDS alone would retry for more than three minutes."""
    with urllib.request.urlopen(urllib.request.Request(url + "t10k-labels-idx1-ubyte.gz", method="HEAD"), timeout=15):
        pass


def _not_loaded(source: Source, error: Exception) -> DataError:
    received = f"{type(error).__name__}: {readable_reason(str(error))}"
    if source.kind == "download":
        return DataError(
            "Fashion-MNIST is not on this machine and could not be downloaded.",
            expected="a network that reaches its server, a prepared TFDS directory, or the four IDX files",
            received=received,
        )
    return DataError(f"The {source} cannot be read.", expected="whole, unchanged files", received=received)


def _check_shapes(images: np.ndarray, labels: np.ndarray, where: str) -> LabelledImages:
    if images.shape[1:] != (28, 28) or len(images) != len(labels) or len(images) == 0:
        raise DataError(
            f"Images or labels of {where} have the wrong shape.",
            expected="images [N, 28, 28] and labels [N]",
            received=f"images {list(images.shape)} and labels {list(labels.shape)}",
        )
    return LabelledImages(images, labels.astype(np.int64))


def _check_digest(source: Source, name: str, split: LabelledImages) -> None:
    if (digest := canonical_digest(split)) != CANONICAL_SHA256[name]:
        raise DataError(
            f"Split {name} of {source} is not the published data set.",
            expected=f"sha256 {CANONICAL_SHA256[name]} of its ordered pixels and labels",
            received=f"sha256 {digest}",
        )
