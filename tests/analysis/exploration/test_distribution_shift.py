"""Shift between splits: no shift in one distribution, planted shifts are detected, and the power is measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from analysis.exploration import distribution_shift, image_features, two_sample_tests
from analysis.exploration.data import Data
from analysis.exploration.group_separation import (
    areas_of_pair,
    discriminant_area,
    explained_variance,
    measure_separation,
    roc_areas,
)
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
from models.taxonomy import Taxonomy
from tests.analysis.exploration.synthetic_data import as_data, make_plain_data

GARMENTS = Taxonomy.load().garments


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


def test_features_are_compared_within_each_garment_and_corrected_together() -> None:
    """A row is scipy's comparison of this feature in these images; p-values are corrected over all rows."""
    data, random = make_plain_data(120, 80), np.random.default_rng(0)
    table = pd.DataFrame({"one": random.normal(size=200), "two": random.normal(size=200)})
    table.loc[data.test & (data.garments == 3), "two"] += 9
    found = distribution_shift.compare_features(table, data)
    assert found.loc[0, ["garments", "feature"]].tolist() == ["Dress", "two"] and len(found) == 2 * 11
    for row in found.itertuples():
        members = (
            np.ones(200, bool) if row.garments == "all garments" else data.garments == GARMENTS.index(row.garments)
        )
        values = table[row.feature].to_numpy()
        expected = ks_2samp(values[members & ~data.test], values[members & data.test], method="asymp")
        assert row.distance == pytest.approx(expected.statistic)
    assert found["adjusted"].to_numpy() == pytest.approx(two_sample_tests.holm(found["p"].to_numpy()))
    assert found["p"].is_monotonic_increasing and found.loc[0, "adjusted"] < 0.05 < found.loc[1, "adjusted"]


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
    assert list(separated.of_groups.columns) == list(data.taxonomy.groups)
    one, other = (separated.of_groups.loc["brightness", data.taxonomy.groups[group]] for group in (1, 0))
    assert one == 1 and other < 1, "of each group against all others"


def test_separation_is_measured_on_the_training_images(data: Data) -> None:
    """What the test images alone show separates nothing."""
    table = measure_features(data.images)
    before = measure_separation(data, table, (1, 0))
    table.loc[data.test & (data.groups == 1), "brightness"] += 1000
    after = measure_separation(data, table, (1, 0))
    assert after.of_pair.equals(before.of_pair) and after.of_groups.equals(before.of_groups)
    assert after.together == before.together


def test_features_are_ordered_by_how_far_their_areas_are_from_chance() -> None:
    """A feature that is smaller in the first group is as good as one that is larger."""
    first = np.arange(40) < 20
    noise = np.random.default_rng(0).normal(size=40)
    table = pd.DataFrame({"none": noise, "larger": noise + first, "smaller": noise - 9 * first})
    found = areas_of_pair(table, first)
    assert found["feature"].tolist() == ["smaller", "larger", "none"]
    assert found.loc[0, ["area", "low", "high"]].tolist() == [0, 0, 0]
    assert found.loc[1, "low"] < found.loc[1, "area"] < found.loc[1, "high"]


def test_the_discriminant_sees_products_and_is_cross_validated() -> None:
    """Groups that differ in the sign of a product are separated; noise in many columns is not, nor are few images."""
    random = np.random.default_rng(0)
    values = pd.DataFrame(random.normal(size=(200, 2)), columns=["a", "b"])
    assert discriminant_area(values, (values["a"] * values["b"] > 0).to_numpy()) > 0.95
    noise = pd.DataFrame(random.normal(size=(200, 12)))
    assert 0.35 < discriminant_area(noise, np.arange(200) % 2 == 0) < 0.65
    assert np.isnan(discriminant_area(values, np.arange(200) < 4))
    assert not np.isnan(discriminant_area(values, np.arange(200) < 5))


def test_features_explain_the_variance_between_classes() -> None:
    """Of the values 0, 2, 10 and 12 of two classes the means explain 25 of 26; a constant has nothing to explain."""
    table = pd.DataFrame({"value": [0.0, 2, 10, 12], "constant": [5.0] * 4})
    found = explained_variance(table, np.array([0, 0, 1, 1]))
    assert found.to_dict() == {"value": pytest.approx(25 / 26), "constant": 0}


def test_a_shift_is_found_by_the_tests_whose_p_value_reaches_the_level() -> None:
    """Each test decides by its own p-value, single features by the adjusted one; 0.05 itself is significant."""
    features = pd.DataFrame({"adjusted": [0.06, 0.9], "p": [0.001, 0.5]})
    shift = distribution_shift.Shift(
        by_feature=features,
        differences=pd.DataFrame({"low": [-0.2, 0.0], "high": [0.1, 0.1]}),
        classifier=two_sample_tests.Outcome(1.0, np.zeros(19)),
        discrepancy=two_sample_tests.Outcome(0.0, np.zeros(19)),
        power=pd.DataFrame(),
    )
    assert shift.found == ("classifier",) and shift.largest_bound == 0.2
    assert dataclasses.replace(shift, by_feature=features * 0.5).found == ("single features", "classifier")


def test_planted_shifts_change_images_as_they_are_named() -> None:
    """A pixel to the right, a tenth brighter, the mean of nine pixels; the images given stay as they were."""
    images = np.zeros((1, 28, 28), np.uint8)
    images[0, 10, [10, 27]] = 90, 250
    before = images.copy()
    moved, brighter, blurred = (change(images) for change in PLANTED_SHIFTS.values())
    assert np.argwhere(moved[0]).tolist() == [[10, 11]] and moved[0, 10, 11] == 90
    assert (brighter[0, 10, 10], brighter[0, 10, 27]) == (99, 255)
    assert blurred[0, 9:12, 9:12].tolist() == [[10] * 3] * 3 and blurred[0, 10, 8] == 0
    assert (images == before).all()
