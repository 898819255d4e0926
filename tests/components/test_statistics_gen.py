"""Tests of StatisticsGen: the statistics equal numpy's, however the examples are split into files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.data.statistics import custom
from components.statistics_gen import read_statistics, splits_of
from pipeline.contract.artifacts import ExampleStatistics
from pipeline.contract.errors import UserError
from tests.components.data_validation import describe, valid_splits, write_splits

SPLITS = valid_splits()


@pytest.fixture(scope="module")
def statistics(tmp_path_factory: pytest.TempPathFactory) -> ExampleStatistics:
    """Statistics of three valid splits."""
    directory = tmp_path_factory.mktemp("statistics")
    return describe(directory / "out", write_splits(directory / "examples", SPLITS))


def features(statistics: ExampleStatistics, split: str = "train") -> dict[str, object]:
    """The statistics of a split by feature."""
    return {f.path.step[0]: f for f in read_statistics(statistics, split).features}


def test_every_split_and_feature_is_described(statistics: ExampleStatistics) -> None:
    """The statistics have three splits with their counts, and eight features that every example has."""
    assert splits_of(statistics) == ["test", "train", "validation"]
    assert statistics.properties == {"train": 400, "validation": 100, "test": 200}
    assert features(statistics).keys() == SPLITS["train"].keys()
    assert features(statistics)["near_duplicate_count"].num_stats.common_stats.num_non_missing == 400
    assert features(statistics)["near_duplicate_count"].num_stats.common_stats.num_missing == 0


def test_numbers_equal_numpys(statistics: ExampleStatistics) -> None:
    """Mean, deviation, extremes, zeros and both histograms of a number equal numpy's."""
    counts = np.array(SPLITS["train"]["near_duplicate_count"])
    found = features(statistics)["near_duplicate_count"].num_stats
    assert found.mean == pytest.approx(counts.mean()) and found.std_dev == pytest.approx(counts.std())
    assert (found.min, found.max, found.num_zeros) == (0, 1, (counts == 0).sum())
    for histogram in found.histograms:
        assert sum(bucket.sample_count for bucket in histogram.buckets) == pytest.approx(400)


def test_garments_are_ranked(statistics: ExampleStatistics) -> None:
    """The rank histogram has the count of each garment."""
    found = features(statistics)["garment"].string_stats
    assert {b.label: b.sample_count for b in found.rank_histogram.buckets} == {str(g): 40 for g in range(10)}
    assert found.unique == 10


def test_pixels_equal_numpys(statistics: ExampleStatistics) -> None:
    """Bytes of an image, pixel mean and deviation, black images and the brightness histogram equal numpy's."""
    images = SPLITS["train"]["image"]
    found = features(statistics)["image"]
    assert (found.bytes_stats.min_num_bytes, found.bytes_stats.max_num_bytes_int) == (784, 784)
    assert custom(found, "pixel_mean").num == pytest.approx(images.mean())
    assert custom(found, "pixel_std").num == pytest.approx(images.std())
    assert custom(found, "black_images").num == 0
    heights, _ = np.histogram(images.mean(axis=(1, 2)), 32, (0, 256))
    assert [b.sample_count for b in custom(found, "brightness").histogram.buckets] == heights.tolist()


def test_two_runs_are_the_same_bytes(statistics: ExampleStatistics, tmp_path: Path) -> None:
    """Neither the order of Beam's work nor that of a hash map changes the bytes."""
    again = describe(tmp_path / "out", write_splits(tmp_path / "examples", SPLITS))
    for file in statistics.path.rglob("*.pb"):
        assert file.read_bytes() == (again.path / file.relative_to(statistics.path)).read_bytes()


def test_a_corrupted_file_is_a_user_error(tmp_path: Path) -> None:
    """The error is the reader's, not Beam's stack trace."""
    examples = write_splits(tmp_path / "examples", SPLITS)
    shard = examples.split("train")[1]
    shard.write_bytes(shard.read_bytes()[:9000])
    with pytest.raises(UserError, match=f"{shard.name} cannot be read") as caught:
        describe(tmp_path / "out", examples)
    assert caught.value.expected == "a gzipped TFRecord file of tf.Example"
    assert caught.value.next_step == "fashion run --fresh --only example_gen"
