"""The story of the experiments: what is told follows from the declarations and the results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.experiments.declaration import DeclarationError, load
from analysis.experiments.judgement import judge, over_seeds
from analysis.experiments.remark import remark
from analysis.experiments.results import Results
from analysis.experiments.story import compare_text, sections, table_text, verdict, write_page
from analysis.pages.section import Listing, Picture, Section
from tests.analysis.experiments.made_up_study import PLACE, declare, of_figures, run

ERRORS = {"plain": 0.05, "better": 0.02, "worse": 0.09, "same": 0.05}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete study, one that lacks a seed of all arms, and one that was only declared."""
    directory = tmp_path_factory.mktemp("studies")
    run(declare(directory, "colour", number=2), directory, ERRORS)
    run(declare(directory, "half", number=3), directory, ERRORS, seeds=2)
    declare(directory, "dream", number=1)
    return directory


@pytest.fixture(scope="module")
def told(studies: Path) -> dict[str, Section]:
    """The sections by their names."""
    return {section.name: section for section in sections(studies)}


def test_every_experiment_has_a_section_in_the_order_of_the_numbers(told: dict[str, Section]) -> None:
    """Also what was not run."""
    assert list(told) == ["dream", "colour", "half"]
    assert [section.title for section in told.values()] == ["1. A dream study", "2. A colour study", "3. A half study"]


def test_section_tells_question_expectation_and_rule_as_declared(told: dict[str, Section]) -> None:
    """In one line each, with arms, seeds, examples, metric and what it ran on."""
    text = told["colour"].finding
    assert "**Question.** Is b better than a?\n" in text and "**Expected.** No.\n" in text
    assert "4 arms with 3 seeds each, judged on 1,000 examples by macro F1." in text
    assert "Rule: What is ahead. Run on numpy 1, abacus, 2 cores." in text


def test_arms_beyond_chance_are_named_and_the_others_are_not(told: dict[str, Section]) -> None:
    """A planted gain and a planted loss are found; an arm like the baseline is not told from it."""
    text = told["colour"].finding
    assert "“better” is best: macro F1 97." in text
    assert "Beyond chance better than “plain”: “better”. Beyond chance worse than “plain”: “worse”." in text
    assert "The other 1 cannot be told from it." in text


def test_decision_is_that_of_the_rule(told: dict[str, Section]) -> None:
    """It names the arm that is taken, with its figures; a study that lacks runs decides nothing."""
    assert told["colour"].decision.startswith("So we take “better”: better is ahead by ")
    assert told["half"].decision == "So we decide nothing yet: 8 of 12 runs are made."
    assert told["dream"].decision == "So we decide nothing yet: declared, not run."


def test_missing_runs_are_said_and_the_others_shown(told: dict[str, Section]) -> None:
    """The table of a study that was interrupted has its seeds so far."""
    assert (
        "**Not complete**: 4 of 12 runs are missing, of “plain”, “better”, “worse” and “same”." in told["half"].finding
    )
    assert [block.name for block in told["half"].blocks] == [
        block.name.replace("colour", "half") for block in told["colour"].blocks
    ]
    assert not told["dream"].blocks


def test_table_has_mean_and_deviation_of_the_seeds(studies: Path, told: dict[str, Section]) -> None:
    """In the order of the declaration, the baseline without a difference."""
    listing = told["colour"].blocks[0]
    assert isinstance(listing, Listing)
    values = Results(load("colour", studies), studies).values("macro_f1")["better"]
    shown = f"{100 * values.mean():.2f} ± {100 * values.std():.2f}"
    assert list(listing.table["arm"]) == list(ERRORS)
    assert listing.table["macro F1"][1].replace("\xa0", " ") == shown
    assert listing.table["macro F1, difference"][0] == "baseline"


def test_forest_plot_shows_each_arm_where_the_table_says(told: dict[str, Section]) -> None:
    """Those beyond chance have colours of their own, and every seed is a ring."""
    forest = told["colour"].blocks[1]
    assert isinstance(forest, Picture)
    traces = {trace.name: trace for trace in forest.figure.data}
    assert list(traces["better beyond chance"].y) == ["better"] and list(traces["worse beyond chance"].y) == ["worse"]
    assert list(traces["within chance"].y) == ["same"] and len(traces["a seed"].x) == 9
    assert np.isclose(np.mean(traces["a seed"].x[:3]), traces["better beyond chance"].x[0], atol=1e-3)


def test_power_of_a_study_grows_with_its_seeds(tmp_path: Path) -> None:
    """What three seeds can see is less than what one can."""
    three = run(declare(tmp_path, "three", metric="group_accuracy"), tmp_path, ERRORS)
    one = run(declare(tmp_path, "one", metric="group_accuracy"), tmp_path, ERRORS, seeds=1)
    seen = [judge(results.experiment, results).least_difference for results in (three, one)]
    assert 0 < seen[0] < seen[1] < 0.1


def test_less_is_better_of_an_error(tmp_path: Path) -> None:
    """The arm with the least calibration error is best, and what is told of it stands over the seeds alone."""
    experiment = declare(tmp_path, "honest", ("none", "scaled"), "calibration_error")
    results = Results(experiment, tmp_path)
    for arm, error in (("none", 0.03), ("scaled", 0.01)):
        for seed in experiment.seeds:
            results.add(arm, seed, of_figures([("validation", "calibration_error", error + 0.0001 * seed**2)]), PLACE)
    results.add("scaled", 1, of_figures([("validation", "calibration_error", 0.0102)]), PLACE)
    judgement = judge(experiment, results)
    assert judgement.best == "scaled" and judgement.decision is not None and judgement.decision.chosen == "scaled"


def test_seeds_without_a_spread_say_nothing_of_chance() -> None:
    """Sizes are the same in all seeds: no interval, and no small p-value."""
    found = over_seeds([5.0, 5.0, 5.0])
    assert found.value == 5 and np.isnan(found.low) and found.p_value == 1
    assert over_seeds([1.0, 1.1, 0.9]).p_value < 0.01


def test_remark_has_its_figures_and_may_decide(studies: Path, tmp_path: Path) -> None:
    """Values and differences are filled in, by group too; paragraphs from "So we" on belong to the decision."""
    judgement = judge(load("colour", studies), Results(load("colour", studies), studies))
    values = 100 * judgement.results.values("macro_f1").mean()
    text = "It has {value:better:macro_f1}, {difference:better:macro_f1}, {value:better:f1:Bags}.\n\nSo we are glad."
    (tmp_path / "colour.md").write_text(text, encoding="utf-8")
    remarked, concluded = remark(judgement, tmp_path)
    assert remarked.startswith(f"It has {values['better']:.2f}, +{values['better'] - values['plain']:.2f}, ")
    assert concluded == "So we are glad."


def test_a_placeholder_knows_an_arm_with_a_colon(tmp_path: Path) -> None:
    """The longest name of an arm that fits is meant."""
    arms = ("plain", "plain: better")
    results = run(declare(tmp_path, arms=arms), tmp_path, dict(zip(arms, (0.05, 0.02), strict=True)))
    (tmp_path / "colour.md").write_text("{difference:plain: better:macro_f1}", encoding="utf-8")
    means = 100 * results.values("macro_f1").mean()
    assert remark(judge(load("colour", tmp_path), results), tmp_path)[0] == f"+{means[arms[1]] - means[arms[0]]:.2f}"


def test_a_remark_compares_with_the_intervals_of_the_table(studies: Path, tmp_path: Path) -> None:
    """Against the baseline or another arm, of all examples, of a group, and of figures that are over seeds alone."""
    judgement = judge(load("colour", studies), Results(load("colour", studies), studies))
    (tmp_path / "colour.md").write_text(
        "{change:better:macro_f1}; {change:better against worse:f1:Bags}; {change:better:train_seconds}",
        encoding="utf-8",
    )
    of_all, of_bags, of_seconds = remark(judgement, tmp_path)[0].split("; ")
    found = judgement.differences["better"]
    assert of_all == f"+{100 * found.value:.2f} [+{100 * found.low:.2f},\xa0+{100 * found.high:.2f}]"
    other = judgement.difference("better", "worse", "Bags")
    assert of_bags == f"+{100 * other.value:.2f} [+{100 * other.low:.2f},\xa0+{100 * other.high:.2f}]"
    assert of_seconds == "0"


def test_a_conclusion_comes_before_what_the_metric_alone_says(tmp_path: Path) -> None:
    """Its first sentence is the answer in short, and so are the figures where nobody concludes anything."""
    judgement = judge(declare(tmp_path), run(declare(tmp_path), tmp_path, ERRORS))
    assert verdict(judgement).startswith("Better is ahead by ")
    (tmp_path / "colour.md").write_text("So we wait, with {value:plain:macro_f1}%. It costs 0.5 points.", "utf-8")
    (section,) = sections(tmp_path)
    first, second = section.decision.split("\n\n")
    assert first.startswith("So we wait, with 9") and second.startswith("By macro F1 alone the rule takes “better”: ")
    assert verdict(judgement).startswith("We wait, with 9") and verdict(judgement).endswith("%.")


def test_a_remark_waits_for_the_runs_that_are_missing(tmp_path: Path) -> None:
    """It may speak of an arm that is not there."""
    run(declare(tmp_path), tmp_path, {"plain": 0.05})
    (tmp_path / "colour.md").write_text("It has {value:better:macro_f1}.\n\nSo we are glad.", encoding="utf-8")
    (section,) = sections(tmp_path)
    assert "It has" not in section.finding and section.decision == "So we decide nothing yet: 3 of 12 runs are made."


@pytest.mark.parametrize(
    "asked",
    [
        "value:best:macro_f1",
        "value:better:beauty",
        "mean:better:macro_f1",
        "value:better",
        "value:better against worse:f1",
    ],
)
def test_placeholder_that_is_none_is_an_error(studies: Path, tmp_path: Path, asked: str) -> None:
    """A mistyped arm, metric or kind is not left standing in the text."""
    (tmp_path / "colour.md").write_text(f"See {{{asked}}}.", encoding="utf-8")
    with pytest.raises(DeclarationError, match="placeholder"):
        remark(judge(load("colour", studies), Results(load("colour", studies), studies)), tmp_path)


def test_two_arms_side_by_side(studies: Path) -> None:
    """Every metric with its difference, and how many examples only one gets right."""
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
    """The message names the command that runs them."""
    experiment = load("dream", studies)
    with pytest.raises(DeclarationError, match="fashion experiment run dream"):
        compare_text(experiment, Results(experiment, studies), "better", "plain")


def test_a_metric_that_was_not_measured_is_an_error(tmp_path: Path) -> None:
    """A study that asks for it has no verdict; the message names what there is."""
    experiment = declare(tmp_path, metric="auroc")
    with pytest.raises(DeclarationError, match="one of group_accuracy, macro_f1"):
        judge(experiment, run(experiment, tmp_path, {"plain": 0.05}))


def test_list_says_how_far_each_experiment_is(studies: Path) -> None:
    """Runs made of all, and under it the answer in a sentence."""
    told = table_text(studies)
    heads = [line.split() for line in told.splitlines() if not line.startswith("    ")]
    assert [line[-1] for line in heads] == ["runs", "0/12", "12/12", "8/12"]
    answers = " ".join(told.split())
    assert "0/12 Declared, not run. colour" in answers and "12/12 Better is ahead by " in answers
    assert answers.endswith("8/12 8 of 12 runs are made.")


def test_page_holds_all_sections(studies: Path, tmp_path: Path) -> None:
    """And the answers in short, under its own title."""
    write_page(tmp_path / "page.html", studies)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(f'<section id="{name}">' in text for name in ("reading", "dream", "colour", "half"))
    assert "<title>Experiments: what works, and what does not</title>" in text


def test_settings_that_changed_make_a_result_old(studies: Path, tmp_path: Path) -> None:
    """What was run with other settings than the declared ones is not told, nor what was remarked of it."""
    for file in studies.glob("colour.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    declared = tmp_path / "colour.toml"
    declared.write_text(declared.read_text().replace('variant = "better"', 'variant = "other"'))
    (tmp_path / "colour.md").write_text("It has {value:better:macro_f1}.\n\nSo we are glad.", encoding="utf-8")
    (section,) = sections(tmp_path)
    assert "3 of 12 runs are missing, of “better”" in section.finding
    assert "**Remark.**" not in section.finding and "glad" not in section.decision
    listing = section.blocks[0]
    assert isinstance(listing, Listing) and list(listing.table["arm"]) == ["plain", "worse", "same"]
