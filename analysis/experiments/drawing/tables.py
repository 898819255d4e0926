"""The table of a study, and a table of arms by columns in which better and worse have colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.experiments.comparison import mean_over_seeds
from analysis.experiments.drawing.palette import DIVERGING, WIDTH, rounded, wrapped
from analysis.experiments.judgement import Judgement
from analysis.experiments.scales import MAIN, OF_GROUPS, OF_MEASURE, Scale, probability, scale_of
from analysis.pages import figures as style
from analysis.pages.section import Listing, Picture

MOST_COLUMNS = 6


def listing(judgement: Judgement) -> Listing | None:
    """Tells every arm's figures and its difference to the baseline; None where there is no result."""
    metrics = columns(judgement)
    if not metrics:
        return None
    table = pd.DataFrame({"arm": judgement.arms})
    for metric in metrics:
        table[scale_of(metric).heading] = [_figure(judgement, arm, metric) for arm in judgement.arms]
    if judgement.differences:
        scale = judgement.scale
        table[f"{scale.heading}, difference"] = [_difference(judgement, arm) for arm in judgement.arms]
        table["p (Holm)"] = [_p_value(judgement, arm) for arm in judgement.arms]
    name = f"{judgement.experiment.name}-figures".replace("_", "-")
    return Listing(name, table, _caption(judgement), documented=True)


def columns(judgement: Judgement) -> list[str]:
    """Returns the metrics that the table shows: the main ones, or the first that the measure reports."""
    figures = judgement.results.figures
    overall = list(dict.fromkeys(figures["metric"][figures["subset"] == judgement.whole]))
    main = [metric for metric in OF_MEASURE.get(judgement.experiment.measure, MAIN) if metric in overall]
    chosen = main if len(main) > 1 else overall[:MOST_COLUMNS]
    asked = judgement.experiment.metric
    return chosen if asked in chosen or asked not in overall else [asked, *chosen][:MOST_COLUMNS]


def matrix(
    name: str,
    values: pd.DataFrame,
    caption: str,
    unit: str,
    mirrored: bool = True,
    digits: int = 2,
    documented: bool = True,
    middle: float = 0.0,
    reach: float = 0.0,
) -> Picture:
    """Draws a table of numbers as colours with the numbers in the cells.

    Args:
        name: Of the picture.
        values: A row down and a column across for each; NaN is left empty.
        caption: What to see in it.
        unit: What the numbers are, under the axis.
        mirrored: Whether the colours have a middle, blue above and vermilion below; otherwise the least is the ground.
            Defaults to True.
        digits: Behind the point. Defaults to 2.
        documented: Whether the document shows it. Defaults to True.
        middle: The value without a colour, where there is a middle. Defaults to 0, and numbers then have signs.
        reach: How far from the middle the colours are full, for pictures with one scale. Defaults to the farthest
            value.
    """
    largest = reach or float(np.nanmax(np.abs(values.to_numpy(float) - middle))) or 1.0
    told = Scale("", digits=digits).change if mirrored and not middle else Scale("", digits=digits).value
    made: go.Figure = style.figure(unit, height=130 + 32 * len(values))
    made.add_heatmap(
        z=[rounded(row) for row in values.to_numpy(float)],
        x=[wrapped(str(column), WIDTH // 2) for column in values.columns],
        y=[wrapped(str(row)) for row in values.index],
        colorscale=DIVERGING if mirrored else style.SEQUENTIAL,
        zmin=middle - largest if mirrored else float(np.nanmin(values.to_numpy(float))),
        zmax=middle + largest,
        showscale=False,
        text=[[told(cell) for cell in row] for row in values.to_numpy(float)],
        texttemplate="%{text}",
        hovertemplate="%{y}, %{x}: %{text}<extra></extra>",
    )
    made.update_yaxes(autorange="reversed", showgrid=False)
    made.update_xaxes(type="category", showgrid=False, tickangle=0)
    return Picture(name.replace("_", "-"), made, caption, documented=documented)


def group_effects(judgement: Judgement) -> Picture | None:
    """Draws by how much each arm changes the F1 of each group; None where that was not measured."""
    baseline, groups = judgement.experiment.baseline, judgement.taxonomy.groups
    rows = {arm: [_change(judgement, arm, baseline, group) for group in groups] for arm in judgement.differences}
    values = pd.DataFrame.from_dict(rows, orient="index", columns=list(groups)).dropna(how="all")
    if values.empty:
        return None
    caption = (
        f"F1 of each group, mean over seeds, less that of “{baseline}”, in points. No intervals here: the "
        "smaller a group, the more of it is chance."
    )
    asked = judgement.experiment.metric in OF_GROUPS
    return matrix(f"{judgement.experiment.name}-groups", values, caption, "F1, points", documented=asked)


def _change(judgement: Judgement, arm: str, baseline: str, group: str) -> float:
    table: Sequence[pd.Series] = [
        judgement.results.values("f1", group).get(name, pd.Series(dtype=float)) for name in (arm, baseline)
    ]
    return 100 * float((table[0] - table[1]).mean())


def _figure(judgement: Judgement, arm: str, metric: str) -> str:
    values = judgement.values(arm, metric)
    return scale_of(metric).spread(*mean_over_seeds(values)) if values else "–"


def _difference(judgement: Judgement, arm: str) -> str:
    if arm not in judgement.differences:
        return "baseline" if arm == judgement.experiment.baseline else "–"
    found, scale = judgement.differences[arm], judgement.scale
    return f"{scale.change(found.value)} {scale.interval(found.low, found.high)}".strip()


def _p_value(judgement: Judgement, arm: str) -> str:
    return probability(judgement.adjusted[arm]) if arm in judgement.adjusted else ""


def _caption(judgement: Judgement) -> str:
    told = "Mean ± standard deviation between seeds; accuracies and F1 in percent."
    if not judgement.differences:
        return told
    unit = f", in {judgement.scale.unit}" if judgement.scale.unit else ""
    return f"{told} Difference to the baseline{unit}, with its 95% interval and p corrected for the number of arms."
