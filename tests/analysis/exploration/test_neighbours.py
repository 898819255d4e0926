"""The nearest training images: those that a direct comparison finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from analysis.exploration import neighbours
from analysis.exploration.neighbours import Neighbours, nearest, search
from tests.analysis.exploration.synthetic_data import make_data


def pixels_of(train: int, test: int) -> np.ndarray:
    """Every sixteenth pixel of synthetic images, float32 [N, 49]: as good as all for a search, quick to decompose."""
    return make_data(train, test).pixels[:, ::16]


@pytest.mark.parametrize("block", [4096, 37])
def test_finds_what_a_direct_comparison_finds(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Index and distance are those of all distances, an image itself left out, however the images are blocked."""
    monkeypatch.setattr(neighbours, "SEARCH_BLOCK", block)
    pixels = pixels_of(300, 100)
    found = nearest(pixels, 300, k=5)
    distances = cdist(pixels, pixels[:300]) / 7
    distances[np.arange(300), np.arange(300)] = np.inf
    order = np.argsort(distances, axis=1)[:, :5]
    assert (found.index == order).all()
    assert found.rmse == pytest.approx(np.take_along_axis(distances, order, axis=1), abs=1e-5)
    assert (found.first_recall, found.recall) == (1.0, 1.0)


def test_copies_are_neighbours_at_distance_zero() -> None:
    """An image that is there twice has the other as its nearest, and not itself."""
    pixels = pixels_of(100, 20)
    pixels[[40, 110]] = pixels[7]
    found = nearest(pixels, 100, k=3)
    assert found.index[[7, 40, 110], 0].tolist() == [40, 7, 7]
    assert found.rmse[[7, 40, 110], 0].tolist() == [0, 0, 0] and found.index[110, 1] == 40


def test_too_few_candidates_show_in_the_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recall is measured against the truth: with one direction and few candidates it is not one."""
    monkeypatch.setattr(neighbours, "DIRECTIONS", 1)
    monkeypatch.setattr(neighbours, "CANDIDATES", 4)
    found = nearest(pixels_of(400, 50), 400, k=3)
    assert found.first_recall < 0.9 and found.recall < 0.9


def test_first_is_the_first_image_of_the_search() -> None:
    """A search for the test images alone returns their rows of the whole result."""
    pixels = pixels_of(200, 50)
    assert (nearest(pixels, 200, k=2, first=200).index == nearest(pixels, 200, k=2).index[200:]).all()


def test_few_training_images_give_few_neighbours() -> None:
    """There are never more neighbours than other training images."""
    assert nearest(pixels_of(10, 3), 10, k=15).index.shape == (13, 9)


@pytest.mark.parametrize("k", [1, 3, 20, 150])
def test_search_is_exact_for_any_count(k: int) -> None:
    """A reservoir and a heap find the same rows."""
    values = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    index, squared = search(values[:60], values, k)
    true = np.sort(cdist(values[:60], values) ** 2, axis=1)[:, :k]
    assert squared == pytest.approx(true, abs=1e-3) and (index[:, 0] == np.arange(60)).all()


def test_saved_neighbours_load_unchanged(tmp_path: Path) -> None:
    """The loaded neighbours equal the saved ones."""
    found = nearest(pixels_of(60, 20), 60, k=4)
    found.save(tmp_path)
    loaded = Neighbours.load(tmp_path)
    assert (loaded.index == found.index).all() and (loaded.rmse == found.rmse).all()
    assert (loaded.first_recall, loaded.recall) == (found.first_recall, found.recall)
