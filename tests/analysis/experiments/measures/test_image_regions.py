"""Regions cover the picture, and shares are what was planted."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.experiments.measures.image_regions import region_table, regions, shares

THIRDS = ("upper third", "middle third", "lower third")
SETS = (THIRDS, ("sides", "centre"), ("silhouette edge", "interior", "ground"))


def _squares() -> np.ndarray:
    images = np.zeros((4, 28, 28), np.uint8)
    images[:, 8:20, 10:18] = 200
    return images


def test_every_pixel_lies_in_one_region_of_each_set():
    """Also in images without ink and without ground."""
    images = np.concatenate([_squares(), np.zeros((1, 28, 28), np.uint8), np.full((1, 28, 28), 255, np.uint8)])
    masks = regions(images)
    for names in SETS:
        assert (sum(masks[name].astype(int) for name in names) == 1).all()
    assert masks["ground"][4].all()
    assert masks["interior"][5].all()


def test_the_edge_of_a_square_is_one_pixel_to_either_side():
    """14 x 10 pixels around less 10 x 6 inside."""
    masks = regions(_squares())
    assert (masks["silhouette edge"].sum(axis=(1, 2)) == 14 * 10 - 10 * 6).all()
    assert (masks["interior"].sum(axis=(1, 2)) == 10 * 6).all()


def test_shares_count_absolute_values_and_the_push_keeps_the_sign():
    """A map with -3 in the lower third and 1 in the upper one; the subsets and the empty map are told apart."""
    maps = np.zeros((4, 28, 28))
    maps[:3, 2, 14], maps[:3, 26, 0] = 1, -3
    masks = regions(_squares())
    assert shares(maps, masks)["lower third"] == pytest.approx([0.75] * 3 + [np.nan], nan_ok=True)
    subsets = {"some": np.array([True, True, False, True]), "none": np.zeros(4, bool)}
    table = region_table(maps, _squares(), subsets).set_index("region")
    assert set(table["subset"]) == {"some"}
    assert set(table["images"]) == {2}
    assert table.loc["lower third", ["share", "low", "high"]].tolist() == pytest.approx([0.75] * 3)
    assert table.loc["lower third", "push"] == pytest.approx(-3)
    assert table.loc["upper third", "push"] == pytest.approx(1)
    assert table.loc["interior", "reference"] == pytest.approx(60 / 96)
    told = region_table(maps, _squares(), subsets, reference=maps).set_index("region")
    assert told.loc["upper third", "reference"] == pytest.approx(1 / 4)


def test_intervals_hold_the_mean_and_are_the_same_again():
    """Of maps whose share in the upper third differs."""
    rng = np.random.default_rng(0)
    images, maps = np.repeat(_squares(), 10, axis=0), rng.normal(size=(40, 28, 28))
    one, again = (region_table(maps, images, {"all": np.ones(40, bool)}, seed=3) for _ in range(2))
    assert one.equals(again)
    assert ((one["low"] < one["share"]) & (one["share"] < one["high"])).all()
    assert ((one["push_low"] < one["push"]) & (one["push"] < one["push_high"])).all()
