"""What accuracy costs: each arm's accuracy against what it needs, and the front that no arm beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from analysis.experiments.comparison import mean_over_seeds
from analysis.experiments.drawing.palette import colour, rounded, symbol
from analysis.experiments.judgement import Judgement
from analysis.experiments.scales import scale_of
from analysis.pages import figures as style
from analysis.pages.section import Picture

COSTS = ("multiply_adds", "parameters", "latency_ms", "train_seconds")


def pictures(judgement: Judgement, costs: Sequence[str] = COSTS) -> list[Picture]:
    """Draws the study's metric against each cost that was measured."""
    return [picture for cost in costs if (picture := _picture(judgement, cost)) is not None]


def front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Returns the places of those that no other equals or beats in both, from the cheapest to the dearest."""
    kept: list[int] = []
    for place in sorted(range(len(costs)), key=lambda i: (costs[i], -values[i])):
        if not kept or values[place] > values[kept[-1]]:
            kept.append(place)
    return kept


def _picture(judgement: Judgement, cost: str) -> Picture | None:
    metric = judgement.experiment.metric
    rows = []
    for arm in judgement.arms:
        values, needs = judgement.values(arm, metric), judgement.values(arm, cost)
        if values and needs and min(needs) > 0:
            rows.append((arm, family(arm), *mean_over_seeds(needs), *mean_over_seeds(values)))
    if len(rows) < 2:
        return None
    table = pd.DataFrame(rows, columns=["arm", "family", "cost", "cost_sd", "value", "value_sd"]).fillna(0.0)
    name = f"{judgement.experiment.name}-{cost}".replace("_", "-")
    caption = (
        f"{scale_of(metric).heading} against {scale_of(cost).heading} (logarithmic), mean over seeds; bars: a standard "
        "deviation. Lines join the sizes of a family. Dotted: the front of the means, from whose arms none is better "
        "at less cost; where bars overlap, other seeds may draw another front."
    )
    return Picture(name, _figure(table, metric, cost), caption[0].upper() + caption[1:], documented=True)


def family(arm: str) -> str:
    """Returns the family of an arm that is named like "plain CNN, small"."""
    return arm.rpartition(",")[0] or arm


def _figure(table: pd.DataFrame, metric: str, cost: str) -> go.Figure:
    scale, of_cost = scale_of(metric), scale_of(cost)
    made = style.figure(of_cost.heading, f"{scale.heading}{', %' if scale.factor == 100 else ''}", height=460)
    kept = table.iloc[front(table["cost"].tolist(), table["value"].tolist())]
    made.add_scatter(
        x=rounded(kept["cost"], of_cost.factor),
        y=rounded(kept["value"], scale.factor),
        mode="lines",
        line={"color": style.NEUTRAL, "dash": "dot", "shape": "hv"},
        name="front",
        hoverinfo="skip",
    )
    for place, (name, of_family) in enumerate(table.groupby("family", sort=False)):
        made.add_scatter(
            x=rounded(of_family["cost"], of_cost.factor),
            y=rounded(of_family["value"], scale.factor),
            error_x={"type": "data", "array": rounded(of_family["cost_sd"], of_cost.factor), "width": 0},
            error_y={"type": "data", "array": rounded(of_family["value_sd"], scale.factor), "width": 0},
            mode="lines+markers",
            line={"color": colour(place), "width": 1},
            marker={"symbol": symbol(place), "size": 11},
            name=str(name),
            text=of_family["arm"].tolist(),
            hovertemplate="%{text}: %{y} at %{x}<extra></extra>",
        )
    ticks = _ticks(of_cost.factor * table["cost"].min(), of_cost.factor * table["cost"].max())
    made.update_xaxes(
        type="log", tickvals=ticks, ticktext=[f"{tick:,.0f}" if tick >= 1 else f"{tick:g}" for tick in ticks]
    )
    return made


def _ticks(low: float, high: float) -> list[float]:
    """Returns 1, 2 and 5 times the powers of ten between two costs, and one beyond each."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    every = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    return [tick for tick in every if low / 2 <= tick <= high * 2]
