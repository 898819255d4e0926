"""`exploration.html`: all sections on one page that opens anywhere, without network; plotly's script is inside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.pages.section import Block, Listing, Picture, Row, Section
from analysis.pages.sprite import COLUMNS, Sprite
from analysis.pages.template import render

SCALE = 2
"""Screen pixels a pixel of a small image."""


def write_page(
    sections: Sequence[Section], findings: Sequence[str], subtitle: str, title: str = "What is in the data"
) -> str:
    """Returns the page.

    Args:
        sections: In order.
        findings: The main ones, Markdown, a sentence or two each.
        subtitle: What was explored.
        title: The heading. Defaults to that of the exploration.
    """
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    sprite, figures = Sprite(), dict[str, Any]()
    prepared = [
        {
            "name": section.name,
            "title": section.title,
            "finding": section.finding,
            "decision": section.decision,
            "blocks": [_prepare_block(block, sprite, figures) for block in section.blocks],
        }
        for section in sections
    ]
    # The text of a script must not hold the tag that ends it.
    drawn = json.dumps(figures, separators=(",", ":")).replace("</", "<\\/")
    return render(
        "page.html",
        title=title,
        subtitle=subtitle,
        findings=findings,
        sections=prepared,
        sprite=sprite.as_url(),
        columns=COLUMNS,
        plotly=Markup(get_plotlyjs()),
        figures=Markup(drawn),
    )


def _prepare_block(block: Block, sprite: Sprite, figures: dict[str, Any]) -> dict[str, Any]:
    """Returns what the template needs of a block; its images go to the sprite, its figure to `figures`."""
    common = {"name": block.name, "caption": block.caption}
    if isinstance(block, Picture):
        drawn = json.loads(block.figure.to_json())
        cells = None if block.thumbnails is None else [sprite.add(image) for image in block.thumbnails]
        figures[f"plot-{block.name}"] = {"data": drawn["data"], "layout": drawn["layout"], "cells": cells}
        return common | {"kind": "picture", "height": drawn["layout"].get("height", 420)}
    if isinstance(block, Listing):
        numeric = [pd.api.types.is_numeric_dtype(kind) for kind in block.table.dtypes]
        headings = list(zip(block.table.columns, numeric, strict=True))
        return common | {"kind": "listing", "headings": headings, "rows": as_text(block.table)}
    return common | {"kind": "gallery", "rows": [_prepare_row(row, sprite) for row in block.rows]}


def _prepare_row(row: Row, sprite: Sprite) -> dict[str, Any]:
    side = SCALE * sprite.size
    cells = []
    for image, note in zip(row.images, row.notes or [""] * len(row.images), strict=True):
        cell = sprite.add(image)
        cells.append((cell % COLUMNS * side, cell // COLUMNS * side, note))
    return {"title": row.title, "colour": row.colour, "cells": cells}


def as_text(table: pd.DataFrame) -> list[list[str]]:
    """Returns the cells of a table as text: whole numbers with separators, others with at most four digits."""
    return [[_cell_text(value) for value in row] for row in table.itertuples(index=False)]


def _cell_text(value: Any) -> str:
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        return str(value)
    number = float(value)
    if number != number:
        return "–"
    text = f"{number:,.0f}" if number == round(number) and abs(number) >= 1 else f"{number:.4g}"
    return text.replace("-", "−")
