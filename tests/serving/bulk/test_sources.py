"""Tests of serving.bulk.sources: which files are scored, how they are cut into shards, and what a batch holds."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
import tensorflow as tf
from PIL import Image
from pyarrow import parquet

from serving.bulk import sources
from serving.bulk.shards import Counts, describe_files
from serving.bulk.sources import (
    IMAGES,
    PARQUET,
    PIXELS,
    TFRECORD,
    BulkError,
    Unit,
    cut_into_units,
    find_files,
    read_batches,
)
from tests.serving.images.test_encoding import COLOURS, decoded, encoded


def touch(directory: Path, *names: str) -> None:
    """Creates files with their folders."""
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).touch()


def found(directory: Path, pattern: str) -> list[str]:
    """The names of the files that a pattern below a directory matches."""
    return [path.relative_to(directory).as_posix() for path in find_files(f"{directory}/{pattern}", directory / "out")]


def test_which_files_a_pattern_matches(tmp_path: Path) -> None:
    """A directory with everything below it, a glob, or one file, sorted; neither hidden files nor the result."""
    touch(tmp_path, "b/2.png", "b/1.png", "a/3.png", "c.png", "[c].png", ".hidden.png", "b/.git/4.png", "out/5.png")
    everything = ["[c].png", "a/3.png", "b/1.png", "b/2.png", "c.png"]
    assert found(tmp_path, "") == everything and found(tmp_path, "a/**/*.png") == ["a/3.png"]
    assert found(tmp_path, "*.png") == ["[c].png", "c.png"] and found(tmp_path, "b") == ["b/1.png", "b/2.png"]
    assert found(tmp_path, "[c].png") == ["[c].png"] and found(tmp_path, "[ab]") == everything[1:4]
    with pytest.raises(BulkError, match="There is nothing to score"):
        found(tmp_path, "out/*")
    with pytest.raises(BulkError, match="A source has no name"):
        find_files("", tmp_path)


def write_records(path: Path, count: int) -> str:
    """Writes a TFRecord file."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(count):
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"item %d" % number]))
            example = tf.train.Example(features=tf.train.Features(feature={"source_id": feature}))
            writer.write(example.SerializeToString())
    return str(path)


@pytest.mark.parametrize(
    ("count", "size", "bounds"),
    [(60, 25, [0, 20, 40, 60]), (60, 60, [0, 60]), (61, 60, [0, 30, 61]), (60, 1_000, [0, 60]), (1, 1, [0, 1]),
     (34, 1, [34 * n // 16 for n in range(17)])],
)  # fmt: skip
def test_a_file_of_records_is_cut_evenly(count: int, size: int, bounds: list[int], tmp_path: Path) -> None:
    """Every record is in one unit, of at most `size` images unless that were more than 16 units; names go on."""
    file = write_records(tmp_path / "a.tfrecord", count)
    units = cut_into_units([Path(file)], size)
    parts = list(pairwise(bounds))
    assert units == [Unit(TFRECORD, (file,), begin, end, end - begin) for begin, end in parts]
    batches = [batch for unit in units for batch in read_batches(unit, 7)]
    assert [name for batch in batches for name in batch.sources] == [f"item {n}" for n in range(count)]
    assert max(len(batch.sources) for batch in batches) == min(7, max(unit.images for unit in units))


def test_parquet_is_cut_between_its_row_groups(tmp_path: Path) -> None:
    """A unit ends with the row group that fills it; names hold the number of the row in the file."""
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"image": [bytes(784)] * 60}), path, row_group_size=7)
    units = cut_into_units([path, path], 20)[:3]
    assert [(unit.kind, unit.start, unit.stop, unit.images) for unit in units] == [
        (PIXELS, 0, 3, 21), (PIXELS, 3, 6, 21), (PIXELS, 6, 9, 18)
    ]  # fmt: skip
    (batch,) = read_batches(units[2], 256)
    assert batch.sources == [f"{path}#{row}" for row in range(42, 60)] and batch.errors == {}
    assert [len(part.sources) for part in read_batches(units[0], 8)] == [8, 8, 5]


def test_image_files_are_cut_by_number(tmp_path: Path) -> None:
    """Other files beside them are left out, and a batch also ends where its files are large."""
    touch(tmp_path, *(f"{n}.png" for n in range(5)), "README.txt")
    files = find_files(str(tmp_path), tmp_path / "out")
    assert [(u.kind, [Path(f).name for f in u.files], u.images) for u in cut_into_units(files, 2)] == [
        (IMAGES, ["0.png", "1.png"], 2), (IMAGES, ["2.png", "3.png"], 2), (IMAGES, ["4.png"], 1)
    ]  # fmt: skip


def test_images_are_sent_as_people_see_them(tmp_path: Path) -> None:
    """A file that the graph would read otherwise, such as a turned photograph or WebP, is sent as an upright PNG."""
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = {"a.jpg": encoded(COLOURS, "JPEG", exif=exif), "b.webp": encoded(COLOURS, "WEBP"), "c.png": b"broken"}
    for name, content in kinds.items():
        (tmp_path / name).write_bytes(content)
    (unit,) = cut_into_units(find_files(str(tmp_path), tmp_path / "out"), 9)
    (batch,) = read_batches(unit, 9)
    turned, converted, broken = batch.payloads
    assert turned is not None and converted is not None and broken is None
    assert (decoded(turned).size, decoded(converted).size) == (COLOURS.size[::-1], COLOURS.size)
    assert turned[:4] == converted[:4] == b"\x89PNG" and list(batch.errors) == [2]


def test_large_payloads_end_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many images a batch may have, its bytes are bounded."""
    monkeypatch.setattr(sources, "BATCH_BYTES", 10)
    rows = [("a", b"12345", ""), ("b", None, "is damaged"), ("c", b"123456", ""), ("d", b"1" * 11, ""), ("e", b"1", "")]
    batches = list(sources._group(iter(rows), 4))
    assert [batch.sources for batch in batches] == [["a", "b", "c"], ["d"], ["e"]]
    assert [batch.errors for batch in batches] == [{1: "is damaged"}, {}, {}]
    assert [len(batch.sources) for batch in sources._group(iter([("a", b"", "")] * 9), 4)] == [4, 4, 1]


def test_the_content_tells_the_kind_where_the_name_does_not(tmp_path: Path) -> None:
    """A file without a suffix is known by its first bytes; files of two kinds are refused."""
    contents = {
        "png": (b"\x89PNG\r\n\x1a\n" + bytes(9), IMAGES),
        "jpeg": (b"\xff\xd8\xff\xe0" + bytes(9), IMAGES),
        "gif": (b"GIF89a" + bytes(9), IMAGES),
        "parquet": (b"PAR1" + bytes(9), PARQUET),
        "record": ((4).to_bytes(8, "little") + bytes(12), TFRECORD),
        "short": ((5).to_bytes(8, "little") + bytes(12), ""),
        "text": (b"Garments for all.", ""),
        "a.PNG": (b"", IMAGES),
        "a.pq": (b"", PARQUET),
        "tfrecord-00000": (b"", TFRECORD),
        "b.gz": (b"\x1f\x8b" + bytes(12), TFRECORD),
        "b.bin": (b"\x1f\x8b" + bytes(12), ""),
    }
    for name, (content, _) in contents.items():
        (tmp_path / name).write_bytes(content)
    assert {name: sources._kind(tmp_path / name) for name in contents} == {n: kind for n, (_, kind) in contents.items()}


def test_counts_add_up() -> None:
    """The summary of a result is the sum over its shards, each figure by itself."""
    one, other = Counts(10, 1, Counter({"Shoes": 5, "Bags": 4}), 3), Counts(20, 2, Counter({"Shoes": 18}), 0)
    assert one + other == Counts(30, 3, Counter({"Shoes": 23, "Bags": 4}), 3)


def test_a_changed_file_changes_the_description(tmp_path: Path) -> None:
    """Names, sizes and times count, of every file, also beyond those that are listed."""
    files = [tmp_path / f"{n:04d}" for n in range(1_001)]
    touch(tmp_path, *(file.name for file in files))
    before = describe_files(files)
    assert (before["count"], len(before["first"])) == (1_001, 1_000) and str(files[-1]) not in before["first"]
    files[-1].write_text("changed")
    after = describe_files(files)
    assert after["digest"] != before["digest"] and after["first"] == before["first"]
    assert describe_files(files) == after and describe_files(files[:-1])["digest"] not in (
        before["digest"],
        after["digest"],
    )
