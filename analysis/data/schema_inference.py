"""Infers a schema from statistics, and compares it with a curated schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

MAX_DOMAIN_VALUES = 20
"""A text feature with more distinct values holds names, not categories."""

Statistics: TypeAlias = statistics_pb2.FeatureNameStatistics


def infer_schema(splits: Sequence[statistics_pb2.DatasetFeatureStatistics]) -> schema_pb2.Schema:
    """Returns the narrowest schema that all splits satisfy, with features in the order of their names."""
    schema = schema_pb2.Schema()
    names = sorted({feature.path.step[0] for split in splits for feature in split.features})
    for name in names:
        statistics = [f for split in splits for f in split.features if f.path.step[0] == name]
        feature = schema.feature.add(name=name, type=_type(statistics[0]))
        # A split without the feature has no statistics of it.
        complete = len(statistics) == len(splits) and all(common_stats(f).num_missing == 0 for f in statistics)
        feature.presence.min_fraction = 1.0 if complete else 0.0
        feature.presence.min_count = 1
        lengths = {(common_stats(f).min_num_values, common_stats(f).max_num_values) for f in statistics}
        if len(lengths) == 1 and len(set(*lengths)) == 1:
            feature.shape.dim.add(size=next(iter(lengths))[0])
        _infer_domain(feature, statistics)
    return schema


def common_stats(feature: Statistics) -> statistics_pb2.CommonStatistics:
    """Returns the presence and value counts of a feature with any kind of statistics."""
    kind = feature.WhichOneof("stats")
    return getattr(feature, kind).common_stats if kind else statistics_pb2.CommonStatistics()


def disagreements(inferred: schema_pb2.Schema, curated: schema_pb2.Schema) -> list[str]:
    """Returns a sentence for each difference between the inferred and the curated schema."""
    data, allowed = ({f.name: f for f in schema.feature} for schema in (inferred, curated))
    found = [f"{name}: in the data, not in the curated schema" for name in data if name not in allowed]
    found += [f"{name}: in the curated schema, not in the data" for name in allowed if name not in data]
    for name in sorted(data.keys() & allowed.keys()):
        found += [f"{name}: {text}" for text in _compare(data[name], allowed[name])]
    return found


def _type(feature: Statistics) -> schema_pb2.FeatureType:
    return schema_pb2.INT if feature.type == Statistics.INT else schema_pb2.BYTES


def _infer_domain(feature: schema_pb2.Feature, statistics: Sequence[Statistics]) -> None:
    kinds = {f.WhichOneof("stats") for f in statistics}
    if kinds == {"num_stats"}:
        feature.int_domain.min = int(min(f.num_stats.min for f in statistics))
        feature.int_domain.max = int(max(f.num_stats.max for f in statistics))
    elif kinds == {"bytes_stats"}:
        feature.image_domain.max_image_byte_size = max(f.bytes_stats.max_num_bytes_int for f in statistics)
    elif kinds == {"string_stats"} and all(f.string_stats.unique <= MAX_DOMAIN_VALUES for f in statistics):
        values = sorted({value.value for f in statistics for value in f.string_stats.top_values})
        if feature.type == schema_pb2.INT:
            numbers = [int(value) for value in values] or [0]
            feature.int_domain.min, feature.int_domain.max = min(numbers), max(numbers)
            feature.int_domain.is_categorical = True
        else:
            feature.string_domain.name = feature.name
            feature.string_domain.value.extend(values)


def _compare(data: schema_pb2.Feature, curated: schema_pb2.Feature) -> list[str]:
    found = []
    if data.type != curated.type:
        names = schema_pb2.FeatureType.Name
        found.append(f"the data are {names(data.type)}, the curated schema says {names(curated.type)}")
    if data.presence.min_fraction < curated.presence.min_fraction:
        found.append("missing in some examples, the curated schema requires it in all")
    if curated.HasField("shape") and data.shape != curated.shape:
        found.append("the number of values differs from the curated shape")
    if curated.HasField("int_domain") and not _within(data.int_domain, curated.int_domain):
        found.append(f"the data span {_span(data.int_domain)}, the curated domain {_span(curated.int_domain)}")
    if curated.HasField("string_domain"):
        extra = sorted(set(data.string_domain.value) - set(curated.string_domain.value))
        found += [f"the value {value!r} is not in the curated domain" for value in extra]
    return found


def _within(data: schema_pb2.IntDomain, curated: schema_pb2.IntDomain) -> bool:
    low = not curated.HasField("min") or data.min >= curated.min
    return low and (not curated.HasField("max") or data.max <= curated.max)


def _span(domain: schema_pb2.IntDomain) -> str:
    low = domain.min if domain.HasField("min") else "-inf"
    return f"{low} to {domain.max if domain.HasField('max') else 'inf'}"
