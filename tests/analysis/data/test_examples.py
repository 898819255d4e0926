"""The one reader and writer of examples: what is written comes back, the same bytes each time, damage is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from analysis.data.examples import read_arrays, read_record_batches, write_shards
from pipeline.contract.artifacts import Examples
from pipeline.contract.errors import UserError
from tests.synthetic import base_columns, images_and_garments, write_examples


@pytest.fixture
def examples(tmp_path: Path) -> Examples:
    """Grouped examples of all splits."""
    return write_examples(tmp_path / "examples")


def test_round_trip(tmp_path: Path) -> None:
    """Images, numbers and texts come back in their order, across files."""
    images, garments = images_and_garments(70, 0)
    columns = base_columns(images, garments, "train", "train")
    shards = write_shards(tmp_path, columns, shard_size=30)
    assert [shard.name for shard in shards] == [f"data_tfrecord-{i:05d}-of-00003.gz" for i in range(3)]
    read = read_arrays(shards, ["image", "garment", "source_id"])
    np.testing.assert_array_equal(read["image"], images)
    np.testing.assert_array_equal(read["garment"], garments)
    assert read["source_id"].tolist() == columns["source_id"]
    assert (read["image"].dtype, read["garment"].dtype) == (np.uint8, np.int64)


def test_files_are_of_nearly_equal_size(tmp_path: Path) -> None:
    """As few files as their largest size allows, and at least one; none holds more."""
    images, garments = images_and_garments(70, 0)
    columns = base_columns(images, garments, "train", "train")
    for size, counts in ((70, [70]), (69, [35, 35]), (24, [23, 23, 24])):
        shards = write_shards(tmp_path / str(size), columns, shard_size=size)
        assert [len(read_arrays([shard], ["garment"])["garment"]) for shard in shards] == counts


def test_texts_keep_their_letters(tmp_path: Path) -> None:
    """Umlauts and empty texts come back, and a bytes feature is the same."""
    texts = ["Röcke & Hosen", "", "x" * 1000]
    shards = write_shards(tmp_path, {"text": texts, "number": np.array([-1, 0, 2**40])})
    read = read_arrays(shards, ["number", "text"])
    assert read["text"].tolist() == texts and read["number"].tolist() == [-1, 0, 2**40]


def test_two_writes_are_the_same_bytes(examples: Examples, tmp_path: Path) -> None:
    """No time, no name and no order of a hash map leaks into a file."""
    again = write_examples(tmp_path / "again")
    for split in examples.splits():
        assert [p.read_bytes() for p in examples.split(split)] == [p.read_bytes() for p in again.split(split)]


def test_a_missing_feature_is_named(examples: Examples) -> None:
    """The message names the feature and those that there are."""
    with pytest.raises(UserError, match="The examples lack colour") as caught:
        read_arrays(examples.split("train"), ["image", "colour"])
    assert "brightness_decile" in caught.value.received


def truncate(shard: Path) -> None:
    """Cuts the file in half."""
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])


def flip_a_bit(shard: Path) -> None:
    """Changes one bit of a record, which the record's checksum shows."""
    content = bytearray(gzip.decompress(shard.read_bytes()))
    content[5000] ^= 1
    shard.write_bytes(gzip.compress(content))


def replace(shard: Path) -> None:
    """Puts something else in the file's place."""
    shard.write_bytes(b"no gzip")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, replace, Path.unlink])
def test_damage_is_named(examples: Examples, damage: object) -> None:
    """A truncated, corrupted, foreign or missing file is an error with the file's name, from both readers."""
    shards = examples.split("train")
    damage(shards[1])
    for read in (lambda: read_arrays(shards), lambda: list(read_record_batches(shards[1]))):
        with pytest.raises(UserError, match=f"{shards[1].name} cannot be read") as caught:
            read()
        assert caught.value.expected == "a gzipped TFRecord file of tf.Example"
        assert caught.value.received and caught.value.next_step == "fashion run --fresh --only example_gen"


def test_a_foreign_record_is_named(examples: Examples) -> None:
    """A whole TFRecord of something other than tf.Example is refused by both readers."""
    import tensorflow as tf

    shard = examples.split("test")[0]
    with tf.io.TFRecordWriter(str(shard), "GZIP") as writer:
        writer.write(b"\xff\xff\xff")
    for read in (lambda: read_arrays([shard]), lambda: list(read_record_batches(shard))):
        with pytest.raises(UserError, match="cannot be read"):
            read()


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    """The shape is checked before anything is trained on it."""
    images, garments = images_and_garments(10, 0)
    shards = write_shards(tmp_path, base_columns(images[:, :27], garments, "train", "train"))
    with pytest.raises(UserError, match="wrong size") as caught:
        read_arrays(shards, ["image"])
    assert "784 bytes" in caught.value.expected and "756" in caught.value.received


def test_record_batches_hold_every_feature(examples: Examples) -> None:
    """Arrow batches carry what was written, whatever it is called."""
    (batch,) = read_record_batches(examples.split("test")[0])
    assert batch.num_rows == 200
    assert {"image", "garment", "near_duplicate_count", "group_name"} <= set(batch.schema.names)
