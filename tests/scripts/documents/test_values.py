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


def test_figures_of_an_arm_are_means_over_its_seeds(found: ExperimentValues) -> None:
    """Value, spread and errors are those of the arm that is named; the links lead to the experiment's page."""
    by_seed = found.judgement.results.values("macro_f1")
    for arm in ("better", "worse"):
        assert found.value(arm, "macro_f1") == pytest.approx(by_seed[arm].mean())
        assert found.spread(arm, "macro_f1") == pytest.approx(by_seed[arm].std())
        expected = f"{100 * by_seed[arm].mean():.2f} ± {100 * by_seed[arm].std():.2f}"
        assert found.summary(arm, "macro_f1").replace("\xa0", " ") == expected
    bags = found.judgement.results.values("f1", "Bags")["better"].mean()
    assert found.value("better", "f1", "Bags") == pytest.approx(bags) != found.value("better", "macro_f1")
    errors = found.judgement.results.errors
    assert found.errors("worse") == (errors["arm"] == "worse").sum() / 3 > found.errors("better") > 0
    assert (found.examples, found.seeds, found.runs, found.number) == (1000, 3, 12, 7)
    assert found.page == "experiments/07-colour.md" and found.link == "[experiment 7](experiments/07-colour.md)"
    assert found.machines == ["numpy 1, abacus, 2 cores"]


def test_a_change_is_against_the_baseline_or_another_arm(found: ExperimentValues) -> None:
    """Its sign follows from the order of the arms; without a margin there is no equivalence."""
    by_seed = found.judgement.results.values("macro_f1").mean()
    assert found.difference("better", "macro_f1").value == pytest.approx(by_seed["better"] - by_seed["plain"])
    other = found.difference("worse", "macro_f1", "better")
    assert other.value == pytest.approx(by_seed["worse"] - by_seed["better"]) and other.value < 0
    assert found.change("worse", "macro_f1", "better").startswith(f"−{-100 * other.value:.2f} points [−")
    assert found.change("better", "f1", subset="Bags") == found.change("better", "f1", "plain", "Bags")
    assert found.equivalence("same", "macro_f1").startswith("cannot tell: the 90% interval [")
    assert found.p_value("better") == "p < 0.001" and found.p_value("same") != "p < 0.001"
    with pytest.raises(ValueError, match="has no equivalence margin"):
        found.equivalence("same", "train_seconds")
