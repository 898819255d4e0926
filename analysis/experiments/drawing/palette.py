"""Colours of the experiments' figures, names of arms that fit beside an axis, and values fit for a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from analysis.pages.figures import NEUTRAL, SYMBOLS, TEST

AHEAD, BEHIND = "#0072B2", "#D55E00"
"""Beyond chance better or worse than the baseline; Okabe and Ito's blue and vermilion."""
OF_MANY = (TEST, "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#8f6bb3", NEUTRAL)
"""Arms or families side by side, beside a symbol of their own."""
DIVERGING = [
    [0.0, "rgba(213,94,0,1)"],
    [0.5, "rgba(213,94,0,0)"],
    [0.5, "rgba(0,114,178,0)"],
    [1.0, "rgba(0,114,178,1)"],
]
"""From worse through nothing, which is the ground, to better."""
WIDTH = 24
DIGITS = 5


def colour(place: int) -> str:
    """Returns the colour of the arm or family at a place."""
    return OF_MANY[place % len(OF_MANY)]


def symbol(place: int) -> str:
    """Returns the marker of the arm or family at a place; after the colours it repeats out of step with them."""
    return SYMBOLS[(place + place // len(OF_MANY)) % len(SYMBOLS)]


def wrapped(name: str, width: int = WIDTH) -> str:
    """Returns a name in lines of so many letters, that fit beside an axis or, narrower, under it."""
    return "<br>".join(textwrap.wrap(name.replace("_", " "), width))


def rounded(values: Iterable[float], factor: float = 1.0) -> list[float | None]:
    """Returns values times a factor with five digits, so that a page is small and a digest does not see noise."""
    return [None if value != value else float(f"{factor * value:.{DIGITS}g}") for value in values]
