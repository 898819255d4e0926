"""Tables of an experiment: figures of all arms, and heat maps of arms by columns such as groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.experiments.comparison import mean_over_seeds
from analysis.experiments.drawing.charts import DIVERGING, WIDTH, rounded, wrapped
from analysis.experiments.equivalence import format_margin
from analysis.experiments.judgement import Judgement
from analysis.experiments.reported_metrics import (
    COLUMNS_OF_MEASURE,
    GROUP_METRICS,
    MAIN_COLUMNS,
    Scale,
    format_p_value,
    scale_of,
)
from analysis.pages import figure_style as style
from analysis.pages.section import Listing, Picture

MOST_COLUMNS = 6
MOST_NAMED = 8
"""A description names at most so many rows and columns."""
UNCLEAR = (
    "Inconclusive: either the corrected p-value or the 95% interval indicates a difference, not both. "
    "Cannot tell: neither does, and the 90% interval exceeds the margin."
)
LONG = 10
"""A table of more arms stands at the end of the experiment's page."""


def figure_table(judgement: Judgement) -> Listing | None:
    """Returns the table of every arm's figures and its difference to the baseline; None without results."""
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
        table["verdict"] = [judgement.verdicts.get(arm, "") for arm in judgement.arms]
    name = f"{judgement.experiment.name}-figures".replace("_", "-")
    return Listing(name, table, _caption(judgement), documented=True, detail=len(table) > LONG)


def columns(judgement: Judgement) -> list[str]:
    """Returns the metrics in the table: the main ones, or the first that the measure reports."""
    figures = judgement.results.figures
    overall = list(dict.fromkeys(figures["metric"][figures["subset"] == judgement.whole]))
    main = [
        metric for metric in COLUMNS_OF_MEASURE.get(judgement.experiment.measure, MAIN_COLUMNS) if metric in overall
    ]
    chosen = main if len(main) > 1 else overall[:MOST_COLUMNS]
    primary = judgement.experiment.metric
    return chosen if primary in chosen or primary not in overall else [primary, *chosen][:MOST_COLUMNS]


def heat_map(
    name: str,
    values: pd.DataFrame,
    caption: str,
    unit: str,
    diverging: bool = True,
    digits: int = 2,
    documented: bool = True,
    middle: float = 0.0,
    reach: float = 0.0,
    detail: bool = False,
) -> Picture:
    """Draws a heat map with the numbers in its cells.

    Args:
        name: The picture's name.
        values: The numbers; cells with NaN stay empty.
        caption: The caption.
        unit: The unit of the numbers, under the horizontal axis.
        diverging: Whether the colours diverge from a middle, blue above and vermilion below; otherwise they start at
            the smallest value. Defaults to True.
        digits: Number of decimal places. Defaults to 2.
        documented: Whether the document shows it. Defaults to True.
        middle: The value without a colour. Defaults to 0, and numbers then have signs.
        reach: The distance from the middle with full colours, for several pictures with one scale. Defaults to that
            of the farthest value.
        detail: Whether the experiment's page shows it among all figures, at its end. Defaults to False.
    """
    largest = reach or float(np.nanmax(np.abs(values.to_numpy(float) - middle))) or 1.0
    formatted = Scale("", digits=digits).change if diverging and not middle else Scale("", digits=digits).value
    figure: go.Figure = style.figure(unit, height=130 + 32 * len(values))
    figure.add_heatmap(
        z=[rounded(row) for row in values.to_numpy(float)],
        x=[wrapped(str(column), WIDTH // 2) for column in values.columns],
        y=[wrapped(str(row)) for row in values.index],
        colorscale=DIVERGING if diverging else style.SEQUENTIAL,
        zmin=middle - largest if diverging else float(np.nanmin(values.to_numpy(float))),
        zmax=middle + largest,
        showscale=False,
        text=[[formatted(cell) for cell in row] for row in values.to_numpy(float)],
        texttemplate="%{text}",
        hovertemplate="%{y}, %{x}: %{text}<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(type="category", showgrid=False, tickangle=0)
    alt = _heat_map_description(values, formatted)
    return Picture(name.replace("_", "-"), figure, caption, documented=documented, alt=alt, detail=detail)


def _heat_map_description(values: pd.DataFrame, formatted: Callable[[float], str]) -> str:
    cells = values.to_numpy(float)
    ends = []
    for position in (np.nanargmin(cells), np.nanargmax(cells)):
        row, column = divmod(int(position), cells.shape[1])
        place = f"{values.index[row]}, {values.columns[column]}".replace("_", " ")
        ends.append(f"{formatted(cells[row, column])} ({place})")
    rows, columns = (_axis_description(list(map(str, axis))) for axis in (values.index, values.columns))
    return f"Heat map with rows for {rows}, and columns for {columns}. The cells range from {' to '.join(ends)}."


def _axis_description(names: Sequence[str]) -> str:
    spoken = [name.replace("_", " ") for name in names]
    return "; ".join(spoken) if len(spoken) <= MOST_NAMED else f"{len(spoken)} items from {spoken[0]} to {spoken[-1]}"


def group_effects(judgement: Judgement) -> Picture | None:
    """Draws the change of each group's F1 by each arm; None if it was not measured."""
    baseline, groups = judgement.experiment.baseline, judgement.taxonomy.groups
    rows = {arm: [_change(judgement, arm, baseline, group) for group in groups] for arm in judgement.differences}
    values = pd.DataFrame.from_dict(rows, orient="index", columns=list(groups)).dropna(how="all")
    if values.empty:
        return None
    caption = (
        f"F1 of each group, mean over seeds, less that of “{baseline}”, in points. No intervals here: the "
        "smaller a group, the noisier its F1. Blue: higher; vermilion: lower."
    )
    documented = judgement.experiment.metric in GROUP_METRICS
    return heat_map(f"{judgement.experiment.name}-groups", values, caption, "F1, points", documented=documented)


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
    return format_p_value(judgement.adjusted[arm]) if arm in judgement.adjusted else ""


def _caption(judgement: Judgement) -> str:
    caption = "Mean ± standard deviation between seeds; accuracies and F1 in percent."
    if not judgement.differences:
        return caption
    unit = f", in {judgement.scale.unit}" if judgement.scale.unit else ""
    caption += f" Difference to the baseline{unit}, with its 95% interval and p corrected for the number of arms."
    margin = judgement.margin(judgement.experiment.metric)
    if margin is None:
        return caption
    limit = format_margin(margin, judgement.scale)
    return f"{caption} Equivalent: the 90% interval lies within {limit}. {UNCLEAR}"
