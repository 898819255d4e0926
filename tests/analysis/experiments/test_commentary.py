"""The commentary has the figures that its placeholders name."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.experiments.commentary import read_commentary
from analysis.experiments.declaration import DeclarationError, load
from analysis.experiments.judgement import judge
from analysis.experiments.results import Results
from tests.analysis.experiments.synthetic_experiment import declare, run


def test_commentary_has_its_figures_and_a_conclusion(studies: Path, tmp_path: Path) -> None:
    """Values and differences are filled in, by group too; paragraphs from "So we" on are the conclusion.

    "Decided: " is apart from both.
    """
    judgement = judge(load("colour", studies), Results(load("colour", studies), studies))
    values = 100 * judgement.results.values("macro_f1").mean()
    text = "It has {value:better:macro_f1}, {difference:better:macro_f1}, {value:better:f1:Bags}."
    text += "\n\nDecided: better is\nadopted\n\nSo we are glad."
    (tmp_path / "colour.md").write_text(text, encoding="utf-8")
    found = read_commentary(judgement, tmp_path)
    assert found.remarks.startswith(f"It has {values['better']:.2f}, +{values['better'] - values['plain']:.2f}, ")
    assert (found.conclusion, found.decided) == ("So we are glad.", "better is adopted")


def test_placeholder_may_name_an_arm_with_a_colon(tmp_path: Path) -> None:
    """The longest matching name of an arm is taken."""
    arms = ("plain", "plain: better")
    results = run(declare(tmp_path, arms=arms), tmp_path, dict(zip(arms, (0.05, 0.02), strict=True)))
    (tmp_path / "colour.md").write_text("{difference:plain: better:macro_f1}", encoding="utf-8")
    means = 100 * results.values("macro_f1").mean()
    assert (
        read_commentary(judge(load("colour", tmp_path), results), tmp_path).remarks
        == f"+{means[arms[1]] - means[arms[0]]:.2f}"
    )


def test_changes_have_the_intervals_of_the_table(studies: Path, tmp_path: Path) -> None:
    """To the baseline or another arm, over all examples, a group, or the seeds alone."""
    judgement = judge(load("colour", studies), Results(load("colour", studies), studies))
    (tmp_path / "colour.md").write_text(
        "{change:better:macro_f1}; {change:better against worse:f1:Bags}; {change:better:train_seconds}",
        encoding="utf-8",
    )
    of_all, of_bags, of_seconds = read_commentary(judgement, tmp_path).remarks.split("; ")
    found = judgement.differences["better"]
    assert of_all == f"+{100 * found.value:.2f} [+{100 * found.low:.2f},\xa0+{100 * found.high:.2f}]"
    other = judgement.difference("better", "worse", "Bags")
    assert of_bags == f"+{100 * other.value:.2f} [+{100 * other.low:.2f},\xa0+{100 * other.high:.2f}]"
    assert of_seconds == "0"


def test_equivalence_is_a_phrase(studies: Path, tmp_path: Path) -> None:
    """Against the baseline or another arm; a metric without a margin is an error."""
    judgement = judge(load("colour", studies), Results(load("colour", studies), studies))
    (tmp_path / "colour.md").write_text("It is {equivalence:same:macro_f1}.", encoding="utf-8")
    assert read_commentary(judgement, tmp_path).remarks.startswith("It is cannot tell: the 90% interval [")
    (tmp_path / "colour.md").write_text("{equivalence:same:train_seconds}", encoding="utf-8")
    with pytest.raises(DeclarationError, match="without a margin"):
        read_commentary(judgement, tmp_path)


@pytest.mark.parametrize(
    "placeholder",
    [
        "value:best:macro_f1",
        "value:better:beauty",
        "mean:better:macro_f1",
        "value:better",
        "value:better against worse:f1",
    ],
)
def test_invalid_placeholder_is_an_error(studies: Path, tmp_path: Path, placeholder: str) -> None:
    """A mistyped arm, metric or kind is an error."""
    (tmp_path / "colour.md").write_text(f"See {{{placeholder}}}.", encoding="utf-8")
    with pytest.raises(DeclarationError, match="placeholder"):
        read_commentary(judge(load("colour", studies), Results(load("colour", studies), studies)), tmp_path)
