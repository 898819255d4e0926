"""Tests of serving.requests.warmup: what TensorFlow Serving will read and replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from pipeline.contract.artifacts import Model
from serving.requests.prediction_log import INPUTS, TEXT, predict_request, read_logs, signatures_of, write_logs
from serving.requests.warmup import FILE_NAME, MAX_RECORDS, WarmupError, push_warm, replay_warmup, write_warmup
from tests.serving.exports import export_small, without_signature
from tests.synthetic import images_and_garments

IMAGES, _ = images_and_garments(20, 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """An exported model."""
    return export_small(tmp_path_factory.mktemp("model"))


@pytest.fixture
def warmup(tmp_path: Path) -> Path:
    """The file to write."""
    return tmp_path / "tf_serving_warmup_requests"


def test_covers_every_signature_and_size(warmup: Path) -> None:
    """Each signature has requests with one image and with many, as uncompressed TFRecords of PredictionLog."""
    assert write_warmup(warmup, IMAGES, singles=2, batch=16) == 9
    logs = [PredictionLog.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(warmup))]
    requests = [
        (r.model_spec.name, r.model_spec.signature_name, key, tensor.tensor_shape.dim[0].size)
        for r in (log.predict_log.request for log in logs)
        for key, tensor in r.inputs.items()
    ]
    assert requests == [("fashion", name, key, size) for name, key in INPUTS.items() for size in (1, 1, 16)]
    pixels = [tf.make_ndarray(log.predict_log.request.inputs["image"]) for log in logs[:3]]
    for sent, wanted in zip(pixels, (IMAGES[:1], IMAGES[1:2], IMAGES[:16]), strict=True):
        np.testing.assert_array_equal(sent, wanted)


def test_same_bytes(warmup: Path, tmp_path: Path) -> None:
    """The same images give the same bytes, so that pushing the same model again adds no version."""
    write_warmup(warmup, IMAGES, singles=2, batch=16)
    write_warmup(tmp_path / "again", IMAGES, singles=2, batch=16)
    assert warmup.read_bytes() == (tmp_path / "again").read_bytes()


def test_fewer_images_than_requests(warmup: Path) -> None:
    """With few images there are as many requests as images."""
    assert write_warmup(warmup, IMAGES[:2], singles=8, batch=32) == 9


def test_more_requests_than_serving_accepts(warmup: Path) -> None:
    """More than a thousand requests are refused: Serving would not load the version."""
    images, _ = images_and_garments(400, 0)
    with pytest.raises(WarmupError, match="Expected: at most 1000\nReceived: 1203"):
        write_warmup(warmup, images, singles=400, batch=32)


def test_as_many_requests_as_serving_accepts(tmp_path: Path) -> None:
    """The limit is inclusive: the most that the Pusher can be asked for, for a model that also reads descriptions."""
    images = np.zeros((249, 28, 28), np.uint8)
    assert write_warmup(tmp_path / "warmup", images, 249, 1, (*INPUTS, TEXT)) == MAX_RECORDS
    assert len(read_logs(tmp_path / "warmup")) == MAX_RECORDS


def test_replay(model: Model, warmup: Path) -> None:
    """Every request in the file is read back and answered by the model."""
    count = write_warmup(warmup, IMAGES, singles=2, batch=16)
    assert replay_warmup(warmup, model.saved_model) == count


def test_a_model_that_reads_descriptions(model: Model, warmup: Path, tmp_path: Path) -> None:
    """Its fourth signature has warm-up requests, and a file without them is refused."""
    reading = export_small(tmp_path / "model", texts=True)
    assert (signatures_of(model.saved_model), signatures_of(reading.saved_model)) == (tuple(INPUTS), (*INPUTS, TEXT))
    count = write_warmup(warmup, IMAGES, singles=2, batch=16, signatures=signatures_of(reading.saved_model))
    assert count == 12 == replay_warmup(warmup, reading.saved_model)
    write_warmup(warmup, IMAGES, singles=2, batch=16)
    with pytest.raises(WarmupError, match="Expected: .*, serving_text\nReceived: [^,]*, [^,]*, [^,]*$"):
        replay_warmup(warmup, reading.saved_model)


def test_replay_on_another_model(model: Model, warmup: Path, tmp_path: Path) -> None:
    """A request that the model cannot answer is named by its number."""
    write_warmup(warmup, IMAGES, singles=1, batch=16)
    other = without_signature(model, "serving_examples", tmp_path / "model")
    with pytest.raises(WarmupError, match="request 5 of 6 fails.\nReceived: There is no signature serving_examples"):
        replay_warmup(warmup, other.saved_model)


def test_replay_without_all_signatures(model: Model, warmup: Path) -> None:
    """A file without requests to one of the signatures is refused."""
    write_logs(warmup, [predict_request("serving_default", IMAGES)])
    with pytest.raises(WarmupError, match="do not cover the signatures.\n.*\nReceived: serving_default"):
        replay_warmup(warmup, model.saved_model)


def test_nothing_is_pushed_that_cannot_be_warmed_up(model: Model, tmp_path: Path) -> None:
    """The requests are replayed before the push, unless a server does that; the pushed version carries them."""
    saved = without_signature(model, "serving_examples", tmp_path / "model").saved_model
    with pytest.raises(WarmupError, match="There is no signature serving_examples"):
        push_warm(saved, tmp_path / "base", IMAGES, singles=2, batch=16)
    assert not (tmp_path / "base").exists()
    assert push_warm(saved, tmp_path / "base", IMAGES, singles=2, batch=16, replay=False).number == 1
    pushed = push_warm(model.saved_model, tmp_path / "base", IMAGES, singles=2, batch=16, keep=1)
    assert [path.name for path in (tmp_path / "base").iterdir() if path.name.isdigit()] == ["2"]
    assert len(read_logs(pushed.path / "assets.extra" / FILE_NAME)) == 9


def test_an_answer_that_is_not_finite_is_refused(model: Model, warmup: Path, tmp_path: Path) -> None:
    """The error names the request and the output."""
    weights = [np.full((784, 10), np.nan, np.float32), np.zeros(10, np.float32)]
    broken = export_small(tmp_path / "model", weights=weights)
    write_warmup(warmup, IMAGES, singles=1, batch=2)
    with pytest.raises(WarmupError, match="Warm-up request 1 of 6 fails.\nExpected: finite "):
        replay_warmup(warmup, broken.saved_model)


def test_replay_of_a_damaged_file(model: Model, warmup: Path) -> None:
    """A file that is no TFRecord file is refused."""
    warmup.write_bytes(b"nothing of the kind")
    with pytest.raises(WarmupError, match="cannot be read"):
        replay_warmup(warmup, model.saved_model)
