"""Shift between splits: no shift in one distribution, planted shifts are detected, and the power is measured."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.exploration import distribution_shift, image_features, two_sample_tests
from analysis.exploration.data import Data
from analysis.exploration.group_separation import measure_separation, roc_areas
from analysis.exploration.image_features import ImageColumns, measure_features
from analysis.exploration.two_sample_tests import (
    PLANTED_SHIFTS,
    TESTS,
    brighten,
    classifier_test,
    measure_power,
    move,
    smallest_detected,
)
from tests.analysis.exploration.synthetic_data import as_data, make_plain_data


def changed(data: Data, change: object) -> Data:
    """Returns the data with its test images changed."""
    images = data.images.copy()
    images[data.test] = change(images[data.test])
    return as_data(images, data.garments, len(data.train_rows))


@pytest.fixture(scope="module")
def data() -> Data:
    """1,200 training and 400 test images of one distribution."""
    return make_plain_data(1200, 400)


@pytest.fixture(scope="module")
def nothing(data: Data) -> distribution_shift.Shift:
    """What is found between splits that do not differ."""
    return distribution_shift.measure(data, measure_features(data.images))


@pytest.mark.slow
def test_one_distribution_passes(nothing: distribution_shift.Shift) -> None:
    """No test sees a shift between two samples of one distribution."""
    assert nothing.found == ()


def test_a_brighter_split_is_found(data: Data) -> None:
    """If all test images are a fifth brighter, single features, brightness among them, and the classifier see it."""
    brighter = changed(data, lambda images: brighten(brighten(images)))
    table = measure_features(brighter.images)
    compared = distribution_shift.compare_features(table, brighter)
    assert "brightness" in set(compared.query("adjusted < 0.05 and garments == 'all garments'")["feature"])
    rows = ImageColumns.fit(brighter.images).transform(brighter.images, table)
    assert classifier_test(rows, brighter.test, 39, seed=0).p == pytest.approx(1 / 40)


def test_a_moved_split_is_found_where_it_moved(data: Data) -> None:
    """Test images a pixel further right differ in the centre's column by a pixel, and not in the centre's row."""
    moved = changed(data, move)
    table = distribution_shift.differences(measure_features(moved.images), moved.test).set_index("feature")
    assert table.loc["centre column", "low"] > 0
    assert table.loc["centre row", "low"] < 0 < table.loc["centre row", "high"]


def test_equal_splits_are_equivalent_and_a_moved_one_is_not(data: Data) -> None:
    """The farthest bound of the intervals is small for copies of the images, and large for moved ones."""
    images = np.tile(data.images, (12, 1, 1))
    copies = as_data(images, np.tile(data.garments, 12), len(images) // 2)
    features = measure_features(images)
    same = distribution_shift.differences(features, copies.test)
    half = 1.96 * np.sqrt(4 / len(images))
    assert same["difference"].abs().max() < 1e-9 and np.allclose(same["high"], half)
    moved = distribution_shift.differences(measure_features(changed(copies, move).images), copies.test)
    outcome = two_sample_tests.Outcome(0.5, np.zeros(1))
    bounds = [distribution_shift.Shift(same, table, outcome, outcome, same).largest_bound for table in (same, moved)]
    assert bounds[0] == pytest.approx(half) and bounds[0] < distribution_shift.MARGIN < bounds[1]


def test_every_garment_is_compared(nothing: distribution_shift.Shift, data: Data) -> None:
    """Every feature is compared over all images and within each garment, and corrected for all of them."""
    assert len(nothing.by_feature) == len(image_features.FEATURES) * (1 + len(data.taxonomy.garments))
    assert (nothing.by_feature["adjusted"] >= nothing.by_feature["p"]).all()


def test_the_power_has_every_planted_shift_and_test(nothing: distribution_shift.Shift) -> None:
    """The table has a row for each planted shift and a column for each test, with the smallest share detected."""
    table = smallest_detected(nothing.power)
    assert list(table.index) == list(PLANTED_SHIFTS) and list(table.columns) == list(TESTS)


def test_a_draw_without_detection_makes_a_shift_undetected(nothing: distribution_shift.Shift) -> None:
    """One draw of three without detection is enough: the smallest share is undefined."""
    power = nothing.power.copy()
    power["share"] = 0.1
    power.loc[(power["test"] == "classifier") & (power["draw"] == 1), "share"] = np.nan
    table = smallest_detected(power)
    assert table["classifier"].isna().all() and (table["single features"] == 0.1).all()


@pytest.mark.slow
def test_measuring_power_twice_gives_the_same(data: Data) -> None:
    """Draws, shuffles and subsamples are seeded."""
    images = data.images[:300]
    columns = ImageColumns.fit(images)
    one, two = (measure_power(images, columns.transform(images), columns, 100) for _ in range(2))
    assert one.equals(two)


def test_areas_are_scikit_learns() -> None:
    """The area under the ROC curve is scikit-learn's, ties included."""
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    values, first = rng.integers(0, 9, (80, 2)).astype(float), rng.random(80) < 0.3
    assert roc_areas(values, first) == pytest.approx([roc_auc_score(first, column) for column in values.T])


def test_the_feature_that_was_planted_separates_best(data: Data) -> None:
    """If one group of a pair has its own brightness, brightness separates the two without an error."""
    table = measure_features(data.images)
    table.loc[data.groups == 1, "brightness"] += 1000
    separated = measure_separation(data, table, (1, 0))
    assert separated.of_pair.loc[0, "feature"] == "brightness" and separated.of_pair.loc[0, "area"] == 1
    assert separated.together > 0.99
