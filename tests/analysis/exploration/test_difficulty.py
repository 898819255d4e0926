"""Planted difficulty is found: shared errors, hard and ambiguous images, outliers, the most confused pair."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.exploration.confused_pair import most_confused
from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import Data
from analysis.exploration.data_maps import REGIONS, map_data
from analysis.exploration.difficulty import Difficulty, choose_exemplars, measure, section
from analysis.exploration.group_separation import area_with_interval
from analysis.exploration.neighbours import Neighbours, nearest
from analysis.exploration.shared_errors import compare_errors
from tests.analysis.exploration.section_checks import check_section
from tests.analysis.exploration.synthetic_data import make_data, make_out_of_fold, make_predictions

DRESS = 3
CONFUSED = 12


@pytest.fixture(scope="module")
def data() -> Data:
    """600 training and 200 test images."""
    return make_data()


@pytest.fixture(scope="module")
def answers(data: Data) -> OutOfFold:
    """Networks that predict a dozen dresses as T-shirts, and are correct otherwise."""
    seen = data.garments.copy()
    seen[np.flatnonzero(data.garments == DRESS)[:CONFUSED]] = 0
    return make_out_of_fold(data, seen, sharpness=8.0)


@pytest.fixture(scope="module")
def difficulty(data: Data, answers: OutOfFold) -> Difficulty:
    """Measured with the true neighbours and the first confused dress as a suspected label error."""
    neighbours: Neighbours = nearest(data.pixels, len(data.train_rows), 5)
    suspected = np.flatnonzero(data.garments == DRESS)[:1]
    return measure(data, neighbours, answers, make_predictions(data), suspected)


def test_the_planted_pair_is_the_most_confused(data: Data, difficulty: Difficulty) -> None:
    """The dresses predicted as T-shirts are the confused images, all of them and no others."""
    pair = difficulty.pair
    assert [data.taxonomy.groups[group] for group in pair.groups] == ["Upper part", "One piece"]
    upper, dress = pair.directions
    assert set(dress.rows) == set(np.flatnonzero(data.garments == DRESS)[:CONFUSED]) and not len(upper.rows)
    assert dress.suspected == 1 and pair.shares["share"].iloc[0] == 1.0
    row = pair.by_garment.set_index("garment").loc["Dress"]
    assert row["confused"] == CONFUSED and row["predicted"] == "T-shirt/top"


def test_images_that_all_models_misclassify_are_found(data: Data, difficulty: Difficulty) -> None:
    """Every tenth test image was planted as one, far more than independent errors give."""
    shared = difficulty.shared
    assert set(range(0, 200, 10)) <= set(shared.by_all.tolist())
    assert shared.observed[-1] > 5 * shared.expected[-1]
    assert shared.observed.sum() == 200 and shared.expected.sum() == pytest.approx(200)


def test_consistency_is_one_for_the_same_errors_and_none_for_independent_ones() -> None:
    """Kappa separates shared errors from errors that coincide by chance; a constant prediction is excluded."""
    random = np.random.default_rng(0)
    truth = np.zeros(20_000, np.int64)
    first, second = (random.random((2, 20_000)) < 0.1).astype(np.int64)
    found = compare_errors({"a": first, "b": first, "c": second, "constant": truth}, truth)
    assert found.models == ("a", "b", "c")
    assert found.consistency[0, 1] == pytest.approx(1.0) and abs(found.consistency[0, 2]) < 0.03


def test_data_maps_put_planted_images_where_they_belong(data: Data) -> None:
    """A certain correct image is easy, a certain misclassified one is hard, a changing one is ambiguous."""
    answers = make_out_of_fold(data, sharpness=0.0)
    logits = np.zeros_like(answers.logits)
    rows = np.arange(600)
    garments = data.garments[data.train_rows]
    logits[:, rows, garments] = 12.0
    footwear, bag = 5, 8
    other = np.where(garments == bag, footwear, bag)
    logits[:, 0, garments[0]], logits[:, 0, other[0]] = 0.0, 12.0
    logits[::2, 1, garments[1]], logits[::2, 1, other[1]] = 0.0, 12.0
    found = map_data(data, OutOfFold(answers.fold, logits, answers.test_logits, answers.features))
    assert [REGIONS[region] for region in found.region[:3]] == ["hard", "ambiguous", "easy"]
    assert found.by_garment[list(REGIONS)].sum(axis=1).to_numpy() == pytest.approx(1.0)


def test_prototypes_are_in_the_clusters() -> None:
    """Two dense clouds get a prototype each before any gets two, and what lies alone gets none."""
    random = np.random.default_rng(0)
    clouds = np.repeat([[0.0, 0.0], [6.0, 0.0]], 50, axis=0) + random.normal(0, 0.3, (100, 2))
    features = np.vstack([clouds, [[3.0, 8.0]]]).astype(np.float32)
    assert {int(row) // 50 for row in choose_exemplars(features, 2).prototypes} == {0, 1}


def test_critics_are_no_prototypes_and_include_the_outlier() -> None:
    """An image far from everything is criticised, and nothing is both."""
    random = np.random.default_rng(0)
    clouds = np.repeat([[0.0, 0.0], [6.0, 0.0]], 50, axis=0) + random.normal(0, 0.3, (100, 2))
    features = np.vstack([clouds, [[3.0, 8.0]]]).astype(np.float32)
    chosen = choose_exemplars(features, 4)
    assert 100 in chosen.critics and not set(chosen.critics) & set(chosen.prototypes)


def test_the_area_is_the_probability_of_a_larger_value() -> None:
    """1 when every confused image has more, 0.5 for the same values, not defined without images."""
    assert area_with_interval(np.array([3.0, 4.0]), np.array([1.0, 2.0]))[0] == 1.0
    area, low, high = area_with_interval(np.arange(50.0), np.arange(50.0))
    assert low < area == 0.5 < high
    assert np.isnan(area_with_interval(np.empty(0), np.arange(3.0))[0])


def test_the_pair_of_most_errors_has_the_larger_group_first() -> None:
    """Errors count in both directions."""
    truth, found = np.array([0, 1, 1, 2, 2]), np.array([1, 0, 2, 2, 2])
    assert most_confused(truth, found, (0, 1, 1, 2)) == (1, 0)
    assert most_confused(truth, truth, (0, 1, 1, 2)) == (1, 0), "two different groups, also without an error"


def test_section_is_made(data: Data, difficulty: Difficulty) -> None:
    """The section can be drawn and tells of the planted pair."""
    difficulty_section = section(data, difficulty)
    check_section(difficulty_section)
    assert "One piece and Upper part" in difficulty_section.finding
