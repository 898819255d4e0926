"""Planted difficulty is found: shared errors, hard and ambiguous images, outliers, the most confused pair."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.data.slicing_features import brightness
from analysis.exploration.confused_pair import most_confused
from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import Data
from analysis.exploration.data_maps import REGIONS, map_data, regions
from analysis.exploration.difficulty import Difficulty, choose_exemplars, measure, section
from analysis.exploration.group_separation import area_with_interval, roc_intervals
from analysis.exploration.neighbours import Neighbours, nearest
from analysis.exploration.shared_errors import compare_errors, predict_groups
from models.probabilities import softmax
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


def test_the_confused_images_are_described(data: Data, answers: OutOfFold, difficulty: Difficulty) -> None:
    """The most certain error comes first; medians, areas and shares are those of the images that are named."""
    upper, dress = difficulty.pair.directions
    groups = softmax(answers.logits[-1]) @ np.array(data.taxonomy.membership())
    assert (dress.labelled, dress.predicted) == (2, 0) and (upper.labelled, upper.predicted) == (0, 2)
    assert dress.probability == pytest.approx(groups[dress.rows, 0])
    assert (np.diff(dress.probability) <= 0).all() and (dress.probability > 0.5).all()
    found = groups.argmax(axis=1)
    truth = data.groups[data.train_rows]
    neighbours = nearest(data.pixels, len(data.train_rows), 5)
    mostly = (data.groups[neighbours.index] == 0).mean(axis=1) > 0.5
    correct, other = (np.flatnonzero((truth == group) & (found == group)) for group in (2, 0))
    assert dress.neighbours == pytest.approx(mostly[dress.rows].mean())
    assert dress.neighbours_correct == pytest.approx(mostly[correct].mean())
    row = dress.measures.set_index("measure").loc["brightness (0 to 255)"]
    medians = [np.median(brightness(data.images[rows])) for rows in (dress.rows, correct, other)]
    assert row[["confused", "correct", "other"]].tolist() == pytest.approx(medians)
    expected = area_with_interval(brightness(data.images[dress.rows]), brightness(data.images[correct]))
    assert row[["auc", "low", "high"]].tolist() == pytest.approx(expected)
    assert (dress.measures["auc"] - 0.5).abs().is_monotonic_decreasing


def test_errors_between_the_pair_are_counted_for_every_model(data: Data, difficulty: Difficulty) -> None:
    """The small networks on the training images, the other models on the test images; each garment with its share."""
    table = difficulty.pair.shares.set_index(["model", "on"])
    assert table.loc[("small networks", "training, out of fold"), ["errors", "between"]].tolist() == [CONFUSED] * 2
    truth = data.groups[data.test_rows]
    for name, predicted in make_predictions(data).items():
        wrong = predicted != truth
        between = wrong & np.isin(truth, (0, 2)) & np.isin(predicted, (0, 2))
        row = table.loc[(name, "test")]
        assert row[["errors", "between"]].tolist() == [wrong.sum(), between.sum()]
        assert row["share"] == pytest.approx(between.sum() / wrong.sum()) and row["low"] <= row["share"] <= row["high"]
    garments = difficulty.pair.by_garment.set_index("garment")
    assert list(garments.index) == ["T-shirt/top", "Pullover", "Coat", "Shirt", "Dress"]
    dress = garments.loc["Dress"]
    assert (dress["group"], dress["images"], dress["share"]) == ("One piece", 60, CONFUSED / 60)
    assert dress["low"] < CONFUSED / 60 < dress["high"]
    assert garments.loc["Coat", ["confused", "share", "predicted"]].tolist() == [0, 0, ""]


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


def test_expected_errors_and_consistency_follow_from_the_rates() -> None:
    """Two models with error rates 0.5 and 0.25 that err together on an eighth of the images, and a third model."""
    truth = np.zeros(8, np.int64)
    answers = {
        "half": np.array([1, 1, 1, 1, 0, 0, 0, 0]),
        "quarter": np.array([2, 0, 0, 0, 0, 0, 0, 2]),
        "most": np.array([1, 1, 1, 1, 1, 1, 0, 0]),
    }
    found = compare_errors({name: answers[name] for name in ("half", "quarter")}, truth)
    assert found.observed.tolist() == [3, 4, 1] and found.by_all.tolist() == [0]
    assert found.expected.tolist() == pytest.approx([3, 4, 1])
    assert found.consistency == pytest.approx(np.array([[1, 0], [0, 1]]))
    # They agree on six of eight images, by chance on 0.5 x 0.75 + 0.5 x 0.25 of them: (0.75 - 0.5) / (1 - 0.5).
    assert compare_errors(answers, truth).consistency[0, 2] == pytest.approx(0.5)


def test_models_predict_the_test_images_from_the_weakest_to_the_strongest(data: Data, answers: OutOfFold) -> None:
    """The networks' prediction is the mean of their probabilities; 1-nearest neighbour's is the group of the first."""
    test_logits = np.full_like(answers.test_logits, -9.0)
    test_logits[:, :, DRESS] = 0.0
    # One certain network outvotes two that slightly prefer the dress, by the mean probability.
    test_logits[0, :50, DRESS], test_logits[0, :50, 8] = -20.0, 20.0
    test_logits[1:, :50, 8] = -0.1
    networks = OutOfFold(answers.fold, answers.logits, test_logits, answers.features)
    neighbours = nearest(data.pixels, len(data.train_rows), 5)
    trained = np.full(200, 2)
    found = predict_groups(data, neighbours, networks, trained)
    assert list(found) == [
        "nearest centroid", "logistic regression", "1-nearest neighbour", "small networks", "trained model",
    ]  # fmt: skip
    groups = np.array(data.taxonomy.group_of)
    assert found["small networks"].tolist() == [groups[8]] * 50 + [groups[DRESS]] * 150
    distances = ((data.pixels[data.test_rows, None] - data.pixels[None, data.train_rows]) ** 2).sum(axis=2)
    assert (found["1-nearest neighbour"] == data.groups[distances.argmin(axis=1)]).all()
    truth = data.groups[data.test_rows]
    assert all((found[name] == truth).mean() > 0.9 for name in ("nearest centroid", "logistic regression"))
    assert found["trained model"] is trained and "trained model" not in predict_groups(data, neighbours, networks)


@pytest.mark.parametrize(
    ("confidence", "variability", "region"),
    [
        (0.9, 0.149, "easy"), (0.89, 0.0, "between"), (0.95, 0.15, "ambiguous"), (0.05, 0.2, "ambiguous"),
        (0.101, 0.0, "between"), (0.099, 0.0, "hard"),
    ],
)  # fmt: skip
def test_regions_of_the_data_map_end_at_their_bounds(confidence: float, variability: float, region: str) -> None:
    """Easy from a mean of 0.9 on, hard below 0.1; a deviation of 0.15 or more is ambiguous whatever the mean."""
    (found,) = regions(np.array([confidence]), np.array([variability]))
    assert REGIONS[found] == region


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
    assert found.confidence[:3] == pytest.approx([0, 0.5, 1], abs=1e-3)
    assert found.variability[:3] == pytest.approx([0, 0.5, 0], abs=1e-3)
    shares = found.by_garment.set_index("garment")
    assert shares[list(REGIONS)].sum(axis=1).to_numpy() == pytest.approx(1.0)
    for row, region in ((0, "hard"), (1, "ambiguous")):
        name = data.taxonomy.garments[garments[row]]
        of_garment = found.region[garments == garments[row]]
        assert shares.loc[name, region] == (of_garment == REGIONS.index(region)).mean() > 0
        assert shares.loc[name, "group"] == data.taxonomy.groups[data.groups[row]]


def test_prototypes_are_in_the_clusters() -> None:
    """Two dense clouds get a prototype each before any gets two, and what lies alone gets none."""
    random = np.random.default_rng(0)
    clouds = np.repeat([[0.0, 0.0], [6.0, 0.0]], 50, axis=0) + random.normal(0, 0.3, (100, 2))
    features = np.vstack([clouds, [[3.0, 8.0]]]).astype(np.float32)
    assert {int(row) // 50 for row in choose_exemplars(features, 2).prototypes} == {0, 1}


def test_exemplars_are_those_of_the_greedy_search_by_hand() -> None:
    """Each prototype lowers the mean discrepancy most; each critic adds most to witness and log-determinant."""
    features = np.random.default_rng(1).normal(size=(14, 3)).astype(np.float32)
    squares = ((features[:, None].astype(float) - features[None]) ** 2).sum(axis=2)
    kernel = np.exp(-squares / np.median(squares))

    def discrepancy(chosen: list[int]) -> float:
        return float(kernel[np.ix_(chosen, chosen)].mean() - 2 * kernel[chosen].mean())

    prototypes: list[int] = []
    for _ in range(4):
        left = [row for row in range(14) if row not in prototypes]
        prototypes.append(min(left, key=lambda row: discrepancy([*prototypes, row])))
    witness = np.abs(kernel.mean(axis=0) - kernel[prototypes].mean(axis=0))

    def criticism(chosen: list[int]) -> float:
        return float(witness[chosen].sum() + np.linalg.slogdet(kernel[np.ix_(chosen, chosen)])[1])

    critics: list[int] = []
    for _ in range(4):
        left = [row for row in range(14) if row not in prototypes + critics]
        critics.append(max(left, key=lambda row: criticism([*critics, row])))
    found = choose_exemplars(features, 4)
    assert found.prototypes.tolist() == prototypes and found.critics.tolist() == critics
    assert len(choose_exemplars(features[:5], 4).prototypes) == 2, "at most half of the images are prototypes"


def test_exemplars_are_of_their_group_and_of_fold_0(data: Data, answers: OutOfFold, difficulty: Difficulty) -> None:
    """Their features come from a network that was not trained on them."""
    for group, chosen in enumerate(difficulty.exemplars):
        rows = np.concatenate([chosen.prototypes, chosen.critics])
        assert (data.groups[rows] == group).all() and (answers.fold[rows] == 0).all() and len(rows) == 16


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


@pytest.mark.parametrize(("marked", "others"), [(10, 200), (200, 10)])
def test_the_interval_of_an_area_is_as_wide_as_areas_spread(marked: int, others: int) -> None:
    """Hanley and McNeil's variance is exact for exponential values: their areas spread by half of the interval."""
    random = np.random.default_rng(0)
    found = np.array(
        [area_with_interval(random.exponential(4, marked), random.exponential(1, others)) for _ in range(1200)]
    )
    assert found[:, 0].mean() == pytest.approx(0.8, abs=0.01)
    low, high = roc_intervals(np.array([0.8]), marked, others)
    assert (high - low)[0] / 2 == pytest.approx(1.96 * found[:, 0].std(), rel=0.05)
    assert (found[:, 1:] >= 0).all() and (found[:, 1:] <= 1).all()


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
