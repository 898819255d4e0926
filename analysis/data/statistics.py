"""Statistics of examples: mergeable summaries of record batches, written as tensorflow-metadata's proto.

The statistics are exact. Features are integers with few values and short texts, so a summary counts every value, and
means, quantiles and histograms follow from the counts. Images are summarised by their bytes, pixels and brightness.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from tensorflow_metadata.proto.v0 import statistics_pb2

IMAGE = "image"
NAME = "source_id"
CATEGORICAL = ("garment",)
BRIGHTNESS_BINS = 32
NAMED_BLACK_IMAGES = 20
TOP_VALUES = 20
HISTOGRAM_BUCKETS = 10


@dataclass
class ImageSummary:
    """A mergeable summary of images; sums are of raw pixels in [0, 255]."""

    bytes_per_image: Counter[int] = field(default_factory=Counter)
    pixels: int = 0
    total: int = 0
    squares: int = 0
    black: int = 0
    black_names: list[str] = field(default_factory=list)
    brightness: np.ndarray = field(default_factory=lambda: np.zeros(BRIGHTNESS_BINS, np.int64))

    def merge(self, other: ImageSummary) -> None:
        """Adds another summary to this one."""
        self.bytes_per_image.update(other.bytes_per_image)
        self.pixels += other.pixels
        self.total += other.total
        self.squares += other.squares
        self.black += other.black
        self.black_names = sorted(self.black_names + other.black_names)[:NAMED_BLACK_IMAGES]
        self.brightness = self.brightness + other.brightness


@dataclass
class Summary:
    """A mergeable summary of a split.

    Attributes:
        examples: The number of examples.
        lengths: By feature, the number of examples with each number of values.
        values: By feature, the count of each integer or text.
        types: By feature, "int" or "bytes".
        images: The summary of the feature `image`.
    """

    examples: int = 0
    lengths: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    values: dict[str, Counter[Any]] = field(default_factory=lambda: defaultdict(Counter))
    types: dict[str, str] = field(default_factory=dict)
    images: ImageSummary = field(default_factory=ImageSummary)

    def add(self, batch: pa.RecordBatch) -> Summary:
        """Adds a batch of examples with one list column per feature; returns itself."""
        self.examples += batch.num_rows
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_null(column.type):
                continue
            lengths = np.nan_to_num(column.value_lengths().to_numpy(zero_copy_only=False)).astype(int)
            self.lengths[name].update(lengths.tolist())
            self.types[name] = "int" if pa.types.is_integer(column.type.value_type) else "bytes"
            if name == IMAGE:
                self.images.merge(_summarise_images(batch, column.flatten()))
            else:
                self.values[name].update(_plain(column.flatten()))
        return self

    def merge(self, other: Summary) -> Summary:
        """Adds another summary to this one; returns itself."""
        self.examples += other.examples
        for name, lengths in other.lengths.items():
            self.lengths[name].update(lengths)
        for name, values in other.values.items():
            self.values[name].update(values)
        self.types.update(other.types)
        self.images.merge(other.images)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # Beam pickles the objects that it passes between workers, and a defaultdict of a lambda cannot be pickled.
        return _restore, (self.examples, dict(self.lengths), dict(self.values), self.types, self.images)


def to_statistics(name: str, summary: Summary) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Returns the statistics of one split, with features in the order of their names."""
    dataset = statistics_pb2.DatasetFeatureStatistics(name=name, num_examples=summary.examples)
    for feature in sorted(summary.lengths):
        statistics = dataset.features.add()
        statistics.path.step.append(feature)
        if feature == IMAGE:
            _fill_image(statistics, summary)
        elif summary.types[feature] == "int" and feature not in CATEGORICAL:
            _fill_numbers(statistics, summary, feature)
        else:
            _fill_texts(statistics, summary, feature)
    return statistics_pb2.DatasetFeatureStatisticsList(datasets=[dataset])


def custom(feature: statistics_pb2.FeatureNameStatistics, name: str) -> statistics_pb2.CustomStatistic:
    """Returns the custom statistic of that name; an empty one when there is none."""
    return next((c for c in feature.custom_stats if c.name == name), statistics_pb2.CustomStatistic())


def _restore(examples: int, lengths: Any, values: Any, types: Any, images: ImageSummary) -> Summary:
    return Summary(examples, defaultdict(Counter, lengths), defaultdict(Counter, values), types, images)


def _plain(values: pa.Array) -> list[Any]:
    listed = values.to_pylist()
    return [v.decode(errors="replace") if isinstance(v, bytes) else v for v in listed]


def _summarise_images(batch: pa.RecordBatch, encoded: pa.Array) -> ImageSummary:
    raw = encoded.to_pylist()
    pixels = np.frombuffer(b"".join(raw), np.uint8).astype(np.int64)
    sizes = np.array([len(image) for image in raw])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    filled = sizes > 0
    sums = np.zeros(len(raw), np.int64)
    # Images of any size: each one's pixels are a run of the joined bytes.
    sums[filled] = np.add.reduceat(pixels, starts[filled]) if filled.any() else 0
    means = sums / np.maximum(sizes, 1)
    brightness, _ = np.histogram(means, BRIGHTNESS_BINS, (0, 256))
    black = np.flatnonzero(sums == 0)
    names = [_name_of(batch, int(index)) for index in black[:NAMED_BLACK_IMAGES]]
    return ImageSummary(
        Counter(sizes.tolist()), len(pixels), int(sums.sum()), int(pixels @ pixels), len(black), names, brightness
    )


def _name_of(batch: pa.RecordBatch, row: int) -> str:
    values = batch.column(NAME)[row].as_py() if NAME in batch.schema.names else None
    return values[0].decode(errors="replace") if values else f"row {row}"


def _fill_common(common: statistics_pb2.CommonStatistics, summary: Summary, feature: str) -> None:
    lengths = summary.lengths[feature]
    present = {length: count for length, count in lengths.items() if length > 0}
    common.num_non_missing = sum(present.values())
    common.num_missing = summary.examples - common.num_non_missing
    common.tot_num_values = sum(length * count for length, count in present.items())
    if present:
        common.min_num_values, common.max_num_values = min(present), max(present)
        common.avg_num_values = common.tot_num_values / common.num_non_missing


def _fill_numbers(statistics: statistics_pb2.FeatureNameStatistics, summary: Summary, feature: str) -> None:
    statistics.type = statistics_pb2.FeatureNameStatistics.INT
    numeric = statistics.num_stats
    _fill_common(numeric.common_stats, summary, feature)
    counted = summary.values[feature]
    if not counted:
        return
    values = np.array(sorted(counted), np.float64)
    weights = np.array([counted[int(v)] for v in values])
    numeric.mean = float(np.average(values, weights=weights))
    numeric.std_dev = float(np.sqrt(np.average((values - numeric.mean) ** 2, weights=weights)))
    numeric.num_zeros = counted.get(0, 0)
    numeric.min, numeric.max = values[0], values[-1]
    numeric.median = float(_quantiles(values, weights, 2)[1])
    heights, edges = np.histogram(values, HISTOGRAM_BUCKETS, weights=weights)
    numeric.histograms.append(_histogram(edges, heights))
    quantiles = _quantiles(values, weights, HISTOGRAM_BUCKETS)
    equal = np.full(HISTOGRAM_BUCKETS, weights.sum() / HISTOGRAM_BUCKETS)
    numeric.histograms.append(_histogram(quantiles, equal, statistics_pb2.Histogram.QUANTILES))


def _quantiles(values: np.ndarray, weights: np.ndarray, parts: int) -> np.ndarray:
    cumulative = np.cumsum(weights)
    ranks = np.linspace(0, cumulative[-1], parts + 1)
    return np.asarray(values[np.minimum(np.searchsorted(cumulative, ranks), len(values) - 1)])


def _fill_texts(statistics: statistics_pb2.FeatureNameStatistics, summary: Summary, feature: str) -> None:
    kinds = statistics_pb2.FeatureNameStatistics
    statistics.type = kinds.INT if summary.types[feature] == "int" else kinds.STRING
    text = statistics.string_stats
    _fill_common(text.common_stats, summary, feature)
    # Most frequent first, then by name: Counter's own order for ties is the order of the files.
    ranked = sorted(summary.values[feature].items(), key=lambda item: (-item[1], str(item[0])))
    text.unique = len(ranked)
    occurrences = max(1, sum(count for _, count in ranked))
    text.avg_length = sum(len(str(value)) * count for value, count in ranked) / occurrences
    for rank, (value, count) in enumerate(ranked[:TOP_VALUES]):
        text.top_values.add(value=str(value), frequency=count)
        text.rank_histogram.buckets.add(low_rank=rank, high_rank=rank, label=str(value), sample_count=count)


def _fill_image(statistics: statistics_pb2.FeatureNameStatistics, summary: Summary) -> None:
    statistics.type = statistics_pb2.FeatureNameStatistics.BYTES
    images = summary.images
    stats = statistics.bytes_stats
    _fill_common(stats.common_stats, summary, IMAGE)
    count = max(1, images.bytes_per_image.total())
    stats.avg_num_bytes = images.pixels / count
    stats.min_num_bytes = min(images.bytes_per_image, default=0)
    stats.max_num_bytes = stats.max_num_bytes_int = max(images.bytes_per_image, default=0)
    mean = images.total / max(1, images.pixels)
    statistics.custom_stats.add(name="pixel_mean", num=mean)
    statistics.custom_stats.add(
        name="pixel_std", num=np.sqrt(max(0.0, images.squares / max(1, images.pixels) - mean**2))
    )
    statistics.custom_stats.add(name="black_images", num=images.black)
    statistics.custom_stats.add(name="black_share", num=images.black / count)
    statistics.custom_stats.add(name="black_names", str=", ".join(images.black_names))
    edges = np.linspace(0, 256, BRIGHTNESS_BINS + 1)
    statistics.custom_stats.add(name="brightness", histogram=_histogram(edges, images.brightness))


def _histogram(
    edges: np.ndarray, heights: np.ndarray, kind: Any = statistics_pb2.Histogram.STANDARD
) -> statistics_pb2.Histogram:
    histogram = statistics_pb2.Histogram(type=kind)
    for low, high, height in zip(edges[:-1], edges[1:], heights, strict=True):
        histogram.buckets.add(low_value=low, high_value=high, sample_count=height)
    return histogram
