"""What is served: three signatures with one answer, and pictures of the world made to look like the data."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.calibration import calibrate
from models.export import calibrated_garments, export_model
from models.families import build
from models.image_files import fit_image
from models.taxonomy import Taxonomy
from tests.serving.exports import CALIBRATION
from tests.synthetic import images_and_garments

TAXONOMY = Taxonomy.load()
IMAGES, _ = images_and_garments(20, 0)
MADE_UP = np.random.default_rng(0).normal(0, 3, (300, 10))
FITTED = calibrate(MADE_UP, MADE_UP.argmax(axis=1), CALIBRATION.scaling.membership, 0.9)
"""The sharpest there is: made up logits that are always right."""


def encoded(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode, dither=Image.Dither.NONE) if mode else image).save(buffer, kind)
    return buffer.getvalue()


def example(pixels: np.ndarray) -> bytes:
    """A serialized tf.Example."""
    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[pixels.tobytes()]))
    return bytes(tf.train.Example(features=tf.train.Features(feature={"image": value})).SerializeToString())


def photo(item: tuple[int, int, int] = (180, 40, 60), ground: int = 250) -> np.ndarray:
    """A T: 300 pixels high, 200 wide, its bar at the top; uint8 RGB."""
    picture = np.full((300, 200, 3), ground, np.uint8)
    picture[40:80, 50:150] = picture[80:260, 85:115] = item
    return picture


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, np.ndarray]:
    """The signatures of an exported network, and its logits for the images."""
    model = build("plain", 10, width=8, dropout=0.0)
    directory = tmp_path_factory.mktemp("export")
    export_model(model, CALIBRATION, TAXONOMY, directory)
    return tf.saved_model.load(str(directory)).signatures, np.asarray(model(IMAGES))


def answers(served: Any) -> list[dict[str, np.ndarray]]:
    """The answers of the three signatures to the same images."""
    signatures = served[0]
    found = [
        signatures["serving_default"](image=tf.constant(IMAGES)),
        signatures["serving_bytes"](image_bytes=tf.constant([encoded(i) for i in IMAGES])),
        signatures["serving_examples"](examples=tf.constant([example(i) for i in IMAGES])),
    ]
    return [{name: value.numpy() for name, value in answer.items()} for answer in found]


def test_signatures_agree(served: Any) -> None:
    """Pixels, files and examples of the same images get the same answers, name by name."""
    first, *others = answers(served)
    for other in others:
        assert set(other) == set(first)
        for name, value in first.items():
            if value.dtype.kind == "f":
                np.testing.assert_allclose(other[name], value, atol=1e-6)
            else:
                np.testing.assert_array_equal(other[name], value)


def test_outputs_follow_from_the_logits(served: Any) -> None:
    """Probabilities, names, sets and abstention are what calibration and taxonomy make of the logits."""
    answer, logits = answers(served)[0], served[1]
    garments = CALIBRATION.garment_probabilities(logits)
    groups = CALIBRATION.group_probabilities(logits)
    np.testing.assert_allclose(answer["garment_probabilities"], garments, atol=1e-5)
    np.testing.assert_allclose(answer["group_probabilities"], groups, atol=1e-5)
    np.testing.assert_allclose(answer["confidence"], groups.max(axis=1), atol=1e-5)
    assert [g.decode() for g in answer["group"]] == [TAXONOMY.groups[i] for i in groups.argmax(axis=1)]
    assert [g.decode() for g in answer["garment"]] == [TAXONOMY.garments[i] for i in garments.argmax(axis=1)]
    np.testing.assert_array_equal(answer["prediction_set"], groups >= CALIBRATION.thresholds)
    np.testing.assert_array_equal(answer["abstain"], answer["prediction_set"].sum(axis=1) != 1)


def test_garments_sum_up_to_their_groups(served: Any) -> None:
    """To the last digit of float32, calibrated or not."""
    answer = answers(served)[0]
    summed = answer["garment_probabilities"] @ np.array(TAXONOMY.membership(), np.float32)
    np.testing.assert_allclose(answer["group_probabilities"], summed, rtol=3e-7)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1.0, 5.0, 50.0]), st.booleans())
def test_graph_calibrates_as_numpy_does(seed: int, largest: float, corners: bool) -> None:
    """In float32 within 1e-5, for mild logits, large ones and the largest next to the smallest."""
    random = np.random.default_rng(seed)
    logits = random.uniform(-largest, largest, (50, 10))
    logits = (np.where(logits > 0, largest, -largest) if corners else logits).astype(np.float32)
    for calibration in (CALIBRATION, FITTED):
        found = calibrated_garments(tf.constant(logits), calibration.scaling).numpy()
        np.testing.assert_allclose(found, calibration.garment_probabilities(logits), rtol=0, atol=1e-5)


def test_image_of_the_right_size_is_taken_as_it_is() -> None:
    """A grey PNG of 28 x 28 arrives with exactly its pixels, also when its edge is bright."""
    for image in (*IMAGES, 255 - IMAGES[0]):
        np.testing.assert_array_equal(fit_image(tf.constant(encoded(image))).numpy(), image)


def test_fit_is_the_same_eagerly_and_in_a_graph() -> None:
    """The graph that is served computes what was tested."""
    data = tf.constant(encoded(photo(), "JPEG"))
    np.testing.assert_array_equal(fit_image(data).numpy(), tf.function(fit_image)(data).numpy())


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "RGBA"), ("GIF", "P"), ("BMP", "RGB")],
)
def test_photo_on_white_lands_bright_on_dark_upright_and_full(kind: str, mode: str) -> None:
    """A T on a white ground fills the height of the square, bright, its bar at the top, in every format."""
    fitted = fit_image(tf.constant(encoded(photo(), kind, mode))).numpy()
    rows, columns = np.flatnonzero((fitted > 60).any(axis=1)), np.flatnonzero((fitted > 60).any(axis=0))
    assert fitted.dtype == np.uint8 and fitted[:, 0].max() < 20 and fitted[14, 14] > 100
    assert rows[0] <= 1 and rows[-1] >= 26, "trimmed and scaled to the full height"
    assert (fitted[2] > 60).sum() > 2 * (fitted[20] > 60).sum(), "the bar is at the top"
    assert abs((columns[0] + columns[-1]) / 2 - 13.5) <= 1, "centred"


def test_dark_ground_is_not_inverted() -> None:
    """A bright item on black stays bright on black."""
    fitted = fit_image(tf.constant(encoded(photo((240, 240, 240), 0)))).numpy()
    assert fitted[14, 14] > 200 and fitted[20, 2] == 0


def test_transparent_pixels_count_as_white() -> None:
    """An item cut out on a transparent ground is read like one on white."""
    colour = photo()
    alpha = np.where((colour == 250).all(axis=2), 0, 255).astype(np.uint8)
    cut = np.dstack([np.where(alpha[..., None] == 0, 0, colour), alpha]).astype(np.uint8)
    white = np.where(alpha[..., None] == 0, 255, colour).astype(np.uint8)
    np.testing.assert_array_equal(
        fit_image(tf.constant(encoded(cut))).numpy(), fit_image(tf.constant(encoded(white))).numpy()
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (28, 28)])
def test_any_size_fits(shape: tuple[int, int]) -> None:
    """A single pixel, a line and an empty picture come out as 28 x 28."""
    blank = np.full((*shape, 3), 200, np.uint8)
    assert fit_image(tf.constant(encoded(blank))).numpy().shape == (28, 28)


def test_bytes_that_are_no_image_are_refused() -> None:
    """A file that is no image is an error of the request, not an answer."""
    with pytest.raises(tf.errors.InvalidArgumentError):
        fit_image(tf.constant(b"<html>no image</html>"))
