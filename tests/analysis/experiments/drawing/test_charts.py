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


def test_family_is_the_name_without_the_size() -> None:
    """The size comes first or last, and may contain a comma."""
    names = {
        "plain, 4 M": "plain",
        "28,000, distilled": "distilled",
        "8,000, twenty epochs, int8": "twenty epochs, int8",
        "ViT": "ViT",
    }
    assert {name: family(name) for name in names} == names


def test_forest_plot_has_the_margin_and_both_intervals(tmp_path: Path) -> None:
    """Dotted lines at the margin, a thin bar for 95% and a thick one for 90%, and a description in words."""
    arms = {"plain": 0.05, "better": 0.02, "same": 0.05}
    judgement = judge(declare(tmp_path, arms=tuple(arms)), run(declare(tmp_path, arms=tuple(arms)), tmp_path, arms))
    drawn = forest_plot(judgement)
    assert drawn is not None
    assert [line.x0 for line in drawn.figure.layout.shapes] == [0, -0.2, 0.2]
    thin, thick = (trace for trace in drawn.figure.data if trace.name == "significantly better")
    assert thin.error_x.array[0] > thick.error_x.array[0] > 0 and thin.showlegend is False
    assert drawn.alt.startswith("Forest plot of the difference in macro F1 to “plain”: ")
    assert "1 significantly better" in drawn.alt
