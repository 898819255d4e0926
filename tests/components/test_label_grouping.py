"""Tests of LabelGrouping: groups from the taxonomy, bins from the training images, reproducible bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from analysis.data.examples import read_arrays, read_columns, read_record_batches
from analysis.data.slicing_features import FEATURES, assign_bins, quantile_edges
from components.evaluator import known_features
from components.label_grouping import label_grouping
from components.schema_gen import CURATED
from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import ExampleAnomalies, Examples, Schema
from pipeline.contract.errors import UserError
from pipeline.contract.progress import silent
from tests.components.data_validation import Splits, valid_splits, write_splits

TAXONOMY = Taxonomy.load()


def group(directory: Path, splits: Splits) -> Examples:
    """Writes the splits and runs LabelGrouping."""
    for name in ("schema", "anomalies", "grouped"):
        (directory / name).mkdir(parents=True)
    (directory / "schema/schema.pbtxt").write_text(schema_of(splits), encoding="utf-8")
    grouped = Examples(directory / "grouped")
    label_grouping.run(
        examples=write_splits(directory / "examples", splits),
        schema=Schema(directory / "schema"),
        anomalies=ExampleAnomalies(directory / "anomalies"),
        grouped=grouped,
        progress=silent,
        taxonomy=TAXONOMY,
    )
    return grouped


def schema_of(splits: Splits) -> str:
    """The curated schema with the features that the splits have."""
    schema = text_format.Parse(CURATED.read_text(encoding="utf-8"), schema_pb2.Schema())
    for feature in [feature for feature in schema.feature if feature.name not in splits["train"]]:
        schema.feature.remove(feature)
    return text_format.MessageToString(schema)


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """Grouped examples of three splits."""
    return group(tmp_path_factory.mktemp("grouped"), valid_splits())


def test_every_example_has_its_group(grouped: Examples) -> None:
    """Group, group name and garment name follow from the garment."""
    for split in grouped.splits():
        read = read_arrays(grouped.split(split), ["garment", "group", "group_name", "garment_name"])
        assert read["group"].tolist() == [TAXONOMY.group_of[g] for g in read["garment"]]
        assert read["group_name"].tolist() == [TAXONOMY.groups[g] for g in read["group"]]
        assert read["garment_name"].tolist() == [TAXONOMY.garments[g] for g in read["garment"]]


def test_the_features_are_those_that_the_evaluator_knows(grouped: Examples) -> None:
    """So a name in `evaluator.slice_by` can be checked before there are examples; only a catalogue has texts."""
    batch = next(iter(read_record_batches(grouped.split("test")[0], 1)))
    assert {*batch.schema.names, "title", "description"} == known_features()


def test_existing_features_are_unchanged(grouped: Examples) -> None:
    """Every feature from ExampleGen is unchanged, in the same files and order."""
    for split, columns in valid_splits().items():
        assert len(grouped.split(split)) == -(-len(columns["garment"]) // 150)
        read = read_arrays(grouped.split(split), list(columns))
        for name, values in columns.items():
            np.testing.assert_array_equal(read[name], np.array(values, dtype=read[name].dtype))


def test_bins_are_cut_on_the_training_images(grouped: Examples) -> None:
    """The bins of every split use the quantiles of the training split."""
    splits = valid_splits()
    read = read_columns(grouped.split("test"), [feature.column for feature in FEATURES])
    for feature in FEATURES:
        edges = quantile_edges(feature.measure(splits["train"]["image"]), feature.bins)
        np.testing.assert_array_equal(
            read[feature.column], assign_bins(feature.measure(splits["test"]["image"]), edges)
        )


def test_has_near_duplicate_marks_near_duplicates(grouped: Examples) -> None:
    """The feature is "yes" for an image with near-duplicates, else "no"."""
    read = read_arrays(grouped.split("validation"), ["near_duplicate_count", "has_near_duplicate"])
    assert read["has_near_duplicate"].tolist() == [
        "yes" if near_duplicate_count else "no" for near_duplicate_count in read["near_duplicate_count"]
    ]


def test_two_runs_are_the_same_bytes(grouped: Examples, tmp_path: Path) -> None:
    """The order of Beam's work does not change the bytes."""
    again = group(tmp_path, valid_splits())
    for split in grouped.splits():
        assert [p.read_bytes() for p in grouped.split(split)] == [p.read_bytes() for p in again.split(split)]


def test_an_unknown_garment_is_a_user_error(tmp_path: Path) -> None:
    """The error names a garment outside the taxonomy and its file, also after a mere warning of the validator."""
    splits = valid_splits()
    splits["test"]["garment"][180] = 11
    with pytest.raises(UserError, match="garments that the taxonomy does not define") as caught:
        group(tmp_path, splits)
    assert caught.value.expected == "garments 0 to 9"
    assert caught.value.received.startswith("11 in ") and "Split-test/data_tfrecord-00001" in caught.value.received
