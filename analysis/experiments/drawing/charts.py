"""Charts of arms: forest plots, line charts, dot plots and accuracy against cost, with their colours."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.experiments.comparison import mean_over_seeds, summarise
from analysis.experiments.equivalence import format_margin
from analysis.experiments.judgement import (
    BETTER,
    CANNOT_TELL,
    EQUIVALENT,
    INCONCLUSIVE,
    NOT_SIGNIFICANT,
    WORSE,
    Judgement,
)
from analysis.experiments.reported_metrics import confusion_metric, format_p_value, scale_of
from analysis.pages import figure_style as style
from analysis.pages.figure_style import NEUTRAL, SYMBOLS, TEST
from analysis.pages.section import Picture

VERDICTS = (
    (BETTER, "#0072B2"),
    (WORSE, "#D55E00"),
    (EQUIVALENT, "#009E73"),
    (INCONCLUSIVE, "#E69F00"),
    (CANNOT_TELL, NEUTRAL),
    (NOT_SIGNIFICANT, NEUTRAL),
)
"""Colours of the verdicts on arms: Okabe and Ito's blue, vermilion, green and orange."""
PALETTE = (TEST, "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#8f6bb3", NEUTRAL)
"""Colours of arms or families, each with a marker symbol of its own."""
DIVERGING = [
    [0.0, "rgba(213,94,0,1)"],
    [0.5, "rgba(213,94,0,0)"],
    [0.5, "rgba(0,114,178,0)"],
    [1.0, "rgba(0,114,178,1)"],
]
"""From worse through no difference, which is transparent, to better."""
WIDTH = 32
DIGITS = 5


def colour(index: int) -> str:
    """Returns the colour of the arm or family with an index."""
    return PALETTE[index % len(PALETTE)]


def symbol(index: int) -> str:
    """Returns the marker symbol of the arm or family with an index; its pairs with the colours do not repeat soon."""
    return SYMBOLS[(index + index // len(PALETTE)) % len(SYMBOLS)]


def wrapped(name: str, width: int = WIDTH) -> str:
    """Returns a name wrapped to lines of at most `width` letters, for the labels of an axis."""
    return "<br>".join(textwrap.wrap(name.replace("_", " "), width, break_long_words=False))


def rounded(values: Iterable[float], factor: float = 1.0) -> list[float | None]:
    """Returns values times a factor with five digits, which keeps pages small and digests stable; None for NaN."""
    return [None if value != value else float(f"{factor * value:.{DIGITS}g}") for value in values]


FOREST_ROW = 34
FAR = 5
"""An arm that reaches this many times farther than the median one goes beyond the axis."""


def forest_plot(judgement: Judgement) -> Picture | None:
    """Draws every arm's difference to the baseline with its interval and single seeds; None if there is none."""
    arms = [arm for arm, found in judgement.differences.items() if found.value == found.value]
    if not arms:
        return None
    name = f"{judgement.experiment.name}-differences"
    figure, caption, view = _forest_figure(judgement, arms), _forest_caption(judgement), _axis_range(judgement, arms)
    if view is not None:
        figure.update_xaxes(range=rounded(view, judgement.scale.factor))
        _add_arrows(figure, judgement, arms, view)
        caption += " Arrows, and bars that end at the edge, continue beyond the axis."
    return Picture(name.replace("_", "-"), figure, caption, documented=True, alt=_forest_description(judgement, arms))


def _forest_description(judgement: Judgement, arms: list[str]) -> str:
    scale, found = judgement.scale, judgement.differences
    low, high = (choose(arms, key=lambda arm: found[arm].value) for choose in (min, max))
    kinds = [f"{len(chosen)} {title}" for title, _, chosen in _kinds(judgement, arms)]
    ends = " to ".join(f"{scale.change(found[arm].value)} ({arm})" for arm in dict.fromkeys((low, high)))
    return (
        f"Forest plot of the difference in {scale.heading} to “{judgement.experiment.baseline}”: {ends}"
        f"{f' {scale.unit}' if scale.unit else ''}. {count(len(arms), 'arm')}: {', '.join(kinds)}."
    )


def count(number: int, noun: str) -> str:
    """Returns a number with its noun: "1 arm", "3 arms"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _axis_range(judgement: Judgement, arms: list[str]) -> tuple[float, float] | None:
    """Returns the limits of the axis if some arms are so far off that they would compress the others; else None."""
    ends = {arm: _ends(judgement, arm) for arm in arms}
    reach = {arm: max(-low, high) for arm, (low, high) in ends.items()}
    middle = float(np.median(list(reach.values())))
    near = [ends[arm] for arm in arms if reach[arm] <= FAR * middle]
    if len(near) == len(arms) or not middle:
        return None
    low, high = min(0.0, *(end[0] for end in near)), max(0.0, *(end[1] for end in near))
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _ends(judgement: Judgement, arm: str) -> tuple[float, float]:
    """Returns the smallest and the largest of an arm's interval and seeds."""
    found, table = judgement.differences[arm], judgement.table(judgement.experiment.metric)
    seeds = (table[arm] - table[judgement.experiment.baseline]).tolist()
    return float(np.nanmin([found.low, found.value, *seeds])), float(np.nanmax([found.high, found.value, *seeds]))


def _add_arrows(figure: go.Figure, judgement: Judgement, arms: list[str], view: tuple[float, float]) -> None:
    """Adds arrows to the arms beyond the axis, with their figures."""
    scale, middle, inside = judgement.scale, sum(view) / 2, 0.01 * (view[1] - view[0])
    for _, colour, chosen in _kinds(judgement, arms):
        for arm in chosen:
            found, left = judgement.differences[arm], judgement.differences[arm].value < middle
            if view[0] <= found.value <= view[1]:
                continue
            figure.add_scatter(
                x=rounded([view[0] + inside if left else view[1] - inside], scale.factor),
                y=[wrapped(arm)],
                mode="markers+text",
                marker={"symbol": "triangle-left" if left else "triangle-right", "color": colour, "size": 12},
                text=[f" {scale.change(found.value)} {scale.interval(found.low, found.high)} ".rstrip()],
                textposition=f"{'top' if arm == arms[-1] else 'bottom'} {'right' if left else 'left'}",
                cliponaxis=False,
                showlegend=False,
                hoverinfo="skip",
            )


def _forest_figure(judgement: Judgement, arms: list[str]) -> go.Figure:
    scale = judgement.scale
    unit = f" in {scale.unit}" if scale.unit else ""
    figure = style.figure(f"{scale.heading}, difference{unit}", "")
    for title, colour, chosen in _kinds(judgement, arms):
        _add_arms(figure, judgement, chosen, title, colour)
    _add_seeds(figure, judgement, arms)
    figure.add_vline(x=0, line={"color": style.NEUTRAL, "width": 1})
    if (margin := judgement.margin(judgement.experiment.metric)) is not None:
        for bound in rounded((-margin, margin), scale.factor):
            figure.add_vline(x=bound, line={"color": style.NEUTRAL, "width": 1, "dash": "dot"})
    order = [wrapped(arm) for arm in arms]
    figure.update_yaxes(categoryorder="array", categoryarray=order, range=[len(order) - 0.5, -0.5])
    figure.update_layout(height=120 + FOREST_ROW * len(arms))
    return figure


def _kinds(judgement: Judgement, arms: list[str]) -> list[tuple[str, str, list[str]]]:
    """Returns legend, colour and arms of each verdict that some arm has."""
    kinds = [(title, colour, [arm for arm in arms if judgement.verdicts[arm] == title]) for title, colour in VERDICTS]
    return [kind for kind in kinds if kind[2]]


def _add_arms(figure: go.Figure, judgement: Judgement, arms: list[str], title: str, colour: str) -> None:
    """Adds the arms of a verdict: points with thin bars for the 95% and thick bars for the 90% intervals."""
    factor, found = judgement.scale.factor, [judgement.differences[arm] for arm in arms]
    x, y = rounded((each.value for each in found), factor), [wrapped(arm) for arm in arms]
    intervals = [(each.low, each.high) for each in found], [each.interval_90 for each in found]
    for bounds, thickness in zip(intervals, (1.5, 4), strict=True):
        figure.add_scatter(
            x=x,
            y=y,
            error_x={
                "type": "data",
                "array": rounded((high - each.value for each, (_, high) in zip(found, bounds, strict=True)), factor),
                "arrayminus": rounded((each.value - low for each, (low, _) in zip(found, bounds, strict=True)), factor),
                "thickness": thickness,
                "width": 0,
            },
            mode="markers",
            name=title,
            showlegend=thickness > 2,
            marker={"color": colour, "size": 11},
            customdata=[format_p_value(judgement.adjusted[arm], "p") for arm in arms],
            hovertemplate="%{x:+.2f}, %{customdata}",
        )


def _add_seeds(figure: go.Figure, judgement: Judgement, arms: list[str]) -> None:
    table = judgement.table(judgement.experiment.metric)
    x: list[float | None] = []
    y: list[str] = []
    for arm in arms:
        seeds = (table[arm] - table[judgement.experiment.baseline]).dropna()
        x += rounded(seeds, judgement.scale.factor)
        y += [wrapped(arm)] * len(seeds)
    marker = {"color": "white", "size": 6, "line": {"color": "#3c4350", "width": 1.2}}
    figure.add_scatter(x=x, y=y, mode="markers", name="a seed", marker=marker, hovertemplate="%{x:+.2f}")


def _forest_finding(judgement: Judgement) -> str:
    """Returns a sentence on how many arms are significantly better and worse than the baseline."""
    compared = len(judgement.differences)
    better, worse = (len(judgement.arms_with(verdict)) for verdict in (BETTER, WORSE))
    if not better and not worse:
        return f"No arm of {compared} differs significantly from the baseline."
    better_part, worse_part = (
        f"{part or 'none'} {'is' if part <= 1 else 'are'} significantly" for part in (better, worse)
    )
    return f"Of {count(compared, 'arm')} {better_part} better and {worse_part} worse."


def _forest_caption(judgement: Judgement) -> str:
    direction = "right" if judgement.scale.more_is_better else "left"
    drawn = "images and seeds" if judgement.counts_examples(judgement.experiment.metric) else "seeds"
    margin = judgement.margin(judgement.experiment.metric)
    lines = (
        "" if margin is None else f" Dotted lines: the equivalence margin of {format_margin(margin, judgement.scale)}."
    )
    return (
        f"{_forest_finding(judgement)} Difference to “{judgement.experiment.baseline}”; better is to the {direction}. "
        f"Bars: 95% intervals over {drawn} (thin) and 90% intervals (thick), not corrected for the number of arms; the "
        f"colours are. White points: single seeds.{lines}"
    )


DOT_ROW = 36
MOST = 6
"""Of more lines only three are drawn."""

LOGARITHMIC = (1, 2, 5, 10, 20, 50, 100)
"""Ticks of a logarithmic axis of percent."""


def lines(
    name: str,
    x: Sequence[float],
    y: Mapping[str, Sequence[float]],
    titles: tuple[str, str],
    caption: str,
    detail: bool = False,
) -> Picture:
    """Draws a line for each arm; of many, only the first and those with the lowest and the highest last value.

    Args:
        name: The picture's name.
        x: Positions on the horizontal axis, such as severities.
        y: Each arm's values at these positions.
        titles: The titles of both axes.
        caption: The caption.
        detail: Whether the experiment's page shows it at its end, among all figures. Defaults to False.
    """
    figure: go.Figure = style.figure(*titles)
    if len(y) > MOST:
        ends = sorted(y, key=lambda arm: y[arm][-1])
        caption += f" Of {len(y)} arms the first, and the lowest and highest at the end; the others end between these."
        y = {arm: values for arm, values in y.items() if arm in (next(iter(y)), ends[0], ends[-1])}
    for index, (arm, values) in enumerate(y.items()):
        figure.add_scatter(
            x=rounded(x),
            y=rounded(values),
            mode="lines+markers",
            name=arm,
            line={"color": colour(index), "dash": ("solid", "dash", "dot")[index // len(PALETTE) % 3]},
            marker={"symbol": symbol(index), "size": 8},
        )
    figure.update_xaxes(tickvals=rounded(x))
    figure.update_layout(legend=style.SIDE_LEGEND if len(y) > 4 else {})
    courses = "; ".join(f"{arm} from {values[0]:.4g} to {values[-1]:.4g}" for arm, values in y.items())
    alt = f"Line chart of {titles[1]} against {titles[0]}, from {x[0]:g} to {x[-1]:g}: {courses}."
    return Picture(name.replace("_", "-"), figure, caption, documented=True, alt=alt, detail=detail)


def dots(judgement: Judgement, metric: str, complement: bool = False, detail: bool = False) -> Picture | None:
    """Draws every arm's value with its interval, or its spread over seeds; None if the metric was not measured.

    Args:
        judgement: The experiment's judgement.
        metric: The metric.
        complement: Whether to draw 1 minus the metric on a logarithmic axis, which separates the best arms where the
            others are far worse. Defaults to False.
        detail: Whether the experiment's page shows it at its end, among all figures. Defaults to False.
    """
    found = {arm: values for arm in judgement.arms if (values := judgement.values(arm, metric))}
    if not found:
        return None
    scale = scale_of(metric)
    middles, below, above = zip(*(_range(judgement, arm, metric) for arm in found), strict=True)
    if complement:
        middles, below, above = tuple(1 - middle for middle in middles), above, below
    heading = f"100% − {scale.heading}" if complement else scale.heading
    figure: go.Figure = style.figure(f"{heading}{', %' if scale.factor == 100 else ''}", "")
    figure.add_scatter(
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
    figure.update_yaxes(range=[len(found) - 0.5, -0.5])
    if complement:
        figure.update_xaxes(type="log", tickvals=LOGARITHMIC, autorange="reversed")
    figure.update_layout(height=90 + DOT_ROW * len(found), showlegend=False)
    name = f"{judgement.experiment.name}-{metric}".replace("_", "-")
    bars = (
        "95% intervals over examples and seeds"
        if judgement.counts_examples(metric)
        else "a standard deviation of the seeds"
    )
    better = "right" if scale.more_is_better else "left"
    shown = f"100% minus the {scale.heading} of each arm" if complement else f"The {scale.heading} of each arm"
    means = {arm: float(np.mean(values)) for arm, values in found.items()}
    ends = dict.fromkeys((min(means, key=lambda arm: means[arm]), max(means, key=lambda arm: means[arm])))
    extent = " to ".join(f"{scale.value(means[arm])} ({arm})" for arm in ends)
    alt = f"Dot plot of the {scale.heading} of {count(len(found), 'arm')}: {extent}."
    caption = f"{shown}; better is to the {better}. Bars: {bars}."
    return Picture(name, figure, caption, documented=True, alt=alt, detail=detail)


def _range(judgement: Judgement, arm: str, metric: str) -> tuple[float, float, float]:
    """Returns the mean and the lengths of the bar below and above it."""
    measured, supports = confusion_metric(metric, judgement.taxonomy), judgement.supports
    if measured is None or supports is None:
        mean, deviation = mean_over_seeds(judgement.values(arm, metric))
        return mean, deviation, deviation
    found = summarise(judgement.results.errors, supports, arm, judgement.seeds(arm, arm), measured)
    return found.value, found.value - found.low, found.high - found.value


COSTS = ("multiply_adds", "parameters", "latency_ms", "train_seconds")
SECONDARY_COSTS = ("multiply_adds", "parameters")
"""Costs that nobody pays directly; an experiment's page shows them at its end."""


def cost_charts(judgement: Judgement, costs: Sequence[str] = COSTS) -> list[Picture]:
    """Draws the primary metric against each measured cost."""
    return [picture for cost in costs if (picture := _cost_chart(judgement, cost)) is not None]


def pareto_front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Returns the indices of the Pareto-optimal points, from the cheapest to the most expensive."""
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], -values[i])):
        if not front or values[index] > values[front[-1]]:
            front.append(index)
    return front


def _cost_chart(judgement: Judgement, cost: str) -> Picture | None:
    metric = judgement.experiment.metric
    rows = []
    for arm in judgement.arms:
        values, costs = judgement.values(arm, metric), judgement.values(arm, cost)
        if values and costs and min(costs) > 0:
            rows.append((arm, family(arm), *mean_over_seeds(costs), *mean_over_seeds(values)))
    if len(rows) < 2:
        return None
    table = pd.DataFrame(rows, columns=["arm", "family", "cost", "cost_sd", "value", "value_sd"]).fillna(0.0)
    name = f"{judgement.experiment.name}-{cost}".replace("_", "-")
    subject = f"{scale_of(metric).heading} against {scale_of(cost).heading.partition(',')[0]}"
    front = [table["arm"][row] for row in pareto_front(table["cost"].tolist(), table["value"].tolist())]
    caption = (
        f"Pareto front, from cheap to expensive: {'; '.join(front)}. "
        f"{subject[0].upper()}{subject[1:]} (logarithmic axis), mean over seeds; bars: a standard deviation. Lines "
        "join arms that differ only in size. Dotted: the Pareto front of the means, whose arms no other arm beats at "
        "lower cost; where bars overlap, other seeds may give another front."
    )
    alt = (
        f"Scatter plot of {subject} for {count(len(table), 'arm')}. "
        f"On the Pareto front, from cheap to expensive: {'; '.join(front)}."
    )
    figure, detail = _cost_figure(table, metric, cost), cost in SECONDARY_COSTS
    return Picture(name, figure, caption, documented=True, alt=alt, detail=detail)


def family(arm: str) -> str:
    """Returns an arm's name without its size: "plain" of "plain, 4 M", "distilled" of "28,000, distilled"."""
    parts = [part for part in arm.split(", ") if not part[0].isdigit()]
    return ", ".join(parts) or arm


def _cost_figure(table: pd.DataFrame, metric: str, cost: str) -> go.Figure:
    scale, of_cost = scale_of(metric), scale_of(cost)
    figure = style.figure(of_cost.heading, f"{scale.heading}{', %' if scale.factor == 100 else ''}", height=460)
    front = table.iloc[pareto_front(table["cost"].tolist(), table["value"].tolist())]
    figure.add_scatter(
        x=rounded(front["cost"], of_cost.factor),
        y=rounded(front["value"], scale.factor),
        mode="lines",
        line={"color": style.NEUTRAL, "dash": "dot", "shape": "hv"},
        name="Pareto front",
        hoverinfo="skip",
    )
    for index, (name, of_family) in enumerate(table.groupby("family", sort=False)):
        figure.add_scatter(
            x=rounded(of_family["cost"], of_cost.factor),
            y=rounded(of_family["value"], scale.factor),
            error_x={"type": "data", "array": rounded(of_family["cost_sd"], of_cost.factor), "width": 0},
            error_y={"type": "data", "array": rounded(of_family["value_sd"], scale.factor), "width": 0},
            mode="lines+markers",
            line={"color": colour(index), "width": 1},
            marker={"symbol": symbol(index), "size": 11},
            name=str(name) if len(of_family) > 1 else of_family["arm"].iloc[0],
            text=of_family["arm"].tolist(),
            hovertemplate="%{text}: %{y} at %{x}<extra></extra>",
        )
    figure.update_layout(legend=style.SIDE_LEGEND)
    ticks = _ticks(of_cost.factor * table["cost"].min(), of_cost.factor * table["cost"].max())
    figure.update_xaxes(
        type="log", tickvals=ticks, ticktext=[f"{tick:,.0f}" if tick >= 1 else f"{tick:g}" for tick in ticks]
    )
    return figure


def _ticks(low: float, high: float) -> list[float]:
    """Returns 1, 2 and 5 times the powers of ten between two costs, and one tick beyond each."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    every = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    return [tick for tick in every if low / 2 <= tick <= high * 2]
