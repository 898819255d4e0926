"""Near-duplicates: planted copies, conflicts and shades are found, and their effect on the accuracy is measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from analysis.data.fashion_mnist import Source, load
from analysis.data.near_duplicates import Pairs, close_pairs
from analysis.exploration.data import Data
from analysis.exploration.near_duplicate_effect import (
    NEAREST,
    NEAREST_CLEANED,
    measure_effects,
    measure_removal,
    near_test_images,
    nearest_without,
)
from analysis.exploration.near_duplicates import (
    BrightnessMatches,
    NearDuplicates,
    clusters_within,
    compare_with_features,
    count_near,
    match_brightness,
    measure,
)
from analysis.exploration.near_duplicates_section import section
from analysis.exploration.neighbours import Neighbours, nearest
from models.taxonomy import Taxonomy
from tests.analysis.exploration.section_checks import check_section
from tests.analysis.exploration.synthetic_data import make_data

TRAIN = 200


def planted() -> Data:
    """Synthetic images: the first test image copies a training image of another group, two more are near-duplicates.

    The fourth is a training image at half its brightness.
    """
    data = make_data(TRAIN, 80)
    # Enough noise that no pair is near but the planted ones.
    data.images[:] = np.minimum(data.images + np.random.default_rng(0).integers(0, 90, data.images.shape), 255)
    other = int(np.flatnonzero(data.groups[:TRAIN] != data.groups[TRAIN])[0])
    data.images[TRAIN] = data.images[other]
    for offset in (1, 2):
        source = 50 + offset
        data.images[TRAIN + offset] = data.images[source]
        data.images[TRAIN + offset, 3, 3] ^= 32
        data.garments[TRAIN + offset] = data.garments[source]
    data.images[TRAIN + 3] = data.images[60] // 2
    # Groups are worked out once: a new table makes them follow the garments.
    return dataclasses.replace(data)


DATA = planted()


@pytest.fixture(scope="module")
def neighbours() -> Neighbours:
    """The nearest training images."""
    return nearest(DATA.pixels, TRAIN)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """The planted pairs, and no others: synthetic images are further apart."""
    return close_pairs(DATA.images, 0.08)


@pytest.fixture(scope="module")
def duplicates(neighbours: Neighbours, pairs: Pairs) -> NearDuplicates:
    """All that is measured."""
    answers = {"nearest centroid": DATA.groups[DATA.test_rows]}
    return measure(DATA, neighbours, pairs, answers, np.eye(10, dtype=np.float32)[DATA.garments])


def test_planted_copies_and_conflicts_are_found(duplicates: NearDuplicates) -> None:
    """One exact pair, three test images with a near-duplicate, one of which conflicts on the group."""
    widest = duplicates.counts.iloc[-1]
    assert duplicates.exact == 1 and len(duplicates.conflicts) == 1 and duplicates.removed == 3
    assert widest[["pairs", "across", "test_images", "group_conflicts", "largest_cluster"]].tolist() == [3, 3, 3, 1, 2]
    assert duplicates.conflicts["second"].tolist() == [TRAIN] and duplicates.across["first"].iloc[0] == TRAIN
    assert [len(rows) for rows in duplicates.clusters] == [2, 2, 2]


def test_the_difference_of_shares_has_the_interval_of_two_proportions(duplicates: NearDuplicates) -> None:
    """It is the share of test images with a near-duplicate less that of training images."""
    found, sizes = duplicates.share_difference, (len(DATA.test_rows), len(DATA.train_rows))
    shares = [
        float((duplicates.by_garment[split] * np.bincount(DATA.garments[DATA.test == (split == "test")])).sum() / size)
        for split, size in zip(("test", "train"), sizes, strict=True)
    ]
    error = np.sqrt(sum(share * (1 - share) / size for share, size in zip(shares, sizes, strict=True)))
    assert found.value == pytest.approx(shares[0] - shares[1])
    assert (found.low, found.high) == pytest.approx((found.value - 1.96 * error, found.value + 1.96 * error))


def test_another_shade_is_found_at_equal_brightness_alone(duplicates: NearDuplicates) -> None:
    """The picture at half its brightness is far by pixels and near once both are equally bright."""
    shades = duplicates.brightness
    index = shades.variants(0.08)[0]
    assert (shades.test[index], shades.train[index]) == (TRAIN + 3, 60)
    assert shades.rmse[index] > 0.08 and shades.ratio[index] == pytest.approx(2, abs=0.05)
    assert len(match_brightness(DATA).test) == 80


def test_near_duplicates_are_removed_from_the_training_images(neighbours: Neighbours, pairs: Pairs) -> None:
    """The nearest of what is left is what a direct comparison finds, even where all known neighbours are gone."""
    removed = near_test_images(DATA, pairs, 0.08)
    assert np.flatnonzero(removed).tolist()[-2:] == [51, 52] and removed.sum() == 3
    removed[neighbours.index[TRAIN + 9]] = True
    known = np.flatnonzero(~removed & ~DATA.test)
    distances = ((DATA.pixels[DATA.test_rows, None] - DATA.pixels[known]) ** 2).sum(axis=2)
    assert (nearest_without(DATA, neighbours, removed) == known[distances.argmin(axis=1)]).all()


def test_accuracy_is_measured_with_and_without_near_duplicates(neighbours: Neighbours, pairs: Pairs) -> None:
    """A model that is correct on near-duplicates alone has the largest gap; 1-nearest neighbour fails on a conflict."""
    near = neighbours.rmse[DATA.test_rows, 0] <= 0.08
    truth = DATA.groups[DATA.test_rows]
    remembers = np.where(near, truth, (truth + 1) % 5)
    table = measure_effects(DATA, neighbours, near_test_images(DATA, pairs, 0.08), {"remembers": remembers}, 0.08, 0)
    table = table.set_index("model")
    assert table.loc["remembers", ["near", "far", "gap", "fair_gap"]].tolist() == [1, 0, 1, 1]
    assert table.loc["remembers", "all"] == pytest.approx(3 / 80)
    assert table.loc[NEAREST, "near"] == pytest.approx(2 / 3) and table.loc[NEAREST_CLEANED, "near"] >= 2 / 3


def test_effects_are_the_differences_of_accuracies_at_equal_shares_of_garments() -> None:
    """Each figure follows from counting the right answers, by garment where the shares are made equal."""
    data, random = make_data(200, 400), np.random.default_rng(0)
    garments, truth, near = data.garments[200:], data.groups[200:], random.random(400) < 0.3
    near[garments == 9] = False
    neighbours = Neighbours(random.integers(0, 200, (600, 2)), np.zeros((600, 2), np.float32), 1.0, 1.0)
    neighbours.rmse[200:] = np.where(near, 0.08, 0.0801)[:, None]
    right = random.random(400) < np.where(near, 0.9, 0.4) - 0.03 * garments
    answers = {"model": np.where(right, truth, (truth + 1) % 5)}
    row = measure_effects(data, neighbours, np.zeros(600, bool), answers, 0.08, 0).set_index("model").loc["model"]
    far_rate = np.array([right[~near & (garments == g)].mean() for g in range(9)])
    near_count = np.array([(near & (garments == g)).sum() for g in range(9)])
    far_as_near = (far_rate * near_count).sum() / near_count.sum()
    expected = {
        "all": right.mean(),
        "near": right[near].mean(),
        "far": right[~near].mean(),
        "far_as_near": far_as_near,
        "added": right.mean() - right[~near].mean(),
        "gap": right[near].mean() - right[~near].mean(),
        "fair_gap": right[near].mean() - far_as_near,
    }
    assert row[list(expected)].to_dict() == pytest.approx(expected)
    for name in expected:
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"], name


def test_the_effect_of_removal_is_after_minus_before() -> None:
    """Removing the only right neighbours of eight of eighty test images loses a tenth."""
    data = make_data(200, 80)
    same, other = (
        np.array([np.flatnonzero((data.groups[:200] == group) == equal)[0] for group in data.groups[200:]])
        for equal in (True, False)
    )
    first = np.where(np.arange(80) < 8, 199, same)
    data.garments[199], data.garments[200:208] = 8, 8
    data = dataclasses.replace(data)
    index = np.zeros((280, 2), np.int64)
    index[200:] = np.column_stack([first, np.where(np.arange(80) < 8, other, first)])
    index[200:208, 1] = np.flatnonzero(data.groups[:199] != 4)[0]
    removed = np.arange(280) == 199
    found = measure_removal(data, Neighbours(index, np.zeros((280, 2), np.float32), 1.0, 1.0), removed, 0)
    before = (data.groups[index[200:, 0]] == data.groups[200:]).mean()
    after = (data.groups[np.where(index[200:, 0] == 199, index[200:, 1], index[200:, 0])] == data.groups[200:]).mean()
    assert found.value == pytest.approx(after - before) and found.high < 0


def test_only_training_images_near_a_test_image_are_removed() -> None:
    """Not those near each other, nor test images, nor those beyond the bound; the bound itself counts."""
    data = make_data(20, 10)
    near = Pairs(np.array([0, 3, 5, 21, 7]), np.array([1, 22, 24, 23, 25]), np.array([0.01, 0.05, 0.06, 0.01, 0.0601]))
    assert np.flatnonzero(near_test_images(data, near, 0.06)).tolist() == [3, 5]


def test_counts_of_each_bound_are_of_pairs_within_it(neighbours: Neighbours, pairs: Pairs) -> None:
    """Nothing is within the smallest bound but what is planted there; conflicts count the nearest training image."""
    table = count_near(DATA, neighbours, pairs).set_index("rmse")
    distance = neighbours.rmse[DATA.test_rows, 0]
    first = neighbours.index[DATA.test_rows, 0]
    for bound, row in table.iterrows():
        near = distance <= bound
        assert row["pairs"] == (pairs.rmse <= bound).sum() and row["test_images"] == near.sum()
        assert row["garment_conflicts"] == (near & (DATA.garments[first] != DATA.garments[DATA.test_rows])).sum()
    assert list(table.index) == [0.03, 0.04, 0.05, 0.06, 0.07, 0.08]


def test_tables_list_the_planted_pairs(duplicates: NearDuplicates, neighbours: Neighbours) -> None:
    """The shares by garment, the conflict by its garments' names, the pairs across the splits and the curve."""
    conflict = duplicates.conflicts.iloc[0]
    one, other = sorted(DATA.garments[[int(conflict["first"]), TRAIN]])
    names = DATA.taxonomy.garments
    assert duplicates.garment_conflicts.to_numpy().tolist() == [[f"{names[one]} and {names[other]}", 1, False]]
    assert duplicates.across[["first", "second"]].to_numpy().tolist()[0] == [TRAIN, conflict["first"]]
    assert set(duplicates.across["second"]) == {conflict["first"], 51, 52}
    assert duplicates.across["rmse"].is_monotonic_increasing and conflict["rmse"] == 0
    table = duplicates.by_garment.set_index("number")
    near = neighbours.rmse[:, 0] <= 0.08
    for garment in range(10):
        test, train = ((DATA.garments == garment) & (DATA.test == split) for split in (True, False))
        assert table.loc[garment, ["test", "train", "test_images"]].tolist() == [
            near[test].mean(), near[train].mean(), near[test].sum(),
        ]  # fmt: skip
        assert table.loc[garment, "garment"] == names[garment]
    curve = duplicates.curve
    assert curve["rmse"].iloc[[0, -1]].tolist() == pytest.approx([0.02, 0.2])
    for split, rows in (("test", DATA.test_rows), ("train", DATA.train_rows)):
        shares = [(neighbours.rmse[rows, 0] <= bound).mean() for bound in curve["rmse"]]
        assert curve[split].tolist() == pytest.approx(shares)


def test_variants_differ_in_brightness_alone() -> None:
    """Far by pixels, near at equal brightness and at least a fifth brighter; the most similar first."""
    rows = np.arange(5)
    rmse, matched = np.array([0.2, 0.2, 0.05, 0.2, 0.2]), np.array([0.06, 0.02, 0.02, 0.09, 0.03])
    ratio = np.array([1.2, 1.5, 1.5, 1.5, 1.19])
    assert BrightnessMatches(rows, rows, rmse, matched, ratio).variants(0.08).tolist() == [1, 0]


def test_features_and_pixels_agree_on_the_nearest_images(neighbours: Neighbours) -> None:
    """Features that are nearest where pixels are near share all of these images; features that are farthest, none."""
    train, test = DATA.train_rows, DATA.test_rows
    near = neighbours.rmse[test, 0] <= 0.08
    found = []
    for apart in (~near, near):
        features = np.zeros((len(DATA), TRAIN + 1), np.float32)
        features[train, train] = 1
        features[test, neighbours.index[test, 0]] = 1
        features[test, TRAIN] = apart
        found.append(compare_with_features(DATA, neighbours, features))
    assert [(agreement.shared, agreement.same_image) for agreement in found] == [(1, 1), (0, 1)]
    assert (found[0].index == neighbours.index[test, 0]).all()
    assert (found[0].distance[near] < 0.01).all() and (found[0].distance[~near] > 0.5).all()


def test_clusters_chain_across_the_splits() -> None:
    """A pair of a pair belongs to the cluster; clusters come largest first, and none is made of nothing."""
    chain = Pairs(np.array([0, 2, 5]), np.array([1, 5, 9]), np.array([0.01, 0.02, 0.03]))
    assert [rows.tolist() for rows in clusters_within(10, chain, 0.05)] == [[2, 5, 9], [0, 1]]
    assert clusters_within(10, chain, 0.001) == []


def test_section_is_complete(duplicates: NearDuplicates) -> None:
    """Every block has a name of its own and a caption."""
    check_section(section(DATA, duplicates))


@pytest.mark.slow
def test_known_near_duplicates_of_the_real_data(real_data: Path) -> None:
    """49 test images have a training image within RMSE 0.05, 978 within 0.08; five of those conflict on the group."""
    official = load(Source("idx", real_data))
    images = np.concatenate([official[split].images for split in ("train", "test")])
    garments = np.concatenate([official[split].garments for split in ("train", "test")])
    test = np.arange(len(images)) >= len(official["train"].images)
    data = Data(images, garments, test, np.full(len(images), -1), test.astype(str), Taxonomy.load())
    pairs = close_pairs(images, 0.08)
    table = count_near(data, nearest_of_pairs(data, pairs), pairs).set_index("rmse")
    assert table["test_images"][[0.05, 0.08]].tolist() == [49, 978]
    assert table["group_conflicts"][0.08] == 5 and table["pairs"][0.08] == 19_143


def nearest_of_pairs(data: Data, pairs: Pairs) -> Neighbours:
    """The nearest training image as exact pairs have it; images without one have none at a distance of 1."""
    index, rmse = np.zeros((len(data), 1), np.int32), np.ones((len(data), 1), np.float32)
    for one, other, distance in zip(*_both_ways(pairs), strict=True):
        if not data.test[other] and distance < rmse[one, 0]:
            index[one, 0], rmse[one, 0] = other, distance
    return Neighbours(index, rmse, 1.0, 1.0)


def _both_ways(pairs: Pairs) -> tuple[list[int], list[int], list[float]]:
    first, second = np.r_[pairs.first, pairs.second], np.r_[pairs.second, pairs.first]
    return first.tolist(), second.tolist(), np.r_[pairs.rmse, pairs.rmse].tolist()
