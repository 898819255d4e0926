"""Small synthetic data sets in the formats of Fashion-MNIST, which a model learns in seconds."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.examples import write_shards
from analysis.data.fashion_mnist import content_ids
from analysis.data.slicing_features import FEATURES, assign_bins, quantile_edges
from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import Examples

GARMENTS = 10


def images_and_garments(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns uint8 [count, 28, 28] and int64 [count]: a smooth shape per class, shifted, dimmed and with noise.

    Classes are balanced and shuffled, and no two images are the same.
    """
    rng = np.random.default_rng(seed)
    garments = rng.permutation(np.arange(count) % GARMENTS).astype(np.int64)
    shapes = _prototypes()[garments]
    shifts = rng.integers(-2, 3, size=(count, 2))
    moved = np.stack([np.roll(shape, tuple(shift), (0, 1)) for shape, shift in zip(shapes, shifts, strict=True)])
    dimmed = moved * rng.uniform(0.6, 1.0, (count, 1, 1))
    noisy = np.where(moved > 0.1, dimmed + rng.normal(0, 0.15, moved.shape), 0)
    return (np.clip(noisy, 0, 1) * 255).astype(np.uint8), garments


def write_idx(directory: Path, train: int = 600, test: int = 200, seed: int = 0) -> Path:
    """Writes four gzipped IDX files under Fashion-MNIST's names; returns the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, count, offset in (("train", train, 0), ("t10k", test, 1)):
        images, garments = images_and_garments(count, 2 * seed + offset)
        write_idx_file(directory / f"{name}-images-idx3-ubyte.gz", images)
        write_idx_file(directory / f"{name}-labels-idx1-ubyte.gz", garments.astype(np.uint8))
    return directory


def write_idx_file(path: Path, array: np.ndarray) -> None:
    """Writes uint8 of any rank as a gzipped IDX file (http://yann.lecun.com/exdb/mnist)."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), mtime=0))


def write_examples(
    directory: Path, train: int = 400, validation: int = 100, test: int = 200, seed: int = 0, grouped: bool = True
) -> Examples:
    """Writes an Examples artifact like that of ExampleGen, or with `grouped` like that of LabelGrouping."""
    reference, _ = images_and_garments(train, 3 * seed)
    for index, (name, count) in enumerate({"train": train, "validation": validation, "test": test}.items()):
        images, garments = images_and_garments(count, 3 * seed + index)
        columns = base_columns(images, garments, name, "test" if name == "test" else "train")
        if grouped:
            columns |= grouped_columns(images, garments, reference)
        write_shards(directory / f"Split-{name}", columns, shard_size=250)
    return Examples(directory)


def base_columns(images: np.ndarray, garments: np.ndarray, split: str, origin: str) -> dict[str, Any]:
    """The features that ExampleGen writes; every seventh image has a near-duplicate."""
    count = len(images)
    return {
        "image": images,
        "height": np.full(count, images.shape[1]),
        "width": np.full(count, images.shape[2]),
        "garment": garments,
        "split": [split] * count,
        "source_id": [f"{origin}/{name}" for name in content_ids(images)],
        "cluster": np.full(count, -1),
        "near_duplicate_count": (np.arange(count) % 7 == 0).astype(np.int64),
    }


def grouped_columns(images: np.ndarray, garments: np.ndarray, train: np.ndarray) -> dict[str, Any]:
    """The features that LabelGrouping adds."""
    taxonomy = Taxonomy.load()
    groups = np.array(taxonomy.group_of)[garments]
    columns: dict[str, Any] = {
        "group": groups,
        "group_name": [taxonomy.groups[g] for g in groups],
        "garment_name": [taxonomy.garments[g] for g in garments],
        "has_near_duplicate": ["yes" if i % 7 == 0 else "no" for i in range(len(images))],
    }
    for feature in FEATURES:
        edges = quantile_edges(feature.measure(train), feature.bins)
        columns[feature.column] = assign_bins(feature.measure(images), edges)
    return columns


def _prototypes() -> np.ndarray:
    """Returns float [10, 28, 28] in [0, 1]: the same blobs in every test, one set per class."""
    rng = np.random.default_rng(12345)
    row, column = np.mgrid[0:28, 0:28]
    shapes = np.zeros((GARMENTS, 28, 28))
    for shape in shapes:
        for _ in range(4):
            centre, width = rng.uniform(7, 21, 2), rng.uniform(2, 5, 2)
            shape += np.exp(-(((row - centre[0]) / width[0]) ** 2) - ((column - centre[1]) / width[1]) ** 2)
    return shapes / shapes.max(axis=(1, 2), keepdims=True)
