"""Trials of the hyperparameter search: failures are recorded, and samples are stratified."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from analysis.search.oracles import OBJECTIVE, Algorithm, Budget, make_oracle
from analysis.search.space import RANGES, SearchSpace, SearchSpaceError
from analysis.search.trials import Outcome, TrialJournal, search, stratified_sample
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


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_seed_of_the_search_determines_the_proposals(algorithm: Algorithm, tmp_path: Path) -> None:
    """The same seed proposes the same recipes, another seed others; the first is the known good one for any seed."""
    space, budget = SearchSpace({"family": ("compact", "plain"), "width": (8, 16, 24)}), Budget(8, 3600)

    def proposals(seed: int) -> list[dict[str, Any]]:
        plan = Plan(1, 32, seed, AUGMENTATIONS["none"])
        oracle = make_oracle(algorithm, space, Recipe(width=16), plan, budget, lambda: 0.0)
        oracle._set_project_dir(str(tmp_path), f"seed{seed}")
        found = []
        for _ in range(3):
            trial = oracle.create_trial("tuner0")
            found.append(trial.hyperparameters.values)
            oracle.update_trial(trial.trial_id, {OBJECTIVE: 0.5})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
        return found

    one, again, other = proposals(1), proposals(1), proposals(2)
    assert one == again and one[0] == other[0]
    assert one[1:] != other[1:]


@pytest.mark.slow
def test_seed_of_a_trial_follows_from_the_search_and_the_recipe(tmp_path: Path) -> None:
    """Two searches with different seeds train one recipe from different weights; so do two recipes of one search."""
    task = Task(*images_and_garments(64, 0), *images_and_garments(30, 1), np.array(Taxonomy.load().membership()))

    def outcome(seed: int, width: int, place: str) -> Outcome:
        journal = TrialJournal(task, Plan(1, 32, seed, AUGMENTATIONS["none"], "float32"), tmp_path / place)
        return journal.run("0", Recipe(family="plain", width=width), 1)

    one, again, other = outcome(1, 8, "one"), outcome(1, 8, "again"), outcome(2, 8, "other")
    assert (one.seed, one.history[0]["loss"]) == (again.seed, again.history[0]["loss"])
    assert one.seed != other.seed and one.history[0]["loss"] != other.history[0]["loss"]
    assert outcome(1, 16, "one").seed != one.seed


def test_the_nearest_recipe_of_a_space_has_the_nearest_values() -> None:
    """The width next to the recipe's, the first family for an unknown one, and ranges that end at their bounds."""
    space = SearchSpace(
        {"family": ("quick", "plain"), "width": (8, 24, 64)},
        {
            "dropout": (0.1, 0.4, "linear"),
            "peak_learning_rate": (5e-4, 1e-3, "log"),
            "weight_decay": (0.01, 0.3, "log"),
        },
    )
    found = space.nearest(Recipe(family="compact", width=40, dropout=0.0, peak_learning_rate=6e-3, weight_decay=0.05))
    assert found == Recipe(
        family="quick", width=24, dropout=0.1, peak_learning_rate=1e-3, weight_decay=0.05, label_smoothing=0.05
    )
    assert space.nearest(Recipe(family="plain", width=48)).width == 64
    assert space.nearest(Recipe(family="plain", width=48)).family == "plain"


def test_a_warm_start_may_name_some_values() -> None:
    """The others are the nearest to the known good ones; bounds and choices themselves are accepted."""
    space = SearchSpace({"family": ("compact", "plain"), "width": (8, 16)})
    values = {"family": "plain", "dropout": 0.4, "weight_decay": 1e-3, "label_smoothing": 0.15}
    found = space.read(values, "a file")
    assert found == Recipe(family="plain", width=16, dropout=0.4, weight_decay=1e-3, label_smoothing=0.15)
    for name, value in (("dropout", 0.4001), ("weight_decay", 0.0009), ("label_smoothing", -0.001), ("width", 16.0)):
        with pytest.raises(SearchSpaceError, match=f"{name} (between|one of)"):
            space.read({name: value}, "a file")


def test_the_ranges_of_the_search_are_documented() -> None:
    """Rates are sampled on a logarithmic scale, shares on a linear one; the known good values lie inside."""
    assert {name: sampling for name, (_, _, sampling) in RANGES.items()} == {
        "dropout": "linear", "peak_learning_rate": "log", "weight_decay": "log", "label_smoothing": "linear",
    }  # fmt: skip
    values = Recipe().to_values()
    assert all(low <= values[name] <= high for name, (low, high, _) in RANGES.items())


def test_sample_is_stratified() -> None:
    """A sample of unbalanced classes has each in proportion, to one example, the same ones for the same seed."""
    garments = np.repeat(np.arange(4), [400, 200, 100, 7])
    sample = stratified_sample(garments, 100, seed=3)
    counts = np.bincount(garments[sample], minlength=4)
    assert len(set(sample)) == 100 and np.all(np.abs(counts - np.array([400, 200, 100, 7]) / 7.07) <= 1)
    assert np.array_equal(sample, stratified_sample(garments, 100, seed=3))
    assert not np.array_equal(sample, stratified_sample(garments, 100, seed=4))
    assert (np.diff(sample) > 0).all() and np.array_equal(stratified_sample(garments, 707, seed=3), np.arange(707))
    assert np.array_equal(stratified_sample(garments, 9999, seed=3), np.arange(707))
