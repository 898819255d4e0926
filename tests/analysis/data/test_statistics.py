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
