"""Tests of serving.requests.prediction_log: the same image in three forms, and one answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.requests.prediction_log import (
    INPUTS,
    TEXT,
    PredictionLog,
    RequestError,
    answer,
    load,
    predict_request,
    read_logs,
    short_message,
    signatures_of,
    with_answers,
    write_logs,
)
from tests.serving.exports import export_small, logged_outputs
from tests.synthetic import images_and_garments

IMAGES, _ = images_and_garments(3, 0)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A loaded exported model."""
    return load(export_small(tmp_path_factory.mktemp("model")).saved_model)


def test_three_signatures_one_answer(served: object) -> None:
    """Pixels, PNG and tf.Example of the same images have the same answers."""
    first, *others = (answer(served, predict_request(signature, IMAGES)) for signature in INPUTS)
    for other in others:
        assert all(np.array_equal(other[name], values) for name, values in first.items())


@pytest.mark.parametrize("signature", INPUTS)
def test_a_request_with_one_image(served: object, signature: str) -> None:
    """A request with one image has an answer with one row."""
    answers = [answer(served, predict_request(signature, IMAGES[i : i + 1])) for i in range(len(IMAGES))]
    assert [outputs["confidence"].shape for outputs in answers] == [(1,)] * len(IMAGES)


def test_answers_survive_a_file(served: object, tmp_path: Path) -> None:
    """Answers in a file are read back exactly, texts included."""
    log = predict_request("serving_bytes", IMAGES)
    answers = answer(served, log)
    write_logs(tmp_path / "logs", [with_answers(log, answers)])
    (read,) = read_logs(tmp_path / "logs")
    assert all(np.array_equal(logged_outputs(read)[name], values) for name, values in answers.items())


def test_unreadable_image(served: object) -> None:
    """The error about an unreadable image is one readable line."""
    log = PredictionLog()
    log.CopyFrom(predict_request("serving_bytes", IMAGES))
    log.predict_log.request.inputs["image_bytes"].string_val[0] = b"no image"
    with pytest.raises(RequestError, match="serving_bytes gives no answer") as caught:
        answer(served, log)
    assert "\n" not in caught.value.received and "{{" not in str(caught.value)


def test_wrong_input_name(served: object) -> None:
    """An input that the signature does not have is a request error."""
    log = predict_request("serving_bytes", IMAGES)
    log.predict_log.request.model_spec.signature_name = "serving_default"
    with pytest.raises(RequestError, match="serving_default gives no answer"):
        answer(served, log)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("first\nsecond"), "first"),
        (ValueError("  "), "ValueError"),
        (tf.errors.InvalidArgumentError(None, None, "{{node a/b}} Bad [[{{node c}}]]\n\t more"), "Bad"),
        (ValueError("Bad image [Op:DecodePng]"), "Bad image"),
        (RequestError("No.", expected="an answer", received="none"), "No. Expected: an answer. Received: none."),
    ],
)
def test_an_error_is_one_line_without_names_of_nodes(error: Exception, text: str) -> None:
    """Its first line, or its type if it has no message; a user error is whole."""
    assert short_message(error) == text


def test_a_damaged_model_still_has_the_signatures_of_every_model(tmp_path: Path) -> None:
    """They are read without loading the model, which may be broken or missing."""
    (tmp_path / "saved_model.pb").write_bytes(b"no graph")
    assert signatures_of(tmp_path) == signatures_of(tmp_path / "none") == tuple(INPUTS)


def test_a_request_with_descriptions() -> None:
    """Each image has its own, or all have an empty one, which leaves the answer of the image alone."""
    for descriptions, sent in (([], [b""] * 3), (["a", "b", "ü"], [b"a", b"b", "ü".encode()])):
        request = predict_request(TEXT, IMAGES, descriptions).predict_log.request
        assert tf.make_ndarray(request.inputs["description"]).tolist() == sent
        assert (request.model_spec.name, request.model_spec.signature_name) == ("fashion", TEXT)
        assert request.inputs["image_bytes"].string_val[1].startswith(b"\x89PNG")
