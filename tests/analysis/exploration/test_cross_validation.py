"""Folds are stratified without leakage, and the predictions are of networks that were not trained on the image."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from analysis.exploration.cross_validation import OutOfFold, SmallNetwork, assign_folds, cross_validate
from tests.analysis.exploration.synthetic_data import make_data, make_out_of_fold


def test_folds_keep_clusters_together() -> None:
    """No near-duplicate cluster is in two folds, however large it is."""
    random = np.random.default_rng(0)
    garments = random.integers(0, 10, 900)
    clusters = np.where(random.random(900) < 0.5, random.integers(0, 60, 900), -1)
    fold = assign_folds(garments, clusters, 3, 0)
    assert all(len(np.unique(fold[clusters == cluster])) == 1 for cluster in range(60))


def test_folds_hold_every_garment_in_equal_shares() -> None:
    """Images on their own make up for what the clusters leave uneven."""
    garments = np.repeat(np.arange(10), 90)
    clusters = np.full(900, -1)
    clusters[:30], clusters[30:36], clusters[90:97] = 0, 1, 2
    fold = assign_folds(garments, clusters, 3, 0)
    counts = [np.bincount(garments[fold == k], minlength=10) for k in range(3)]
    assert np.ptp(counts, axis=0).max() == 0


def test_a_garment_is_uneven_only_where_a_cluster_is_larger_than_a_fold() -> None:
    """A cluster of 50 of 90 images goes to one fold, and the other two share what is left."""
    garments, clusters = np.zeros(90, np.int64), np.where(np.arange(90) < 50, 0, -1)
    counts = np.bincount(assign_folds(garments, clusters, 3, 0), minlength=3)
    assert sorted(counts) == [20, 20, 50]


def test_folds_are_the_same_for_the_same_seed() -> None:
    """The seed alone decides."""
    garments, clusters = np.arange(300) % 10, np.full(300, -1)
    one, again, other = (assign_folds(garments, clusters, 3, seed) for seed in (1, 1, 2))
    assert (one == again).all() and (one != other).any()


def test_saved_predictions_load_unchanged(tmp_path: Path) -> None:
    """The loaded arrays equal the saved ones in values and types."""
    saved = make_out_of_fold(make_data(60, 20))
    saved.save(tmp_path)
    loaded = OutOfFold.load(tmp_path)
    for name in ("fold", "logits", "test_logits", "features"):
        before, after = getattr(saved, name), getattr(loaded, name)
        assert before.dtype == after.dtype and np.array_equal(before, after)


def test_every_image_has_predictions(capsys: pytest.CaptureFixture[str]) -> None:
    """After an epoch on tiny data every training image has logits of its fold's network, and progress was reported."""
    data = make_data(300, 50)
    reports: list[tuple[int, int]] = []
    found = cross_validate(data, folds=2, epochs=1, seed=0, report=lambda d, n, note: reports.append((d, n)))
    assert found.logits.shape == (1, 300, 10) and found.test_logits.shape == (2, 50, 10)
    assert len(found.features) == 350 and found.features.shape[1] > 1
    assert np.ptp(found.logits[0], axis=1).min() > 0
    assert reports == [(1, 2), (2, 2)]


def test_no_image_is_judged_by_a_network_that_saw_it() -> None:
    """Logits and features of a fold are those of a network trained anew on the other folds alone, and of no other."""
    data = make_data(300, 50)
    found = cross_validate(data, folds=2, epochs=2, seed=0)
    rows, networks = data.train_rows, []
    for held_out in range(2):
        known = rows[found.fold != held_out]
        network = SmallNetwork(10, 0).train(data.images[known], data.garments[known], 2)
        networks.append(network.predict(data.images, verbose=0))
        if held_out == 0:
            inner = keras.Model(network.inputs, network.get_layer("features").output)
            np.testing.assert_allclose(found.features, inner.predict(data.images, verbose=0), atol=0.1)
    for held_out, (right, wrong) in enumerate((networks, networks[::-1])):
        judged = found.logits[-1][found.fold == held_out]
        members = rows[found.fold == held_out]
        assert np.abs(judged - right[members]).mean() < 0.1 * np.abs(judged - wrong[members]).mean()
        tested = found.test_logits[held_out]
        assert np.abs(tested - right[300:]).mean() < 0.1 * np.abs(tested - wrong[300:]).mean()
