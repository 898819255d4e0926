"""The pictures and tables of the experiments: they show what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.experiments.declaration import load
from analysis.experiments.drawing import forest
from analysis.experiments.drawing.lines import lines
from analysis.experiments.drawing.pareto import family, front
from analysis.experiments.drawing.special import SPECIAL, deployment, final, strangers, text
from analysis.experiments.drawing.why import outlined
from analysis.experiments.judgement import judge
from analysis.experiments.results import Results
from analysis.experiments.scales import scale_of
from analysis.experiments.story import sections
from analysis.pages.section import Listing, Picture
from tests.analysis.experiments.made_up_study import PLACE, declare, of_figures, outcome, run


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
            results.add(arm, seed, of_figures(figures), PLACE)
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
            results.add(arm, 1, of_figures([("validation", *figure) for figure in figures]), PLACE)
        drawn += [block.name for block in deployment(experiment, results)]
    assert drawn == ["networks-train-seconds", "files-bytes"]


def test_strangers_are_shown_by_score(tmp_path: Path) -> None:
    """A row a kind of stranger, a column a score, the mean over seeds in the cell."""
    experiment = declare(tmp_path, "strangers", ("confidence", "energy"), "auroc")
    results = Results(experiment, tmp_path)
    for seed in experiment.seeds:
        results.add(
            "energy", seed, of_figures([("letters", "auroc", 0.9 + 0.01 * seed), ("noise", "auroc", 1.0)]), PLACE
        )
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
    results.add("image", 1, of_figures(of_image[:2]), PLACE)
    of_both = [(kind, "group_accuracy", value) for kind, value in kinds.items()]
    results.add("both", 1, of_figures([*of_both, *[row for row in of_image if row[1] == "image_accuracy"]]), PLACE)
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
