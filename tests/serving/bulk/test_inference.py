"""Tests of bulk inference: any number of images in, the model's own scores out, whatever ends the run in between."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from analysis.data.examples import write_shards
from serving.bulk.inference import Summary, score
from serving.bulk.shards import Shard
from serving.bulk.sources import BulkError
from serving.requests.prediction_log import answer, load, predict_request, read_logs
from tests.conftest import ROOT
from tests.serving.exports import export_small, logged_outputs, without_signature
from tests.synthetic import base_columns, images_and_garments

COUNT = 60
PIXELS, GARMENTS = images_and_garments(COUNT, 0)
SHARED = ("group", "garment", "confidence", "abstain", "group_probabilities", "garment_probabilities", "prediction_set")
Make = Callable[[Path], str]


def png(image: np.ndarray) -> bytes:
    """Returns an image as PNG."""
    file = BytesIO()
    Image.fromarray(image).save(file, format="png")
    return file.getvalue()


def records(directory: Path) -> str:
    """Writes two gzipped TFRecord files."""
    write_shards(directory, base_columns(PIXELS, GARMENTS, "validation", "train"), shard_size=40)
    return f"{directory}/*.gz"


def plain_records(directory: Path) -> str:
    """Writes an uncompressed TFRecord file with a neutral name."""
    records(directory / "zipped")
    directory.joinpath("data").write_bytes(
        b"".join(gzip.decompress(p.read_bytes()) for p in sorted((directory / "zipped").iterdir()))
    )
    return str(directory / "data")


def folder(directory: Path) -> str:
    """Writes image files and another file beside them."""
    for index, image in enumerate(PIXELS):
        directory.joinpath(f"{index // 30}").mkdir(exist_ok=True)
        directory.joinpath(f"{index // 30}/{index:03d}.png").write_bytes(png(image))
    directory.joinpath("README.txt").write_text("Garments.")
    return str(directory)


def encoded_parquet(directory: Path) -> str:
    """Writes Parquet with image files and further columns."""
    columns = {
        "id": range(COUNT),
        "title": [f"garment {i}" for i in range(COUNT)],
        "group": ["?"] * COUNT,
        "tags": [["new"]] * COUNT,
        "image_bytes": [png(image) for image in PIXELS],
    }
    parquet.write_table(pa.table({n: list(v) for n, v in columns.items()}), directory / "a.parquet", row_group_size=7)
    return str(directory / "a.parquet")


def pixel_parquet(directory: Path) -> str:
    """Writes Parquet with raw pixels."""
    parquet.write_table(pa.table({"image": [image.tobytes() for image in PIXELS]}), directory / "a.parquet")
    return str(directory)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel."""
    return export_small(tmp_path_factory.mktemp("model")).saved_model


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty directory."""
    path = tmp_path / "source"
    path.mkdir()
    return path


def rows(output: Path) -> dict[str, list[Any]]:
    """Returns all rows of a result."""
    shards = sorted(output.glob("predictions-*.parquet"))
    return pa.concat_tables([parquet.read_table(shard) for shard in shards]).to_pydict()


@pytest.fixture(scope="module")
def expected(model: Path) -> dict[str, np.ndarray]:
    """The outputs of the model in this process."""
    return answer(load(model), predict_request("serving_default", PIXELS))


@pytest.mark.parametrize("make", [records, plain_records, folder, encoded_parquet, pixel_parquet])
def test_every_kind_of_source_scores_as_the_model(
    make: Make, model: Path, expected: dict[str, np.ndarray], source: Path, tmp_path: Path
) -> None:
    """Every kind of source gives the scores of the model in this process, in the order of the source."""
    summary = score(make(source), model, tmp_path / "out", batch_size=16, shard_size=25)
    got = rows(tmp_path / "out")
    assert (summary.images, summary.failed, summary.reused) == (COUNT, 0, 0)
    assert summary.shards >= 2 or make is pixel_parquet, "one row group is one shard"
    for name in SHARED:
        if expected[name].dtype.kind == "f":
            np.testing.assert_allclose(np.array(got[name]), expected[name], atol=1e-6)
        else:
            texts = np.array(got[name], "S") if expected[name].dtype == object else np.array(got[name])
            assert np.array_equal(texts, expected[name].astype(texts.dtype)), name


@pytest.mark.parametrize(
    ("make", "part", "names"),
    [
        (records, slice(None), base_columns(PIXELS, GARMENTS, "validation", "train")["source_id"]),
        (folder, slice(31, 32), ["{source}/1/031.png"]),
        (pixel_parquet, slice(7, 8), ["{source}/a.parquet#7"]),
    ],
)
def test_rows_name_their_source(
    make: Make, part: slice, names: list[str], model: Path, source: Path, tmp_path: Path
) -> None:
    """The name of a row is its id, its path, or its file and number."""
    score(make(source), model, tmp_path / "out")
    assert rows(tmp_path / "out")["source"][part] == [name.format(source=source) for name in names]


def test_other_columns_of_parquet_are_copied(model: Path, source: Path, tmp_path: Path) -> None:
    """Numbers and texts of a Parquet source are copied; one named like an output is renamed, lists are left out."""
    score(encoded_parquet(source), model, tmp_path / "out", shard_size=25)
    got = rows(tmp_path / "out")
    assert got["id"] == list(range(COUNT)) and got["title"][59] == "garment 59"
    assert set(got["input_group"]) == {"?"} and "?" not in got["group"]
    assert "tags" not in got and "image_bytes" not in got


def test_the_summary_counts_the_rows(model: Path, source: Path, tmp_path: Path) -> None:
    """`summary.json` has the returned counts, by group and abstention."""
    reports: list[tuple[int, int]] = []
    summary = score(records(source), model, tmp_path / "out", report=lambda *r: reports.append(r), batch_size=10)
    got = rows(tmp_path / "out")
    assert Summary(**json.loads((tmp_path / "out/summary.json").read_text())) == summary
    assert summary.groups == {group: got["group"].count(group) for group in sorted(set(got["group"]))}
    assert summary.abstained == sum(got["abstain"]) and summary.images_per_second > 0
    assert reports[0] == (0, COUNT) and reports[-1] == (COUNT, COUNT) and reports == sorted(reports)


def test_rows_name_the_model(model: Path, source: Path, tmp_path: Path) -> None:
    """Rows have the number of a pushed version, the digest of another model, or the caller's name."""
    pattern = records(source)
    pushed = tmp_path / "7"
    pushed.symlink_to(model)
    assert score(pattern, pushed, tmp_path / "a").model_version == "7"
    assert len(score(pattern, model, tmp_path / "b").model_version) == 12
    score(pattern, model, tmp_path / "c", model_version="spring")
    assert set(rows(tmp_path / "c")["model_version"]) == {"spring"}


def test_bad_images_are_rows_with_a_reason(model: Path, source: Path, tmp_path: Path) -> None:
    """Files that are empty, damaged or no image have an error and no prediction; the others are not affected."""
    pattern = folder(source)
    score(pattern, model, tmp_path / "good")
    for index, content in {3: b"no image", 17: b"", 18: png(PIXELS[18])[:60]}.items():
        (source / f"0/{index:03d}.png").write_bytes(content)
    summary = score(pattern, model, tmp_path / "out", batch_size=16)
    good, got = rows(tmp_path / "good"), rows(tmp_path / "out")
    assert [i for i, error in enumerate(got["error"]) if error] == [3, 17, 18] and summary.failed == 3
    assert got["group"][3] is None and got["group_probabilities"][3] is None
    assert "003.png is no image" in got["error"][3] and "017.png is empty" in got["error"][17]
    good_rows = [i for i in range(COUNT) if i not in (3, 17, 18)]
    np.testing.assert_allclose(
        [got["confidence"][i] for i in good_rows], [good["confidence"][i] for i in good_rows], atol=1e-6
    )


def test_bad_records_are_rows_with_a_reason(model: Path, source: Path, tmp_path: Path) -> None:
    """A record that is no tf.Example, lacks the image, or holds another size fails alone, not its batch."""
    import tensorflow as tf

    def example(**features: bytes) -> bytes:
        lists = {n: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for n, v in features.items()}
        return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString()

    contents = [example(image=image.tobytes()) for image in PIXELS[:8]]
    contents[1:5] = [b"\xff", example(label=b"1"), example(image=b"\0" * 1568), example(image=b"\0" * 392)]
    with tf.io.TFRecordWriter(str(source / "some.tfrecord")) as writer:
        for content in contents:
            writer.write(content)
    summary = score(str(source / "some.tfrecord"), model, tmp_path / "out")
    got = rows(tmp_path / "out")
    assert [bool(error) for error in got["error"]] == [False, True, True, True, True, False, False, False]
    assert summary.failed == 4 and summary.images == 8
    assert "The record has 2 images instead of one." in got["error"][3] and "image" in got["error"][2]
    assert got["source"][5] == f"{source / 'some.tfrecord'}#5"


def test_bad_pixels_are_rows_with_a_reason(model: Path, source: Path, tmp_path: Path) -> None:
    """Rows with missing pixels or another number of pixels fail alone."""
    parquet.write_table(pa.table({"image": [PIXELS[0].tobytes(), b"12", None]}), source / "a.parquet")
    score(str(source), model, tmp_path / "out")
    first, short, missing = rows(tmp_path / "out")["error"]
    assert first is None and "Received: 2" in short and "Received: 0" in missing


@pytest.mark.parametrize("make", [records, folder, pixel_parquet])
def test_logged_requests_replay(make: Make, model: Path, source: Path, tmp_path: Path) -> None:
    """The log beside a shard has TensorFlow Serving's format, and the model gives each logged answer again."""
    score(make(source), model, tmp_path / "out", log_rate=1, model_version="3")
    logs = [log for path in sorted((tmp_path / "out").glob("*.tfrecord")) for log in read_logs(path)]
    loaded = load(model)
    assert len(logs) == COUNT and logs[0].predict_log.request.model_spec.version.value == 3
    for log in logs[:5]:
        for name, values in answer(loaded, log).items():
            logged = logged_outputs(log)[name]
            assert (
                np.allclose(values, logged, atol=1e-6) if values.dtype.kind == "f" else np.array_equal(values, logged)
            )


def test_log_rate(model: Path, source: Path, tmp_path: Path) -> None:
    """The rate is the approximate share of logged requests, and every run logs the same ones."""
    counts, contents = {}, []
    for rate, name in ((0.0, "a"), (0.3, "b"), (0.3, "c")):
        score(records(source), model, tmp_path / name, log_rate=rate)
        paths = sorted((tmp_path / name).glob("*.tfrecord"))
        counts[rate] = sum(len(read_logs(path)) for path in paths)
        contents.append([path.read_bytes() for path in paths])
    assert counts[0.0] == 0 and 5 <= counts[0.3] <= 35 and contents[1] == contents[2]


KILLED = """
import os, signal, sys
from pathlib import Path
from serving.bulk.inference import score
def report(done, total):
    if done >= 33:
        os.kill(os.getpid(), signal.SIGKILL)
score(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), batch_size=3, shard_size=10, log_rate=0.5, report=report)
"""


def test_a_killed_run_continues(model: Path, source: Path, tmp_path: Path) -> None:
    """Killed during a shard and started again, a run reuses finished shards and ends with the same rows."""
    pattern, options = folder(source), {"batch_size": 3, "shard_size": 10, "log_rate": 0.5}
    score(pattern, model, tmp_path / "whole", **options)  # type: ignore[arg-type]
    output = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, pattern, str(model), str(output)]
    killed = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, timeout=600, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = {p.name: p.stat().st_mtime_ns for p in output.glob("predictions-*")}
    assert len(finished) == 6 and not (output / "summary.json").exists()
    assert sorted(p.name for p in output.glob(".predictions-00003*")), "the fourth had begun"
    summary = score(pattern, model, output, **options)  # type: ignore[arg-type]
    assert summary.reused == 30 and summary.images == COUNT
    assert {name: (output / name).stat().st_mtime_ns for name in finished} == finished
    assert rows(output) == rows(tmp_path / "whole")
    for path in (tmp_path / "whole").glob("*.tfrecord"):
        assert (output / path.name).read_bytes() == path.read_bytes()
    assert not list(output.glob(".predictions-*"))


def test_rows_appear_after_their_log(tmp_path: Path) -> None:
    """Rows mark a finished shard, so a shard whose log cannot appear has none."""
    shard = Shard(tmp_path, 0, 1)
    shard.log.mkdir()
    with pytest.raises(OSError, match="directory"):
        shard.write([(pa.table({"source": ["a"]}), [PredictionLog()])])
    assert not shard.path.exists() and [*tmp_path.iterdir()] == [shard.log]


def test_a_finished_run_is_not_repeated(model: Path, source: Path, tmp_path: Path) -> None:
    """The same call again scores nothing and returns the same counts."""
    pattern = records(source)
    first, again = (score(pattern, model, tmp_path / "out") for _ in range(2))
    assert (again.reused, again.images_per_second, again.groups) == (COUNT, 0, first.groups)


def test_other_model_input_or_parameter_is_refused(model: Path, source: Path, tmp_path: Path) -> None:
    """Another result is not mixed with this one: the error names the difference, and starting over replaces it."""
    pattern, output = folder(source), tmp_path / "out"
    score(pattern, model, output)
    other = export_small(tmp_path / "other", seed=1).saved_model
    with pytest.raises(BulkError, match="(?s)contains another result: model is .* start over"):
        score(pattern, other, output)
    with pytest.raises(BulkError, match="batch_size is 8, but was 256 there"):
        score(pattern, model, output, batch_size=8)
    before = rows(output)
    (source / "0/004.png").write_bytes(png(255 - PIXELS[4]))
    with pytest.raises(BulkError, match="the input differs, .*/0/004.png"):
        score(pattern, model, output)
    assert rows(output) == before
    score(pattern, model, output, start_over=True)
    assert rows(output)["confidence"] != before["confidence"]


@pytest.mark.parametrize("start_over", [False, True])
def test_foreign_files_are_safe(start_over: bool, model: Path, source: Path, tmp_path: Path) -> None:
    """A directory with other files is refused, and starting over removes none of them."""
    output = tmp_path / "out"
    output.mkdir()
    (output / "thesis.tex").write_text("mine")
    with pytest.raises(BulkError, match="contains other files.\n.*\nReceived: thesis.tex"):
        score(records(source), model, output, start_over=start_over)
    assert (output / "thesis.tex").read_text() == "mine" and len(list(output.iterdir())) == 1


def test_result_inside_the_source(model: Path, source: Path, tmp_path: Path) -> None:
    """A result inside the source directory is not scored."""
    pattern = pixel_parquet(source)
    assert score(pattern, model, source / "out").images == COUNT
    assert score(pattern, model, source / "out").reused == COUNT


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("none/*.png", "There is nothing to score"),
        ("notes.txt", "which is neither"),
        ("bad.parquet", "bad.parquet cannot be read"),
        ("texts.parquet", "contains no images.\n.*\nReceived: columns text string"),
        ("mixed", "Parquet and image files"),
        ("cut", "cannot be read.\nExpected: a complete TFRecord"),
        ("a**b", "There is nothing to score"),
    ],
)
def test_unusable_sources(pattern: str, message: str, model: Path, source: Path, tmp_path: Path) -> None:
    """The error says what was received, and nothing is written."""
    (source / "notes.txt").write_text("x")
    (source / "bad.parquet").write_bytes(b"PAR1 and no more")
    parquet.write_table(pa.table({"text": ["a"]}), source / "texts.parquet")
    (source / "mixed").mkdir()
    (source / "mixed/a.png").write_bytes(png(PIXELS[0]))
    (source / "mixed/b.parquet").write_bytes(b"")
    write_shards(source / "cut", base_columns(PIXELS, GARMENTS, "validation", "train"))
    (shard,) = (source / "cut").iterdir()
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(BulkError, match=message):
        score(str(source / pattern), model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unusable_models(model: Path, source: Path, tmp_path: Path) -> None:
    """A missing or damaged model, or one without the signature, is an error before anything is written."""
    lacking = without_signature(export_small(tmp_path / "small"), "serving_bytes", tmp_path / "lacking").saved_model
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "saved_model.pb").write_bytes(b"no model")
    for unusable, message in {
        tmp_path / "none": "There is no model",
        lacking: "Expected: the signature serving_bytes",
        damaged: "cannot be loaded",
    }.items():
        with pytest.raises(BulkError, match=message):
            score(folder(source), unusable, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("parameters", [{"batch_size": 0}, {"shard_size": 0}, {"log_rate": 1.5}], ids=str)
def test_parameters_out_of_range(parameters: dict[str, Any], model: Path, source: Path, tmp_path: Path) -> None:
    """Sizes below one and rates above one are refused."""
    with pytest.raises(BulkError, match="A parameter is out of range"):
        score(records(source), model, tmp_path / "out", **parameters)
