"""Tests of ExampleValidator: valid examples pass, and each defect is found and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2

from pipeline.contract.errors import UserError
from tests.components.data_validation import Splits, select_rows, valid_splits, validate, write_splits

NOTHING_FOUND = {"anomalies": 0, "warnings": 0}


def missing_class(splits: Splits) -> None:
    """Removes every dress from validation."""
    splits["validation"] = select_rows(splits["validation"], np.array(splits["validation"]["garment"]) != 3)


def unknown_garment(splits: Splits) -> None:
    """Labels one test image with an eleventh garment."""
    splits["test"]["garment"][3] = 10


def wrong_shape(splits: Splits) -> None:
    """Removes a row of pixels from the training images."""
    splits["train"]["image"] = splits["train"]["image"][:, :27]
    splits["train"]["height"] = np.full(400, 27)


def black_image(splits: Splits) -> None:
    """Blackens one training image."""
    splits["train"]["image"][17] = 0


def uneven_classes(splits: Splits) -> None:
    """Drops two thirds of the bags everywhere, so that no split is skewed against another."""
    for name, columns in splits.items():
        garments = np.array(columns["garment"])
        bags = np.flatnonzero(garments == 8)
        rows = np.ones(len(garments), bool)
        rows[bags[len(bags) // 3 :]] = False
        splits[name] = select_rows(columns, rows)


def skewed_classes(splits: Splits) -> None:
    """Halves the sandals of the test split."""
    sandals = np.flatnonzero(np.array(splits["test"]["garment"]) == 5)
    rows = np.ones(200, bool)
    rows[sandals[:10]] = False
    splits["test"] = select_rows(splits["test"], rows)


def darker_split(splits: Splits) -> None:
    """Dims the test images to a half."""
    splits["test"]["image"] = splits["test"]["image"] // 2


def missing_feature(splits: Splits) -> None:
    """Removes the feature `near_duplicate_count` from validation."""
    del splits["validation"]["near_duplicate_count"]


def grey_image(splits: Splits) -> None:
    """Paints one validation image in one grey."""
    splits["validation"]["image"][17] = 128


def leaked_images(splits: Splits) -> None:
    """Copies all test images over training images."""
    splits["train"]["image"][:200] = splits["test"]["image"]


def extra_feature(splits: Splits) -> None:
    """Adds a feature that the schema does not have to one split."""
    splits["test"]["price"] = splits["test"]["cluster"]


def texts_for_numbers(splits: Splits) -> None:
    """Writes the clusters of one split as text."""
    splits["validation"]["cluster"] = [str(cluster) for cluster in splits["validation"]["cluster"]]


def unknown_split(splits: Splits) -> None:
    """Uses a split name that the schema does not define."""
    splits["train"]["split"][0] = "holdout"


CASES: list[tuple[Callable[[Splits], None], str]] = [
    (missing_class, "validation: garment: missing class (expected examples of 0 to 9, received none of 3)"),
    (unknown_garment, "test: garment: unknown class (expected 0 to 9, received 10 (1 examples))"),
    (wrong_shape, "train: image: image of the wrong shape (expected 784 bytes an image, received 756 bytes)"),
    (wrong_shape, "train: height: value too small (expected at least 28, received 27)"),
    (black_image, "train: image: all-black image (expected at most 0, received 1: train/"),
    (uneven_classes, "train: garment: class share off (expected 0.100 +- 0.02 of each, received 0.035 of 8"),
    (skewed_classes, "test: garment: distributed differently than in train (expected L-infinity distance at most 0.02"),
    (darker_split, "test: image: distributed differently than in train (expected Jensen-Shannon divergence"),
    (missing_feature, "validation: near_duplicate_count: no example has it (expected a feature, received none)"),
    (grey_image, "validation: image: image of one colour (expected at most 0, received 1: train/"),
    (leaked_images, "test: image: images that another split has, too (expected none, received 200 of 200: test/"),
    (extra_feature, "test: price: unknown feature (expected only the schema's features, received price)"),
    (texts_for_numbers, "validation: cluster: wrong type (expected INT, received STRING)"),
    (unknown_split, "train: split: unknown value (expected train, validation, test, received holdout)"),
]


def test_valid_examples_pass(tmp_path: Path) -> None:
    """Valid examples have no anomaly, even in small splits."""
    anomalies = validate(tmp_path, valid_splits())
    assert anomalies.anomalies() == []
    assert anomalies.properties == NOTHING_FOUND


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "line"), CASES, ids=[f"{c.__name__}-{i}" for i, (c, _) in enumerate(CASES)])
def test_an_anomaly_stops_the_run(tmp_path: Path, spoil: Callable[[Splits], None], line: str) -> None:
    """The error lists the split, the feature, the expected and the received value."""
    splits = valid_splits()
    spoil(splits)
    with pytest.raises(UserError, match=r"The examples have \d+ anomal(y|ies)\.") as caught:
        validate(tmp_path, splits)
    assert line in caught.value.received
    assert "on_anomaly=warn" in caught.value.next_step


def test_warnings_continue_the_run_and_are_recorded(tmp_path: Path) -> None:
    """With on_anomaly = warn, the list and tensorflow-metadata's proto are written, and the run continues."""
    splits = valid_splits()
    black_image(splits)
    anomalies = validate(tmp_path, splits, on_anomaly="warn")
    (listed,) = anomalies.anomalies()
    assert (listed["split"], listed["feature"], listed["kind"]) == ("train", "image", "CUSTOM_VALIDATION")
    proto = anomalies_pb2.Anomalies.FromString((anomalies.path / "Split-train/SchemaDiff.pb").read_bytes())
    assert proto.anomaly_info["image"].short_description == "all-black image"
    assert not anomalies_pb2.Anomalies.FromString(
        (anomalies.path / "Split-test/SchemaDiff.pb").read_bytes()
    ).anomaly_info


def test_warnings_about_leakage_and_labels_do_not_stop(tmp_path: Path) -> None:
    """Near-duplicates of test images and changed labels are warnings, in the list and in the proto."""
    previous = write_splits(tmp_path / "previous", valid_splits())
    splits = valid_splits()
    splits["test"]["near_duplicate_count"][:100] = 1
    splits["train"]["garment"][splits["train"]["garment"] == 1] = 3
    splits["train"]["garment"][np.flatnonzero(splits["train"]["garment"] == 3)[:40]] = 1
    anomalies = validate(tmp_path / "run", splits, previous)
    found = [(a["split"], a["feature"], a["severity"], a["headline"]) for a in anomalies.anomalies()]
    assert found == [
        ("test", "image", "warning", "more near-duplicates in training than the training images have"),
        ("train", "garment", "warning", "images have another garment than in the examples of an earlier run"),
    ]
    assert anomalies.properties == {"anomalies": 0, "warnings": 2}
    proto = anomalies_pb2.Anomalies.FromString((anomalies.path / "Split-train/SchemaDiff.pb").read_bytes())
    assert proto.anomaly_info["garment"].severity == anomalies_pb2.AnomalyInfo.WARNING


def test_every_split_is_compared_with_the_examples_of_an_earlier_run(tmp_path: Path) -> None:
    """Validation counts as training, and images that change sides are compared with themselves."""
    before = valid_splits()
    previous = write_splits(tmp_path / "previous", before)
    splits = valid_splits()
    splits["validation"]["garment"][7] = (splits["validation"]["garment"][7] + 1) % 10
    splits["test"]["garment"][3:5] = (splits["test"]["garment"][3:5] + 1) % 10
    for name in ("image", "garment", "source_id"):
        splits["train"][name][5] = before["validation"][name][20]
        splits["validation"][name][20] = before["train"][name][5]
    found = [
        (a["split"], a["received"].split(":")[0])
        for a in validate(tmp_path / "run", splits, previous, source="catalogue", on_anomaly="warn").anomalies()
        if a["headline"] == "images have another garment than in the examples of an earlier run"
    ]
    assert found == [("train", "1 of 500"), ("test", "2 of 200")]


def test_labels_of_official_splits_are_compared(tmp_path: Path) -> None:
    """Two garments that exchange their labels in the training files alone are a warning; a catalogue has one file."""
    splits = valid_splits()
    garments = splits["train"]["garment"]
    garments[np.flatnonzero(garments < 2)] ^= 1
    (found,) = {a["headline"] for a in validate(tmp_path / "official", splits).anomalies()}
    assert found == "labels disagree with the nearest images of the test split"
    assert validate(tmp_path / "catalogue", splits, source="catalogue").properties == NOTHING_FOUND


def test_bounds_are_configurable(tmp_path: Path) -> None:
    """Wider bounds in the configuration remove the anomaly."""
    splits = valid_splits()
    black_image(splits)
    uneven_classes(splits)
    assert validate(tmp_path, splits, max_black_images=1, class_share_bound=0.07).properties == NOTHING_FOUND


def test_a_catalogue_may_be_unbalanced(tmp_path: Path) -> None:
    """A catalogue's shares have a bound only where it is configured; all other checks apply."""
    splits = valid_splits()
    uneven_classes(splits)
    assert validate(tmp_path / "any", splits, source="catalogue").properties == NOTHING_FOUND
    with pytest.raises(UserError, match="class share off"):
        validate(tmp_path / "bounded", splits, source="catalogue", class_share_bound=0.02)
    black_image(splits)
    with pytest.raises(UserError, match="1 anomaly") as caught:
        validate(tmp_path / "black", splits, source="catalogue")
    assert "all-black image" in caught.value.received
