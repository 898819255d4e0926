"""The story of the experiments: what is told follows from the declarations and the results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.experiments.declaration import DeclarationError, load
from analysis.experiments.drawing import forest
from analysis.experiments.drawing.lines import lines
from analysis.experiments.drawing.pareto import family, front
from analysis.experiments.drawing.special import SPECIAL, deployment, final, strangers, text
from analysis.experiments.drawing.why import outlined
from analysis.experiments.judgement import judge, over_seeds
from analysis.experiments.remark import remark
from analysis.experiments.results import Outcome, Results
from analysis.experiments.scales import scale_of
from analysis.experiments.story import compare_text, sections, table_text, verdict, write_page
from analysis.exploration.section import Listing, Picture, Section
from tests.analysis.experiments.made_up_study import PLACE, declare, outcome, run

ERRORS = {"plain": 0.05, "better": 0.02, "worse": 0.09, "same": 0.05}


def _figures(figures: list[tuple[str, str, float]]) -> Outcome:
    """Returns an outcome of figures and one wrong answer."""
    return Outcome(figures, np.array([0]), np.array([1]))


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


def test_an_arm_that_is_far_off_leaves_the_others_room(tmp_path: Path) -> None:
    """The axis ends behind the others, and an arrow at its end has the figures of the one beyond."""
    arms = {"plain": 0.05, "better": 0.03, "worse": 0.07, "bad": 0.08, "useless": 0.7}
    judgement = judge(declare(tmp_path, arms=tuple(arms)), run(declare(tmp_path, arms=tuple(arms)), tmp_path, arms))
    drawn = forest.picture(judgement)
    assert drawn is not None and "beyond the axis" in drawn.caption
    left, right = drawn.figure.layout.xaxis.range
    found = judgement.differences
    assert left < 100 * found["bad"].low and 100 * found["better"].high < right and 100 * found["useless"].value < left
    (arrow,) = [trace for trace in drawn.figure.data if trace.mode == "markers+text"]
    assert arrow.y == ("useless",) and f"{100 * found['useless'].value:.2f}".replace("-", "−") in arrow.text[0]


def test_of_many_lines_those_are_drawn_that_can_be_told_apart() -> None:
    """The first, and the lowest and highest at the end; the caption says how many there are."""
    curves = {name: [1.0, 2.0 + place] for place, name in enumerate("cabdefg")} | {"low": [1.0, 0.0]}
    drawn = lines("risk", [0, 1], curves, ("share", "error"), "What it costs.")
    assert [trace.name for trace in drawn.figure.data] == ["c", "g", "low"] and "Of 8 arms" in drawn.caption


def test_an_edit_is_framed_where_it_differs() -> None:
    """The edit itself stays as it is; an image that was not edited has no frame."""
    images = np.full((2, 28, 28), 100, np.uint8)
    edited = images.copy()
    edited[0, 5:8, 0:3] = 50
    framed = outlined(images, edited)
    assert (framed[0, 5:8, 0:3] == 50).all() and (framed[1] == images[1]).all()
    changed = np.argwhere(framed[0] != edited[0])
    assert changed.min(axis=0).tolist() == [4, 0] and changed.max(axis=0).tolist() == [8, 3]


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
            results.add(arm, seed, _figures([("validation", "calibration_error", error + 0.0001 * seed**2)]), PLACE)
    results.add("scaled", 1, _figures([("validation", "calibration_error", 0.0102)]), PLACE)
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


def test_front_leaves_out_what_another_beats_in_both() -> None:
    """The cheapest stays whatever it is worth; equal ones are not both there."""
    assert front([1, 2, 3, 3, 4], [0.90, 0.95, 0.93, 0.97, 0.97]) == [0, 1, 3]
    assert family("plain CNN, small") == "plain CNN" and family("ViT") == "ViT"


@pytest.mark.parametrize("measure", SPECIAL)
def test_special_figures_leave_out_what_was_not_measured(tmp_path: Path, measure: str) -> None:
    """A study with the common metrics alone is told without an error."""
    run(declare(tmp_path, measure=measure), tmp_path, {"plain": 0.05, "better": 0.02}, seeds=1)
    assert sections(tmp_path)[0].blocks


def test_heat_map_of_corruptions_shows_the_drop_from_the_clean_images(tmp_path: Path) -> None:
    """The worst corruption comes first, severities stand in order; a study has them whatever its name is."""
    experiment = declare(tmp_path, "mine", ("plain", "shifts"), "group_accuracy", "report", measure="robustness")
    results, truth = Results(experiment, tmp_path), np.arange(1000) % 5
    for arm in experiment.arms:
        answers = outcome(truth, np.where(np.arange(1000) < 20, (truth + 1) % 5, truth), 1.0)
        answers.figures.append(("clean", "group_accuracy", 0.97))
        for severity in (2, 1):
            answers.figures.append((f"glass_blur/{severity}", "group_accuracy", 0.97 - 0.01 * severity))
            answers.figures.append((f"noise/{severity}", "group_accuracy", 0.97 - 0.1 * severity))
        results.add(arm, 1, answers, PLACE)
    (drop,) = (block for block in sections(tmp_path)[0].blocks if block.name == "mine-drop")
    assert isinstance(drop, Picture)
    cells = drop.figure.data[0]
    assert list(cells.y) == ["noise", "glass blur"] and np.allclose(cells.z, [[-10, -20], [-1, -2]])


def test_mean_over_corruptions_has_an_interval_over_seeds(tmp_path: Path) -> None:
    """Student's, by hand: gains of 6, 7 and 8 points are 7 with 4.303 / sqrt(3) on either side."""
    experiment = declare(tmp_path, "mine", ("plain", "mixup"), "group_accuracy", "report", measure="robustness")
    results = Results(experiment, tmp_path)
    for seed, gain in ((1, 0.06), (2, 0.07), (3, 0.08)):
        for arm, value in (("plain", 0.5), ("mixup", 0.5 + gain)):
            figures = [(subset, "group_accuracy", value) for subset in ("validation", "corrupted", "noise/1")]
            results.add(arm, seed, _figures(figures), PLACE)
    (listing,) = (block for block in sections(tmp_path)[0].blocks if block.name == "mine-corrupted")
    assert isinstance(listing, Listing)
    assert listing.table.iloc[:, -1].tolist() == ["baseline", "+7.00 [+4.52,\N{NO-BREAK SPACE}+9.48]"]


def test_costs_are_those_of_files_where_there_are_some(tmp_path: Path) -> None:
    """Bytes of deployed networks take the place of the seconds of their trainings."""
    drawn = []
    for name, cost in (("networks", "train_seconds"), ("files", "bytes")):
        experiment = declare(tmp_path, name, ("a", "b"), "group_accuracy", "report", measure="deployment")
        results = Results(experiment, tmp_path)
        for place, arm in enumerate(experiment.arms):
            figures = [(metric, 0.9 + place) for metric in ("group_accuracy", cost)]
            results.add(arm, 1, _figures([("validation", *figure) for figure in figures]), PLACE)
        drawn += [block.name for block in deployment(experiment, results)]
    assert drawn == ["networks-train-seconds", "files-bytes"]


def test_strangers_are_shown_by_score(tmp_path: Path) -> None:
    """A row a kind of stranger, a column a score, the mean over seeds in the cell."""
    experiment = declare(tmp_path, "strangers", ("confidence", "energy"), "auroc")
    results = Results(experiment, tmp_path)
    for seed in experiment.seeds:
        results.add("energy", seed, _figures([("letters", "auroc", 0.9 + 0.01 * seed), ("noise", "auroc", 1.0)]), PLACE)
    (picture,) = strangers(experiment, results)
    assert isinstance(picture, Picture)
    assert list(picture.figure.data[0].y) == ["letters", "noise"] and np.allclose(
        picture.figure.data[0].z, [[92], [100]]
    )


def test_texts_are_shown_by_what_they_bring_and_where(tmp_path: Path) -> None:
    """A row an arm, a column a kind of product, the points over the image alone in the cell; empty without such."""
    experiment = declare(tmp_path, "text", ("image", "both"), "group_accuracy", "report")
    results = Results(experiment, tmp_path)
    kinds = {"with a text": 0.97, "misled": 0.9}
    of_image = [(kind, metric, 0.95) for kind in kinds for metric in ("group_accuracy", "image_accuracy")]
    results.add("image", 1, _figures(of_image[:2]), PLACE)
    of_both = [(kind, "group_accuracy", value) for kind, value in kinds.items()]
    results.add("both", 1, _figures([*of_both, *[row for row in of_image if row[1] == "image_accuracy"]]), PLACE)
    (picture,) = text(experiment, results)
    assert isinstance(picture, Picture)
    cells = picture.figure.data[0]
    assert (list(cells.y), list(cells.x)) == (["image", "both"], ["with a text", "misled"])
    np.testing.assert_allclose(np.array(cells.z, float), [[0, np.nan], [2, -5]])


def test_values_are_shown_in_the_units_of_the_metric() -> None:
    """Shares in percent, differences with a sign but zero, a true minus, a dash for what is not defined."""
    share, loss = scale_of("macro_f1"), scale_of("log_loss")
    assert (share.value(0.98765), share.change(-0.00123), share.change(0.0000001)) == ("98.77", "−0.12", "0.00")
    assert (loss.change(0.00123), loss.value(float("nan"))) == ("+0.0012", "–")
    assert scale_of("zeal_of_arms").heading == "zeal of arms"


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


def test_images_that_are_always_wrong_are_counted() -> None:
    """An image counts when every seed of an arm has it wrong, as loops over the committed answers count it."""
    results = Results(load("final"))
    told = final(load("final"), results)[0]
    assert isinstance(told, Listing)
    by_seed: dict[int, set[int]] = {}
    for arm, seed, example in results.errors[["arm", "seed", "example"]].itertuples(index=False):
        if arm == "full":
            by_seed.setdefault(seed, set()).add(example)
    row = told.table.set_index("arm").loc["full"]
    assert row["with every seed"] == len(set.intersection(*by_seed.values())) > 0
    assert row["wrong"] == f"{sum(map(len, by_seed.values())) / 5:.1f}"
