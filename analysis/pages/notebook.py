"""Shows sections in a notebook: prose as Markdown, figures, tables, and rows of images as one picture each."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from analysis.pages.page import as_text
from analysis.pages.section import Block, Gallery, Images, Listing, Section

SCALE, GAP = 2, 2


def show(section: Section) -> None:
    """Displays a section below the cell that runs this."""
    from IPython.display import Markdown, display

    display(Markdown(section.finding))
    for block in section.blocks:
        _show_block(block)
        display(Markdown(f"*{block.caption}*"))
    display(Markdown("> " + section.decision.strip().replace("\n", "\n> ")))


def _show_block(block: Block) -> None:
    from IPython.display import Markdown, display

    if isinstance(block, Listing):
        display(Markdown(as_markdown(list(block.table.columns), as_text(block.table))))
    elif isinstance(block, Gallery):
        for row in block.rows:
            display(Markdown(f"**{row.title}**" + (f": {', '.join(row.notes)}" if row.notes else "")))
            display(as_strip(row.images))
    else:
        block.figure.show(width=760, height=block.figure.layout.height or 420)


def as_markdown(headings: list[str], rows: list[list[str]]) -> str:
    """Returns a table of texts as Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def as_strip(images: Images) -> object:
    """Returns images, uint8 [n, H, W], side by side as something that a notebook displays."""
    from IPython.display import Image as Displayed

    strip = np.concatenate(list(np.pad(images, ((0, 0), (0, 0), (0, GAP)), constant_values=255)), axis=1)
    target = io.BytesIO()
    Image.fromarray(strip).save(target, "PNG", optimize=True)
    return Displayed(target.getvalue(), width=SCALE * strip.shape[1])
