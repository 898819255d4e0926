"""The maps: deterministic, of equally many test images of each garment, with planted clusters apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.exploration.embedding import Embedding, embed, sample_rows, tsne
from tests.analysis.exploration.synthetic_data import make_data

pytestmark = pytest.mark.slow

DATA = make_data(20, 200)


@pytest.fixture(scope="module")
def maps() -> Embedding:
    """Maps of 150 test images whose features are their garments with a little noise."""
    return make_maps()


def make_maps() -> Embedding:
    """Lays the images out."""
    rows = sample_rows(DATA, 150, seed=0)
    noise = np.random.default_rng(0).normal(0, 0.05, (len(rows), 10))
    return embed(DATA, (np.eye(10)[DATA.garments[rows]] + noise).astype(np.float32), rows, "planted", seed=0)


def test_sample_is_of_the_test_split_and_balanced() -> None:
    """Only test images are drawn, each once, ascending, and the same number of every garment."""
    rows = sample_rows(DATA, 150, seed=0)
    assert DATA.test[rows].all() and (np.diff(rows) > 0).all()
    assert np.bincount(DATA.garments[rows]).tolist() == [15] * 10
    assert len(sample_rows(DATA, 10_000, seed=0)) == 200


def test_the_second_map_is_turned_and_mirrored_onto_the_first(maps: Embedding) -> None:
    """No rotation or mirror image of it is nearer to the first; it keeps its distances."""
    target, found = (places - places.mean(axis=0) for places in (maps.pixels, maps.network))
    nearest = ((found - target) ** 2).sum()
    for angle in np.arange(0, 2 * np.pi, 0.1):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        for mirror in (1, -1):
            assert ((found @ turn * [mirror, 1] - target) ** 2).sum() >= nearest * (1 - 1e-4)
    noise = np.random.default_rng(0).normal(0, 0.05, (len(maps.rows), 10))
    plain = tsne((np.eye(10)[DATA.garments[maps.rows]] + noise).astype(np.float32), 0)
    distances = [np.linalg.norm(places[0] - places[1:], axis=1) for places in (plain, maps.network)]
    assert distances[0] == pytest.approx(distances[1], rel=1e-3)


def test_planted_clusters_stay_apart(maps: Embedding) -> None:
    """On the network's map the nearest image of each is of the same garment, as it is in the features."""
    garments = DATA.garments[maps.rows]
    distances = np.linalg.norm(maps.network[:, None] - maps.network[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (garments[distances.argmin(axis=1)] == garments).mean() > 0.98


def test_maps_are_the_same_every_time(maps: Embedding) -> None:
    """Nothing but the seed decides."""
    again = make_maps()
    assert (again.pixels == maps.pixels).all() and (again.network == maps.network).all()


def test_saved_maps_load_unchanged(maps: Embedding, tmp_path: Path) -> None:
    """The loaded maps equal the saved ones."""
    maps.save(tmp_path)
    loaded = Embedding.load(tmp_path)
    assert (loaded.rows == maps.rows).all() and (loaded.pixels == maps.pixels).all()
    assert (loaded.network == maps.network).all() and loaded.network_name == "planted"
