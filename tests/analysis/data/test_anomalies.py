"""Anomalies of a split against its schema, as tensorflow-metadata's proto, and distances between distributions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from analysis.data.anomalies import (
    Anomaly,
    Bounds,
    Dataset,
    Kind,
    chance_divergence,
    find_anomalies,
    find_skew,
    infinity_norm,
    jensen_shannon,
    to_proto,
)
from analysis.data.statistics import Summary, custom, to_statistics


@pytest.mark.parametrize("order", [1, -1])
def test_a_feature_has_the_severity_of_its_worst_anomaly(order: int) -> None:
    """An error and a warning of one feature are an error with both reasons, in any order."""
    anomalies = [
        Anomaly("train", "image", Kind.CUSTOM_VALIDATION, "black", "none", "1"),
        Anomaly("train", "image", Kind.CUSTOM_VALIDATION, "near", "10%", "30%", Kind.WARNING),
        Anomaly("train", "garment", Kind.CUSTOM_VALIDATION, "moved", "10%", "8%", Kind.WARNING),
    ]
    info = to_proto(anomalies[::order], schema_pb2.Schema()).anomaly_info
    assert (info["image"].severity, info["garment"].severity) == (Kind.ERROR, Kind.WARNING)
    assert {reason.short_description for reason in info["image"].reason} == {"black", "near"}


def test_the_infinity_norm_compares_shares() -> None:
    """Counts are compared as shares; a value that one side lacks counts with its whole share."""
    assert infinity_norm({"a": 10, "b": 90}, {"a": 1, "b": 9}) == 0
    assert infinity_norm({"a": 6, "b": 4}, {"a": 5, "c": 5}) == pytest.approx(0.5)


def test_the_divergence_is_in_bits() -> None:
    """0 for the same histogram at any size, 1 for histograms that share no bin."""
    one = np.array([1.0, 2.0, 3.0])
    assert jensen_shannon(one, 10 * one) == pytest.approx(0)
    assert jensen_shannon(np.array([4.0, 0.0]), np.array([0.0, 9.0])) == pytest.approx(1)
    assert jensen_shannon(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(0.3113, abs=1e-4)


@pytest.mark.parametrize(("bins", "sizes"), [(8, (4000, 800)), (32, (4000, 800)), (32, (60_000, 10_000))])
def test_samples_of_one_distribution_are_within_chance(bins: int, sizes: tuple[int, int]) -> None:
    """The bound holds for about 99 of 100 pairs of samples, also of unequal sizes; it is not much wider or narrower."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(bins))
    ratios = []
    for _ in range(3000):
        one, two = (rng.multinomial(n, shares).astype(float) for n in sizes)
        ratios.append(jensen_shannon(one, two) / chance_divergence(one, two))
    assert 0.98 < np.mean(np.array(ratios) < 1) < 0.998


def describe(**features: list[list[object]]) -> Dataset:
    """The statistics of a split whose examples have these lists of values."""
    batch = pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in features.items()})
    return to_statistics("test", Summary().add(batch)).datasets[0]


def schema_of(*features: str) -> schema_pb2.Schema:
    """A schema with these features in protobuf's text format."""
    return text_format.Parse("".join(f"feature {{ {feature} }}" for feature in features), schema_pb2.Schema())


ONE = [[1]] * 199
NUMBER = 'name: "number" type: INT'
GARMENT = 'name: "garment" type: INT int_domain { min: 0 max: 3 is_categorical: true }'
IMAGE = 'name: "image" type: BYTES', 'name: "height" type: INT int_domain { max: 2 }'
WIDTH = 'name: "width" type: INT int_domain { max: 3 }'
SIDES = {"height": [[2]] * 3, "width": [[3]] * 3}


@pytest.mark.parametrize(
    ("features", "values", "expected"),
    [
        ([f"{NUMBER} presence {{ min_fraction: 1 }}"], {"number": [*ONE, []]},
         ["number: missing in some examples (expected a value in every example, received 1 of 200 without it)"]),
        ([f"{NUMBER} presence {{ min_fraction: 0.995 }}"], {"number": [*ONE, []]}, []),
        ([f"{NUMBER} shape {{ dim {{ size: 1 }} }}"], {"number": [*ONE, [1, 2]]},
         ["number: wrong number of values (expected 1, received 1 to 2)"]),
        ([f"{NUMBER} shape {{ dim {{ size: 2 }} }}"], {"number": [[1, 2]] * 3}, []),
        ([f"{NUMBER} int_domain {{ min: 1 max: 7 }}"], {"number": [[1], [7]]}, []),
        ([f"{NUMBER} int_domain {{ min: 1 max: 7 }}"], {"number": [[0], [8]]},
         ["number: value too large (expected at most 7, received 8)",
          "number: value too small (expected at least 1, received 0)"]),
        ([GARMENT], {"garment": [[0], [1], [2], [3]]}, []),
        ([GARMENT], {"garment": [[0]] * 7 + [[1]] * 6 + [[2]] * 5 + [[3]] * 2},
         ["garment: class share off (expected 0.250 +- 0.1 of each, received 0.100 of 3)"]),
        ([GARMENT], {"garment": [[0]] * 7 + [[1]] * 5 + [[2]] * 5 + [[3]] * 3}, []),
        ([GARMENT], {"garment": [[0]] * 8 + [[1]] * 5 + [[2]] * 4 + [[3]] * 3},
         ["garment: class share off (expected 0.250 +- 0.1 of each, received 0.400 of 0)"]),
        (['name: "split" type: BYTES string_domain { value: "test" value: "train" }'],
         {"split": [[b"train"], [b"z"], [b"a"]]}, ["split: unknown value (expected test, train, received a, z)"]),
        ([*IMAGE, WIDTH], {"image": [[bytes(6)], [bytes(6)], [b"abcdef"]], **SIDES},
         ["image: all-black image (expected at most 1, received 2: row 0, row 1)"]),
        ([*IMAGE, WIDTH], {"image": [[bytes(6)], [b"abcdef"], [b"abcdef"]], **SIDES}, []),
        ([*IMAGE, WIDTH], {"image": [[b"abcde"], [b"abcdef"], [b"abcdef"]], **SIDES},
         ["image: image of the wrong shape (expected 6 bytes an image, received 5 to 6 bytes)"]),
        ([NUMBER, 'name: "absent" type: INT'], {"number": ONE, "extra": ONE},
         ["absent: no example has it (expected a feature, received none)",
          "extra: unknown feature (expected only the schema's features, received extra)"]),
    ],
)  # fmt: skip
def test_each_bound_of_the_schema_is_checked(
    features: list[str], values: dict[str, list[list[object]]], expected: list[str]
) -> None:
    """One example of 200 without a value is an anomaly; a value or a share at its bound is none."""
    found = find_anomalies(describe(**values), schema_of(*features), Bounds(class_share=0.1, black_images=1))
    assert [str(anomaly) for anomaly in found] == [f"test: {text}" for text in expected]


@pytest.mark.parametrize("threshold", [0.2, 0.3])
def test_skew_beyond_the_schemas_threshold_is_an_anomaly(threshold: float) -> None:
    """A garment with half of the training examples and a quarter of the others differs by a quarter."""
    train, other = describe(garment=[[0], [0], [1], [2]]), describe(garment=[[0], [1], [2], [3]])
    train.name = "train"
    schema = schema_of(f"{GARMENT} skew_comparator {{ infinity_norm {{ threshold: {threshold} }} }}", NUMBER)
    found = [str(anomaly) for anomaly in find_skew(train, other, schema)]
    expected = "test: garment: distributed differently than in train (expected L-infinity distance at most 0.2"
    assert found == ([f"{expected}, received 0.2500)"] if threshold < 0.25 else [])


def test_two_small_samples_of_one_distribution_are_not_skewed() -> None:
    """The divergence that chance gives is not counted; that of images of another brightness is."""
    random = np.random.default_rng(0)
    splits = []
    for count, darker in ((300, 0), (100, 0), (100, 60)):
        levels = np.clip(random.normal(120, 25, count) - darker, 0, 255).astype(np.uint8)
        splits.append(describe(image=[[bytes([level] * 4)] for level in levels]))
    schema = schema_of('name: "image" type: BYTES skew_comparator { jensen_shannon_divergence { threshold: 0.02 } }')
    heights = [
        np.array([b.sample_count for b in custom(s.features[0], "brightness").histogram.buckets]) for s in splits
    ]
    assert jensen_shannon(heights[0], heights[1]) > 0.02
    assert find_skew(splits[0], splits[1], schema) == []
    (found,) = find_skew(splits[0], splits[2], schema)
    assert found.kind == Kind.COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH
    assert found.expected == "Jensen-Shannon divergence of brightness at most 0.02"


def test_the_chance_depends_on_the_occupied_bins_and_the_sizes_alone() -> None:
    """More bins and smaller samples differ more by chance; where the examples lie makes no difference."""
    one = np.array([4.0, 6, 0, 0])
    assert chance_divergence(one, one) == chance_divergence(one, one[[1, 0, 2, 3]]) > 0
    assert chance_divergence(one, one[[2, 3, 0, 1]]) > chance_divergence(one, one)
    assert chance_divergence(10 * one, one) == pytest.approx(chance_divergence(one, one) * 1.1 / 2)


def test_the_schema_decides_which_features_are_compared() -> None:
    """Features without a comparator may differ, and a feature that a split lacks is reported as missing elsewhere."""
    train, other = describe(garment=[[0]], number=[[1]]), describe(number=[[9]])
    compared = f"{GARMENT} skew_comparator {{ infinity_norm {{ threshold: 0.1 }} }}"
    assert find_skew(train, other, schema_of(compared, NUMBER)) == []


@pytest.mark.parametrize(
    ("kind", "prevents"),
    [
        (Kind.SCHEMA_MISSING_COLUMN, True),
        (Kind.INVALID_FEATURE_SHAPE, True),
        (Kind.FEATURE_TYPE_LOW_FRACTION_PRESENT, True),
        (Kind.CUSTOM_VALIDATION, False),
        (Kind.FEATURE_TYPE_LOW_UNIQUE, False),
        (Kind.COMPARATOR_L_INFTY_HIGH, False),
    ],
)
def test_malformed_features_prevent_the_comparison_of_images(kind: int, prevents: bool) -> None:
    """Shares and contents do not: the images can still be read."""
    assert Anomaly("train", "image", kind, "", "", "").prevents_reading == prevents
