"""Garments that were swapped on purpose are found, and the figures about them are what they say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from analysis.exploration.data import Data
from analysis.exploration.label_errors import find_suspected_errors, plant_swaps
from analysis.exploration.label_noise import accuracy_without, noise_estimates
from analysis.exploration.label_quality import LabelQuality, measure, section
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
    assert disagreeing["share"] == pytest.approx(1 / 6) and disagreeing["low"] < 1 / 6 < disagreeing["high"]


def test_planted_swaps_are_found_again() -> None:
    """The sanity check finds most of what it swapped when the features tell the garments apart."""
    data = make_data(2400, 50)
    found = {(p.kind, p.target): p for p in plant_swaps(data, make_out_of_fold(data))}
    assert len(found) == 4
    assert all(p.recall > 0.7 and p.precision > 0.9 for p in found.values()), found


def test_section_is_made(swapped: tuple[Data, Data], quality: LabelQuality) -> None:
    """The section can be built, names the crowd's accuracy and says that the comparison is circular."""
    quality_section = section(swapped[1], quality)
    check_section(quality_section)
    assert "83.5%" in quality_section.finding and "circular" in quality_section.finding
