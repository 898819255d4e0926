"""The exported SavedModel: its signatures agree, and `serving_text` adds the evidence of a description."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.calibration import calibrate
from models.export import calibrated_garments, export_model
from models.families import build
from models.taxonomy import Taxonomy
from models.text_evidence import predict_evidence
from sql.synthetic_descriptions import GARMENTS, describe_all
from tests.serving.exports import CALIBRATION, plain_evidence
from tests.synthetic import images_and_garments

TAXONOMY = Taxonomy.load()
IMAGES, _ = images_and_garments(20, 0)
SYNTHETIC = np.random.default_rng(0).normal(0, 3, (300, 10))
FITTED = calibrate(SYNTHETIC, SYNTHETIC.argmax(axis=1), CALIBRATION.scaling.membership, 0.9)
"""The sharpest calibration: of synthetic logits that are always correct."""


def encoded(pixels: np.ndarray) -> bytes:
    """A PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def example(pixels: np.ndarray) -> bytes:
    """A serialized tf.Example."""
    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[pixels.tobytes()]))
    return bytes(tf.train.Example(features=tf.train.Features(feature={"image": value})).SerializeToString())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, np.ndarray]:
    """The signatures of an exported network, and its logits for the images."""
    model = build("plain", 10, width=8, dropout=0.0)
    directory = tmp_path_factory.mktemp("export")
    export_model(model, CALIBRATION, TAXONOMY, directory)
    return tf.saved_model.load(str(directory)).signatures, np.asarray(model(IMAGES))


def predictions(served: Any) -> list[dict[str, np.ndarray]]:
    """The outputs of the three signatures for the same images."""
    signatures = served[0]
    found = [
        signatures["serving_default"](image=tf.constant(IMAGES)),
        signatures["serving_bytes"](image_bytes=tf.constant([encoded(i) for i in IMAGES])),
        signatures["serving_examples"](examples=tf.constant([example(i) for i in IMAGES])),
    ]
    return [{name: value.numpy() for name, value in outputs.items()} for outputs in found]


def test_signatures_agree(served: Any) -> None:
    """Pixels, files and examples of the same images have the same outputs, name by name."""
    first, *others = predictions(served)
    for other in others:
        assert set(other) == set(first)
        for name, value in first.items():
            if value.dtype.kind == "f":
                np.testing.assert_allclose(other[name], value, atol=1e-6)
            else:
                np.testing.assert_array_equal(other[name], value)


def test_outputs_follow_from_the_logits(served: Any) -> None:
    """Probabilities, names, sets and abstention follow from the logits by calibration and taxonomy."""
    outputs, logits = predictions(served)[0], served[1]
    garments = CALIBRATION.garment_probabilities(logits)
    groups = CALIBRATION.group_probabilities(logits)
    np.testing.assert_allclose(outputs["garment_probabilities"], garments, atol=1e-5)
    np.testing.assert_allclose(outputs["group_probabilities"], groups, atol=1e-5)
    np.testing.assert_allclose(outputs["confidence"], groups.max(axis=1), atol=1e-5)
    assert [g.decode() for g in outputs["group"]] == [TAXONOMY.groups[i] for i in groups.argmax(axis=1)]
    assert [g.decode() for g in outputs["garment"]] == [TAXONOMY.garments[i] for i in garments.argmax(axis=1)]
    np.testing.assert_array_equal(outputs["prediction_set"], groups >= CALIBRATION.thresholds)
    np.testing.assert_array_equal(outputs["abstain"], outputs["prediction_set"].sum(axis=1) != 1)


def test_garments_are_described_by_index(served: Any) -> None:
    """The signature `taxonomy` returns name, group and colour of each garment, in any order."""
    describe, order = served[0]["taxonomy"], [9, 0, 3, 3]
    found = {
        name: value.numpy().tolist() for name, value in describe(garment_index=tf.constant(order, tf.int64)).items()
    }
    groups = [TAXONOMY.group_of[index] for index in order]
    assert found == {
        "garment": [TAXONOMY.garments[index].encode() for index in order],
        "group_index": groups,
        "group": [TAXONOMY.groups[group].encode() for group in groups],
        "colour": [TAXONOMY.colours[group].encode() for group in groups],
    }
    for wrong in (-1, 10):
        with tf.device("/CPU:0"), pytest.raises(tf.errors.InvalidArgumentError):
            describe(garment_index=tf.constant([wrong], tf.int64))


def test_empty_and_ambiguous_prediction_sets_abstain(network: keras.Model, tmp_path: Path) -> None:
    """The model answers for a set of exactly one group; for none, as for several, it abstains."""
    probabilities = CALIBRATION.group_probabilities(np.asarray(network(IMAGES)))
    # Thresholds so near the top of each group's own probabilities that some images have no group and some several.
    thresholds = np.quantile(probabilities, 0.85, axis=0)
    export_model(network, replace(CALIBRATION, thresholds=thresholds), TAXONOMY, tmp_path)
    outputs = tf.saved_model.load(str(tmp_path)).signatures["serving_default"](image=tf.constant(IMAGES))
    sizes = (probabilities >= thresholds).sum(axis=1)
    assert {0, 1, 2} <= set(sizes.tolist())
    np.testing.assert_array_equal(outputs["prediction_set"].numpy().sum(axis=1), sizes)
    np.testing.assert_array_equal(outputs["abstain"].numpy(), sizes != 1)


def test_garments_sum_up_to_their_groups(served: Any) -> None:
    """To the last digit of float32, calibrated or not."""
    outputs = predictions(served)[0]
    summed = outputs["garment_probabilities"] @ np.array(TAXONOMY.membership(), np.float32)
    np.testing.assert_allclose(outputs["group_probabilities"], summed, rtol=3e-7)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1.0, 5.0, 50.0]), st.booleans())
def test_graph_calibrates_as_numpy_does(seed: int, largest: float, corners: bool) -> None:
    """In float32 within 1e-5, for small logits, large ones and the largest next to the smallest."""
    random = np.random.default_rng(seed)
    logits = random.uniform(-largest, largest, (50, 10))
    logits = (np.where(logits > 0, largest, -largest) if corners else logits).astype(np.float32)
    for calibration in (CALIBRATION, FITTED):
        found = calibrated_garments(tf.constant(logits), calibration.scaling).numpy()
        np.testing.assert_allclose(found, calibration.garment_probabilities(logits), rtol=0, atol=1e-5)


def test_only_the_exported_graphs_import_tensorflow() -> None:
    """Any Keras backend can train, because no other module of `models` imports TensorFlow."""
    modules = Path(__file__).resolve().parents[2].joinpath("models").rglob("*.py")
    importing = [
        m.name for m in modules if re.search(r"^\s*(import|from) tensorflow\b", m.read_text("utf-8"), re.MULTILINE)
    ]
    assert sorted(importing) == ["export.py", "image_files.py"]


FILES = [encoded(image) for image in IMAGES]
PLAIN = {"serving_default", "serving_bytes", "serving_examples", "taxonomy"}


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """A small network with its initial weights."""
    keras.utils.set_random_seed(0)
    return build("plain", 10, width=8, dropout=0.0)


@pytest.fixture(scope="module")
def evidence() -> keras.Model:
    """A text model of clean descriptions."""
    return plain_evidence()


@pytest.fixture(scope="module")
def served_with_text(network: keras.Model, evidence: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model exported with a text model."""
    directory = tmp_path_factory.mktemp("export")
    export_model(network, CALIBRATION, TAXONOMY, directory, evidence)
    return tf.saved_model.load(str(directory))


def predict_text(model: Any, texts: list[str]) -> dict[str, np.ndarray]:
    """The outputs of `serving_text` for all images with these texts."""
    found = model.signatures["serving_text"](image_bytes=tf.constant(FILES), description=tf.constant(texts))
    return {name: value.numpy() for name, value in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", " \n", "qwertz zuiop", "!!!"])
def test_without_a_word_the_outputs_are_the_image_s_to_the_bit(served_with_text: Any, text: str) -> None:
    """Every output, also where other products of the same batch have a text."""
    image = served_with_text.signatures["serving_bytes"](image_bytes=tf.constant(FILES))
    alone, beside = (
        predict_text(served_with_text, [text] * len(FILES)),
        predict_text(served_with_text, [text, "a leather bag"] * (len(FILES) // 2)),
    )
    assert set(alone) == set(image)
    for name, value in image.items():
        np.testing.assert_array_equal(alone[name], value.numpy())
        np.testing.assert_array_equal(beside[name][::2], value.numpy()[::2])
    assert (beside["garment_probabilities"][1::2] != alone["garment_probabilities"][1::2]).any()


@pytest.mark.slow
def test_with_a_text_the_probabilities_are_the_product(
    served_with_text: Any, network: keras.Model, evidence: keras.Model
) -> None:
    """The evidence is added after the calibration, and all outputs follow from the sum."""
    texts = describe_all([GARMENTS[index % 10] for index in range(len(FILES))], 1)
    logits = CALIBRATION.scaling.apply(np.asarray(network(IMAGES))) + predict_evidence(evidence, texts)
    garments = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    groups, found = garments @ CALIBRATION.scaling.membership, predict_text(served_with_text, texts)
    np.testing.assert_allclose(found["garment_probabilities"], garments, atol=1e-5)
    np.testing.assert_allclose(found["group_probabilities"], groups, atol=1e-5)
    assert [group.decode() for group in found["group"]] == [TAXONOMY.groups[i] for i in groups.argmax(axis=1)]


@pytest.mark.slow
def test_images_and_descriptions_come_in_pairs(served_with_text: Any) -> None:
    """One description for many images is an error of the request, not broadcast."""
    with pytest.raises(tf.errors.InvalidArgumentError, match="A description for each image"):
        predict_text(served_with_text, ["a coat"])


@pytest.mark.slow
def test_without_a_text_model_nothing_is_added(network: keras.Model, served_with_text: Any, tmp_path: Path) -> None:
    """There are no further signatures, and a text model beside them does not change their outputs."""
    export_model(network, CALIBRATION, TAXONOMY, tmp_path)
    plain = tf.saved_model.load(str(tmp_path))
    assert set(plain.signatures) == PLAIN and set(served_with_text.signatures) == PLAIN | {"serving_text"}
    outputs = [each.signatures["serving_default"](image=tf.constant(IMAGES)) for each in (plain, served_with_text)]
    for name, value in outputs[0].items():
        np.testing.assert_array_equal(outputs[1][name].numpy(), value.numpy())
