"""Tests of SchemaGen: the curated schema fits, and disagreements are recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.schema_gen import CURATED, read_schema
from pipeline.contract.errors import UserError
from tests.components.data_validation import choose_schema, describe, valid_splits, write_splits


def test_the_curated_schema_fits_good_data(tmp_path: Path) -> None:
    """The committed schema is the output, and the data agree with it."""
    statistics = describe(tmp_path / "statistics", write_splits(tmp_path / "examples", valid_splits()))
    schema = choose_schema(tmp_path / "schema", statistics)
    assert json.loads((schema.path / "disagreements.json").read_text()) == []
    assert schema.properties == {"source": "curated", "features": 8, "disagreements": 0}
    assert read_schema(schema).feature[0].name == "image"


def test_an_inferred_schema_describes_the_data(tmp_path: Path) -> None:
    """Without the curated one, the schema follows from the statistics."""
    statistics = describe(tmp_path / "statistics", write_splits(tmp_path / "examples", valid_splits()))
    schema = read_schema(choose_schema(tmp_path / "schema", statistics, use_curated=False))
    features = {feature.name: feature for feature in schema.feature}
    assert (features["garment"].int_domain.min, features["garment"].int_domain.max) == (0, 9)
    assert features["garment"].int_domain.is_categorical
    assert list(features["split"].string_domain.value) == ["test", "train", "validation"]
    assert not features["source_id"].HasField("string_domain")
    assert features["image"].image_domain.max_image_byte_size == 784
    assert all(f.presence.min_fraction == 1 and f.shape.dim[0].size == 1 for f in schema.feature)


def test_disagreements_are_recorded(tmp_path: Path) -> None:
    """An extra feature, a missing one and a wider domain give one sentence each."""
    splits = valid_splits()
    for columns in splits.values():
        columns["price"] = columns["near_duplicate_count"]
        del columns["cluster"]
    splits["train"]["garment"][0] = 12
    statistics = describe(tmp_path / "statistics", write_splits(tmp_path / "examples", splits))
    found = json.loads((choose_schema(tmp_path / "schema", statistics).path / "disagreements.json").read_text())
    assert found == [
        "price: in the data, not in the curated schema",
        "cluster: in the curated schema, not in the data",
        "garment: the data span 0 to 12, the curated domain 0 to 9",
    ]


def test_a_broken_schema_is_a_user_error(tmp_path: Path) -> None:
    """The error shows the line of a typing error."""
    statistics = describe(tmp_path / "statistics", write_splits(tmp_path / "examples", valid_splits()))
    broken = tmp_path / "schema.pbtxt"
    broken.write_text(CURATED.read_text(encoding="utf-8").replace("int_domain", "integer_domain"), encoding="utf-8")
    with pytest.raises(UserError, match="schema.pbtxt cannot be read") as caught:
        choose_schema(tmp_path / "schema", statistics, curated=broken)
    assert "integer_domain" in caught.value.received
