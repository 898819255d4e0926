"""Out-of-distribution images are reproducible, varied, and made of garments where they need them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.experiments.measures.ood_images import KINDS, draw_ood_images
from tests.synthetic import images_and_garments

GARMENTS, _ = images_and_garments(50, 0)
every_kind = pytest.mark.parametrize("name", KINDS)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(0, 2**40), st.integers(0, 12))
def test_the_first_ones_do_not_depend_on_how_many_follow(name: str, seed: int, count: int) -> None:
    """The same name and seed draw the same images, and asking for more only adds to them."""
    assert np.array_equal(
        draw_ood_images(name, count, seed, GARMENTS), draw_ood_images(name, 12, seed, GARMENTS)[:count]
    )


@every_kind
def test_gives_varied_pixels_and_leaves_the_garments_as_they_were(name: str) -> None:
    """The images are uint8, hardly two of them the same, and another seed draws others."""
    originals = GARMENTS.copy()
    drawn = draw_ood_images(name, 40, 0, originals)
    assert drawn.dtype == np.uint8 and drawn.shape == (40, 28, 28)
    assert len(np.unique(drawn, axis=0)) > 20
    assert (drawn != draw_ood_images(name, 40, 1, originals)).any()
    assert np.array_equal(originals, GARMENTS)


@every_kind
def test_only_a_blank_shows_nothing(name: str) -> None:
    """Every image has something to be seen, but for the blank ones, which have one grey each."""
    contrast = np.ptp(draw_ood_images(name, 200, 0, GARMENTS), axis=(1, 2))
    assert (contrast == 0).all() if name == "blank" else (contrast >= 60).all()


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.needs_garments])
def test_no_garment_is_needed_where_none_is_used(name: str) -> None:
    """Without garments the drawings are the same as with them."""
    assert np.array_equal(draw_ood_images(name, 5, 3), draw_ood_images(name, 5, 3, GARMENTS))


def is_one_of(image: np.ndarray, others: np.ndarray) -> bool:
    """Says whether an image is among others, pixel by pixel."""
    return bool((image == others).all(axis=(1, 2)).any())


def test_inverted_garments_are_negatives() -> None:
    """Each is 255 minus one of the garments."""
    assert all(is_one_of(255 - image, GARMENTS) for image in draw_ood_images("inverted_garments", 30, 0, GARMENTS))


def test_half_garments_are_garments_with_a_side_missing() -> None:
    """Each is dark on one side of a line and one of the garments on the other, with about half of its light."""
    for image in draw_ood_images("half_garments", 30, 0, GARMENTS):
        whole = GARMENTS[((image == 0) | (image == GARMENTS)).all(axis=(1, 2))]
        shares = [image.sum(dtype=np.int64) / one.sum(dtype=np.int64) for one in whole]
        assert any(0.3 < share < 0.7 for share in shares)


def test_shuffled_garments_keep_their_pixels() -> None:
    """Each has exactly the pixels of a garment in another order."""
    known = np.sort(GARMENTS.reshape(50, -1))
    for image in draw_ood_images("shuffled_garments", 30, 0, GARMENTS):
        assert (np.sort(image.ravel()) == known).all(axis=1).any() and not is_one_of(image, GARMENTS)


def test_blended_garments_are_the_mean_of_two_that_differ() -> None:
    """Two garments that are averaged are further apart than two at random."""
    pairs = np.rint((GARMENTS[:, None] + GARMENTS[None].astype(float)) / 2).astype(np.uint8)
    apart = ((GARMENTS[:, None] - GARMENTS[None].astype(float)) ** 2).mean(axis=(2, 3))
    drawn = draw_ood_images("blended_garments", 30, 0, GARMENTS)
    found = [apart[(pairs == image).all(axis=(2, 3))].max() for image in drawn]
    assert np.mean(found) > 1.3 * apart.mean()


def test_letters_are_of_the_font_that_pillow_carries() -> None:
    """Letters need no font of the machine: they are light on black, in the middle, and not all the same."""
    drawn = draw_ood_images("letters", 100, 0)
    assert drawn[:, :, [0, -1]].mean() < 10
    assert (drawn[:, 4:24, 4:24].max(axis=(1, 2)) >= 60).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "cats"}, "No such kind of out-of-distribution images. Expected: one of blank, .* Received: 'cats'"),
        ({"count": -1}, "negative. Expected: 0 or more. Received: -1 and 0"),
        ({"seed": -1}, "negative. Expected: 0 or more. Received: 3 and -1"),
        ({"garments_images": None}, "half_garments need images of garments. Expected: 2 images or more. Received: 0"),
        ({"garments_images": GARMENTS / 255}, r"Expected: uint8 \[N, 28, 28\]. Received: float64 \[50, 28, 28\]"),
    ],
)
def test_says_what_it_cannot_draw(change: dict[str, Any], message: str) -> None:
    """Another name, a negative number or missing garments are refused, and the message says what would be right."""
    with pytest.raises(ValueError, match=message):
        draw_ood_images(**({"name": "half_garments", "count": 3, "seed": 0, "garments_images": GARMENTS} | change))
