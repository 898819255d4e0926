"""Charts of arms show what was measured."""

from __future__ import annotations

from pathlib import Path

from analysis.experiments.drawing.charts import family, forest_plot, lines, pareto_front
from analysis.experiments.judgement import judge
from tests.analysis.experiments.synthetic_experiment import declare, run


def test_an_arm_far_off_goes_beyond_the_axis(tmp_path: Path) -> None:
    """The axis covers the other arms, and an arrow at its end has the figures of the arm beyond."""
    arms = {"plain": 0.05, "better": 0.03, "worse": 0.07, "bad": 0.08, "useless": 0.7}
    judgement = judge(declare(tmp_path, arms=tuple(arms)), run(declare(tmp_path, arms=tuple(arms)), tmp_path, arms))
    drawn = forest_plot(judgement)
    assert drawn is not None and "beyond the axis" in drawn.caption
    left, right = drawn.figure.layout.xaxis.range
    found = judgement.differences
    assert left < 100 * found["bad"].low and 100 * found["better"].high < right and 100 * found["useless"].value < left
    (arrow,) = [trace for trace in drawn.figure.data if trace.mode == "markers+text"]
    assert arrow.y == ("useless",) and f"{100 * found['useless'].value:.2f}".replace("-", "−") in arrow.text[0]


def test_of_many_lines_three_are_drawn() -> None:
    """The first, and those with the lowest and highest last value; the caption says how many there are."""
    curves = {name: [1.0, 2.0 + index] for index, name in enumerate("cabdefg")} | {"low": [1.0, 0.0]}
    drawn = lines("risk", [0, 1], curves, ("share", "error"), "What it costs.")
    assert [trace.name for trace in drawn.figure.data] == ["c", "g", "low"] and "Of 8 arms" in drawn.caption


def test_pareto_front_has_the_optimal_points() -> None:
    """The cheapest is always on it; of equal points only one is."""
    assert pareto_front([1, 2, 3, 3, 4], [0.90, 0.95, 0.93, 0.97, 0.97]) == [0, 1, 3]
    assert family("plain CNN, small") == "plain CNN" and family("ViT") == "ViT"
