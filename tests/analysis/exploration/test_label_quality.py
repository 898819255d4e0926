"""Garments that were swapped on purpose are found, and the figures about them are what they say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from analysis.evaluation.metrics import wilson_interval
from analysis.exploration.data import Data
from analysis.exploration.label_errors import (
    PlantedSwaps,
    find_suspected_errors,
    plant_swaps,
    unseen_probabilities,
)
from analysis.exploration.label_noise import accuracy_without, noise_estimates
from analysis.exploration.label_quality import LabelQuality, measure, section
from models.probabilities import softmax
from tests.analysis.exploration.section_checks import check_section
from tests.analysis.exploration.synthetic_data import make_data, make_out_of_fold, make_predictions

ACROSS, WITHIN = (0, 5), (2, 4)
"""Garments of two groups and of one: some images of the first of each are labelled as the second."""
SWAPPED = 5


def rows_swapped(data: Data, pair: tuple[int, int], rows: np.ndarray) -> np.ndarray:
    """The rows of a split whose garment is swapped."""
    return rows[data.garments[rows] == pair[0]][:SWAPPED]


@pytest.fixture(scope="module")
def swapped() -> tuple[Data, Data]:
    """Data, and the same with a few garments swapped in both splits."""
    data = make_data()
    garments = data.garments.copy()
    for pair in (ACROSS, WITHIN):
        for rows in (data.train_rows, data.test_rows):
            garments[rows_swapped(data, pair, rows)] = pair[1]
    return data, dataclasses.replace(data, garments=garments)


@pytest.fixture(scope="module")
def quality(swapped: tuple[Data, Data]) -> LabelQuality:
    """Measured on the swapped garments by networks that see the true ones."""
    true, labelled = swapped
    return measure(labelled, make_out_of_fold(labelled, true.garments), make_predictions(true))


def test_swapped_garments_are_suspected_first(swapped: tuple[Data, Data], quality: LabelQuality) -> None:
    """Nearly all that was swapped is found, ahead of anything else, and the garment suggested is the true one."""
    true, _ = swapped
    planted = np.concatenate([rows_swapped(true, pair, true.train_rows) for pair in (ACROSS, WITHIN)])
    surest = quality.train_garments.rows[: len(planted) - 1]
    assert set(surest) <= set(planted) and len(surest) == len(planted) - 1
    assert (quality.train_garments.suggested[: len(surest)] == true.garments[surest]).all()


def test_swapped_garments_of_the_test_split_are_found(swapped: tuple[Data, Data], quality: LabelQuality) -> None:
    """The mean of the networks finds some in a split of a few images a garment, and suspects nothing else first."""
    true, _ = swapped
    planted = np.concatenate([rows_swapped(true, pair, true.test_rows) for pair in (ACROSS, WITHIN)])
    assert quality.test_groups.rows[0] in planted


def test_a_swap_within_a_group_is_not_suspected_of_a_wrong_group(
    swapped: tuple[Data, Data], quality: LabelQuality
) -> None:
    """Only what changes the group is suspected of a wrong group."""
    true, _ = swapped
    across, within = (rows_swapped(true, pair, true.train_rows) for pair in (ACROSS, WITHIN))
    suspected = set(quality.suspected_rows)
    assert len(set(across) & suspected) >= len(across) - 1 and not set(within) & suspected


def test_the_table_of_garments_adds_up(quality: LabelQuality) -> None:
    """The counts by garment, the flow between garments and the list of suspected images agree."""
    assert quality.by_garment["suspected"].sum() == quality.flow.sum() == len(quality.train_garments.rows)
    assert (quality.by_garment["across"] <= quality.by_garment["suspected"]).all()
    table = quality.by_garment.set_index("garment")
    # Images of garments 0 and 2 are labelled as 5 (of another group) and 4 (of the same).
    assert table.loc["Sandal", ["suggested", "images"]].tolist() == ["T-shirt/top", 60 + SWAPPED]
    assert table.loc["Sandal", "across"] >= SWAPPED - 1 and table.loc["Sandal", "group_suspected"] >= SWAPPED - 1
    assert table.loc["Coat", "suggested"] == "Pullover" and table.loc["Coat", "across"] == 0
    assert quality.flow[5, 0] >= SWAPPED - 1 and quality.flow[0, 5] == 0


def test_a_suspected_image_has_its_row_suggestion_and_probability() -> None:
    """The rows are those of the identifiers given, the most certain error first."""
    labelled = np.arange(60) % 3
    probabilities = np.eye(3)[labelled] * 0.9 + 0.1 / 3
    for row, certainty in ((30, 0.97), (7, 0.99)):
        probabilities[row] = [(1 - certainty) / 2, (1 - certainty) / 2, certainty]
    found = find_suspected_errors(labelled, probabilities, np.arange(60) + 1000)
    assert found.rows.tolist() == [1007, 1030] and found.suggested.tolist() == [2, 2]
    assert found.probability.tolist() == pytest.approx([0.99, 0.97])


def test_probabilities_are_calibrated_and_of_the_last_epoch() -> None:
    """Logits that are ten times too certain are divided by one temperature; a test image has the networks' mean."""
    data = make_data(3000, 4)
    random = np.random.default_rng(0)
    true = random.normal(0, 2, (3000, 10))
    garments = np.concatenate([(true + random.gumbel(size=true.shape)).argmax(axis=1), data.garments[3000:]])
    answers = make_out_of_fold(data)
    logits = np.stack([-true, 10 * true])
    test_logits = np.zeros((2, 4, 10))
    test_logits[0, :, 3], test_logits[1, :, 4] = 1e3, 1e3
    networks = dataclasses.replace(answers, logits=logits, test_logits=test_logits)
    found = unseen_probabilities(dataclasses.replace(data, garments=garments), networks)
    assert np.abs(found[:3000] - softmax(true)).max() < 0.05
    assert found[3000:, 3:5] == pytest.approx(0.5) and found.sum(axis=1) == pytest.approx(1)


def test_nothing_is_suspected_if_the_networks_agree() -> None:
    """If the networks predict the labelled class everywhere, no label is suspected."""
    labelled = np.arange(300) % 5
    assert not len(find_suspected_errors(labelled, np.eye(5)[labelled] * 0.9 + 0.02, np.arange(300)).rows)


def test_excluding_a_models_own_errors_reaches_the_bound() -> None:
    """If all suspected images are errors of a model, its accuracy without them equals the stated bound."""
    data = make_data()
    answers = make_predictions(data)
    wrong = data.test_rows[answers["small networks"] != data.groups[data.test_rows]]
    row = accuracy_without(data, wrong[:5], answers).set_index("model").loc["small networks"]
    assert row["without"] == pytest.approx(row["at_most"]) and row["suspected_misclassified"] == 5
    assert row["official"] < row["without"] and row["random"] == row["official"]
    assert row["at_most"] == pytest.approx((answers["small networks"] == data.groups[data.test_rows]).sum() / 195)


def test_excluding_images_at_random_spreads_as_stated() -> None:
    """The deviation is that of accuracies without as many images drawn at random."""
    data = make_data()
    answers = make_predictions(data)["small networks"]
    right = answers == data.groups[data.test_rows]
    row = accuracy_without(data, data.test_rows[:60], {"model": answers}).iloc[0]
    random = np.random.default_rng(0)
    drawn = [right[random.permutation(200)[60:]].mean() for _ in range(4000)]
    assert row["random"] == pytest.approx(np.mean(drawn), abs=1e-3)
    assert row["random_sd"] == pytest.approx(np.std(drawn), rel=0.05)
    assert row["without"] == right[60:].mean() and row["suspected_misclassified"] == (~right[:60]).sum()


def test_training_images_are_not_excluded_from_the_accuracy() -> None:
    """Only suspected test images count; where all are suspected, no accuracy exceeds one."""
    data = make_data()
    answers = {"model": data.groups[data.test_rows]}
    row = accuracy_without(data, np.arange(300), answers).iloc[0]
    assert row[["official", "without", "at_most", "suspected_misclassified"]].tolist() == [1, 1, 1, 0]


def test_planted_noise_is_estimated() -> None:
    """Of groups of which 4% were swapped, the confident joint says about 4%, and its interval holds it."""
    data = make_data(3000, 10)
    random = np.random.default_rng(0)
    swap = random.random(3000) < 0.04
    true = data.groups[data.train_rows]
    labelled = np.where(swap, (true + random.integers(1, 5, 3000)) % 5, true)
    probabilities = np.eye(5)[true] * 0.9 + random.uniform(0.0, 0.04, (3000, 5))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    joint = noise_estimates(data, probabilities, labelled).set_index("estimate").loc["confident joint"]
    assert joint["low"] <= swap.mean() <= joint["high"] and joint["high"] - joint["low"] < 0.03


def test_near_duplicates_that_disagree_are_counted() -> None:
    """One of three clusters with two groups gives half of a third."""
    data = make_data()
    garments = data.garments.copy()
    garments[:6] = [0, 0, 0, 5, 1, 1]
    table = noise_estimates(
        dataclasses.replace(data, garments=garments), np.eye(5)[data.groups[:600]], data.groups[:600]
    )
    disagreeing = table.set_index("estimate").loc["near-duplicates that disagree"]
    low, high = wilson_interval(1, 3)
    assert disagreeing[["share", "low", "high"]].tolist() == pytest.approx([1 / 6, float(low) / 2, float(high) / 2])


def test_a_cluster_of_three_is_one_pair_and_other_clusters_do_not_mix() -> None:
    """The first two images of a cluster count, wherever they are; neighbours of two clusters are no pair."""
    data = make_data()
    clusters, garments = np.full(len(data), -1), data.garments.copy()
    clusters[[500, 7, 90, 8, 9]] = [0, 0, 0, 1, 1]
    garments[[7, 90, 500, 8, 9]] = [0, 0, 5, 8, 8]
    changed = dataclasses.replace(data, clusters=clusters, garments=garments)
    table = noise_estimates(changed, np.eye(5)[data.groups[:600]], data.groups[:600]).set_index("estimate")
    assert table.loc["near-duplicates that disagree", "share"] == 0
    alone = dataclasses.replace(data, clusters=np.full(len(data), -1))
    none = noise_estimates(alone, np.eye(5)[data.groups[:600]], data.groups[:600]).set_index("estimate")
    assert none.loc["near-duplicates that disagree", ["share", "low", "high"]].isna().all()


def test_the_uncertainty_of_the_networks_is_their_mean_doubt() -> None:
    """Half of the images at 0.9 and half at 0.7 give 20%, with the normal interval of the mean."""
    data = make_data()
    probabilities = np.full((600, 5), 0.025)
    probabilities[:, 0] = 0.9
    probabilities[300:] = [0.7, 0.3, 0, 0, 0]
    row = (
        noise_estimates(data, probabilities, data.groups[:600]).set_index("estimate").loc["uncertainty of the networks"]
    )
    half = 1.96 * 0.1 / np.sqrt(600)
    assert row[["share", "low", "high"]].tolist() == pytest.approx([0.2, 0.2 - half, 0.2 + half])


def test_planted_swaps_are_found_again() -> None:
    """The sanity check finds most of what it swapped when the features tell the garments apart."""
    data = make_data(2400, 50)
    found = {(p.kind, p.target): p for p in plant_swaps(data, make_out_of_fold(data))}
    assert len(found) == 4
    assert all(p.recall > 0.7 and p.precision > 0.9 for p in found.values()), found
    images = int((make_out_of_fold(data).fold == 0).sum())
    assert {p.images for p in found.values()} == {images}
    swapped = {(kind, target): p.swapped for (kind, target), p in found.items()}
    assert {swapped[kind, "garment"] for kind, _ in swapped} == {round(0.02 * images)}
    assert all(0 < swapped[kind, "group"] < round(0.02 * images) for kind, _ in swapped), "some swaps stay in the group"


def test_recall_and_precision_of_the_search_have_their_own_denominators() -> None:
    """Of 10 swapped images 6 are among 8 suspected ones."""
    swaps = PlantedSwaps("any other garment", "group", images=500, swapped=10, suspected=8, found=6, before=3)
    assert (swaps.recall, swaps.precision) == (0.6, 0.75)
    nothing = dataclasses.replace(swaps, swapped=0, suspected=0, found=0)
    assert (nothing.recall, nothing.precision) == (0, 0)


def test_section_is_made(swapped: tuple[Data, Data], quality: LabelQuality) -> None:
    """The section can be built, names the crowd's accuracy and says that the comparison is circular."""
    quality_section = section(swapped[1], quality)
    check_section(quality_section)
    assert "83.5%" in quality_section.finding and "circular" in quality_section.finding
