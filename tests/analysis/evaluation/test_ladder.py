"""The ladder: each rung against another way to work it out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from analysis.evaluation import ladder
from models.taxonomy import Taxonomy
from tests.synthetic import images_and_garments

TAXONOMY = Taxonomy.load()


@pytest.fixture(scope="module")
def rungs() -> dict[str, ladder.Rung]:
    """The ladder on 600 and 200 synthetic garments."""
    train, garments = images_and_garments(600, 0)
    test, _ = images_and_garments(200, 1)
    return {rung.name: rung for rung in ladder.evaluate_ladder(train, garments, test, TAXONOMY)}


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """The groups of those 200."""
    return np.array(TAXONOMY.group_of)[images_and_garments(200, 1)[1]]


def test_rungs_ladder(rungs, truth):
    """Majority is right on the largest group's share, and learning anything at all does better."""
    scores = {name: (rung.predicted == truth).mean() for name, rung in rungs.items()}
    assert list(scores) == ["majority", "nearest centroid", "logistic regression", "1-nearest neighbour"]
    assert scores["majority"] == pytest.approx(0.4)
    assert min(scores["nearest centroid"], scores["logistic regression"], scores["1-nearest neighbour"]) > 0.8


def test_nearest_neighbour_is_the_nearest(rungs, monkeypatch):
    """Blocks of one matrix product find what all distances, one by one, say."""
    train, garments = images_and_garments(600, 0)
    test, _ = images_and_garments(200, 1)
    nearest = cdist(test.reshape(200, -1) / 255, train.reshape(600, -1) / 255).argmin(axis=1)
    expected = np.array(TAXONOMY.group_of)[garments[nearest]]
    assert (rungs["1-nearest neighbour"].predicted == expected).all()
    monkeypatch.setattr(ladder, "NEIGHBOUR_BLOCK", 7)
    pixels = (train.reshape(600, -1) / np.float32(255), test.reshape(200, -1) / np.float32(255))
    assert (ladder.nearest_neighbour(pixels[0], garments, pixels[1], TAXONOMY) == expected).all()


def test_nearest_centroid_is_the_nearest_mean_of_a_garment(rungs):
    """The group is that of the garment whose mean image is nearest, not of the nearest mean of a group."""
    train, garments = images_and_garments(600, 0)
    test, _ = images_and_garments(200, 1)
    pixels = train.reshape(600, -1) / 255
    means = np.stack([pixels[garments == garment].mean(axis=0) for garment in range(10)])
    nearest = cdist(test.reshape(200, -1) / 255, means).argmin(axis=1)
    assert (rungs["nearest centroid"].predicted == np.array(TAXONOMY.group_of)[nearest]).all()


def test_logistic_regression_sums_the_garments_of_a_group():
    """A group with four garments of 15% each wins over a garment of 40%, whatever the numbers of the garments are."""
    rng = np.random.default_rng(0)
    garments = np.repeat([0, 2, 4, 6, 9], [150, 150, 150, 150, 400])
    noise = rng.normal(0, 1e-3, (1010, 9)).astype(np.float32)
    found = ladder.logistic_regression(noise[:1000], garments, noise[1000:], TAXONOMY)
    assert found.tolist() == [TAXONOMY.group_of[0]] * 10


def test_principal_directions_are_scaled_to_unit_variance():
    """Strong directions have about unit variance, weak ones less, because of the floor of 0.01."""
    rng = np.random.default_rng(0)
    train = (rng.normal(size=(4000, 3)) * [3, 0.5, 0.05] + 7).astype(np.float32)
    known, unknown = ladder._principal_directions(train, train[:50], directions=3)
    assert sorted(known.var(axis=0)) == pytest.approx([0.2, 0.96, 1], abs=0.03)
    assert unknown == pytest.approx(known[:50], abs=1e-4) and known.mean(axis=0) == pytest.approx(0, abs=1e-3)
    strongest, _ = ladder._principal_directions(train, train[:50], directions=1)
    assert np.abs(np.corrcoef(strongest[:, 0], train[:, 0])[0, 1]) > 0.99


def test_the_majority_is_of_groups_not_of_garments():
    """Two garments of a group with 30% each outnumber one of another with 40%."""
    garments = np.repeat([0, 2, 9], [30, 30, 40])
    nothing = np.zeros((4, 1), np.float32)
    found = ladder.majority(np.zeros((100, 1), np.float32), garments, nothing, TAXONOMY)
    assert found.tolist() == [TAXONOMY.group_of[0]] * 4


def test_every_rung_is_announced_and_timed():
    """Before each rung its index, the number of rungs and its name are reported."""
    train, garments = images_and_garments(100, 0)
    reports = []
    rungs = ladder.evaluate_ladder(train, garments, train[:5], TAXONOMY, lambda *report: reports.append(report))
    assert reports == [(index, 4, rung.name) for index, rung in enumerate(rungs)]
    assert all(rung.seconds > 0 for rung in rungs)


@pytest.mark.slow
def test_same_data_same_answers(rungs):
    """Nothing in the ladder is random."""
    train, garments = images_and_garments(600, 0)
    test, _ = images_and_garments(200, 1)
    for rung in ladder.evaluate_ladder(train, garments, test, TAXONOMY):
        assert (rung.predicted == rungs[rung.name].predicted).all()


def test_garments_absent_from_training_are_no_obstacle():
    """A small or one-sided training split still gives answers, one a test image."""
    train, garments = images_and_garments(300, 0)
    present = garments < 4
    test, _ = images_and_garments(20, 1)
    for rung in ladder.evaluate_ladder(train[present], garments[present], test, TAXONOMY):
        assert rung.predicted.shape == (20,)
