"""The forest plot of a study: how far each arm is from the baseline, with intervals and the single seeds."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from analysis.experiments.drawing.palette import AHEAD, BEHIND, rounded, wrapped
from analysis.experiments.judgement import Judgement
from analysis.experiments.scales import probability
from analysis.pages import figures as style
from analysis.pages.section import Picture

ROW = 34
FAR = 5
"""An arm that reaches as many times farther than the middle one would make dots of the others."""


def picture(judgement: Judgement) -> Picture | None:
    """Draws every arm's difference to the baseline, in the order of the declaration; None where there is none."""
    arms = [arm for arm, found in judgement.differences.items() if found.value == found.value]
    if not arms:
        return None
    name = f"{judgement.experiment.name}-differences"
    made, caption, view = _figure(judgement, arms), _caption(judgement), _view(judgement, arms)
    if view is not None:
        made.update_xaxes(range=rounded(view, judgement.scale.factor))
        _add_arrows(made, judgement, arms, view)
        caption += " Arrows, and bars that end at the edge, go on beyond the axis."
    return Picture(name.replace("_", "-"), made, caption, documented=True)


def _view(judgement: Judgement, arms: list[str]) -> tuple[float, float] | None:
    """Returns where the axis ends if a few arms are so far off that the others would be dots; None where none is."""
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
    """Returns how far an arm's interval and seeds reach to the left and to the right."""
    found, table = judgement.differences[arm], judgement.table(judgement.experiment.metric)
    seeds = (table[arm] - table[judgement.experiment.baseline]).tolist()
    return float(np.nanmin([found.low, found.value, *seeds])), float(np.nanmax([found.high, found.value, *seeds]))


def _add_arrows(made: go.Figure, judgement: Judgement, arms: list[str], view: tuple[float, float]) -> None:
    """Points to the arms beyond the axis, with their figures."""
    scale, middle, inside = judgement.scale, sum(view) / 2, 0.01 * (view[1] - view[0])
    for _, colour, chosen in _kinds(judgement, arms):
        for arm in chosen:
            found, left = judgement.differences[arm], judgement.differences[arm].value < middle
            if view[0] <= found.value <= view[1]:
                continue
            made.add_scatter(
                x=rounded([view[0] + inside if left else view[1] - inside], scale.factor),
                y=[wrapped(arm)],
                mode="markers+text",
                marker={"symbol": "triangle-left" if left else "triangle-right", "color": colour, "size": 12},
                text=[f" {scale.change(found.value)} {scale.interval(found.low, found.high)} ".rstrip()],
                textposition="top right" if left else "top left",
                cliponaxis=False,
                showlegend=False,
                hoverinfo="skip",
            )


def _figure(judgement: Judgement, arms: list[str]) -> go.Figure:
    scale = judgement.scale
    unit = f" in {scale.unit}" if scale.unit else ""
    made = style.figure(f"{scale.heading}, difference{unit}", "")
    for title, colour, chosen in _kinds(judgement, arms):
        if chosen:
            _add_arms(made, judgement, chosen, title, colour)
    _add_seeds(made, judgement, arms)
    made.add_vline(x=0, line={"color": style.NEUTRAL, "width": 1})
    order = [wrapped(arm) for arm in arms]
    made.update_yaxes(categoryorder="array", categoryarray=order, autorange="reversed")
    made.update_layout(height=120 + ROW * len(arms))
    return made


def _kinds(judgement: Judgement, arms: list[str]) -> list[tuple[str, str, list[str]]]:
    """Returns a title, a colour and the arms of those better, worse and not told from the baseline."""
    sign = 1 if judgement.scale.more_is_better else -1
    sure = set(judgement.beyond_chance)
    better = [arm for arm in arms if arm in sure and sign * judgement.differences[arm].value > 0]
    worse = [arm for arm in arms if arm in sure and arm not in better]
    return [
        ("better beyond chance", AHEAD, better),
        ("worse beyond chance", BEHIND, worse),
        ("within chance", style.NEUTRAL, [arm for arm in arms if arm not in sure]),
    ]


def _add_arms(made: go.Figure, judgement: Judgement, arms: list[str], title: str, colour: str) -> None:
    factor, found = judgement.scale.factor, [judgement.differences[arm] for arm in arms]
    made.add_scatter(
        x=rounded((each.value for each in found), factor),
        y=[wrapped(arm) for arm in arms],
        error_x={
            "type": "data",
            "array": rounded((each.high - each.value for each in found), factor),
            "arrayminus": rounded((each.value - each.low for each in found), factor),
            "thickness": 2,
            "width": 0,
        },
        mode="markers",
        name=title,
        marker={"color": colour, "size": 11},
        customdata=[probability(judgement.adjusted[arm], "p") for arm in arms],
        hovertemplate="%{x:+.2f}, %{customdata}",
    )


def _add_seeds(made: go.Figure, judgement: Judgement, arms: list[str]) -> None:
    table = judgement.table(judgement.experiment.metric)
    x: list[float | None] = []
    y: list[str] = []
    for arm in arms:
        seeds = (table[arm] - table[judgement.experiment.baseline]).dropna()
        x += rounded(seeds, judgement.scale.factor)
        y += [wrapped(arm)] * len(seeds)
    marker = {"color": style.NEUTRAL, "size": 5, "symbol": "circle-open", "line": {"width": 1}}
    made.add_scatter(x=x, y=y, mode="markers", name="a seed", marker=marker, hovertemplate="%{x:+.2f}")


def _caption(judgement: Judgement) -> str:
    direction = "right" if judgement.scale.more_is_better else "left"
    drawn = "examples and seeds" if judgement.counts(judgement.experiment.metric) else "seeds"
    return (
        f"Difference to “{judgement.experiment.baseline}”; better is to the {direction}. Bars: 95% intervals over "
        f"{drawn}, not corrected for the number of arms; the colours are. Rings: single seeds."
    )
