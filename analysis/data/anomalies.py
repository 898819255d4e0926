"""Anomalies of a split: violations of the schema, and skew against the training split.

Checks and names follow tensorflow-metadata's anomalies.proto, so that its viewers can show the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from analysis.data.schema_inference import common_stats
from analysis.data.statistics import custom

Kind = anomalies_pb2.AnomalyInfo
Dataset: TypeAlias = statistics_pb2.DatasetFeatureStatistics
Statistics: TypeAlias = statistics_pb2.FeatureNameStatistics

STRUCTURAL = (
    Kind.SCHEMA_MISSING_COLUMN,
    Kind.UNEXPECTED_DATA_TYPE,
    Kind.FEATURE_TYPE_LOW_FRACTION_PRESENT,
    Kind.INVALID_FEATURE_SHAPE,
    Kind.ENUM_TYPE_UNEXPECTED_STRING_VALUES,
)
"""Kinds of anomalies after which the examples cannot be read and compared."""


@dataclass(frozen=True)
class Anomaly:
    """An anomaly of one feature.

    Attributes:
        split: The name of the split.
        feature: The name of the feature.
        kind: A value of tensorflow-metadata's `AnomalyInfo.Type`.
        headline: The anomaly in a few words.
        expected: The value that the schema or the bounds allow.
        received: The value in the split.
        severity: `AnomalyInfo.ERROR`, which can stop a run, or `AnomalyInfo.WARNING`, which never does.
    """

    split: str
    feature: str
    kind: int
    headline: str
    expected: str
    received: str
    severity: anomalies_pb2.AnomalyInfo.Severity = Kind.ERROR

    @property
    def prevents_reading(self) -> bool:
        """Whether images and labels cannot be read and compared: a feature is absent or malformed."""
        return self.kind in STRUCTURAL

    def __str__(self) -> str:
        return f"{self.split}: {self.feature}: {self.headline} (expected {self.expected}, received {self.received})"


@dataclass(frozen=True)
class Bounds:
    """Bounds that a schema cannot express.

    Attributes:
        class_share: The largest difference of a class's share of a split from one over the number of classes.
        black_images: The most all-black images of a split.
    """

    class_share: float
    black_images: int


def find_anomalies(split: Dataset, schema: schema_pb2.Schema, bounds: Bounds) -> list[Anomaly]:
    """Returns the violations of the schema and the bounds in one split, in the order of the features."""
    present = {feature.path.step[0]: feature for feature in split.features}
    allowed = {feature.name: feature for feature in schema.feature}
    found = [
        Anomaly(split.name, name, Kind.SCHEMA_NEW_COLUMN, "unknown feature", "only the schema's features", name)
        for name in present.keys() - allowed.keys()
    ]
    for name, feature in allowed.items():
        if name not in present:
            found.append(
                Anomaly(split.name, name, Kind.SCHEMA_MISSING_COLUMN, "no example has it", "a feature", "none")
            )
            continue
        for kind, headline, expected, received in _check_feature(present[name], feature, schema, split, bounds):
            found.append(Anomaly(split.name, name, kind, headline, expected, received))
    return sorted(found, key=lambda anomaly: (anomaly.feature, anomaly.kind))


def find_skew(train: Dataset, other: Dataset, schema: schema_pb2.Schema) -> list[Anomaly]:
    """Returns the features whose distribution differs from the training split's, by the schema's `skew_comparator`."""
    found = []
    for feature in schema.feature:
        one, two = (_feature(dataset, feature.name) for dataset in (train, other))
        if one is None or two is None or not feature.HasField("skew_comparator"):
            continue
        for measure, kind, distance, threshold in _distances(feature.skew_comparator, one, two):
            if distance > threshold:
                text = f"distributed differently than in {train.name}"
                limit = f"{measure} at most {threshold:g}"
                found.append(Anomaly(other.name, feature.name, kind, text, limit, f"{distance:.4f}"))
    return found


def to_proto(anomalies: list[Anomaly], schema: schema_pb2.Schema) -> anomalies_pb2.Anomalies:
    """Returns the anomalies of one split as tensorflow-metadata's proto."""
    proto = anomalies_pb2.Anomalies(baseline=schema, anomaly_name_format=anomalies_pb2.Anomalies.SERIALIZED_PATH)
    for anomaly in anomalies:
        info = proto.anomaly_info[anomaly.feature]
        info.path.step[:] = [anomaly.feature]
        info.severity = max(info.severity, anomaly.severity)
        detail = f"{anomaly.headline}: expected {anomaly.expected}, received {anomaly.received}"
        info.reason.add(type=anomaly.kind, short_description=anomaly.headline, description=detail)
        info.short_description = "; ".join(reason.short_description for reason in info.reason)
        info.description = "; ".join(reason.description for reason in info.reason)
    return proto


def infinity_norm(one: dict[str, float], two: dict[str, float]) -> float:
    """Returns the L-infinity norm: the largest difference between the shares of a value in two counts."""
    shares = [{value: count / max(1.0, sum(c.values())) for value, count in c.items()} for c in (one, two)]
    return max((abs(shares[0].get(v, 0.0) - shares[1].get(v, 0.0)) for v in one | two), default=0.0)


def jensen_shannon(one: np.ndarray, two: np.ndarray) -> float:
    """Returns the Jensen-Shannon divergence of two histograms over the same bins, in bits: 0 to 1."""
    p, q = one / max(1.0, one.sum()), two / max(1.0, two.sum())
    middle = (p + q) / 2
    return float(sum(np.sum(d[d > 0] * np.log2(d[d > 0] / middle[d > 0])) for d in (p, q)) / 2)


def chance_divergence(one: np.ndarray, two: np.ndarray) -> float:
    """Returns the mean and three standard deviations of `jensen_shannon` for two samples of one distribution.

    To second order the divergence is a chi-square over 8 ln 2, scaled by 1/n + 1/m. 98 to 99.5 of 100 pairs of samples
    stay below, with 2 to 32 bins. Without this bound, sampling noise would make every small split look skewed.
    """
    freedom = max(0, int(np.count_nonzero(one + two)) - 1)
    quantile = freedom + 3 * np.sqrt(2 * freedom)
    return float(quantile / (8 * np.log(2)) * (1 / max(1.0, one.sum()) + 1 / max(1.0, two.sum())))


Finding = tuple[int, str, str, str]


def _check_feature(
    statistics: Statistics, feature: schema_pb2.Feature, schema: schema_pb2.Schema, split: Dataset, bounds: Bounds
) -> Iterator[Finding]:
    if (statistics.type == Statistics.INT) != (feature.type == schema_pb2.INT):
        names = schema_pb2.FeatureType.Name(feature.type), Statistics.Type.Name(statistics.type)
        yield Kind.UNEXPECTED_DATA_TYPE, "wrong type", *names
        return
    yield from _check_presence(statistics, feature, split)
    if statistics.HasField("num_stats"):
        yield from _check_range(statistics.num_stats, feature.int_domain)
    elif feature.int_domain.is_categorical:
        yield from _check_classes(statistics, feature.int_domain, bounds)
    elif feature.HasField("string_domain"):
        yield from _check_texts(statistics, feature.string_domain)
    elif statistics.HasField("bytes_stats"):
        yield from _check_images(statistics, schema, bounds)


def _check_presence(statistics: Statistics, feature: schema_pb2.Feature, split: Dataset) -> Iterator[Finding]:
    common = common_stats(statistics)
    share = common.num_non_missing / max(1, split.num_examples)
    if share < feature.presence.min_fraction:
        missing = f"{common.num_missing} of {split.num_examples} without it"
        yield Kind.FEATURE_TYPE_LOW_FRACTION_PRESENT, "missing in some examples", "a value in every example", missing
    if feature.shape.dim and {common.min_num_values, common.max_num_values} != {feature.shape.dim[0].size}:
        span = f"{common.min_num_values} to {common.max_num_values}"
        yield Kind.INVALID_FEATURE_SHAPE, "wrong number of values", str(feature.shape.dim[0].size), span


def _check_range(numbers: statistics_pb2.NumericStatistics, domain: schema_pb2.IntDomain) -> Iterator[Finding]:
    if domain.HasField("min") and numbers.min < domain.min:
        yield Kind.INT_TYPE_SMALL_INT, "value too small", f"at least {domain.min}", f"{numbers.min:g}"
    if domain.HasField("max") and numbers.max > domain.max:
        yield Kind.INT_TYPE_BIG_INT, "value too large", f"at most {domain.max}", f"{numbers.max:g}"


def _check_classes(statistics: Statistics, domain: schema_pb2.IntDomain, bounds: Bounds) -> Iterator[Finding]:
    counts = value_counts(statistics)
    classes = [str(value) for value in range(domain.min, domain.max + 1)]
    span = f"{domain.min} to {domain.max}"
    if unknown := sorted(counts.keys() - set(classes)):
        listed = ", ".join(f"{value} ({counts[value]:.0f} examples)" for value in unknown)
        yield Kind.ENUM_TYPE_UNEXPECTED_STRING_VALUES, "unknown class", span, listed
    if missing := [value for value in classes if value not in counts]:
        yield Kind.FEATURE_TYPE_LOW_UNIQUE, "missing class", f"examples of {span}", f"none of {', '.join(missing)}"
    balanced, total = 1 / len(classes), sum(counts.values())
    unbalanced = [v for v in classes if v in counts and abs(counts[v] / total - balanced) > bounds.class_share + 1e-9]
    if unbalanced:
        shares = ", ".join(f"{counts[value] / total:.3f} of {value}" for value in unbalanced)
        yield Kind.CUSTOM_VALIDATION, "class share off", f"{balanced:.3f} +- {bounds.class_share:g} of each", shares


def _check_texts(statistics: Statistics, domain: schema_pb2.StringDomain) -> Iterator[Finding]:
    if unknown := sorted(value_counts(statistics).keys() - set(domain.value)):
        listed = ", ".join(unknown)
        yield Kind.ENUM_TYPE_UNEXPECTED_STRING_VALUES, "unknown value", ", ".join(domain.value), listed


def _check_images(statistics: Statistics, schema: schema_pb2.Schema, bounds: Bounds) -> Iterator[Finding]:
    sides = {feature.name: feature.int_domain.max for feature in schema.feature}
    size = sides.get("height", 0) * sides.get("width", 0)
    low, high = int(statistics.bytes_stats.min_num_bytes), statistics.bytes_stats.max_num_bytes_int
    if size and {low, high} != {size}:
        found = f"{low} to {high} bytes" if low != high else f"{low} bytes"
        yield Kind.INVALID_FEATURE_SHAPE, "image of the wrong shape", f"{size} bytes an image", found
    black = int(custom(statistics, "black_images").num)
    if black > bounds.black_images:
        names = custom(statistics, "black_names").str
        yield Kind.CUSTOM_VALIDATION, "all-black image", f"at most {bounds.black_images}", f"{black}: {names}"


def value_counts(feature: Statistics) -> dict[str, float]:
    """Returns the count of each value of a categorical feature."""
    return {bucket.label: bucket.sample_count for bucket in feature.string_stats.rank_histogram.buckets}


def _feature(dataset: Dataset, name: str) -> Statistics | None:
    return next((feature for feature in dataset.features if feature.path.step[0] == name), None)


def _distances(
    comparator: schema_pb2.FeatureComparator, one: Statistics, two: Statistics
) -> Iterator[tuple[str, int, float, float]]:
    if comparator.HasField("infinity_norm"):
        distance = infinity_norm(value_counts(one), value_counts(two))
        yield "L-infinity distance", Kind.COMPARATOR_L_INFTY_HIGH, distance, comparator.infinity_norm.threshold
    if comparator.HasField("jensen_shannon_divergence"):
        heights = [_brightness(feature) for feature in (one, two)]
        kind = Kind.COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH
        threshold = comparator.jensen_shannon_divergence.threshold
        distance = max(0.0, jensen_shannon(*heights) - chance_divergence(*heights))
        yield "Jensen-Shannon divergence of brightness", kind, distance, threshold


def _brightness(feature: Statistics) -> np.ndarray:
    return np.array([bucket.sample_count for bucket in custom(feature, "brightness").histogram.buckets])
