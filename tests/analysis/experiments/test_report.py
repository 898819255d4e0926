"""The report follows from the declarations and the results."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from analysis.experiments.declaration import load
from analysis.experiments.judgement import judge
from analysis.experiments.report import reports, sections, summary, write_page
from analysis.experiments.results import Results
from analysis.pages.section import Listing, Picture, Section
from tests.analysis.experiments.synthetic_experiment import ERRORS, declare, run


@pytest.fixture(scope="module")
def sections_by_name(studies: Path) -> dict[str, Section]:
    """The sections by their names."""
    return {section.name: section for section in sections(studies)}


def test_every_experiment_has_a_section_in_the_order_of_the_numbers(sections_by_name: dict[str, Section]) -> None:
    """Also what was not run."""
    assert list(sections_by_name) == ["dream", "colour", "half"]
    assert [section.title for section in sections_by_name.values()] == [
        "1. A dream experiment",
        "2. A colour experiment",
        "3. A half experiment",
    ]


def test_section_has_question_hypothesis_and_rule_as_declared(sections_by_name: dict[str, Section]) -> None:
    """Each is on one line, with arms, seeds, examples, metric and machine."""
    text = sections_by_name["colour"].finding
    assert "**Question.** Is b better than a?\n" in text and "**Expectation.** No.\n" in text
    assert "4 arms with 3 seeds each, evaluated on 1,000 examples by macro F1." in text
    assert "Rule: What is ahead. Run on numpy 1, abacus, 2 cores." in text


def test_significantly_different_arms_are_named_and_the_others_counted(sections_by_name: dict[str, Section]) -> None:
    """A planted gain and a planted loss are significant; an arm like the baseline is not."""
    text = sections_by_name["colour"].finding
    assert "“better” is best: macro F1 97." in text
    assert "- Significantly better than “plain”: “better”.\n- Significantly worse than “plain”: “worse”.\n" in text
    assert "- Cannot tell, since the 90% interval includes differences beyond ±0.20 points: “same” [" in text


def test_decision_is_that_of_the_rule(sections_by_name: dict[str, Section]) -> None:
    """It names the adopted arm with its figures; an experiment with missing runs decides nothing."""
    assert sections_by_name["colour"].decision.startswith("So we take “better”: better is ahead by ")
    assert sections_by_name["half"].decision == "So we decide nothing yet: 8 of 12 runs are finished."
    assert sections_by_name["dream"].decision == "So we decide nothing yet: declared, not run."


def test_missing_runs_are_reported_and_the_others_shown(sections_by_name: dict[str, Section]) -> None:
    """The table of an interrupted experiment has its finished seeds."""
    assert (
        "**Not complete**: 4 of 12 runs are missing, of “plain”, “better”, “worse” and “same”."
        in sections_by_name["half"].finding
    )
    assert [block.name for block in sections_by_name["half"].blocks] == [
        block.name.replace("colour", "half") for block in sections_by_name["colour"].blocks
    ]
    assert not sections_by_name["dream"].blocks


def test_table_has_mean_and_deviation_of_the_seeds(studies: Path, sections_by_name: dict[str, Section]) -> None:
    """In the order of the declaration, the baseline without a difference."""
    listing = sections_by_name["colour"].blocks[0]
    assert isinstance(listing, Listing)
    values = Results(load("colour", studies), studies).values("macro_f1")["better"]
    expected = f"{100 * values.mean():.2f} ± {100 * values.std():.2f}"
    assert list(listing.table["arm"]) == list(ERRORS)
    assert listing.table["macro F1"][1].replace("\xa0", " ") == expected
    assert listing.table["macro F1, difference"][0] == "baseline"


def test_forest_plot_shows_each_arm_where_the_table_says(sections_by_name: dict[str, Section]) -> None:
    """Significantly different arms have their own colours, and every seed is a ring."""
    forest = sections_by_name["colour"].blocks[1]
    assert isinstance(forest, Picture)
    traces = {trace.name: trace for trace in forest.figure.data if trace.showlegend is not False}
    assert list(traces["significantly better"].y) == ["better"] and list(traces["significantly worse"].y) == ["worse"]
    assert list(traces["cannot tell"].y) == ["same"] and len(traces["a seed"].x) == 9
    assert np.isclose(np.mean(traces["a seed"].x[:3]), traces["significantly better"].x[0], atol=1e-3)


def test_conclusion_comes_before_the_decision_by_the_rule(tmp_path: Path) -> None:
    """Its first sentence is the answer in short; without a conclusion the figures are."""
    judgement = judge(declare(tmp_path), run(declare(tmp_path), tmp_path, ERRORS))
    assert summary(judgement, tmp_path).startswith("Better is ahead by ")
    (tmp_path / "colour.md").write_text("So we wait, with {value:plain:macro_f1}%. It costs 0.5 points.", "utf-8")
    (section,) = sections(tmp_path)
    first, second = section.decision.split("\n\n")
    assert first.startswith("So we wait, with 9") and second.startswith("By macro F1 alone the rule takes “better”: ")
    assert re.match(r"We wait, with 9[\d.]+%\. Cannot tell for 1 of 3 arms: ", summary(judgement, tmp_path))


def test_commentary_is_left_out_while_runs_are_missing(tmp_path: Path) -> None:
    """It may name an arm without results."""
    run(declare(tmp_path), tmp_path, {"plain": 0.05})
    (tmp_path / "colour.md").write_text("It has {value:better:macro_f1}.\n\nSo we are glad.", encoding="utf-8")
    (section,) = sections(tmp_path)
    assert (
        "It has" not in section.finding and section.decision == "So we decide nothing yet: 3 of 12 runs are finished."
    )


def test_page_holds_all_sections(studies: Path, tmp_path: Path) -> None:
    """It has the answers in short and its own title."""
    write_page(tmp_path / "page.html", reports(studies))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(f'<section id="{name}">' in text for name in ("reading", "dream", "colour", "half"))
    assert "<title>Experiments: what works, and what does not</title>" in text


def test_changed_settings_invalidate_a_result(studies: Path, tmp_path: Path) -> None:
    """Results of other settings than the declared ones are left out, and so is the commentary."""
    for file in studies.glob("colour.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    declared = tmp_path / "colour.toml"
    declared.write_text(declared.read_text().replace('variant = "better"', 'variant = "other"'))
    (tmp_path / "colour.md").write_text("It has {value:better:macro_f1}.\n\nSo we are glad.", encoding="utf-8")
    (section,) = sections(tmp_path)
    assert "3 of 12 runs are missing, of “better”" in section.finding
    assert "**Remarks.**" not in section.finding and "glad" not in section.decision
    listing = section.blocks[0]
    assert isinstance(listing, Listing) and list(listing.table["arm"]) == ["plain", "worse", "same"]
