"""Tests of ExampleGen: reproducible artifacts, stratified splits, and errors for bad input."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.data.examples import read_arrays
from components.example_gen import example_gen
from pipeline.contract.artifacts import Examples, IngestionFailures
from pipeline.contract.errors import UserError
from pipeline.contract.progress import silent
from tests.synthetic import images_and_garments, write_idx, write_idx_file


def ingest(target: Path, idx_dir: Path, seed: int = 7, **parameters: Any) -> Examples:
    """Runs ExampleGen on IDX files of synthetic images."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    examples, failures = Examples(target), IngestionFailures(target.parent)
    settings = {"garments": (), "verify_checksums": False, "shard_size": 250} | parameters
    example_gen.run(
        examples=examples,
        failures=failures,
        cache=target.parent,
        progress=silent,
        seed=seed,
        idx_dir=idx_dir,
        **settings,
    )
    return examples


def content(examples: Examples) -> dict[str, bytes]:
    """The content of every file of the artifact."""
    return {str(p.relative_to(examples.path)): p.read_bytes() for p in sorted(examples.path.rglob("*.gz"))}


@pytest.fixture
def idx(tmp_path: Path) -> Path:
    """IDX files of 600 training and 200 test images."""
    return write_idx(tmp_path / "idx")


def test_splits_are_complete(tmp_path: Path, idx: Path) -> None:
    """Every image is in one split; a tenth of each garment's training images is in validation."""
    examples = ingest(tmp_path / "out", idx)
    read = {s: read_arrays(examples.split(s), ["garment", "split", "source_id"]) for s in examples.splits()}
    assert {s: len(r["garment"]) for s, r in read.items()} == {"train": 540, "validation": 60, "test": 200}
    assert np.bincount(read["validation"]["garment"]).tolist() == [6] * 10
    assert len(set(np.concatenate([r["source_id"] for r in read.values()]))) == 800
    assert all(set(r["split"]) == {s} for s, r in read.items())
    assert all(r["source_id"].tolist() == sorted(r["source_id"]) for r in read.values()), "by content, not by garment"
    assert examples.properties == {"source": f"IDX files in {idx}", "train": 540, "validation": 60, "test": 200}


def test_the_same_data_in_another_order_give_the_same_bytes(tmp_path: Path, idx: Path) -> None:
    """The order of the images, which TFDS shuffles, does not change the artifact."""
    first = content(ingest(tmp_path / "one", idx))
    images, garments = images_and_garments(600, 0)
    order = np.random.default_rng(1).permutation(600)
    write_idx_file(idx / "train-images-idx3-ubyte.gz", images[order])
    write_idx_file(idx / "train-labels-idx1-ubyte.gz", garments[order].astype(np.uint8))
    assert content(ingest(tmp_path / "two", idx)) == first


def test_another_seed_gives_another_validation_split(tmp_path: Path, idx: Path) -> None:
    """The seed changes the validation split and not the test split."""
    one, two = content(ingest(tmp_path / "one", idx)), content(ingest(tmp_path / "two", idx, seed=8))
    test = [name for name in one if name.startswith("Split-test")]
    assert one != two and all(one[name] == two[name] for name in test)


@pytest.mark.parametrize(
    ("cluster_bound", "slice_bound", "clustered", "partners"), [(0.01, 0.06, 3, [3] * 4), (0.06, 0.01, 4, [0, 2, 2, 2])]
)
def test_near_duplicates_stay_in_one_split(
    tmp_path: Path, idx: Path, cluster_bound: float, slice_bound: float, clustered: int, partners: list[int]
) -> None:
    """One bound decides which images are a cluster in one split, the other which ones each of them counts."""
    images, garments = images_and_garments(600, 0)
    for copy in (100, 101, 102):
        images[copy], garments[copy] = images[5], garments[5]
        images[copy, 14, copy - 90] ^= 32
    images[102, 15] ^= 64
    write_idx_file(idx / "train-images-idx3-ubyte.gz", images)
    write_idx_file(idx / "train-labels-idx1-ubyte.gz", garments.astype(np.uint8))
    examples = ingest(tmp_path / "out", idx, near_duplicate_rmse=cluster_bound, near_duplicate_slice_rmse=slice_bound)
    columns = {
        s: read_arrays(examples.split(s), ["image", "cluster", "near_duplicate_count"]) for s in examples.splits()
    }
    assert [int((r["cluster"] == 0).sum()) for r in columns.values() if (r["cluster"] == 0).any()] == [clustered]
    assert max(int(r["cluster"].max()) for r in columns.values()) == 0
    planted = [
        int(count)
        for r in columns.values()
        for image, count in zip(r["image"], r["near_duplicate_count"], strict=True)
        if any((image == images[row]).all() for row in (5, 100, 101, 102))
    ]
    assert sorted(planted) == partners


def test_near_duplicates_are_counted_outside_the_test_split(tmp_path: Path, idx: Path) -> None:
    """A test image counts its copies in training and validation, and not those in the test split."""
    train, test = images_and_garments(600, 0)[0], images_and_garments(200, 1)[0]
    train[:590:10] = test[0]
    test[7] = test[8]
    write_idx_file(idx / "train-images-idx3-ubyte.gz", train)
    write_idx_file(idx / "t10k-images-idx3-ubyte.gz", test)
    # With the bound 0 copies are still one cluster, which no validation quota has room for.
    examples = ingest(tmp_path / "out", idx, near_duplicate_rmse=0, near_duplicate_slice_rmse=0)
    read = {s: read_arrays(examples.split(s), ["image", "cluster", "near_duplicate_count"]) for s in examples.splits()}
    counts = {
        s: columns["near_duplicate_count"][(columns["image"] == test[0]).all((1, 2))] for s, columns in read.items()
    }
    assert counts["test"].tolist() == [59] and counts["train"].tolist() == [58] * 59 and not len(counts["validation"])
    twice = (read["test"]["image"] == test[8]).all((1, 2))
    assert read["test"]["near_duplicate_count"][twice].tolist() == [0, 0] and (read["test"]["cluster"] == -1).all()


def test_a_wrong_checksum_stops(tmp_path: Path, idx: Path) -> None:
    """By default only the published data set is accepted, and the error says how to get it."""
    with pytest.raises(UserError, match="train-images-idx3-ubyte.gz has the wrong checksum") as caught:
        ingest(tmp_path / "out", idx, verify_checksums=True)
    assert caught.value.expected.startswith("sha256 c59f468a")
    assert caught.value.received.startswith("sha256 ")
    assert caught.value.next_step.startswith("sh scripts/get_data.sh")


def test_images_that_show_nothing_stop(tmp_path: Path, idx: Path) -> None:
    """More than 5% of images of one colour are an error that counts them, before they count as near-duplicates."""
    images, _ = images_and_garments(600, 0)
    images[:40] = np.arange(40, dtype=np.uint8)[:, None, None]
    write_idx_file(idx / "train-images-idx3-ubyte.gz", images)
    ingest(tmp_path / "few", idx)
    images[40:50] = 0
    write_idx_file(idx / "train-images-idx3-ubyte.gz", images)
    with pytest.raises(UserError, match="Too many images show nothing") as caught:
        ingest(tmp_path / "many", idx)
    assert caught.value.received.startswith("50 of 800 images of one colour, 11 of them black; for example train/")


def test_a_truncated_file_stops(tmp_path: Path, idx: Path) -> None:
    """The error names the truncated file."""
    file = idx / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UserError, match="t10k-images-idx3-ubyte.gz cannot be read") as caught:
        ingest(tmp_path / "out", idx)
    assert caught.value.expected == "a whole gzip file"


def test_a_missing_file_stops(tmp_path: Path, idx: Path) -> None:
    """The error names the missing file."""
    (idx / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match="idx_dir does not hold Fashion-MNIST") as caught:
        ingest(tmp_path / "out", idx)
    assert caught.value.received == "without train-labels-idx1-ubyte.gz"
