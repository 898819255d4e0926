"""The signature that reads a description too: the image's answer without one, and what both models say with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.export import export_model
from models.families import build
from models.taxonomy import Taxonomy
from models.text_evidence import predict_evidence
from sql.descriptions import GARMENTS, describe_all
from tests.models.test_export import IMAGES, encoded
from tests.serving.exports import CALIBRATION, plain_evidence

pytestmark = pytest.mark.slow

TAXONOMY = Taxonomy.load()
FILES = [encoded(image) for image in IMAGES]
PLAIN = {"serving_default", "serving_bytes", "serving_examples"}


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """A small network with the first weights."""
    keras.utils.set_random_seed(0)
    return build("plain", 10, width=8, dropout=0.0)


@pytest.fixture(scope="module")
def evidence() -> keras.Model:
    """Of clean texts."""
    return plain_evidence()


@pytest.fixture(scope="module")
def served(network: keras.Model, evidence: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model exported with a text model."""
    directory = tmp_path_factory.mktemp("export")
    export_model(network, CALIBRATION, TAXONOMY, directory, evidence)
    return tf.saved_model.load(str(directory))


def ask(served: Any, texts: list[str]) -> dict[str, np.ndarray]:
    """The answers about all images with these texts."""
    found = served.signatures["serving_text"](image_bytes=tf.constant(FILES), description=tf.constant(texts))
    return {name: value.numpy() for name, value in found.items()}


@pytest.mark.parametrize("text", ["", " \n", "qwertz zuiop", "!!!"])
def test_without_a_word_the_answer_is_the_image_s_to_the_bit(served: Any, text: str) -> None:
    """Every output, also where other products of the same batch have a text."""
    image = served.signatures["serving_bytes"](image_bytes=tf.constant(FILES))
    alone, beside = ask(served, [text] * len(FILES)), ask(served, [text, "a leather bag"] * (len(FILES) // 2))
    assert set(alone) == set(image)
    for name, value in image.items():
        np.testing.assert_array_equal(alone[name], value.numpy())
        np.testing.assert_array_equal(beside[name][::2], value.numpy()[::2])
    assert (beside["garment_probabilities"][1::2] != alone["garment_probabilities"][1::2]).any()


def test_with_a_text_the_answer_is_the_product(served: Any, network: keras.Model, evidence: keras.Model) -> None:
    """The evidence is added behind the calibration, and all outputs follow from the sum."""
    texts = describe_all([GARMENTS[place % 10] for place in range(len(FILES))], 1)
    logits = CALIBRATION.scaling.apply(np.asarray(network(IMAGES))) + predict_evidence(evidence, texts)
    garments = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    groups, found = garments @ CALIBRATION.scaling.membership, ask(served, texts)
    np.testing.assert_allclose(found["garment_probabilities"], garments, atol=1e-5)
    np.testing.assert_allclose(found["group_probabilities"], groups, atol=1e-5)
    assert [group.decode() for group in found["group"]] == [TAXONOMY.groups[i] for i in groups.argmax(axis=1)]


def test_images_and_descriptions_come_in_pairs(served: Any) -> None:
    """One description for many images is an error of the request, not spread over them."""
    with pytest.raises(tf.errors.InvalidArgumentError, match="A description for each image"):
        ask(served, ["a coat"])


def test_without_a_text_model_nothing_is_added(network: keras.Model, served: Any, tmp_path: Path) -> None:
    """The three signatures of before, whose answers a text model beside them does not change."""
    export_model(network, CALIBRATION, TAXONOMY, tmp_path)
    plain = tf.saved_model.load(str(tmp_path))
    assert set(plain.signatures) == PLAIN and set(served.signatures) == PLAIN | {"serving_text"}
    answers = [each.signatures["serving_default"](image=tf.constant(IMAGES)) for each in (plain, served)]
    for name, value in answers[0].items():
        np.testing.assert_array_equal(answers[1][name].numpy(), value.numpy())
