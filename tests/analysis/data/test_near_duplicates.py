"""Near-duplicates: exactly the pairs that a direct comparison finds, chained into clusters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.data import near_duplicates
from analysis.data.fashion_mnist import Source, load
from analysis.data.idx import DataError
from analysis.data.near_duplicates import Pairs, close_pairs, cluster, count_twins
from tests.synthetic import images_and_garments


def direct_pairs(images: np.ndarray, rmse: float) -> set[tuple[int, int]]:
    """Compares every image with every other."""
    flat = images.reshape(len(images), -1) / 255.0
    distance = np.sqrt(((flat[:, None] - flat[None]) ** 2).mean(axis=2))
    first, second = np.nonzero(np.triu(distance <= rmse, k=1))
    return set(zip(first.tolist(), second.tolist(), strict=True))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 80), st.floats(0.02, 0.3))
def test_finds_what_a_direct_comparison_finds(seed: int, count: int, rmse: float) -> None:
    """The projection rules out only pairs that are too far apart."""
    images, _ = images_and_garments(count, seed)
    pairs = close_pairs(images, rmse)
    assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == direct_pairs(images, rmse)


def test_planted_duplicate_is_found() -> None:
    """A copy with one pixel changed is a pair at the distance of that pixel."""
    images, _ = images_and_garments(300, 0)
    images[200] = images[7]
    images[200, 14, 14] ^= 64
    pairs = close_pairs(images, 0.01)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([7], [200])
    assert pairs.rmse[0] == pytest.approx(64 / 255 / 28)


def test_distant_images_make_no_pairs() -> None:
    """Where nothing is near there are no pairs and no clusters."""
    images, _ = images_and_garments(20, 0)
    pairs = close_pairs(images, 0.001)
    assert len(pairs.first) == 0 and set(cluster(20, pairs).tolist()) == {-1}


def test_a_bound_that_all_images_meet_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everything is near everything the pairs would fill the memory; the message says so instead."""
    monkeypatch.setattr(near_duplicates, "MOST_PAIRS", 100)
    with pytest.raises(DataError, match="within RMSE 0.5 of each other. Expected: at most 100 pairs.*Received: 190"):
        close_pairs(images_and_garments(20, 0)[0], 0.5)


def test_identical_images_are_all_pairs() -> None:
    """A set without any variance is compared, too."""
    assert len(close_pairs(np.full((5, 28, 28), 9, np.uint8), 0.0).first) == 10


def make_pairs(*pairs: tuple[int, int]) -> Pairs:
    """Pairs at distance 0."""
    first, second = (np.array(part, np.int64) for part in zip(*pairs, strict=True))
    return Pairs(first, second, np.zeros(len(first)))


def test_clusters_chain_pairs() -> None:
    """A pair of a pair is in the cluster; clusters are numbered by their first image; others are -1."""
    assert cluster(7, make_pairs((4, 6), (1, 3), (3, 5))).tolist() == [-1, 0, -1, 0, 1, 0, 1]


def test_twins_count_marked_images_alone() -> None:
    """A test image's twins are training images; another test image is none."""
    trainable = np.array([True, True, False, False])
    assert count_twins(4, make_pairs((0, 1), (0, 2), (2, 3)), trainable).tolist() == [1, 1, 1, 0]


def test_known_pairs_of_the_real_data(real_data: Path) -> None:
    """49 test images have a training image within RMSE 0.05, and 978 within 0.08."""
    official = load(Source("idx", real_data))
    images = np.concatenate([official["train"].images, official["test"].images])
    trainable = np.arange(len(images)) < 60_000
    pairs = close_pairs(images, 0.08)
    twins = [count_twins(len(images), pairs.within(bound), trainable)[60_000:] for bound in (0.05, 0.08)]
    assert [(counts > 0).sum() for counts in twins] == [49, 978]
    assert np.bincount(cluster(60_000, pairs.among(trainable).within(0.06)) + 1)[1:].max() == 76
