"""Near-duplicates are exactly the pairs that a direct comparison finds; the validation cut keeps clusters together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.data import near_duplicates
from analysis.data.fashion_mnist import DataError, Source, load
from analysis.data.near_duplicates import Pairs, close_pairs, cluster, count_partners, cut_validation
from tests.synthetic import images_and_garments

counts = st.integers(20, 300)
shares = st.floats(0.05, 0.5)
seeds = st.integers(0, 2**31)


def direct_pairs(images: np.ndarray, rmse: float) -> set[tuple[int, int]]:
    """Compares every image with every other."""
    flat = images.reshape(len(images), -1) / 255.0
    distance = np.sqrt(((flat[:, None] - flat[None]) ** 2).mean(axis=2))
    first, second = np.nonzero(np.triu(distance <= rmse, k=1))
    return set(zip(first.tolist(), second.tolist(), strict=True))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 80), st.floats(0.02, 0.3))
def test_finds_what_a_direct_comparison_finds(seed: int, count: int, rmse: float) -> None:
    """The projection excludes only pairs that are too far apart."""
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
    """Without near images there are no pairs and no clusters."""
    images, _ = images_and_garments(20, 0)
    pairs = close_pairs(images, 0.001)
    assert len(pairs.first) == 0 and set(cluster(20, pairs).tolist()) == {-1}


def test_a_bound_that_all_images_meet_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many pairs would fill the memory, so the search stops with an error."""
    monkeypatch.setattr(near_duplicates, "MAX_PAIRS", 100)
    with pytest.raises(DataError, match="within RMSE 0.5 of each other.\nExpected: at most 100 pairs.*\nReceived: 190"):
        close_pairs(images_and_garments(20, 0)[0], 0.5)


def test_identical_images_are_all_pairs() -> None:
    """A set without any variance is compared, too."""
    assert len(close_pairs(np.full((5, 28, 28), 9, np.uint8), 0.0).first) == 10


def test_copies_among_varied_images_are_pairs_at_bound_0() -> None:
    """Distances in float32 are not exactly zero for equal images; every copy is found, and nothing else."""
    images = np.random.default_rng(0).integers(0, 256, (1200, 28, 28)).astype(np.uint8)
    images[600:] = images[:600]
    pairs = close_pairs(images, 0.0)
    assert pairs.first.tolist() == list(range(600)) and pairs.second.tolist() == list(range(600, 1200))
    assert (pairs.rmse == 0).all()


@pytest.mark.parametrize("pixels", [1, 9, 100])
def test_a_pair_exactly_at_the_bound_is_found(pixels: int) -> None:
    """The bound itself counts; the next smaller one does not."""
    images = np.random.default_rng(0).integers(0, 200, (1200, 28, 28)).astype(np.uint8)
    images[600:] = images[:600]
    images[600:].reshape(600, -1)[:, :pixels] += 50
    bound = float(np.sqrt(pixels / 784) * 50 / 255)
    found = close_pairs(images, bound * (1 + 1e-12))
    assert found.first.tolist() == list(range(600)) and found.rmse == pytest.approx(bound)
    assert len(close_pairs(images, bound * (1 - 1e-12)).first) == 0


def make_pairs(*pairs: tuple[int, int]) -> Pairs:
    """Pairs at distance 0."""
    first, second = (np.array(part, np.int64) for part in zip(*pairs, strict=True))
    return Pairs(first, second, np.zeros(len(first)))


def test_pairs_are_chosen_by_distance_and_by_members(tmp_path: Path) -> None:
    """A pair at the bound is within it, both images must be marked, and a file keeps every digit."""
    pairs = Pairs(np.array([0, 1, 2]), np.array([3, 4, 5]), np.array([0.05, 0.06, 1 / 3]))
    near = pairs.within(0.06)
    assert (near.first.tolist(), near.second.tolist(), near.rmse.tolist()) == ([0, 1], [3, 4], [0.05, 0.06])
    marked = np.array([True, True, False, True, False, True])
    among = pairs.among(marked)
    assert (among.first.tolist(), among.second.tolist(), among.rmse.tolist()) == ([0], [3], [0.05])
    pairs.save(tmp_path)
    loaded = Pairs.load(tmp_path)
    assert all((getattr(loaded, name) == getattr(pairs, name)).all() for name in ("first", "second", "rmse"))


def test_a_cluster_is_drawn_as_often_as_an_image() -> None:
    """Ten clusters of two and eighty images on their own are taken alike, and the quota is full."""
    garments = np.zeros(100, np.int64)
    clusters = np.where(np.arange(100) < 20, np.arange(100) // 2, -1)
    chosen = np.mean([cut_validation(garments, clusters, 0.1, seed) for seed in range(800)], axis=0)
    assert chosen[:20].mean() == pytest.approx(chosen[20:].mean(), abs=0.02)
    assert chosen.sum() == pytest.approx(10, abs=0.1)


def test_clusters_chain_pairs() -> None:
    """A pair of a pair is in the cluster; clusters are numbered by their first image; others are -1."""
    assert cluster(7, make_pairs((4, 6), (1, 3), (3, 5))).tolist() == [-1, 0, -1, 0, 1, 0, 1]


def test_only_marked_images_count_as_partners() -> None:
    """A test image's partners are training images; another test image is not counted."""
    trainable = np.array([True, True, False, False])
    assert count_partners(4, make_pairs((0, 1), (0, 2), (2, 3)), trainable).tolist() == [1, 1, 1, 0]


@pytest.mark.slow
def test_known_pairs_of_the_real_data(real_data: Path) -> None:
    """49 test images have a training image within RMSE 0.05, and 978 within 0.08."""
    official = load(Source("idx", real_data))
    images = np.concatenate([official["train"].images, official["test"].images])
    trainable = np.arange(len(images)) < 60_000
    pairs = close_pairs(images, 0.08)
    partners = [count_partners(len(images), pairs.within(bound), trainable)[60_000:] for bound in (0.05, 0.08)]
    assert [(counts > 0).sum() for counts in partners] == [49, 978]
    assert np.bincount(cluster(60_000, pairs.among(trainable).within(0.06)) + 1)[1:].max() == 76


@st.composite
def labelled_clusters(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Garments and clusters of up to 300 images: most alone, some in clusters of mixed garments."""
    count = draw(counts)
    garments = draw(hnp.arrays(np.int64, count, elements=st.integers(0, 4)))
    clusters = draw(hnp.arrays(np.int64, count, elements=st.integers(0, 12)))
    alone = draw(hnp.arrays(np.bool_, count))
    return garments, np.where(alone, -1, clusters)


@settings(max_examples=60, deadline=None)
@given(labelled_clusters(), shares, seeds)
def test_no_cluster_straddles(data: tuple[np.ndarray, np.ndarray], share: float, seed: int) -> None:
    """All images of a cluster are on one side."""
    garments, clusters = data
    chosen = cut_validation(garments, clusters, share, seed)
    for number in np.unique(clusters[clusters >= 0]):
        assert len(set(chosen[clusters == number].tolist())) == 1


@settings(max_examples=60, deadline=None)
@given(labelled_clusters(), shares, seeds)
def test_quota_is_met_unless_a_cluster_forbids(data: tuple[np.ndarray, np.ndarray], share: float, seed: int) -> None:
    """No garment exceeds its share; one below its share has no image outside clusters left to choose."""
    garments, clusters = data
    chosen = cut_validation(garments, clusters, share, seed)
    quota = np.rint(np.bincount(garments, minlength=5) * share)
    taken = np.bincount(garments[chosen], minlength=5)
    left_alone = np.bincount(garments[~chosen & (clusters < 0)], minlength=5)
    assert (taken <= quota).all()
    assert ((taken == quota) | (left_alone == 0)).all()


@settings(max_examples=20, deadline=None)
@given(labelled_clusters(), shares, seeds)
def test_seed_decides(data: tuple[np.ndarray, np.ndarray], share: float, seed: int) -> None:
    """The same seed gives the same cut."""
    np.testing.assert_array_equal(cut_validation(*data, share, seed), cut_validation(*data, share, seed))


def test_another_seed_gives_another_cut() -> None:
    """Different seeds choose different images."""
    garments, clusters = np.arange(200) % 10, np.full(200, -1)
    assert (cut_validation(garments, clusters, 0.1, 1) != cut_validation(garments, clusters, 0.1, 2)).any()


@settings(max_examples=30, deadline=None)
@given(labelled_clusters(), shares, seeds)
def test_names_make_the_cut_independent_of_order(data: tuple[np.ndarray, np.ndarray], share: float, seed: int) -> None:
    """With names, the order of the images does not change the choice, and the quotas hold."""
    garments, clusters = data
    names = [f"image {index}" for index in range(len(garments))]
    chosen = cut_validation(garments, clusters, share, seed, names)
    order = np.random.default_rng(seed).permutation(len(garments))
    shuffled = cut_validation(garments[order], clusters[order], share, seed, [names[index] for index in order])
    np.testing.assert_array_equal(shuffled, chosen[order])
    assert (np.bincount(garments[chosen], minlength=5) <= np.rint(np.bincount(garments, minlength=5) * share)).all()


def test_added_images_move_few_of_the_old_ones() -> None:
    """With names, a tenth more images leave nearly all others on their sides; without, most of the chosen ones move."""
    garments, clusters = np.arange(2200) % 10, np.full(2200, -1)
    names = [f"image {index}" for index in range(2200)]
    moved = []
    for named in (names, None):
        few, more = (
            cut_validation(garments[:count], clusters[:count], 0.1, 7, named and named[:count])
            for count in (2000, 2200)
        )
        moved.append(int((few & ~more[:2000]).sum()))
    assert moved[0] <= 20 and moved[1] >= 100
