"""Tests of SchemaGen: the curated schema fits, and disagreements are recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from analysis.data.schema_inference import disagreements, infer_schema
from analysis.data.statistics import Summary, to_statistics
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


FEATURE = 'feature {{ name: "{0}" type: {1} presence {{ min_fraction: {2} }} {3} }}'


@pytest.mark.parametrize(
    ("data", "curated", "expected"),
    [
        (("a", "INT", 1, ""), ("a", "BYTES", 1, ""), ["a: the data are INT, the curated schema says BYTES"]),
        (("a", "INT", 0, ""), ("a", "INT", 1, ""),
         ["a: missing in some examples, the curated schema requires it in all"]),
        (("a", "INT", 1, ""), ("a", "INT", 0, ""), []),
        (("a", "INT", 1, "shape { dim { size: 2 } }"), ("a", "INT", 1, "shape { dim { size: 1 } }"),
         ["a: the number of values differs from the curated shape"]),
        (("a", "INT", 1, ""), ("a", "INT", 1, "shape { dim { size: 1 } }"),
         ["a: the number of values differs from the curated shape"]),
        (("a", "INT", 1, "shape { dim { size: 2 } }"), ("a", "INT", 1, ""), []),
        (("a", "INT", 1, "int_domain { min: 0 max: 9 }"), ("a", "INT", 1, "int_domain { min: 0 max: 9 }"), []),
        (("a", "INT", 1, "int_domain { min: 0 max: 9 }"), ("a", "INT", 1, "int_domain { min: 1 }"),
         ["a: the data span 0 to 9, the curated domain 1 to inf"]),
        (("a", "INT", 1, "int_domain { min: 0 max: 9 }"), ("a", "INT", 1, "int_domain { max: 8 }"),
         ["a: the data span 0 to 9, the curated domain -inf to 8"]),
        (("a", "BYTES", 1, 'string_domain { value: ["x", "z", "y"] }'),
         ("a", "BYTES", 1, 'string_domain { value: ["x", "w"] }'),
         ["a: the value 'y' is not in the curated domain", "a: the value 'z' is not in the curated domain"]),
    ],
)  # fmt: skip
def test_a_disagreement_is_a_sentence(
    data: tuple[str, str, int, str], curated: tuple[str, str, int, str], expected: list[str]
) -> None:
    """Narrower data than the curated schema allows are no disagreement, wider ones are."""
    schemas = (text_format.Parse(FEATURE.format(*each), schema_pb2.Schema()) for each in (data, curated))
    assert disagreements(*schemas) == expected


def described(*splits: dict[str, list[list[object]]]) -> schema_pb2.Schema:
    """The schema that is inferred from splits with these lists of values."""
    batches = [pa.RecordBatch.from_pydict({name: pa.array(v) for name, v in split.items()}) for split in splits]
    return infer_schema([to_statistics("s", Summary().add(batch)).datasets[0] for batch in batches])


def test_an_inferred_schema_covers_all_splits() -> None:
    """A feature that a split or an example lacks is optional; ranges and values are those of all splits together."""
    schema = described(
        {"size": [[3], [7]], "garment": [[2], [5]], "kind": [[b"b"], [b"a"]], "pair": [[1, 2], [1, 2]],
         "rare": [[1], []]},
        {"size": [[1], [4]], "garment": [[9], [5]], "kind": [[b"c"], [b"a"]], "pair": [[3, 4], [5]],
         "some": [[1], [1]]},
    )  # fmt: skip
    found = {feature.name: feature for feature in schema.feature}
    assert list(found) == ["garment", "kind", "pair", "rare", "size", "some"]
    fractions = {name: feature.presence.min_fraction for name, feature in found.items()}
    assert fractions == {"garment": 1, "kind": 1, "pair": 1, "rare": 0, "size": 1, "some": 0}
    assert all(feature.presence.min_count == 1 for feature in schema.feature)
    assert (found["size"].int_domain.min, found["size"].int_domain.max) == (1, 7)
    assert not found["size"].int_domain.is_categorical
    assert (found["garment"].int_domain.min, found["garment"].int_domain.max) == (2, 9)
    assert found["garment"].int_domain.is_categorical and list(found["kind"].string_domain.value) == ["a", "b", "c"]
    assert found["size"].shape.dim[0].size == 1 and not found["pair"].shape.dim
    assert (found["kind"].type, found["size"].type) == (schema_pb2.BYTES, schema_pb2.INT)


@pytest.mark.parametrize(("count", "categories"), [(20, True), (21, False)])
def test_texts_with_many_values_are_names(count: int, categories: bool) -> None:
    """Up to twenty different values are categories."""
    (feature,) = described({"text": [[f"v{index:02}".encode()] for index in range(count)]}).feature
    assert len(feature.string_domain.value) == (20 if categories else 0)


def test_a_broken_schema_is_a_user_error(tmp_path: Path) -> None:
    """The error shows the line of a typing error."""
    statistics = describe(tmp_path / "statistics", write_splits(tmp_path / "examples", valid_splits()))
    broken = tmp_path / "schema.pbtxt"
    broken.write_text(CURATED.read_text(encoding="utf-8").replace("int_domain", "integer_domain"), encoding="utf-8")
    with pytest.raises(UserError, match="schema.pbtxt cannot be read") as caught:
        choose_schema(tmp_path / "schema", statistics, curated=broken)
    assert "integer_domain" in caught.value.received
