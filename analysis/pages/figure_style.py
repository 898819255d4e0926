"""The style of every plotly figure: the taxonomy's colours, one template, and a transparent background."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from models.taxonomy import Taxonomy

NEUTRAL = "#7a838e"
"""For what belongs to no group; it is legible on a light and on a dark background."""
TRAIN, TEST = "#7a838e", "#56B4E9"
"""The official splits; Okabe and Ito's sky blue belongs to no group."""
SEQUENTIAL = [[0.0, "rgba(0,114,178,0)"], [1.0, "rgba(0,114,178,1)"]]
"""A colour scale from nothing to blue, for counts and shares: its zero is the background, light or dark."""
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up")
"""Markers that distinguish the garments of one group, whose colours are alike."""
MORE_SYMBOLS = ("triangle-down", "star", "hexagon", "pentagon", "hourglass", "bowtie")
"""Markers for the seventh garment of a group and the following ones."""
SIDE_LEGEND = {"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"}
"""A legend to the right of the figure, for many entries."""
HEIGHT = 420
_LIGHTNESS = (0.0, 0.38, -0.32, 0.62)

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": [NEUTRAL],
        "margin": {"l": 64, "r": 16, "t": 28, "b": 52},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        "hoverlabel": {"namelength": -1},
        "xaxis": {"automargin": True, "zeroline": False, "title": {"standoff": 8}},
        "yaxis": {"automargin": True, "zeroline": False, "title": {"standoff": 8}},
    }
)


def figure(x: str = "", y: str = "", height: int = HEIGHT) -> go.Figure:
    """Returns an empty figure in the style, with the titles of its axes, units included."""
    empty = go.Figure(layout={"template": TEMPLATE, "height": height})
    empty.update_xaxes(title_text=x)
    empty.update_yaxes(title_text=y)
    return empty


def group_colours(taxonomy: Taxonomy) -> tuple[str, ...]:
    """Returns the colour of each group."""
    return taxonomy.colours


def garment_colours(taxonomy: Taxonomy) -> tuple[str, ...]:
    """Returns a colour for each garment: its group's, lighter or darker from the second garment on."""
    return tuple(
        _shade(taxonomy.colours[group], _LIGHTNESS[_rank_in_group(taxonomy, garment) % len(_LIGHTNESS)])
        for garment, group in enumerate(taxonomy.group_of)
    )


def garment_symbols(taxonomy: Taxonomy) -> tuple[str, ...]:
    """Returns a marker for each garment, different from those of up to 11 other garments of its group."""
    symbols = (*SYMBOLS, *MORE_SYMBOLS)
    return tuple(symbols[_rank_in_group(taxonomy, garment) % len(symbols)] for garment in range(len(taxonomy.garments)))


def matrix(values: Sequence[Sequence[float]], names: Sequence[str], text: str = ".0%") -> go.Figure:
    """Returns a heatmap of a square table of shares, rows down, with the numbers in the cells and no colour bar."""
    heatmap = figure(height=max(HEIGHT, 44 * len(names)))
    heatmap.add_heatmap(
        z=values, x=list(names), y=list(names), colorscale=SEQUENTIAL, showscale=False, texttemplate=f"%{{z:{text}}}"
    )
    heatmap.update_yaxes(autorange="reversed")
    return heatmap


def _rank_in_group(taxonomy: Taxonomy, garment: int) -> int:
    return taxonomy.members(taxonomy.group_of[garment]).index(garment)


def _shade(colour: str, lightness: float) -> str:
    """Mixes a hex colour with white (positive) or black (negative)."""
    channels = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    target = 255 if lightness > 0 else 0
    mixed = [round(channel + (target - channel) * abs(lightness)) for channel in channels]
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
