"""Exact and near-duplicates: counts, clusters, conflicts, and pairs that differ in brightness alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.data.near_duplicates import Pairs, cluster
from analysis.evaluation.bootstrap import Estimate
from analysis.exploration.data import Data, Indices
from analysis.exploration.near_duplicate_effect import measure_effects, measure_removal, near_test_images
from analysis.exploration.neighbours import Floats, Neighbours, nearest, search

BOUNDS = (0.03, 0.04, 0.05, 0.06, 0.07, 0.08)
"""RMSE of pixels in [0, 1]."""
NEAR = BOUNDS[-1]
CUT = 0.06
"""Within this RMSE, training images stay on one side of the validation cut (docs/decisions/0005)."""
SHARE_MARGIN = 0.01
"""The largest difference of the splits' shares of images with a near-duplicate that counts as equivalent."""
ACCURACY_MARGIN = 0.002
"""The largest change of an accuracy that counts as equivalent."""
SHADE = 1.2
"""The least ratio of brightness of two different shades: 20% is visible side by side."""


@dataclass(frozen=True)
class NearDuplicates:
    """Near-duplicates and their effect.

    Attributes:
        exact: The number of pairs of identical images.
        counts: A row for each bound: `rmse`, `pairs`, `across` (pairs of a training and a test image), `test_images`
            whose nearest training image is within the bound, `garment_conflicts` and `group_conflicts` of these two,
            and `largest_cluster` of images chained by such pairs.
        by_garment: `number`, `garment`, `test` and `train`: the share of either split's images with another training
            image within `NEAR`, and `test_images`, how many.
        share_difference: The share of test images with a training image within `NEAR` less that of training images.
        curve: `rmse`, `test`, `train`: the share of either split's images with another training image within the RMSE.
        conflicts: Pairs of images within `NEAR` whose groups differ: `first`, `second`, `rmse`, nearest first.
        garment_conflicts: `garments`, `pairs`, `same_group`: pairs of different garments within `NEAR`, most first.
        across: `first` (a test image), `second` (its nearest training image) and `rmse`, within `NEAR`, nearest first.
        clusters: Rows of the images of each cluster of at least two within `CUT`, over both splits, largest first.
        removed: The number of training images within `NEAR` of a test image.
        removal: The change of the group accuracy of 1-nearest neighbour when they are removed.
        effects: As `measure_effects` returns it.
        agreement: Near-duplicates by a network's features, compared with those by pixels.
        brightness: The nearest training images at equal brightness.
    """

    exact: int
    counts: pd.DataFrame
    by_garment: pd.DataFrame
    share_difference: Estimate
    curve: pd.DataFrame
    conflicts: pd.DataFrame
    garment_conflicts: pd.DataFrame
    across: pd.DataFrame
    clusters: list[Indices]
    removed: int
    removal: Estimate
    effects: pd.DataFrame
    agreement: FeatureAgreement
    brightness: BrightnessMatches


@dataclass(frozen=True)
class FeatureAgreement:
    """The nearest training images of the test images by a network's features, compared with those by pixels.

    Attributes:
        index: int64 [n_test], the nearest training image by features.
        distance: float32 [n_test], its distance: the length of the difference of features of unit length.
        same_image: Of the test images with a near-duplicate by pixels, the share for which features find the same
            training image.
        shared: Of the same number of test images, the nearest by features: the share with a near-duplicate by pixels.
        group: The share of all test images whose nearest training image by features has their group.
        pixel_group: The share of all test images whose nearest training image by pixels has their group.
    """

    index: Indices
    distance: Floats
    same_image: float
    shared: float
    group: float
    pixel_group: float


def measure(
    data: Data,
    neighbours: Neighbours,
    pairs: Pairs,
    predictions: Mapping[str, Indices],
    features: Floats,
    seed: int = 0,
) -> NearDuplicates:
    """Measures near-duplicates and their effect on the accuracy.

    Args:
        data: The images.
        neighbours: The nearest training images of all.
        pairs: All pairs of images within `NEAR`.
        predictions: For each model, the predicted groups of the test images, int64 [n_test].
        features: float32 [N, F], a network's features of all images.
        seed: Of the resamples. Defaults to 0.
    """
    removed = near_test_images(data, pairs, NEAR)
    return NearDuplicates(
        exact=int((pairs.rmse == 0).sum()),
        counts=count_near(data, neighbours, pairs),
        by_garment=_garment_shares(data, neighbours),
        share_difference=_share_difference(data, neighbours),
        curve=_distance_curve(data, neighbours),
        conflicts=_conflicts(data, pairs),
        garment_conflicts=_garment_conflicts(data, pairs),
        across=_across(data, neighbours),
        clusters=clusters_within(len(data), pairs, CUT),
        removed=int(removed.sum()),
        removal=measure_removal(data, neighbours, removed, seed),
        effects=measure_effects(data, neighbours, removed, predictions, NEAR, seed),
        agreement=compare_with_features(data, neighbours, features),
        brightness=match_brightness(data),
    )


def count_near(data: Data, neighbours: Neighbours, pairs: Pairs) -> pd.DataFrame:
    """Counts near-duplicates for every bound; returns the table `counts` of `NearDuplicates`."""
    test, table = data.test_rows, []
    first, distance = neighbours.index[test, 0], neighbours.rmse[test, 0]
    other_garment = data.garments[first] != data.garments[test]
    other_group = data.groups[first] != data.groups[test]
    for bound in BOUNDS:
        within, near = pairs.within(bound), distance <= bound
        across = int((data.test[within.first] != data.test[within.second]).sum())
        sizes = [len(rows) for rows in clusters_within(len(data), pairs, bound)]
        conflicts = (int((near & other_garment).sum()), int((near & other_group).sum()))
        table.append((bound, len(within.first), across, int(near.sum()), *conflicts, max(sizes, default=0)))
    columns = ["rmse", "pairs", "across", "test_images", "garment_conflicts", "group_conflicts", "largest_cluster"]
    return pd.DataFrame(table, columns=columns)


def clusters_within(count: int, pairs: Pairs, bound: float) -> list[Indices]:
    """Returns the rows of every cluster of images chained by pairs within the bound, the largest first."""
    number = cluster(count, pairs.within(bound))
    rows = np.flatnonzero(number >= 0)
    rows = rows[np.argsort(number[rows], kind="stable")]
    parts = np.split(rows, np.flatnonzero(np.diff(number[rows])) + 1) if len(rows) else []
    return sorted(parts, key=len, reverse=True)


def compare_with_features(data: Data, neighbours: Neighbours, features: Floats) -> FeatureAgreement:
    """Compares the nearest training image of each test image by features with that by pixels."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    train, test = data.train_rows, data.test_rows
    found, squared = search(unit[test], unit[train], 1)
    index, distance = train[found[:, 0]], np.sqrt(np.maximum(squared[:, 0], 0))
    by_pixels, near = neighbours.index[test, 0], neighbours.rmse[test, 0] <= NEAR
    nearest = np.zeros(len(test), bool)
    nearest[np.argsort(distance, kind="stable")[: near.sum()]] = True
    return FeatureAgreement(
        index=index,
        distance=distance,
        same_image=_share(index == by_pixels, near),
        shared=_share(nearest, near),
        group=float((data.groups[index] == data.groups[test]).mean()),
        pixel_group=float((data.groups[by_pixels] == data.groups[test]).mean()),
    )


def _garment_shares(data: Data, neighbours: Neighbours) -> pd.DataFrame:
    near = neighbours.rmse[:, 0] <= NEAR
    table = []
    for garment, name in enumerate(data.taxonomy.garments):
        test, train = ((data.garments == garment) & (data.test == split) for split in (True, False))
        shares = [float(near[rows].mean()) if rows.any() else float("nan") for rows in (test, train)]
        table.append((garment, name, *shares, int(near[test].sum())))
    return pd.DataFrame(table, columns=["number", "garment", "test", "train", "test_images"])


def _share_difference(data: Data, neighbours: Neighbours) -> Estimate:
    """Returns the difference of two independent shares with its normal 95% interval."""
    near = neighbours.rmse[:, 0] <= NEAR
    test, train = near[data.test_rows], near[data.train_rows]
    difference = float(test.mean() - train.mean())
    reach = 1.96 * float(np.sqrt(test.var() / len(test) + train.var() / len(train)))
    return Estimate(difference, difference - reach, difference + reach)


def _distance_curve(data: Data, neighbours: Neighbours) -> pd.DataFrame:
    bounds = np.arange(0.02, 0.2001, 0.004)
    shares = {
        name: np.searchsorted(np.sort(neighbours.rmse[rows, 0]), bounds, side="right") / len(rows)
        for name, rows in (("test", data.test_rows), ("train", data.train_rows))
    }
    return pd.DataFrame({"rmse": bounds} | shares)


def _conflicts(data: Data, pairs: Pairs) -> pd.DataFrame:
    """Returns the pairs within NEAR of different groups, nearest first, training image first where there is one."""
    near = pairs.within(NEAR)
    differ = data.groups[near.first] != data.groups[near.second]
    table = pd.DataFrame({"first": near.first[differ], "second": near.second[differ], "rmse": near.rmse[differ]})
    return table.sort_values(["rmse", "first", "second"], ignore_index=True)


def _garment_conflicts(data: Data, pairs: Pairs) -> pd.DataFrame:
    """Counts the pairs within NEAR by their two different garments."""
    near = pairs.within(NEAR)
    both = np.sort(np.column_stack([data.garments[near.first], data.garments[near.second]]), axis=1)
    differing, count = np.unique(both[both[:, 0] != both[:, 1]], axis=0, return_counts=True)
    names, owner = data.taxonomy.garments, data.taxonomy.group_of
    table = [
        (f"{names[one]} and {names[other]}", int(number), owner[one] == owner[other])
        for (one, other), number in zip(differing.tolist(), count, strict=True)
    ]
    found = pd.DataFrame(table, columns=["garments", "pairs", "same_group"])
    return found.sort_values(["pairs", "garments"], ascending=[False, True], ignore_index=True)


def _across(data: Data, neighbours: Neighbours) -> pd.DataFrame:
    test = data.test_rows
    index, rmse = neighbours.index[test, 0].astype(np.int64), neighbours.rmse[test, 0].astype(np.float64)
    table = pd.DataFrame({"first": test, "second": index, "rmse": rmse})
    return table[rmse <= NEAR].sort_values(["rmse", "first"], ignore_index=True)


def _share(holds: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> float:
    return float(holds[among].mean()) if among.any() else float("nan")


@dataclass(frozen=True)
class BrightnessMatches:
    """Every test image and its nearest training image at equal brightness: the same picture in another shade.

    A plain pixel distance does not find such pairs.

    Attributes:
        test: int64 [n_test], rows of the test images.
        train: int64 [n_test], rows of those training images.
        rmse: float32 [n_test], their plain pixel distance.
        matched: float32 [n_test], their pixel distance at equal brightness.
        ratio: float32 [n_test], the brightness of the brighter over that of the darker, at least 1.
    """

    test: Indices
    train: Indices
    rmse: Floats
    matched: Floats
    ratio: Floats

    def variants(self, near: float) -> npt.NDArray[np.int64]:
        """Returns the indices of pairs that are within `near` at equal brightness alone, the most similar first."""
        found = np.flatnonzero((self.matched <= near) & (self.rmse > near) & (self.ratio >= SHADE))
        return found[np.argsort(self.matched[found], kind="stable")]


def match_brightness(data: Data) -> BrightnessMatches:
    """Scales all images to the same norm and finds the nearest training image of every test image."""
    pixels, test = data.pixels, data.test_rows
    norms = np.maximum(np.sqrt(np.einsum("ij,ij->i", pixels, pixels)), 1e-6)
    found = nearest(pixels * (norms.mean() / norms)[:, None], len(data.train_rows), k=1, first=len(data.train_rows))
    train = found.index[:, 0].astype(np.int64)
    ratio = norms[test] / norms[train]
    rmse = np.sqrt(((pixels[test] - pixels[train]) ** 2).mean(axis=1))
    return BrightnessMatches(test, train, rmse, found.rmse[:, 0], np.maximum(ratio, 1 / ratio))
