"""Statistics of record batches: merged summaries give numpy's figures, whatever the order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from analysis.data.statistics import Summary, custom, to_statistics


def summarise(columns: dict[str, list[object]]) -> Summary:
    """A summary of rows with one value each; None for a row without."""
    lists = {name: pa.array([None if v is None else [v] for v in values]) for name, values in columns.items()}
    return Summary().add(pa.RecordBatch.from_pydict(lists))


def test_quantiles_of_a_skewed_number_are_numpys() -> None:
    """Median, mean, deviation and the edges of the quantiles, of two merged parts."""
    values = (np.random.default_rng(0).exponential(30, 1001)).astype(int)
    parts = [summarise({"number": part.tolist()}) for part in (values[:400], values[400:])]
    (feature,) = to_statistics("train", parts[0].merge(parts[1])).datasets[0].features
    numbers = feature.num_stats
    assert numbers.median == np.median(values) and numbers.num_zeros == (values == 0).sum()
    assert (numbers.mean, numbers.std_dev) == (pytest.approx(values.mean()), pytest.approx(values.std()))
    quantiles = numbers.histograms[1].buckets
    edges = [quantiles[0].low_value, *(bucket.high_value for bucket in quantiles)]
    assert edges == pytest.approx(np.quantile(values, np.linspace(0, 1, 11)), abs=1)


def test_numbers_have_their_extremes_and_histograms() -> None:
    """Ten buckets of equal width from the least to the largest, and ten with equally many values."""
    values = [2] * 5 + [4] * 3 + [12] * 2
    (feature,) = to_statistics("train", summarise({"number": values})).datasets[0].features
    numbers = feature.num_stats
    assert (numbers.min, numbers.max, numbers.median, numbers.num_zeros) == (2, 12, 2, 0)
    standard, quantiles = numbers.histograms
    assert [bucket.sample_count for bucket in standard.buckets] == [5, 0, 3, 0, 0, 0, 0, 0, 0, 2]
    assert [bucket.low_value for bucket in standard.buckets] == list(range(2, 12))
    assert [bucket.sample_count for bucket in quantiles.buckets] == [1] * 10
    assert [bucket.high_value for bucket in quantiles.buckets] == [2, 2, 2, 2, 2, 4, 4, 4, 12, 12]


def test_values_of_an_example_are_counted() -> None:
    """Examples with none, one and three values: the mean is over those that have any."""
    batch = pa.RecordBatch.from_pydict({"number": pa.array([[], [1], [0, 0, 5]]), "nothing": pa.nulls(3)})
    (feature,) = to_statistics("train", Summary().add(batch)).datasets[0].features
    common = feature.num_stats.common_stats
    assert (common.num_non_missing, common.num_missing, common.tot_num_values) == (2, 1, 4)
    assert (common.min_num_values, common.max_num_values, common.avg_num_values) == (1, 3, 2)
    assert feature.num_stats.num_zeros == 2


def test_texts_have_their_lengths_and_twenty_most_frequent_values() -> None:
    """Ranks go from the most frequent on; the mean length weighs each value by its frequency."""
    texts = [f"v{index:02}".encode() for index in range(25)] + [b"long value"] * 5
    (feature,) = to_statistics("train", summarise({"text": texts})).datasets[0].features
    found = feature.string_stats
    assert found.unique == 26 and found.avg_length == pytest.approx((25 * 3 + 5 * 10) / 30)
    ranked = [(bucket.low_rank, bucket.high_rank, bucket.label) for bucket in found.rank_histogram.buckets]
    assert ranked == [(0, 0, "long value"), *((rank, rank, f"v{rank - 1:02}") for rank in range(1, 20))]
    assert [value.frequency for value in found.top_values] == [5] + [1] * 19


def test_images_of_several_sizes_are_summarised_one_by_one() -> None:
    """Bytes of each image, and its own brightness in one of 32 bins; an empty one counts as black."""
    images = [bytes([0, 0, 0, 80]), bytes([255, 255]), b"", bytes([7])]
    merged = summarise({"image": images[:2]}).merge(summarise({"image": images[2:]}))
    (image,) = to_statistics("train", merged).datasets[0].features
    stats = image.bytes_stats
    assert (stats.min_num_bytes, stats.max_num_bytes_int, stats.avg_num_bytes) == (0, 4, pytest.approx(7 / 4))
    heights = [bucket.sample_count for bucket in custom(image, "brightness").histogram.buckets]
    assert heights == [2, 0, 1] + [0] * 28 + [1], "means of 0, 7, 20 and 255"
    assert custom(image, "black_images").num == 1 and custom(image, "black_names").str == "row 0"


def test_missing_values_are_counted() -> None:
    """A row without a value is missing; the others have one."""
    (feature,) = to_statistics("train", summarise({"number": [4, None, 5, None, None]})).datasets[0].features
    common = feature.num_stats.common_stats
    assert (common.num_non_missing, common.num_missing, common.max_num_values) == (2, 3, 1)


def test_black_images_are_named_from_all_parts() -> None:
    """The count is exact and the names are the first twenty in alphabetical order, whatever the order of the parts."""
    parts = [
        summarise({"image": [bytes(4)] * 15 + [b"abcd"], "source_id": [f"{prefix}{k:02}".encode() for k in range(16)]})
        for prefix in ("b", "a")
    ]
    merged = parts[0].merge(parts[1])
    (image, _) = to_statistics("train", merged).datasets[0].features
    assert custom(image, "black_images").num == 30 and custom(image, "black_share").num == pytest.approx(30 / 32)
    names = custom(image, "black_names").str.split(", ")
    assert names == [f"a{k:02}" for k in range(15)] + [f"b{k:02}" for k in range(5)]
    pixels = np.frombuffer(bytes(120) + b"abcd" * 2, np.uint8)
    assert custom(image, "pixel_mean").num == pytest.approx(pixels.mean())
    assert custom(image, "pixel_std").num == pytest.approx(pixels.std())


def test_garments_are_ranked_by_frequency_then_name() -> None:
    """Ties do not follow the order of the files."""
    for garments in ([2, 2, 7, 7, 0], [7, 0, 7, 2, 2]):
        (feature,) = to_statistics("train", summarise({"garment": garments})).datasets[0].features
        ranked = [(bucket.label, bucket.sample_count) for bucket in feature.string_stats.rank_histogram.buckets]
        assert ranked == [("2", 2), ("7", 2), ("0", 1)]
