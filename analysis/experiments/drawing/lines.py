"""A metric along a scale such as severity or the share abstained on, a line an arm; and every arm's figure as a dot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from analysis.experiments.comparison import mean_over_seeds, summarise
from analysis.experiments.drawing.palette import OF_MANY, colour, rounded, symbol, wrapped
from analysis.experiments.judgement import Judgement
from analysis.experiments.scales import metric_of, scale_of
from analysis.pages import figures as style
from analysis.pages.section import Picture

ROW = 36
MOST = 6
"""More lines than that are not told apart."""

LOGARITHMIC = (1, 2, 5, 10, 20, 50, 100)
"""Marks of a logarithmic axis of percent."""


def lines(
    name: str, x: Sequence[float], y: Mapping[str, Sequence[float]], titles: tuple[str, str], caption: str
) -> Picture:
    """Draws a line for each arm; of many, the first, and those that are lowest and highest at the end.

    Args:
        name: Of the picture.
        x: Places along the scale.
        y: Each arm's values there, as shown.
        titles: Of the axes.
        caption: What to see.
    """
    made: go.Figure = style.figure(*titles)
    if len(y) > MOST:
        ends = sorted(y, key=lambda arm: y[arm][-1])
        caption += f" Of {len(y)} arms the first, and the lowest and highest at the end; the others end between these."
        y = {arm: values for arm, values in y.items() if arm in (next(iter(y)), ends[0], ends[-1])}
    for place, (arm, values) in enumerate(y.items()):
        made.add_scatter(
            x=rounded(x),
            y=rounded(values),
            mode="lines+markers",
            name=arm,
            line={"color": colour(place), "dash": ("solid", "dash", "dot")[place // len(OF_MANY) % 3]},
            marker={"symbol": symbol(place), "size": 8},
        )
    made.update_xaxes(tickvals=rounded(x))
    made.update_layout(legend={"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"} if len(y) > 4 else {})
    return Picture(name.replace("_", "-"), made, caption, documented=True)


def dots(judgement: Judgement, metric: str, lacking: bool = False) -> Picture | None:
    """Draws every arm's value with its interval, or its spread over seeds; None where the metric was not measured.

    Args:
        judgement: The study.
        metric: What is drawn.
        lacking: Whether it is what the metric lacks of 1, on a logarithmic axis: where arms are from useless to good,
            that is what tells the good ones apart. Defaults to no.
    """
    found = {arm: values for arm in judgement.arms if (values := judgement.values(arm, metric))}
    if not found:
        return None
    scale = scale_of(metric)
    middles, below, above = zip(*(_range(judgement, arm, metric) for arm in found), strict=True)
    if lacking:
        middles, below, above = tuple(1 - middle for middle in middles), above, below
    heading = f"{scale.heading} lacking" if lacking else scale.heading
    made: go.Figure = style.figure(f"{heading}{', %' if scale.factor == 100 else ''}", "")
    made.add_scatter(
        x=rounded(middles, scale.factor),
        y=[wrapped(arm) for arm in found],
        error_x={
            "type": "data",
            "array": rounded(above, scale.factor),
            "arrayminus": rounded(below, scale.factor),
            "width": 0,
        },
        mode="markers",
        marker={"color": style.TEST, "size": 10},
        name="",
    )
    made.update_yaxes(autorange="reversed")
    if lacking:
        made.update_xaxes(type="log", tickvals=LOGARITHMIC, autorange="reversed")
    made.update_layout(height=90 + ROW * len(found), showlegend=False)
    name = f"{judgement.experiment.name}-{metric}".replace("_", "-")
    bars = "95% intervals over examples and seeds" if judgement.counts(metric) else "a standard deviation of the seeds"
    better = "right" if scale.more_is_better else "left"
    drawn = f"What the {scale.heading} of each arm lacks of 100%" if lacking else f"The {scale.heading} of each arm"
    return Picture(name, made, f"{drawn}; better is to the {better}. Bars: {bars}.", documented=True)


def _range(judgement: Judgement, arm: str, metric: str) -> tuple[float, float, float]:
    """Returns the mean, and how far the bar goes below and above it."""
    measured, supports = metric_of(metric, judgement.taxonomy), judgement.supports
    if measured is None or supports is None:
        mean, deviation = mean_over_seeds(judgement.values(arm, metric))
        return mean, deviation, deviation
    found = summarise(judgement.results.errors, supports, arm, judgement.seeds(arm, arm), measured)
    return found.value, found.value - found.low, found.high - found.value
