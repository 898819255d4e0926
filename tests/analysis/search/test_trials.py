"""Trials of the hyperparameter search: failures are recorded, and samples are stratified."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.search.oracles import Budget
from analysis.search.space import SearchSpace
from analysis.search.trials import TrialJournal, search, stratified_sample
from models.augmentation import AUGMENTATIONS
from models.recipe import Recipe
from models.taxonomy import Taxonomy
from models.training import Plan, Task
from tests.synthetic import images_and_garments


@pytest.mark.slow
def test_diverging_trial_is_recorded_as_failed(tmp_path: Path) -> None:
    """A training whose loss is not finite is a failed trial without a score, and the search continues."""
    task = Task(*images_and_garments(64, 0), *images_and_garments(30, 1), np.array(Taxonomy.load().membership()))
    journal = TrialJournal(task, Plan(1, 32, 0, AUGMENTATIONS["none"], "float32"), tmp_path / "finished")
    first = Recipe(width=8, peak_learning_rate=1e30)
    space = SearchSpace({"family": ("plain",), "width": (8,)})
    outcomes = search("random", space, first, journal, Budget(2, 3600), tmp_path, lambda outcomes: None)
    assert [o.status for o in outcomes] == ["failed", "completed"]
    assert outcomes[0].score is None and "diverged" in outcomes[0].message


def test_sample_is_stratified() -> None:
    """A sample of unbalanced classes has each in proportion, to one example, the same ones for the same seed."""
    garments = np.repeat(np.arange(4), [400, 200, 100, 7])
    sample = stratified_sample(garments, 100, seed=3)
    counts = np.bincount(garments[sample], minlength=4)
    assert len(set(sample)) == 100 and np.all(np.abs(counts - np.array([400, 200, 100, 7]) / 7.07) <= 1)
    assert np.array_equal(sample, stratified_sample(garments, 100, seed=3))
    assert not np.array_equal(sample, stratified_sample(garments, 100, seed=4))
