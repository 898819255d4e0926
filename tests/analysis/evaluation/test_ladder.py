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
