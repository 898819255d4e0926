"""Figures and tables of single measures show what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.experiments.declaration import load
from analysis.experiments.drawing.measure_figures import (
    FIGURES_OF_MEASURE,
    deployment,
    final_evaluation,
    out_of_distribution,
    outlined,
    text,
)
from analysis.experiments.report import sections
from analysis.experiments.results import Results
from analysis.pages.section import Listing, Picture
from tests.analysis.experiments.synthetic_experiment import MACHINE, declare, of_figures, outcome, run


def test_an_edit_is_framed_where_it_differs() -> None:
    """The edit itself stays as it is; an image that was not edited has no frame."""
    images = np.full((2, 28, 28), 100, np.uint8)
    edited = images.copy()
    edited[0, 5:8, 0:3] = 50
    framed = outlined(images, edited)
    assert (framed[0, 5:8, 0:3] == 50).all() and (framed[1] == images[1]).all()
    changed = np.argwhere(framed[0] != edited[0])
    assert changed.min(axis=0).tolist() == [4, 0] and changed.max(axis=0).tolist() == [8, 3]


@pytest.mark.slow
@pytest.mark.parametrize("measure", FIGURES_OF_MEASURE)
def test_figures_leave_out_what_was_not_measured(tmp_path: Path, measure: str) -> None:
    """An experiment with only the common metrics has a section without an error."""
    run(declare(tmp_path, measure=measure), tmp_path, {"plain": 0.05, "better": 0.02}, seeds=1)
    assert sections(tmp_path)[0].blocks


def test_heat_map_of_corruptions_shows_the_drop_from_the_clean_images(tmp_path: Path) -> None:
    """The worst corruption comes first, and severities are in order, whatever the experiment's name."""
    experiment = declare(tmp_path, "mine", ("plain", "shifts"), "group_accuracy", "report", measure="robustness")
    results, truth = Results(experiment, tmp_path), np.arange(1000) % 5
    for arm in experiment.arms:
        answers = outcome(truth, np.where(np.arange(1000) < 20, (truth + 1) % 5, truth), 1.0)
        answers.figures.append(("clean", "group_accuracy", 0.97))
        for severity in (2, 1):
            answers.figures.append((f"glass_blur/{severity}", "group_accuracy", 0.97 - 0.01 * severity))
            answers.figures.append((f"noise/{severity}", "group_accuracy", 0.97 - 0.1 * severity))
        results.add(arm, 1, answers, MACHINE)
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
            results.add(arm, seed, of_figures(figures), MACHINE)
    (listing,) = (block for block in sections(tmp_path)[0].blocks if block.name == "mine-corrupted")
    assert isinstance(listing, Listing)
    assert listing.table.iloc[:, -1].tolist() == ["baseline", "+7.00 [+4.52,\N{NO-BREAK SPACE}+9.48]"]


def test_costs_are_those_of_files_where_there_are_some(tmp_path: Path) -> None:
    """Bytes of deployed networks replace the seconds of their trainings."""
    drawn = []
    for name, cost in (("networks", "train_seconds"), ("files", "bytes")):
        experiment = declare(tmp_path, name, ("a", "b"), "group_accuracy", "report", measure="deployment")
        results = Results(experiment, tmp_path)
        for index, arm in enumerate(experiment.arms):
            figures = [(metric, 0.9 + index) for metric in ("group_accuracy", cost)]
            results.add(arm, 1, of_figures([("validation", *figure) for figure in figures]), MACHINE)
        drawn += [block.name for block in deployment(experiment, results)]
    assert drawn == ["networks-train-seconds", "files-bytes"]


def test_out_of_distribution_kinds_are_shown_by_score(tmp_path: Path) -> None:
    """Rows are kinds, columns scores, and cells means over seeds."""
    experiment = declare(tmp_path, "scores", ("confidence", "energy"), "auroc")
    results = Results(experiment, tmp_path)
    for seed in experiment.seeds:
        results.add(
            "energy", seed, of_figures([("letters", "auroc", 0.9 + 0.01 * seed), ("noise", "auroc", 1.0)]), MACHINE
        )
    (picture,) = out_of_distribution(experiment, results)
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
    results.add("image", 1, of_figures(of_image[:2]), MACHINE)
    of_both = [(kind, "group_accuracy", value) for kind, value in kinds.items()]
    results.add("both", 1, of_figures([*of_both, *[row for row in of_image if row[1] == "image_accuracy"]]), MACHINE)
    (picture,) = text(experiment, results)
    assert isinstance(picture, Picture)
    cells = picture.figure.data[0]
    assert (list(cells.y), list(cells.x)) == (["image", "both"], ["with a text", "misled"])
    np.testing.assert_allclose(np.array(cells.z, float), [[0, np.nan], [2, -5]])


def test_images_that_every_seed_misclassifies_are_counted() -> None:
    """The count is that of loops over the committed errors."""
    results = Results(load("final_evaluation"))
    table = final_evaluation(load("final_evaluation"), results)[0]
    assert isinstance(table, Listing)
    by_seed: dict[int, set[int]] = {}
    for arm, seed, example in results.errors[["arm", "seed", "example"]].itertuples(index=False):
        if arm == "full":
            by_seed.setdefault(seed, set()).add(example)
    row = table.table.set_index("arm").loc["full"]
    assert row["by every seed"] == len(set.intersection(*by_seed.values())) > 0
    assert row["misclassified"] == f"{sum(map(len, by_seed.values())) / 5:.1f}"
