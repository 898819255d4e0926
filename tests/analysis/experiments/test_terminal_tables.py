"""The tables for the terminal: all experiments, and two arms side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.experiments.declaration import DeclarationError, load
from analysis.experiments.results import Results
from analysis.experiments.terminal_tables import compare_text, table_text


def test_two_arms_are_compared_side_by_side(studies: Path) -> None:
    """The table has every metric with its difference, and the number of examples that only one arm gets right."""
    experiment = load("colour", studies)
    results = Results(experiment, studies)
    text = compare_text(experiment, results, "better", "plain")
    row = next(line for line in text.splitlines() if line.startswith("group accuracy"))
    difference = 100 * (results.values("group_accuracy")["better"] - results.values("group_accuracy")["plain"]).mean()
    assert f"+{difference:.2f} [" in row and row.endswith("< 0.001")
    seed = next(line.split() for line in text.splitlines() if line.startswith("1 "))
    by_seed = results.values("group_accuracy").loc[1]
    assert int(seed[1]) - int(seed[2]) == round(1000 * (by_seed["better"] - by_seed["plain"]))
    assert "F1 of One piece" in text


def test_arms_without_a_common_seed_are_an_error(studies: Path) -> None:
    """The error names the command that makes the missing runs."""
    experiment = load("dream", studies)
    with pytest.raises(DeclarationError, match="fashion experiment run dream"):
        compare_text(experiment, Results(experiment, studies), "better", "plain")


def test_list_has_finished_runs_and_answers(studies: Path) -> None:
    """Each experiment has its finished and total runs, and below them the answer in a sentence."""
    table = table_text(studies)
    heads = [line.split() for line in table.splitlines() if not line.startswith("    ")]
    assert [line[-1] for line in heads] == ["runs", "0/12", "12/12", "8/12"]
    answers = " ".join(table.split())
    assert "0/12 Declared, not run. colour" in answers and "12/12 Better is ahead by " in answers
    assert answers.endswith("8/12 8 of 12 runs are finished.")
