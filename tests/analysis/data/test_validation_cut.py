"""The validation cut: stratified, seeded, and never through a cluster."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.data.validation_cut import cut_validation

counts = st.integers(20, 300)
shares = st.floats(0.05, 0.5)
seeds = st.integers(0, 2**31)


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
    """No garment has more than its share; one with less has no lone training image left."""
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
    """The same seed cuts the same."""
    np.testing.assert_array_equal(cut_validation(*data, share, seed), cut_validation(*data, share, seed))


def test_another_seed_cuts_otherwise() -> None:
    """The seed has an effect."""
    garments, clusters = np.arange(200) % 10, np.full(200, -1)
    assert (cut_validation(garments, clusters, 0.1, 1) != cut_validation(garments, clusters, 0.1, 2)).any()


@settings(max_examples=30, deadline=None)
@given(labelled_clusters(), shares, seeds)
def test_names_decide_whatever_the_order(data: tuple[np.ndarray, np.ndarray], share: float, seed: int) -> None:
    """With names, the same images are chosen in whatever order they come, and the quotas hold."""
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
