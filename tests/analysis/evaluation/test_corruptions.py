"""Corruptions: reproducible, and harder from one severity to the next."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from analysis.data.fashion_mnist import LabelledImages, Source, load
from analysis.evaluation.corruptions import (
    CLEAN,
    CORRUPTIONS,
    EVALUATED_SEVERITY,
    SEVERITIES,
    clean_and_corrupted,
    corrupt,
)
from analysis.exploration.neighbours import search
from models.taxonomy import Taxonomy
from tests.synthetic import images_and_garments

IMAGES, _ = images_and_garments(60, 0)
MANY, _ = images_and_garments(300, 1)
every_corruption = pytest.mark.parametrize("name", CORRUPTIONS)


@pytest.fixture(scope="module")
def training(real_data: Path) -> LabelledImages:
    """The real training images."""
    return load(Source("idx", real_data), verify_checksums=False)["train"]


def distances(images: np.ndarray, name: str) -> list[float]:
    """Returns the mean RMSE to the images given, severity by severity."""
    spoilt = [corrupt(images, name, severity, 1) / 255 for severity in SEVERITIES]
    return [float(np.sqrt(((s - images / 255) ** 2).mean(axis=(1, 2))).mean()) for s in spoilt]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(CORRUPTIONS)), st.sampled_from(SEVERITIES), st.integers(0, 2**40), st.integers(0, 60))
def test_an_image_is_corrupted_alike_in_every_batch(name: str, severity: int, seed: int, count: int) -> None:
    """What follows an image in the batch changes nothing, and asking again gives the same."""
    whole = corrupt(IMAGES, name, severity, seed)
    assert np.array_equal(corrupt(IMAGES[:count], name, severity, seed), whole[:count])


@every_corruption
def test_gives_pixels_and_leaves_the_images_as_they_were(name: str) -> None:
    """The result is uint8 of the same shape in memory of its own; the argument may be read-only."""
    images = IMAGES.copy()
    images.flags.writeable = False
    for severity in SEVERITIES:
        spoilt = corrupt(images, name, severity, 0)
        assert spoilt.dtype == np.uint8 and spoilt.shape == images.shape
        assert spoilt.flags.writeable and not np.shares_memory(spoilt, images)
    assert np.array_equal(images, IMAGES)


@every_corruption
def test_severities_move_away_from_the_image(name: str) -> None:
    """The mean distance to the clean images grows strictly with the severity."""
    found = distances(MANY, name)
    assert found[0] > 0 and all(np.diff(found) > 0), found


@every_corruption
def test_severities_move_away_from_real_images(name: str, training: LabelledImages) -> None:
    """The mean distance grows strictly on real garments as well."""
    found = distances(training.images[:200], name)
    assert found[0] > 0 and all(np.diff(found) > 0), found


def test_another_seed_draws_others() -> None:
    """Whatever is drawn depends on the seed; what draws nothing does not."""
    changed = {name for name in CORRUPTIONS if (corrupt(IMAGES, name, 3, 0) != corrupt(IMAGES, name, 3, 1)).any()}
    fixed = {"gaussian_blur", "scale", "brightness", "contrast", "inversion", "pixelation", "jpeg"}
    assert changed == set(CORRUPTIONS) - fixed


@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", 2), ("vertical_flip", 1)])
def test_flips_are_exact(name: str, axis: int) -> None:
    """Each image is either itself or its mirror image, as many as the severity says, and at 5 all are mirrored."""
    images = images_and_garments(1000, 2)[0]
    mirrored = np.flip(images, axis)
    assert np.array_equal(corrupt(images, name, 5, 0), mirrored)
    spoilt = corrupt(images, name, 2, 0)
    flipped = (spoilt == mirrored).all(axis=(1, 2))
    assert (flipped | (spoilt == images).all(axis=(1, 2))).all()
    assert flipped.mean() == pytest.approx(0.4, abs=0.05)


def test_full_inversion_is_the_negative() -> None:
    """The last severity of the inversion is 255 minus the image."""
    assert np.array_equal(corrupt(IMAGES, "inversion", 5, 0), 255 - IMAGES)


def dot_spread(name: str, severity: int) -> np.ndarray:
    """The variance along rows and columns of the light of a single bright pixel, float64 [N, 2], in squared pixels."""
    dots = np.zeros((200, 28, 28), np.uint8)
    dots[:, 14, 14] = 255
    # Weak light is lost to rounding, so the corruption is applied without it.
    corruption = CORRUPTIONS[name]
    light = corruption.apply(dots, corruption.strengths[severity - 1], np.random.default_rng(0)).astype(float)
    offsets = np.arange(28) - 14
    total = light.sum(axis=(1, 2))
    return np.column_stack([(light.sum(axis=axis) * offsets**2).sum(axis=1) / total for axis in (2, 1)])


def test_noise_and_light_have_the_strength_of_the_evaluated_severity() -> None:
    """At severity 3, on a plain grey: 0.14 of white, a tenth of the pixels, 0.3 of white, 0.7 of the negative."""
    assert EVALUATED_SEVERITY == 3
    grey = np.full((200, 28, 28), 120, np.uint8)
    noise = corrupt(grey, "gaussian_noise", 3, 0).astype(float) - 120
    assert noise.std() == pytest.approx(0.14 * 255, rel=0.02) and noise.mean() == pytest.approx(0, abs=0.5)
    impulses = corrupt(grey, "impulse_noise", 3, 0)
    assert [(impulses == level).mean() for level in (0, 255)] == pytest.approx([0.05, 0.05], abs=0.003)
    assert set(np.unique(impulses)) == {0, 120, 255}
    assert (corrupt(grey, "brightness", 3, 0) == round(120 + 0.3 * 255)).all()
    assert (corrupt(np.full_like(grey, 250), "brightness", 3, 0) == 255).all()
    assert (corrupt(grey, "inversion", 3, 0) == round(120 + 0.7 * (255 - 240))).all()
    halves = grey.copy()
    halves[:, 14:] = 20
    assert np.unique(corrupt(halves, "contrast", 3, 0)).tolist() == [20 + 0.6 * 50, 120 - 0.6 * 50]
    hidden = (corrupt(grey, "occlusion", 3, 0) == 128).sum(axis=(1, 2))
    assert (hidden == 81).all()
    rows, columns = np.nonzero((corrupt(grey, "occlusion", 3, 0) == 128).all(axis=0))
    assert len(rows) == len(columns) == 0, "the squares are not all at one place"


def test_blurs_have_the_strength_of_the_evaluated_severity() -> None:
    """At severity 3: a Gaussian of 1.2 pixels, and a line of six pixels in eight directions."""
    assert dot_spread("gaussian_blur", 3) == pytest.approx(1.2**2, rel=0.02)
    spread = dot_spread("motion_blur", 3)
    # A line has a twelfth of its squared length; sharing each point among four pixels adds about a half.
    assert spread.sum(axis=1) == pytest.approx(6**2 / 12 + 0.45, abs=0.15)
    assert len(np.unique(spread.round(6), axis=0)) >= 3 and spread[:, 0].min() < 0.3 < 2.5 < spread[:, 0].max()


def test_shapes_have_the_strength_of_the_evaluated_severity() -> None:
    """At severity 3 a bar moves 0.35 pixels a row to either side, and a square shrinks to 70%."""
    bars = np.zeros((60, 28, 28), np.uint8)
    bars[:, :, 13:15] = 200
    sheared = corrupt(bars, "shear", 3, 0).astype(float)
    centres = (sheared * np.arange(28)).sum(axis=2)[:, 4:24] / sheared.sum(axis=2)[:, 4:24]
    slopes = np.diff(centres, axis=1).mean(axis=1)
    assert np.abs(slopes) == pytest.approx(0.35, abs=0.02) and set(np.sign(slopes)) == {-1, 1}
    squares = np.zeros((1, 28, 28), np.uint8)
    squares[:, 4:24, 4:24] = 200
    shrunk = corrupt(squares, "scale", 3, 0).sum() / squares.sum()
    assert shrunk == pytest.approx(0.7**2, rel=0.03)
    files = corrupt(IMAGES, "jpeg", 3, 0)
    buffer = BytesIO()
    Image.fromarray(IMAGES[0]).save(buffer, "JPEG", quality=15)
    assert np.array_equal(files[0], np.asarray(Image.open(buffer)))


def test_shot_noise_has_the_moments_of_photons() -> None:
    """Of a plain grey the mean stays and the variance is the mean over the photons; black stays black."""
    grey = np.full((100, 28, 28), 102, np.uint8)
    light = corrupt(grey, "shot_noise", 3, 0) / 255
    assert light.mean() == pytest.approx(0.4, rel=0.02)
    assert light.var() == pytest.approx(0.4 * CORRUPTIONS["shot_noise"].strengths[2], rel=0.05)
    assert not corrupt(np.zeros_like(grey), "shot_noise", 5, 0).any()


def test_rotation_turns_a_line_by_its_degrees() -> None:
    """A bar across becomes a bar at the angle of the severity, to either side."""
    bars = np.zeros((40, 28, 28), np.uint8)
    bars[:, 13:15, 4:24] = 255
    row, column = np.mgrid[:28, :28] - 13.5
    turned = corrupt(bars, "rotation", 3, 0).astype(float)
    slopes = (turned * row * column).sum(axis=(1, 2)) / (turned * column**2).sum(axis=(1, 2))
    degrees = np.degrees(np.arctan(slopes))
    assert np.abs(degrees) == pytest.approx(CORRUPTIONS["rotation"].strengths[2], abs=1)
    assert set(np.sign(degrees)) == {-1, 1}


def test_blurs_keep_the_light() -> None:
    """What spreads pixels neither adds nor loses light inside the image."""
    dot = np.zeros((8, 28, 28), np.uint8)
    dot[:, 12:16, 12:16] = 240
    for name in ("gaussian_blur", "motion_blur"):
        for severity in SEVERITIES:
            spread = corrupt(dot, name, severity, 0).sum(axis=(1, 2), dtype=np.int64)
            assert spread == pytest.approx(240 * 16, rel=0.05), (name, severity)


def test_pixelation_takes_means_of_blocks() -> None:
    """At the severity whose blocks are two pixels wide, each four pixels are replaced by their mean."""
    assert CORRUPTIONS["pixelation"].strengths[1] == 2
    means = IMAGES.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    assert np.abs(corrupt(IMAGES, "pixelation", 2, 0)[:, ::2, 1::2] - means).max() <= 0.5


def test_stronger_occlusion_hides_all_that_a_weaker_one_hid() -> None:
    """The squares of an image have one centre, so that severities can be compared image by image."""
    white = np.full((50, 28, 28), 255, np.uint8)
    hidden = [corrupt(white, "occlusion", severity, 0) == 128 for severity in SEVERITIES]
    assert all((weak <= strong).all() for weak, strong in pairwise(hidden))
    assert hidden[0].sum(axis=(1, 2)).tolist() == [25] * 50


@pytest.mark.slow
def test_nearest_neighbour_does_not_profit_from_severity(training: LabelledImages) -> None:
    """On real garments 1-NN loses group accuracy or keeps it as severity grows, and little of it at the first."""
    groups = np.array(Taxonomy.load().group_of)[training.garments]
    known, images = training.images[:2000].reshape(2000, -1).astype(np.float32), training.images[2000:2400]
    for name in CORRUPTIONS:
        spoilt = [images, *(corrupt(images, name, severity, 0) for severity in (1, 3, 5))]
        nearest = [search(s.reshape(len(s), -1).astype(np.float32), known, 1)[0][:, 0] for s in spoilt]
        accuracy = [float((groups[near] == groups[2000:2400]).mean()) for near in nearest]
        assert max(np.diff(accuracy)) < 0.05, (name, accuracy)
        # Of the flips a fifth of the images get the whole.
        assert "flip" in name or accuracy[1] > accuracy[0] - 0.06, (name, accuracy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "fog"}, "No such corruption. Expected: one of gaussian_noise, .* Received: 'fog'"),
        ({"severity": 0}, "No such severity. Expected: a whole number from 1 to 5. Received: 0"),
        ({"severity": 2.0}, "No such severity. .* Received: 2.0"),
        ({"seed": -1}, "A seed is negative. Expected: 0 or more. Received: -1"),
        ({"images": IMAGES / 255}, r"Expected: uint8 \[N, 28, 28\]. Received: float64 \[60, 28, 28\]"),
        ({"images": IMAGES[0]}, r"Expected: uint8 \[N, 28, 28\]. Received: uint8 \[28, 28\]"),
        ({"images": IMAGES[:, :27]}, r"Received: uint8 \[60, 27, 28\]"),
    ],
)
def test_says_what_it_cannot_corrupt(change: dict[str, Any], message: str) -> None:
    """Another name, severity, seed, shape or type is refused, and the message says what would be right."""
    with pytest.raises(ValueError, match=message):
        corrupt(**({"images": IMAGES, "name": "shear", "severity": 1, "seed": 0} | change))


def test_every_corruption_stands_beside_the_clean_images() -> None:
    """The images as they were come first, and then what `corrupt` makes of them under each name."""
    before = IMAGES.copy()
    found = clean_and_corrupted(IMAGES, EVALUATED_SEVERITY, 4)
    assert list(found) == [CLEAN, *CORRUPTIONS] and np.array_equal(found.pop(CLEAN), before)
    assert all(np.array_equal(images, corrupt(IMAGES, name, EVALUATED_SEVERITY, 4)) for name, images in found.items())
