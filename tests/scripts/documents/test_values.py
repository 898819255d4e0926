"""The figures of an experiment that templates name follow from its committed results."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.experiments.declaration import load
from analysis.experiments.judgement import judge
from analysis.experiments.results import Results
from scripts.documents import values
from scripts.documents.values import ExperimentValues
from tests.analysis.experiments.synthetic_experiment import declare, run


@pytest.fixture
def found(tmp_path: Path) -> ExperimentValues:
    """The figures of a synthetic experiment with errors of three arms."""
    run(declare(tmp_path), tmp_path, {"plain": 0.05, "better": 0.02, "worse": 0.09, "same": 0.05})
    return ExperimentValues(judge(load("colour", tmp_path), Results(load("colour", tmp_path), tmp_path)))


def test_errors_of_every_seed_are_counted_once(found: ExperimentValues) -> None:
    """An image counts if all seeds misclassify it; the pairs of groups add up to all."""
    errors = found.judgement.results.errors
    seeds = errors[errors["arm"] == "worse"].groupby("example")["seed"].nunique()
    assert found.errors_of_every_seed("worse") == (seeds == found.seeds).sum() < found.errors("worse")
    groups = found.judgement.taxonomy.groups
    pairs = [(one, other) for i, one in enumerate(groups) for other in groups[i + 1 :]]
    assert sum(found.errors_of_every_seed("worse", pair) for pair in pairs) == found.errors_of_every_seed("worse")


def test_a_change_may_be_of_a_group(found: ExperimentValues) -> None:
    """The F1 of a group is named by the group, and has the unit and interval of a share."""
    difference = found.judgement.difference("better", "plain", "Bags")
    assert found.change("better", "Bags").startswith(f"{100 * difference.value:+.2f} points [")


def test_a_picture_is_found_whatever_its_digest(
    found: ExperimentValues, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its path is relative to the documents; a missing picture is an error."""
    monkeypatch.setattr(values, "DOCS", tmp_path)
    (tmp_path / "experiments" / "figures").mkdir(parents=True)
    (tmp_path / "experiments" / "figures" / "colour-gain.12ab9f.png").touch()
    assert found.picture("gain") == "experiments/figures/colour-gain.12ab9f.png"
    with pytest.raises(FileNotFoundError, match="colour-drop"):
        found.picture("drop")
