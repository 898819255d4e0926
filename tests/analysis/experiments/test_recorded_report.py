"""What the report says and draws about synthetic experiments is what was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.experiments.declaration import load
from analysis.experiments.report import reading_guide, reports, section
from analysis.experiments.results import Results
from analysis.experiments.terminal_tables import compare_text
from tests.analysis.experiments.synthetic_experiment import declare, run
from tests.analysis.recorded import compare, describe

RECORDED = Path(__file__).with_name("recorded")


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiments with every verdict, on every kind of metric: finished, half run, and only declared."""
    directory = tmp_path_factory.mktemp("studies")
    errors = {"plain": 0.05, "better": 0.02, "worse": 0.09, "same": 0.05, "tiny bit": 0.045}
    run(declare(directory, "adopted", tuple(errors), number=2), directory, errors)
    few = {"plain": 0.05, "better": 0.02}
    run(declare(directory, "half", tuple(few), number=3), directory, few, seeds=2)
    declare(directory, "dream", number=1)
    kept = {"best": 0.02, "bad": 0.05}
    run(declare(directory, "kept", tuple(kept), metric="group_accuracy", number=4), directory, kept)
    timed = {"slow": 0.05, "slower": 0.05}
    run(declare(directory, "timed", tuple(timed), metric="train_seconds", rule="report", number=5), directory, timed)
    remarks = """See experiment 4: {value:better:macro_f1}%, {change:better against worse:f1:Bags}.
It is {equivalence:same:macro_f1}, {difference:worse:macro_f1}.

Decided: to
wait

So we wait for experiments 1 and 4. It costs nothing."""
    (directory / "adopted.md").write_text(remarks, encoding="utf-8")
    return directory


def test_sections_say_and_draw_what_was_recorded(declared: Path) -> None:
    """Question, method, results, decision, and the tables and figures of every experiment."""
    found = reports(declared)
    compare("\n".join(describe(section(each)) for each in found), RECORDED / "sections.txt")
    short = [f"{each.title}: {each.answer} {each.uncertainty} It {each.decided}." for each in found]
    compare("\n".join([*short, reading_guide(found)]) + "\n", RECORDED / "answers.txt")


def test_two_arms_stand_side_by_side_as_recorded(declared: Path) -> None:
    """Every metric with its difference, and the examples that only one arm gets right, by seed."""
    experiment = load("kept", declared)
    compare(compare_text(experiment, Results(experiment, declared), "best", "bad"), RECORDED / "compared.txt")
