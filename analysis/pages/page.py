"""`exploration.html`: all sections on one page that opens anywhere, without network; plotly's script is inside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
from markdown_it import MarkdownIt

from analysis.pages import parts
from analysis.pages.section import Block, Gallery, Listing, Picture, Row, Section
from analysis.pages.sprite import COLUMNS, Sprite
from analysis.pages.style import STYLE

TEMPLATE = Path(__file__).with_name("page.html")
SCALE = 2
"""Screen pixels a pixel of a small picture."""

_markdown = MarkdownIt("commonmark", {"html": False})


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
    from plotly.offline import get_plotlyjs

    page = _Page()
    body = "".join(page.section(section) for section in sections)
    contents = [("short", "In short"), *((section.name, section.title) for section in sections)]
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=STYLE,
        title=parts.escape(title),
        subtitle=parts.escape(subtitle),
        contents="".join(f'<li><a href="#{name}">{parts.escape(title)}</a></li>' for name, title in contents),
        findings="".join(f"<li>{_markdown.renderInline(finding)}</li>" for finding in findings),
        sections=body,
        sprite=page.sprite.as_url(),
        columns=COLUMNS,
        plotly=get_plotlyjs(),
        # The text of a script must not hold the tag that ends it.
        figures=json.dumps(page.figures, separators=(",", ":")).replace("</", "<\\/"),
    )


class _Page:
    """What the blocks of a page share: the sprite, and the figures that its script draws."""

    def __init__(self) -> None:
        self.sprite = Sprite()
        self.figures: dict[str, Any] = {}

    def section(self, section: Section) -> str:
        blocks = "".join(self._block(block) for block in section.blocks)
        return (
            f'<section id="{section.name}"><h2>{parts.escape(section.title)}</h2>{_markdown.render(section.finding)}'
            f'{blocks}<div class="decision">{_markdown.render(section.decision)}</div></section>'
        )

    def _block(self, block: Block) -> str:
        content = self._content(block)
        caption = _markdown.renderInline(block.caption)
        return f'<figure class="block" id="{block.name}">{content}<figcaption>{caption}</figcaption></figure>'

    def _content(self, block: Block) -> str:
        if isinstance(block, Picture):
            return self._picture(block)
        return self._listing(block) if isinstance(block, Listing) else self._gallery(block)

    def _picture(self, picture: Picture) -> str:
        drawn = json.loads(picture.figure.to_json())
        thumbnails = picture.thumbnails
        cells = None if thumbnails is None else [self.sprite.add(image) for image in thumbnails]
        name = f"plot-{picture.name}"
        self.figures[name] = {"data": drawn["data"], "layout": drawn["layout"], "cells": cells}
        return f'<div class="plot" id="{name}" style="height:{drawn["layout"].get("height", 420)}px"></div>'

    def _listing(self, listing: Listing) -> str:
        table = listing.table
        numeric = [i for i, kind in enumerate(table.dtypes) if pd.api.types.is_numeric_dtype(kind)]
        return parts.table(
            [parts.escape(name) for name in table.columns],
            [[parts.escape(cell) for cell in row] for row in as_text(table)],
            numeric,
        )

    def _gallery(self, gallery: Gallery) -> str:
        return "".join(self._strip(row) for row in gallery.rows)

    def _strip(self, row: Row) -> str:
        bar = f'<i class="bar" style="background:{row.colour}"></i>' if row.colour else ""
        notes = row.notes or [""] * len(row.images)
        cells = "".join(self._cell(image, note) for image, note in zip(row.images, notes, strict=True))
        return f'<div class="strip"><b>{bar}{parts.escape(row.title)}</b><div class="cells">{cells}</div></div>'

    def _cell(self, image: Any, note: str) -> str:
        cell, side = self.sprite.add(image), SCALE * self.sprite.size
        place = f"-{cell % COLUMNS * side}px -{cell // COLUMNS * side}px"
        kind = "cell noted" if note else "cell"
        thumb = f'<span class="thumb" style="background-position:{place}"></span>'
        return f'<div class="{kind}">{thumb}{parts.escape(note)}</div>'


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
